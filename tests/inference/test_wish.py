"""What can be wished for."""

import numpy as np
import pytest

from mt3x.inference.wish import Wish, draw_seed, seeds


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"valence": 3.0}, "valence=3.0: give a number from -1 to 1"),
        ({"arousal": float("nan")}, "arousal=nan"),
        ({"seconds": 0.0}, "seconds=0.0: give a number from 0.1 to 86400"),
        ({"seconds": 1e9}, "seconds=1000000000.0"),
        ({"seconds": float("inf")}, "seconds=inf"),
        ({"guidance": -1.0}, "guidance=-1.0: give a number from 0 to 20"),
        ({"key": "H"}, "key 'H': give one such as"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5: give a whole number"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_k": -1}, "top_k=-1"),
        ({"moods": [(0, 0.5, 2.0)]}, "mood 0, 0.5, 2.0: give seconds from 0 on"),
        ({"moods": [(-1, 0.5, 0.5)]}, "mood -1, 0.5, 0.5"),
        ({"moods": [(0, 0.5)]}, "mood 0, 0.5: give"),
        ({"moods": [(0, 0.5, 0.0), (0, 1.0, 0.0)]}, "two moods at 0 s"),
        ({"moods": [(0, 0.5, 0.0)], "valence": 0.5}, "leave out one of them"),
    ],
)
def test_what_makes_no_sense_is_one_line(values, message):
    with pytest.raises(ValueError) as raised:
        Wish(**values)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"valence": 0.5, "arousal": -1}, [[0, 0.5, -1]]),
        ({"valence": 0.5}, [[0, 0.5, 0]]),
        ({"arousal": 0.0}, [[0, 0, 0]]),
        ({}, [[0, np.nan, np.nan]]),
        ({"moods": [(3, 1, 1), (0, 0, -1)]}, [[0, 0, -1], [3, 1, 1]]),
    ],
)
def test_moods(values, expected):
    moods_Tx3 = Wish(**values).moods_Tx3()
    assert moods_Tx3.dtype == np.float32
    np.testing.assert_array_equal(moods_Tx3, expected)


def test_any_key_is_a_wish():
    assert Wish(key="any").key == "any"
    assert Wish(valence=0.0).has_mood and not Wish().has_mood


def test_seeds():
    assert seeds(Wish(seed=7), 3) == [7, 8, 9]
    assert seeds(Wish(seed=10**9), 2) == [10**9, 0]
    assert draw_seed() != draw_seed()
    for number in (0, -1, 1000):
        with pytest.raises(ValueError, match=f"{number} pieces: give 1 to 256"):
            seeds(Wish(), number)

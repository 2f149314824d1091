"""Bars from beats."""

import numpy as np
import pytest

from mt3x.music.beats import Beats, read_meter
from mt3x.notation.meter import MOST_BARS, find_bars


def even(meter, num_beats=40, first=1):
    per_bar, unit, is_dotted = read_meter(meter)
    position = (np.arange(num_beats) + first - 1) % per_bar + 1
    return Beats(np.arange(num_beats) * 0.5, position, per_bar, unit, is_dotted)


def shape(bars):
    return [(bar.number, bar.start, bar.length) for bar in bars]


@pytest.mark.parametrize(
    ("meter", "length"),
    [("4/4", 96), ("3/4", 72), ("6/8", 72), ("7/8", 84), ("2/2", 96), ("5/16", 30)],
)
def test_bars_have_the_length_of_their_meter(meter, length):
    bars = find_bars(even(meter), 0, 3 * length)
    assert shape(bars) == [(n + 1, n * length, length) for n in range(3)]
    assert f"{bars[0].numerator}/{bars[0].denominator}" == meter


def test_notes_late_in_the_first_bar_are_a_pickup():
    bars = find_bars(even("4/4"), 3 * 24, 5 * 24)
    assert shape(bars) == [(0, 72, 24), (1, 96, 96)]
    assert find_bars(even("4/4"), 24, 5 * 24)[0].length == 96


def test_bars_go_on_before_and_after_the_beats():
    bars = find_bars(even("3/4", num_beats=4, first=2), -72, 20 * 24)
    assert bars[0].start <= -72
    assert {bar.start % 72 for bar in bars} == {48}
    assert bars[-1].end >= 480


def test_a_bar_with_fewer_beats_has_its_own_signature():
    position = [1, 2, 3, 4, 1, 2, 3, 1, 2, 3, 4, 1]
    bars = find_bars(Beats(np.arange(12.0), position, 4), 0, 11 * 24)
    assert [bar.numerator for bar in bars] == [4, 3, 4]


def test_a_bar_line_that_is_missing_is_put_in():
    position = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]
    bars = find_bars(Beats(np.arange(12.0), position, 4), 0, 12 * 24)
    assert [bar.length for bar in bars] == [96, 96, 96]


def test_far_notes_need_no_bars_before_them():
    assert len(find_bars(even("4/4"), 24 * 10**6, 24 * (10**6 + 4))) == 1


def test_too_many_bars_are_refused():
    with pytest.raises(ValueError, match="transcribe a part"):
        find_bars(even("4/4"), 0, 96 * (MOST_BARS + 1))


@pytest.mark.parametrize(
    ("meter", "groups"),
    [
        ("4/4", (0, 48)),
        ("3/4", (0,)),
        ("7/8", (0, 24, 48)),
        ("5/4", (0, 72)),
        ("6/8", (0, 36)),
        ("6/32", (0, 9)),
    ],
)
def test_groups_of_beats(meter, groups):
    assert find_bars(even(meter), 0, 10)[0].groups == groups


def test_beats_within_a_group_are_weaker_than_its_beginning():
    bar = find_bars(even("4/4"), 0, 10)[0]
    assert [bar.level(tick) for tick in (0, 24, 48, 72, 84, 90)] == [0, 2, 1, 2, 3, 4]

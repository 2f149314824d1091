"""Hands and foot as notes, and variations of music."""

import numpy as np
import pytest

from mt3x.data.synthesis.compose import compose
from mt3x.data.synthesis.performance import (
    Performance,
    clean,
    from_keys,
    scale_velocity,
    transpose_on_keyboard,
    vary,
)
from mt3x.music.notes import Notes

NO_PEDAL = np.zeros((0, 2))


def strokes(*rows):
    return (np.array(column, float) for column in zip(*rows, strict=True))


def test_pedal_holds_until_release_or_next_onset():
    notes = from_keys(
        *strokes(
            (0, 0.5, 60, 80), (0, 0.5, 64, 80), (1, 1.2, 64, 80), (3, 3.5, 60, 80)
        ),
        pedal_s=np.array([[0.4, 2.0], [3.6, 4.0]]),
    )
    strokes_N = zip(notes.onset_s, notes.pitch, strict=True)
    ends = dict(zip(strokes_N, notes.offset_s, strict=True))
    assert ends == {(0, 60): 2.0, (0, 64): 1.0, (1, 64): 2.0, (3, 60): 3.5}


def test_double_strokes_and_edges():
    rows = [(0, 1, 60, 300), (0.04, 1, 60, 50), (0.06, 0.01, 60, -5), (0, 1, 20, 64)]
    notes = from_keys(*strokes(*rows), pedal_s=NO_PEDAL)
    assert notes.onset_s.tolist() == [0, 0.06]
    assert notes.velocity.tolist() == [127, 1]
    assert notes.offset_s[0] == pytest.approx(0.06)
    assert notes.offset_s[1] > 0.06
    assert len(from_keys(*np.zeros((4, 0)), pedal_s=NO_PEDAL)) == 0


def test_clean_leaves_one_piano():
    notes = Notes(
        [0, 0, 0], [1, 2, 1], [60, 60, 40], program=[0, 5, 0], is_drum=[0, 0, 1]
    )
    assert len(clean(notes)) == 1


def test_transpose_stays_on_the_keyboard():
    notes = Notes([0, 0], [1, 1], [24, 106])
    assert transpose_on_keyboard(notes, 6).pitch.tolist() == [26, 108]
    assert transpose_on_keyboard(notes, -6).pitch.tolist() == [21, 103]
    assert transpose_on_keyboard(notes, 1).pitch.tolist() == [25, 107]
    assert len(transpose_on_keyboard(Notes.empty(), 3)) == 0


def test_velocity():
    notes = Notes([1, 2], [2, 3], [60, 61], [50, 70])
    assert scale_velocity(notes, 2.0, 5).velocity.tolist() == [45, 85]
    assert scale_velocity(notes, 20.0).velocity.tolist() == [1, 127]


def test_vary_is_a_function_of_the_generator():
    performance = compose(np.random.default_rng(0), 10.0)
    (_, once), (_, again) = (
        vary(performance, np.random.default_rng(3), 90.0) for _ in range(2)
    )
    assert once.notes().equals(again.notes())
    start_s, other = vary(performance, np.random.default_rng(4), 90.0)
    assert start_s == 0 and not other.notes().equals(once.notes())
    assert len(other.keys) == len(once.keys) == len(performance.keys)


def test_vary_takes_a_part():
    performance = Performance(
        Notes(np.arange(100.0), np.arange(100.0) + 0.5, 21 + np.arange(100) % 88),
        np.array([[k + 0.4, k + 0.8] for k in range(100)]),
    )
    start_s, part = vary(performance, np.random.default_rng(0), 20.0)
    notes = part.notes()
    assert start_s > 0 and 15 < len(notes) < 27 and notes.offset_s.max() <= 20
    # Each note of 0.5 beats is held by the pedal until 0.8.
    held = (notes.offset_s - notes.onset_s)[:-1] / np.median(np.diff(notes.onset_s))
    np.testing.assert_allclose(held, 0.8, atol=0.05)


def test_dampers_that_fall_before_the_pedal_is_up():
    keys = Notes([0.0, 0.0, 0.8], [0.5, 0.35, 1.5], [60, 64, 67])
    performance = Performance(keys, np.array([[0.4, 1.0], [1.4, 2.0]]))
    assert performance.notes().offset_s.tolist() == [1.0, 0.35, 2.0]
    # Early in going down, too: the second key is caught before its string is damped.
    early = performance.notes(0.1)
    np.testing.assert_allclose(early.offset_s, [0.9, 0.9, 1.9])
    each = performance.notes(np.array([0.0, 0.3]))
    np.testing.assert_allclose(each.offset_s, [1.0, 0.35, 1.7])

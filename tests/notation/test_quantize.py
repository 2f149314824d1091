"""Onsets on grids."""

import numpy as np
import pytest

from mt3x.music.beats import Beats, read_meter
from mt3x.notation.quantize import quantize

BEATS = Beats.from_bpm(90, 0, 10)


def played(ticks, seed=0, bpm=90, spread_s=0.006):
    onset_s = np.asarray(ticks) / 24 * 60 / bpm
    return np.sort(
        onset_s + np.random.default_rng(seed).normal(0, spread_s, len(ticks))
    )


@pytest.mark.parametrize(
    "ticks",
    [
        [0, 24, 48, 72],
        [0, 6, 12, 18, 24, 36, 48],
        [0, 8, 16, 24, 32, 40, 48],
        [0, 4, 8, 12, 16, 20, 24, 48],
        [0, 3, 6, 9, 12, 15, 18, 21, 24],
        [0, 18, 24, 42, 48],
        [0, 12, 24, 32, 40, 48, 54],
    ],
    ids=["quarters", "16ths", "triplets", "sextuplets", "32nds", "dotted", "mixed"],
)
@pytest.mark.parametrize("seed", range(3))
def test_rhythms_come_back_from_a_performance(ticks, seed):
    assert quantize(played(ticks, seed), BEATS).tick.tolist() == ticks


@pytest.mark.parametrize("meter", ["6/8", "2/2", "7/8", "3/16", "4/1"])
def test_eighths_come_back_in_any_meter(meter):
    per_bar, unit, is_dotted = read_meter(meter)
    quarters = 4 / unit * (3 if is_dotted else 1)
    ticks = np.arange(0, 96, 12)
    beats = Beats.from_bpm(90 / quarters, 0, 10, per_bar, unit, is_dotted)
    assert quantize(played(ticks), beats).tick.tolist() == ticks.tolist()


def test_rubato_is_followed():
    beats = Beats([0, 0.5, 1.2, 1.7, 2.1], [1, 2, 3, 4, 1], 4)
    place = np.arange(0, 4, 0.5)
    assert quantize(beats.time_at(place), beats).tick.tolist() == (place * 24).tolist()


def test_chords_that_are_spread_stay_together():
    onset_s = np.array([0, 0.02, 0.04, 0.667, 0.68])
    assert quantize(onset_s, BEATS).tick.tolist() == [0, 0, 0, 24, 24]


def test_a_note_just_before_the_beat_is_on_it():
    assert quantize(np.array([0.0, 0.65, 1.333]), BEATS).tick.tolist() == [0, 24, 48]


def test_a_last_note_that_comes_late_is_on_the_beat():
    onset_s = np.append(played([0, 6, 12, 18]), 0.667 + 0.07)
    assert quantize(onset_s, BEATS).tick.tolist() == [0, 6, 12, 18, 24]


def test_notes_before_the_first_beat_have_negative_ticks():
    assert quantize(np.array([-0.667, 0.0]), BEATS).tick.tolist() == [-24, 0]


def test_no_notes_have_no_ticks():
    grid = quantize(np.zeros(0), BEATS)
    assert len(grid.tick) == 0 and grid.end_steps(np.array([5])).tolist() == [12]


def test_ends_in_triplets_are_on_triplets():
    grid = quantize(played([0, 8, 16, 24, 30, 36, 48]), BEATS)
    assert grid.end_steps(np.array([8, 30, 1000])).tolist() == [8, 6, 12]

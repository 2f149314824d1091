"""Pieces as they might be played: notes stay at their places against the beats."""

import numpy as np
import pytest

from mt3x.data.beat_pieces import BeatPiece
from mt3x.data.synthesis.rubato import perform_clip
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes


def piece(is_score, num_bars=40, program=0):
    beats = Beats(0.5 * np.arange(4 * num_bars), np.arange(4 * num_bars) % 4 + 1, 4)
    onset_s = 0.25 * np.arange(8 * num_bars)
    notes = Notes(
        np.repeat(onset_s, 3),
        np.repeat(onset_s, 3) + 0.25,
        np.tile([48, 60, 64], len(onset_s)),
        program=np.full(3 * len(onset_s), program),
    )
    return BeatPiece("a", 0, notes, beats, is_score)


def groove():
    beats = Beats(0.6 * np.arange(16), np.arange(16) % 4 + 1, 4)
    drums = np.full(16, True)
    notes = Notes(beats.time_s, beats.time_s + 0.1, np.full(16, 36), is_drum=drums)
    return BeatPiece("b", 0, notes, beats, False)


@pytest.mark.parametrize("is_score", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_most_notes_lie_near_halves_of_beats(is_score, seed):
    rng = np.random.default_rng(seed)
    notes, beats = perform_clip(piece(is_score), rng, 20.0)
    inside = (notes.onset_s > beats.time_s[0]) & (notes.onset_s < beats.time_s[-1])
    halves = 2 * beats.beat_at(notes.onset_s[inside])
    assert inside.sum() > 20
    assert np.median(np.abs(halves - np.round(halves))) < 0.25


def test_the_same_seed_plays_the_same():
    first, second = (
        perform_clip(piece(True), np.random.default_rng(7), 20.0) for _ in range(2)
    )
    assert first[0].equals(second[0])
    np.testing.assert_array_equal(first[1].time_s, second[1].time_s)


def test_scores_are_played_with_changing_tempo():
    spreads = []
    for seed in range(20):
        _, beats = perform_clip(piece(True), np.random.default_rng(seed), 20.0)
        interval_s = np.diff(beats.time_s)
        spreads.append(interval_s.std() / interval_s.mean())
    assert np.median(spreads) > 0.05


def test_drums_go_with_the_beats():
    rng = np.random.default_rng(1)
    notes, beats = perform_clip(piece(False), rng, 20.0, groove())
    drums = notes.onset_s[notes.is_drum]
    assert len(drums) > 10
    off = beats.beat_at(drums)
    assert np.abs(off - np.round(off)).max() < 0.15


@pytest.mark.parametrize("num_bars", [1, 2, 5])
def test_short_pieces_are_played_whole(num_bars):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        _, beats = perform_clip(piece(True, num_bars), rng, 60.0)
        assert len(beats) >= 2


def test_no_notes_stay_none():
    empty = BeatPiece("c", 0, Notes.empty(), piece(True).beats, True)
    notes, _ = perform_clip(empty, np.random.default_rng(0), 10.0)
    assert not len(notes)

"""Drum parts lie on the song's beats."""

import numpy as np
import pytest
from toy_songs import groove_notes

from mt3x.data.synthesis.drums import (
    CLOSED_HAT,
    CRASH,
    Groove,
    groove_drums,
    pattern_drums,
    times_of,
)

GROOVE = Groove("g", 120.0, groove_notes())


def rng(seed=0):
    return np.random.default_rng(seed)


def test_times_go_on_before_and_after_the_beats():
    beats_s = np.array([1.0, 1.5, 2.5])
    times_s = times_of(np.array([-1.0, 0, 0.5, 1.5, 2, 3]), beats_s)
    np.testing.assert_allclose(times_s, [0.5, 1, 1.25, 2, 2.5, 3.5])


def test_a_groove_is_stretched_to_the_songs_beats():
    beats_s = 1.0 + 0.75 * np.arange(32)  # 80 beats a minute
    drums = groove_drums(GROOVE, beats_s, np.arange(0, 32, 4), rng())
    assert drums.is_drum.all()
    kicks = drums[drums.pitch == 36]
    assert len(kicks) == 16
    # 10 ms late at 120 beats a minute are 15 ms late at 80.
    np.testing.assert_allclose(
        kicks.onset_s, beats_s[np.arange(0, 32, 2)] + 0.015, atol=1e-9
    )
    assert set(kicks.velocity) == {100, 98}  # as they were played
    # The kit's own number of the hi-hat became General MIDI's.
    assert (drums.pitch == CLOSED_HAT).sum() == 32 and not (drums.pitch == 22).any()


def test_a_groove_goes_on_bar_by_bar_from_a_random_one():
    beats_s = 0.5 * np.arange(24)
    seen = set()
    for seed in range(20):
        drums = groove_drums(GROOVE, beats_s, np.arange(0, 24, 4), rng(seed))
        toms = drums.pitch[np.isin(drums.pitch, [43, 44, 45])]
        assert (
            len(toms) == 6
        )  # one a bar; the last bar may not be whole: it is left out
        assert (np.diff(toms) % 3 == 1).all()
        seen.add(int(toms[0]))
    assert seen == {43, 44, 45}


def test_odd_bars_hold_as_much_of_a_groove_as_they_can():
    beats_s = 0.5 * np.arange(9)
    drums = groove_drums(GROOVE, beats_s, np.array([0, 2, 5]), rng())  # 2, 3, 4 beats
    on_beats = drums[np.isin(drums.pitch, [36, 38])]
    # Kick and snare of each bar's own beats, and nothing of beats that it lacks.
    assert on_beats.pitch.tolist() == [36, 38, 36, 38, 36, 36, 38, 36, 38]
    np.testing.assert_allclose(on_beats.onset_s, beats_s + 0.01)


def test_early_hits_belong_to_their_bar():
    early = groove_notes().shift(-0.02)
    early = early[early.onset_s >= 0]
    beats_s = 0.5 * np.arange(4, 12)
    drums = groove_drums(
        Groove("g", 120.0, early), beats_s, np.array([0, 2, 4, 6]), rng()
    )
    kicks = drums[drums.pitch == 36]
    # In bars of two beats there are the first beat's kicks, not the third's.
    assert 2 <= len(kicks) <= 4
    distance_s = np.abs(kicks.onset_s[:, None] - (beats_s[::2] - 0.01)).min(axis=1)
    assert distance_s.max() < 1e-9


def test_a_long_bar_begins_the_groove_again():
    beats_s = 0.5 * np.arange(8)
    drums = groove_drums(GROOVE, beats_s, np.array([0]), rng())
    kicks = drums[drums.pitch == 36]
    np.testing.assert_allclose(kicks.onset_s, beats_s[::2] + 0.01)


@pytest.mark.parametrize("seed", range(6))
def test_a_pattern_has_kicks_on_one_and_backbeats(seed):
    beats_s = 2.0 + 0.5 * np.arange(32)
    drums = pattern_drums(beats_s, np.arange(0, 32, 4), rng(seed))
    assert drums.is_drum.all() and len(drums) > 60

    def nearest(pitches):
        hits_s = drums.onset_s[np.isin(drums.pitch, pitches)]
        return np.abs(hits_s[:, None] - beats_s[::4]).min(axis=0)

    assert nearest([36]).max() < 0.04  # kick on each first beat
    backbeat_s = drums.onset_s[np.isin(drums.pitch, [37, 38])]
    assert np.abs(backbeat_s[:, None] - beats_s[1::4]).min(axis=0).max() < 0.04
    assert (drums.pitch == CRASH).sum() in (1, 2)  # phrases of 8 or 4 bars
    assert drums.equals(pattern_drums(beats_s, np.arange(0, 32, 4), rng(seed)))
    assert len(set(drums.velocity.tolist())) > 5


def test_without_bars_there_is_nothing_to_play():
    none = np.zeros(0, int)
    assert len(pattern_drums(np.array([0.0, 1]), none, rng())) == 0
    assert len(groove_drums(GROOVE, np.array([0.0, 1]), none, rng())) == 0

"""Scores played: every note, about in time, melodies louder, pedals with the bass."""

import numpy as np
import pytest

from mt3x.data.synthesis.humanize import humanize
from mt3x.music.notes import Notes

BEATS = np.arange(0.0, 60.0, 0.5)


def song():
    """Return a melody over chords of three keys, one chord a beat, all equally loud."""
    melody = 72 + np.arange(len(BEATS)) % 5
    pitch = np.stack([melody, *(np.full(len(BEATS), key) for key in (48, 52, 55))])
    onset_s = np.broadcast_to(BEATS, pitch.shape)
    return Notes(onset_s.ravel(), onset_s.ravel() + 0.45, pitch.ravel())


@pytest.mark.parametrize("seed", range(6))
def test_every_note_is_played_about_in_time(seed):
    score = song()
    performance = humanize(score, np.random.default_rng(seed))
    keys = performance.keys
    assert sorted(keys.pitch) == sorted(score.pitch)
    for pitch in np.unique(score.pitch):
        written_s = score.onset_s[score.pitch == pitch]
        played_s = np.sort(keys.onset_s[keys.pitch == pitch])
        pace = np.diff(played_s) / np.diff(written_s)
        assert 0.5 < pace.min() and pace.max() < 1.8 and np.std(pace) > 0.005
    down_s, up_s = performance.pedal_s.T
    assert (up_s > down_s).all() and (down_s[1:] > up_s[:-1]).all()
    again = humanize(score, np.random.default_rng(seed))
    assert again.notes().equals(performance.notes())


def test_melodies_are_louder_and_pedals_change_with_the_bass():
    louder, changes, held = [], [], 0
    for seed in range(12):
        performance = humanize(song(), np.random.default_rng(seed))
        keys, notes = performance.keys, performance.notes()
        melody = keys.pitch > 60
        louder.append(keys.velocity[melody].mean() - keys.velocity[~melody].mean())
        bass_s = np.sort(keys.onset_s[keys.pitch == 48])
        up_s = performance.pedal_s[:, 1]
        after = up_s - bass_s[np.searchsorted(bass_s, up_s + 0.1) - 1]
        changes.append(after)
        held += (notes.offset_s > keys.offset_s + 0.05).sum()
    assert 2 < np.mean(louder) < 10 and np.min(louder) > -2
    after = np.concatenate(changes)
    assert len(after) > 100 and (np.abs(after) < 0.2).mean() > 0.95 and held > 500


def test_the_piano_of_a_song_is_played_without_the_voice():
    notes = Notes([0, 0, 1], [1, 1, 2], [60, 64, 67], program=[0, 52, 0])
    performance = humanize(notes, np.random.default_rng(0))
    assert sorted(performance.keys.pitch) == [60, 67]
    voices = Notes([0, 1], [1, 2], [60, 64], program=[52, 52])
    assert len(humanize(voices, np.random.default_rng(0)).keys) == 2
    band = Notes([0, 0], [1, 1], [60, 38], program=[52, 0], is_drum=[False, True])
    assert humanize(band, np.random.default_rng(0)).keys.pitch.tolist() == [60]
    nothing = humanize(Notes.empty(), np.random.default_rng(0))
    assert len(nothing.keys) == 0 and nothing.pedal_s.shape == (0, 2)

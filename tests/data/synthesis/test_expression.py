"""Vibrato and slides move the pitch, and the labels with the sound."""

import numpy as np

from mt3x.data.synthesis.expression import ExpressionConfig, bend, pitch_curve
from mt3x.music.notes import Notes

RATE_HZ = 32000


def _tone(hz, seconds):
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def _hz(samples_S):
    """Return the frequency by the zero crossings."""
    rises = np.flatnonzero((samples_S[:-1] < 0) & (samples_S[1:] >= 0))
    return (len(rises) - 1) / (rises[-1] - rises[0]) * RATE_HZ


def _notes(onset_s, offset_s):
    count = len(onset_s)
    return Notes(
        np.array(onset_s), np.array(offset_s), np.full(count, 69), np.full(count, 80)
    )


def test_a_semitone_up_is_a_semitone_up():
    tone_S = _tone(440, 3.0)
    bent_S, _ = bend(tone_S, _notes([0.5], [1.0]), np.full(2000, 100.0), RATE_HZ)
    assert abs(_hz(bent_S[RATE_HZ // 2 : RATE_HZ]) / 440 - 2 ** (1 / 12)) < 1e-3


def test_labels_follow_the_sound():
    samples_S = np.zeros(3 * RATE_HZ)
    for at_s in (0.5, 1.0, 2.0):
        samples_S[int(at_s * RATE_HZ)] = 1.0
    curve = 200 * np.sin(np.linspace(0, 6, 3000)) + 50
    bent_S, moved = bend(samples_S, _notes([0.5, 1.0], [1.0, 2.0]), curve, RATE_HZ)
    clicks_s = np.flatnonzero(bent_S > 0.2) / RATE_HZ
    expected = [*moved.onset_s, moved.offset_s[1]]
    for at_s in expected:
        assert np.abs(clicks_s - at_s).min() < 1e-3
    assert abs(moved.onset_s[1] - 1.0) > 0.01


def test_a_flat_curve_changes_nothing():
    tone_S = _tone(440, 1.0)
    notes = _notes([0.2], [0.7])
    bent_S, moved = bend(tone_S, notes, np.zeros(1000), RATE_HZ)
    np.testing.assert_allclose(bent_S, tone_S, atol=1e-5)
    assert moved.onset_s.tolist() == notes.onset_s.tolist()


def test_vibrato_begins_after_the_note_and_spares_short_ones():
    config = ExpressionConfig(vibrato_prob=1.0, scoop_prob=0.0, tuning_cents=0.0)
    notes = _notes([0.1, 0.5], [0.2, 2.5])
    cents_T = pitch_curve(notes, 3000, np.random.default_rng(0), config)
    assert np.abs(cents_T[100:240]).max() < 1e-9
    assert np.abs(cents_T[1500:2400]).max() > 4
    # Five to seven swings a second.
    swings = np.sum(np.diff(np.sign(cents_T[1400:2400])) > 0)
    assert 3 <= swings <= 8

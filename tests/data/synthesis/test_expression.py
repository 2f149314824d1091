"""Vibrato, slides and swells, and the labels with the sound."""

import numpy as np

from mt3x.data.synthesis.expression import (
    ExpressionConfig,
    SwellConfig,
    bend,
    pitch_curve,
    swell,
)
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


def _swelled(onset_s, offset_s, **config):
    """Return decibels by millisecond, and the notes."""
    rng = np.random.default_rng(3)
    ones_S = np.ones(3 * RATE_HZ, np.float32)
    notes = _notes(onset_s, offset_s)
    samples_S, moved = swell(ones_S, notes, RATE_HZ, rng, SwellConfig(**config), 10.0)
    return 20 * np.log10(samples_S[:: RATE_HZ // 1000]), moved


def test_a_note_swells_to_its_level():
    level_T, moved = _swelled(
        [0.5], [2.0], swell_prob=1.0, fade_prob=0.0, swell_s=(0.2, 0.2)
    )
    assert -16.1 < level_T[500] < -2
    assert (np.diff(level_T[500:700]) > -1e-3).all()
    np.testing.assert_allclose(level_T[[400, 720, 2500]], 0, atol=1e-5)
    assert moved.offset_s.tolist() == [2.0]


def test_a_note_that_fades_ends_where_it_has_fallen():
    level_T, moved = _swelled(
        [0.5, 1.0],
        [1.02, 2.0],
        swell_prob=0.0,
        fade_prob=1.0,
        fade_db=(20.0, 20.0),
        rest_s=(0.04, 0.04),
    )
    np.testing.assert_allclose(level_T[[970, 1010]], [-20, 0], atol=0.1)
    at = (moved.offset_s * 1000).round().astype(int)
    np.testing.assert_allclose(level_T[at], -10, atol=0.5)
    assert moved.onset_s.tolist() == [0.5, 1.0]


def test_a_chord_has_one_bow():
    level_T, moved = _swelled(
        [0.5, 0.51], [1.5, 1.5], swell_prob=1.0, fade_prob=1.0, fade_db=(30.0, 30.0)
    )
    assert moved.offset_s[0] == moved.offset_s[1] < 1.5
    assert level_T.min() > -31

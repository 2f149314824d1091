"""Velocities freed of what is the piano's and not the player's."""

import numpy as np
import pytest

from mt3x.music.even_keys import NEAR_S, NEAR_SEMITONES, NOISE, PRIOR_NOTES, even_keys
from mt3x.music.notes import Notes


def played(seed, uneven, num_notes=1500):
    """Notes whose loudness swells and falls, on keys `uneven` velocities off."""
    rng = np.random.default_rng(seed)
    onset_s = np.sort(rng.uniform(0, 120, num_notes))
    pitch = rng.integers(40, 90, num_notes)
    velocity = 64 + 15 * np.sin(onset_s / 5) + rng.normal(0, 2, num_notes)
    heard = velocity + uneven * rng.normal(size=128)[pitch]
    heard = np.clip(np.round(heard), 1, 127).astype(int)
    return velocity, Notes(onset_s, onset_s + 0.5, pitch, heard)


@pytest.mark.parametrize("seed", range(3))
def test_uneven_keys_are_evened(seed):
    velocity, heard = played(seed, uneven=7.0)
    before, after = heard.velocity - velocity, even_keys(heard).velocity - velocity
    assert np.std(before) > 6.0
    assert np.std(after) < 0.5 * np.std(before)


def test_even_keys_stay_nearly_as_they_are():
    _, heard = played(0, uneven=0.0)
    change = even_keys(heard).velocity - heard.velocity
    assert np.abs(change).mean() < 1.0


def test_equals_the_regression_written_out():
    """The same over all pairs of notes instead of a grid in time."""
    _, notes = played(1, uneven=5.0, num_notes=200)
    notes = Notes(
        np.floor(notes.onset_s * 4) / 4, notes.offset_s, notes.pitch, notes.velocity
    )
    time_N, pitch_N = notes.onset_s, notes.pitch.astype(float)
    weight = np.exp(
        -0.5 * ((time_N[:, None] - time_N) / NEAR_S) ** 2
        - 0.5 * ((pitch_N[:, None] - pitch_N) / NEAR_SEMITONES) ** 2
    ) * (np.abs(time_N[:, None] - time_N) <= 3 * NEAR_S)
    weight /= weight.sum(axis=1, keepdims=True)
    keys, key_N = np.unique(notes.pitch, return_inverse=True)
    design = np.eye(len(keys))[key_N]
    design = design - weight @ design
    rest = notes.velocity - weight @ notes.velocity
    padded = np.concatenate([design, np.sqrt(PRIOR_NOTES) * np.eye(len(keys))])
    own = np.linalg.lstsq(padded, np.append(rest, np.zeros(len(keys))), rcond=None)[0]
    even = notes.velocity - own[key_N] - NOISE * (rest - design @ own)
    want = np.clip(np.round(even), 1, 127)
    np.testing.assert_allclose(even_keys(notes).velocity, want, atol=1)
    assert (even_keys(notes).velocity == want).mean() > 0.98


def test_all_but_velocities_stays_and_order_does_not_matter():
    _, notes = played(2, uneven=7.0, num_notes=300)
    even = even_keys(notes)
    for name in ("onset_s", "offset_s", "pitch"):
        np.testing.assert_array_equal(getattr(even, name), getattr(notes, name))
    order = np.random.default_rng(0).permutation(len(notes))
    columns = (notes.onset_s, notes.offset_s, notes.pitch, notes.velocity)
    shuffled = even_keys(Notes(*(column[order] for column in columns)))
    # Notes sort themselves.
    np.testing.assert_array_equal(shuffled.velocity, even.velocity)


@pytest.mark.parametrize("num_notes", [0, 1, 2])
def test_few_notes(num_notes):
    notes = Notes([0.5] * num_notes, [1.0] * num_notes, range(60, 60 + num_notes))
    assert even_keys(notes).equals(notes)


def test_velocities_stay_in_range():
    """A loud key's soft notes are at 1 already, a soft key's loud ones at 127."""
    onset_s = np.arange(300) * 0.1
    pitch = 60 + np.arange(300) % 3
    loud = (pitch == 61) ^ (np.arange(300) % 20 == 0)
    notes = Notes(onset_s, onset_s + 0.1, pitch, np.where(loud, 127, 1))
    even = even_keys(notes).velocity
    assert even.min() == 1 and even.max() == 127

"""Onsets and ends that belong together; velocities freed of what is the piano's."""

import numpy as np
import pytest

from mt3x.music.notes import Notes
from mt3x.music.piano_postprocessing import PianoPostprocessing

align = PianoPostprocessing(even_keys=False)
even_keys = PianoPostprocessing(align=False)


def test_keys_are_evened_after_chords_are_aligned():
    _, heard = chords(3)
    both = PianoPostprocessing()(heard)
    assert both.equals(even_keys(align(heard)))
    assert not both.equals(heard)


def spread_s(velocity):
    """Of onsets, as the options say."""
    return align.soft_onset_s * np.exp((40.0 - velocity) / align.louder)


def chords(seed, num_chords=40, size=4):
    """Chords half a second apart, and how they are heard: soft notes off, ends too."""
    rng = np.random.default_rng(seed)
    onset_s = np.repeat(1 + 0.5 * np.arange(num_chords), size)
    offset_s = onset_s + np.repeat(rng.uniform(0.2, 0.4, num_chords), size)
    pitch = np.concatenate(
        [rng.choice(np.arange(40, 90), size, replace=False) for _ in range(num_chords)]
    )
    velocity = rng.integers(30, 90, num_chords * size)
    heard = Notes(
        onset_s + rng.normal(size=len(onset_s)) * spread_s(velocity),
        offset_s + rng.normal(size=len(onset_s)) * 0.03,
        pitch,
        velocity,
    )
    return Notes(onset_s, offset_s, pitch, velocity), heard


def by_key(notes):
    order = np.lexsort((notes.onset_s, notes.pitch))
    return notes.onset_s[order], notes.offset_s[order], notes.pitch[order]


@pytest.mark.parametrize("seed", range(3))
def test_chords_are_aligned(seed):
    played, heard = chords(seed)
    together = align(heard)
    for column in (0, 1):
        want = by_key(played)[column]
        before = by_key(heard)[column] - want
        after = by_key(together)[column] - want
        assert np.std(after) < 0.75 * np.std(before)


def test_what_is_loud_draws_what_is_soft():
    notes = Notes([1.0, 1.03], [2.0, 2.5], [60, 64], [100, 30])
    together = align(notes)
    assert together.onset_s[0] == 1.0
    assert 1.0 < together.onset_s[1] < 1.015


def test_notes_in_passing_stay():
    onset_s = np.arange(8) * 0.125
    for velocity in (70, 90):
        notes = Notes(onset_s, onset_s + 0.02, range(60, 68), [velocity] * 8)
        np.testing.assert_allclose(align(notes).onset_s, onset_s, atol=1e-3)
        np.testing.assert_allclose(align(notes).offset_s, onset_s + 0.02, atol=4e-3)


def test_ends_go_half_way_to_the_next_onset():
    notes = Notes([1.0, 2.0, 3.0], [1.96, 2.94, 3.5], [60, 62, 60], [90] * 3)
    np.testing.assert_allclose(align(notes).offset_s, [1.98, 2.94, 3.5])


def test_equals_the_formula_over_all_pairs():
    rng = np.random.default_rng(3)
    onset_s = np.sort(rng.uniform(0, 20, 200))
    length_s = rng.uniform(0.05, 1.0, 200)
    # No key twice, so that nothing stands in the way.
    notes = [
        Notes(onset_s[k], onset_s[k] + length_s[k], range(20, 70), [60] * 50)
        for k in (slice(50), slice(50, 100), slice(100, 150), slice(150, 200))
    ]
    for part in notes:
        length = part.offset_s - part.onset_s
        onsets = part.onset_s, spread_s(60.0) * np.ones(50), align.onsets_by_chance_hz
        spread = np.maximum(align.end_of_length * length, align.least_end_s)
        ends = part.offset_s, spread, align.ends_by_chance_hz
        want = []
        for t, s, chance in (onsets, ends):
            apart = t[None] - t[:, None]
            variance = s[None] ** 2 + s[:, None] ** 2
            density = np.exp(-(apart**2) / (2 * variance))
            density /= np.sqrt(2 * np.pi * variance)
            odds = density / (density + chance) * (np.abs(apart) < 0.3)
            np.fill_diagonal(odds, 1.0)
            want.append((odds / s**2 * t).sum(axis=1) / (odds / s**2).sum(axis=1))
        near = np.abs(want[0] - part.onset_s) < align.least_move_s
        want[0] = np.where(near, part.onset_s, want[0])
        starts = np.append(np.sort(want[0]), np.inf)
        rest = np.array([starts[starts >= end][0] - end for end in want[1]])
        want[1] = np.where(rest < align.legato_s, want[1] + rest / 2, want[1])
        got = align(part)
        order = np.argsort(got.pitch)
        np.testing.assert_allclose(got.onset_s[order], want[0], atol=1e-9)
        np.testing.assert_allclose(got.offset_s[order], want[1], atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_keys_sound_once_at_a_time(seed):
    """Dense and soft: much to move, and no room on the keys."""
    rng = np.random.default_rng(seed)
    parts = []
    for pitch in range(60, 70):
        onset_s = np.cumsum(rng.uniform(0.04, 0.2, 40))
        offset_s = onset_s + 0.02 + np.append(np.diff(onset_s) - 0.02, 0.1)
        velocity = rng.integers(20, 60, 40)
        parts.append(Notes(onset_s, offset_s, [pitch] * 40, velocity))
    notes = Notes.concatenate(parts)
    onset_s, offset_s, pitch = by_key(align(notes))
    assert np.abs(onset_s - by_key(notes)[0]).max() > 0.01
    assert (offset_s > onset_s).all()
    again = pitch[1:] == pitch[:-1]
    assert (offset_s[:-1] <= onset_s[1:])[again].all()


def test_a_key_struck_again_is_no_chord():
    notes = Notes([1.0, 1.06], [1.06, 1.5], [60, 60], [40, 40])
    assert align(notes).equals(notes)


def test_short_notes_keep_their_places():
    """Both strikes of the first key are drawn to the loud one between."""
    notes = Notes([1.0, 1.04, 1.02], [1.01, 1.1, 1.5], [60, 60, 64], [25, 25, 110])
    onset_s, offset_s, _ = by_key(align(notes))
    assert onset_s[1] - onset_s[0] == pytest.approx(0.04 / 3)
    assert onset_s[0] < offset_s[0] <= onset_s[1] < offset_s[1]
    alone = align(Notes([1.0, 1.02], [1.005, 1.5], [60, 64], [25, 110]))
    assert alone.onset_s[0] > 1.01 and alone.offset_s[0] > alone.onset_s[0] + 0.015


def test_chords_of_hands_keep_their_spread():
    notes = Notes([1.0, 1.008, 1.016], [2.0, 2.5, 3.0], [60, 64, 67], [60] * 3)
    np.testing.assert_array_equal(align(notes).onset_s, notes.onset_s)
    wider = Notes([1.0, 1.0, 1.05], [2.0, 2.5, 3.0], [60, 64, 67], [60] * 3)
    assert np.ptp(align(wider).onset_s) < 0.03


def test_other_columns_stay_with_their_notes():
    _, heard = chords(5)
    together = align(heard)
    order, moved = (np.lexsort((n.onset_s, n.pitch)) for n in (heard, together))
    np.testing.assert_array_equal(together.velocity[moved], heard.velocity[order])
    assert align(Notes.empty()).equals(Notes.empty())


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
        -0.5 * ((time_N[:, None] - time_N) / even_keys.near_s) ** 2
        - 0.5 * ((pitch_N[:, None] - pitch_N) / even_keys.near_semitones) ** 2
    ) * (np.abs(time_N[:, None] - time_N) <= 3 * even_keys.near_s)
    weight /= weight.sum(axis=1, keepdims=True)
    keys, key_N = np.unique(notes.pitch, return_inverse=True)
    design = np.eye(len(keys))[key_N]
    design = design - weight @ design
    rest = notes.velocity - weight @ notes.velocity
    padded = np.concatenate(
        [design, np.sqrt(even_keys.prior_notes) * np.eye(len(keys))]
    )
    own = np.linalg.lstsq(padded, np.append(rest, np.zeros(len(keys))), rcond=None)[0]
    even = notes.velocity - own[key_N] - even_keys.noise * (rest - design @ own)
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

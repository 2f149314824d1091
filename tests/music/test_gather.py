"""Onsets and ends that belong together."""

import numpy as np
import pytest

from mt3x.music import gather as module
from mt3x.music.gather import gather
from mt3x.music.notes import Notes


def spread_s(velocity):
    """Of onsets, as the module says."""
    return module.SOFT_ONSET_S * np.exp((40.0 - velocity) / module.LOUDER)


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
def test_chords_are_gathered(seed):
    played, heard = chords(seed)
    together = gather(heard)
    for column in (0, 1):
        want = by_key(played)[column]
        before = by_key(heard)[column] - want
        after = by_key(together)[column] - want
        assert np.std(after) < 0.75 * np.std(before)


def test_what_is_loud_draws_what_is_soft():
    notes = Notes([1.0, 1.03], [2.0, 2.5], [60, 64], [100, 30])
    together = gather(notes)
    assert together.onset_s[0] == 1.0
    assert 1.0 < together.onset_s[1] < 1.015


def test_notes_in_passing_stay():
    onset_s = np.arange(8) * 0.125
    for velocity in (70, 90):
        notes = Notes(onset_s, onset_s + 0.02, range(60, 68), [velocity] * 8)
        np.testing.assert_allclose(gather(notes).onset_s, onset_s, atol=1e-3)
        np.testing.assert_allclose(gather(notes).offset_s, onset_s + 0.02, atol=4e-3)


def test_ends_go_half_way_to_the_next_onset():
    notes = Notes([1.0, 2.0, 3.0], [1.96, 2.94, 3.5], [60, 62, 60], [90] * 3)
    np.testing.assert_allclose(gather(notes).offset_s, [1.98, 2.94, 3.5])


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
        onsets = part.onset_s, spread_s(60.0) * np.ones(50), module.ONSETS_BY_CHANCE_HZ
        spread = np.maximum(module.END_OF_LENGTH * length, module.LEAST_END_S)
        ends = part.offset_s, spread, module.ENDS_BY_CHANCE_HZ
        want = []
        for t, s, chance in (onsets, ends):
            apart = t[None] - t[:, None]
            variance = s[None] ** 2 + s[:, None] ** 2
            density = np.exp(-(apart**2) / (2 * variance))
            density /= np.sqrt(2 * np.pi * variance)
            odds = density / (density + chance) * (np.abs(apart) < 0.3)
            np.fill_diagonal(odds, 1.0)
            want.append((odds / s**2 * t).sum(axis=1) / (odds / s**2).sum(axis=1))
        near = np.abs(want[0] - part.onset_s) < module.LEAST_MOVE_S
        want[0] = np.where(near, part.onset_s, want[0])
        starts = np.append(np.sort(want[0]), np.inf)
        rest = np.array([starts[starts >= end][0] - end for end in want[1]])
        want[1] = np.where(rest < module.LEGATO_S, want[1] + rest / 2, want[1])
        got = gather(part)
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
    onset_s, offset_s, pitch = by_key(gather(notes))
    assert np.abs(onset_s - by_key(notes)[0]).max() > 0.01
    assert (offset_s > onset_s).all()
    again = pitch[1:] == pitch[:-1]
    assert (offset_s[:-1] <= onset_s[1:])[again].all()


def test_a_key_struck_again_is_no_chord():
    notes = Notes([1.0, 1.06], [1.06, 1.5], [60, 60], [40, 40])
    assert gather(notes).equals(notes)


def test_short_notes_keep_their_places():
    """Both strikes of the first key are drawn to the loud one between."""
    notes = Notes([1.0, 1.04, 1.02], [1.01, 1.1, 1.5], [60, 60, 64], [25, 25, 110])
    onset_s, offset_s, _ = by_key(gather(notes))
    assert onset_s[1] - onset_s[0] == pytest.approx(0.04 / 3)
    assert onset_s[0] < offset_s[0] <= onset_s[1] < offset_s[1]
    alone = gather(Notes([1.0, 1.02], [1.005, 1.5], [60, 64], [25, 110]))
    assert alone.onset_s[0] > 1.01 and alone.offset_s[0] > alone.onset_s[0] + 0.015


def test_chords_of_hands_keep_their_spread():
    notes = Notes([1.0, 1.008, 1.016], [2.0, 2.5, 3.0], [60, 64, 67], [60] * 3)
    np.testing.assert_array_equal(gather(notes).onset_s, notes.onset_s)
    wider = Notes([1.0, 1.0, 1.05], [2.0, 2.5, 3.0], [60, 64, 67], [60] * 3)
    assert np.ptp(gather(wider).onset_s) < 0.03


def test_other_columns_stay_with_their_notes():
    _, heard = chords(5)
    together = gather(heard)
    order, moved = (np.lexsort((n.onset_s, n.pitch)) for n in (heard, together))
    np.testing.assert_array_equal(together.velocity[moved], heard.velocity[order])
    assert gather(Notes.empty()).equals(Notes.empty())

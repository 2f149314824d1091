"""Rolls of keys and pedal become performances that sound as the notes do."""

import numpy as np
import pytest

from mt3x.music.notes import Notes
from mt3x.music.pedal_decoder import (
    PedalDecodingConfig,
    find_pedal,
    performance_of,
)
from mt3x.music.pedal_rolls import pedal_to_roll
from mt3x.music.performance import NO_PEDAL, Performance
from mt3x.music.rolls import RollLabelConfig, notes_to_rolls

RATE = 50.0
PEDAL_S = np.array([[0.2, 2.0], [2.2, 3.0]])


def rolls(played: Performance, num_frames: int = 250):
    key_TxP = notes_to_rolls(played.keys, num_frames, RollLabelConfig()).frame_TxP
    return key_TxP, pedal_to_roll(played.pedal_s, num_frames, RATE)


def played(seed: int = 0) -> Performance:
    rng = np.random.default_rng(seed)
    onset_s = np.sort(rng.uniform(0, 3.5, 20))
    keys = Notes(onset_s, onset_s + rng.uniform(0.1, 0.8, 20), 40 + np.arange(20))
    return Performance(keys, PEDAL_S)


def test_the_pedal_is_read_between_frames():
    pedal_Tx3 = np.zeros((6, 3), np.float32)
    pedal_Tx3[:, 0] = [0.0, 0.2, 0.7, 0.9, 0.6, 0.1]
    for threshold, expected in ((0.5, [[1.6, 4.2]]), (0.8, [[2.5, 10 / 3]])):
        config = PedalDecodingConfig(pedal_threshold=threshold)
        found = find_pedal(pedal_Tx3, RATE, config)
        np.testing.assert_allclose(found * RATE, expected)


def test_a_peak_of_releases_is_the_end():
    pedal_Tx3 = pedal_to_roll(np.array([[0.2, 1.0]]), 80, RATE)
    pedal_Tx3[:, 0] = np.roll(pedal_Tx3[:, 0], 3)  # it falls late
    found = find_pedal(pedal_Tx3, RATE, PedalDecodingConfig())
    np.testing.assert_allclose(found, [[0.25, 1.0]], atol=1e-6)
    far = np.roll(pedal_Tx3[:, 0], 10)
    pedal_Tx3[:, 0] = np.maximum(pedal_Tx3[:, 0], far)
    assert find_pedal(pedal_Tx3, RATE, PedalDecodingConfig())[-1, 1] > 1.2


@pytest.mark.parametrize("pressed", [True, False])
def test_short_releases_are_found_inside(pressed):
    pedal_Tx3 = pedal_to_roll(np.array([[0.2, 1.0], [1.14, 2.0]]), 120, RATE)
    pedal_Tx3[10:100, 0] = 0.9
    pedal_Tx3[:, 1] *= pressed
    found = find_pedal(pedal_Tx3, RATE, PedalDecodingConfig())
    again_s = 1.14 if pressed else 1.1
    np.testing.assert_allclose(found, [[0.19, 1.0], [again_s, 2.0]], atol=0.003)


@pytest.mark.parametrize("level, spans", [(0.0, 0), (1.0, 1)])
def test_a_pedal_that_never_moves(level, spans):
    pedal_Tx3 = np.full((100, 3), level, np.float32)
    pedal_Tx3[:, 1:] = 0
    found = find_pedal(pedal_Tx3, RATE, PedalDecodingConfig())
    assert len(found) == spans
    assert not spans or found.tolist() == [[0.0, 99 / RATE]]
    nothing = find_pedal(np.zeros((0, 3)), RATE, PedalDecodingConfig())
    assert nothing.shape == (0, 2)


@pytest.mark.parametrize("seed", range(4))
def test_ideal_rolls_give_what_was_played(seed):
    ref = played(seed)
    est = performance_of(ref.notes(), *rolls(ref), RATE, PedalDecodingConfig())
    np.testing.assert_allclose(est.pedal_s, ref.pedal_s, atol=1 / RATE)
    # A release within a frame of the pedal's is on either side of it.
    clear = np.abs(ref.keys.offset_s[:, None, None] - ref.pedal_s).min((1, 2)) > 0.05
    assert clear.sum() > 10
    for name in ("keys", "notes"):
        mine, theirs = (x.keys if name == "keys" else x.notes() for x in (est, ref))
        np.testing.assert_allclose(
            mine.offset_s[clear], theirs.offset_s[clear], atol=1.1 / RATE
        )


def test_without_pedal_keys_end_with_the_sound():
    ref = played()
    key_TxP, _ = rolls(ref)
    pedal_Tx3 = pedal_to_roll(NO_PEDAL, 250, RATE)
    notes = ref.notes()
    est = performance_of(notes, key_TxP, pedal_Tx3, RATE, PedalDecodingConfig())
    assert est.keys.equals(notes) and est.notes().equals(notes)


def test_a_key_is_held_until_the_pedal_takes_over():
    """The sound goes on, so the key that seems to be up cannot be."""
    notes = Notes([0.0, 2.1, 3.2], [2.0, 2.15, 3.4], [60, 62, 64])
    key_TxP = np.zeros((250, 88), np.float32)
    pedal_Tx3 = pedal_to_roll(PEDAL_S, 250, RATE)
    est = performance_of(notes, key_TxP, pedal_Tx3, RATE, PedalDecodingConfig())
    np.testing.assert_allclose(est.keys.offset_s, [0.19, 2.15, 3.4], atol=0.011)


def test_notes_off_the_keyboard_or_after_the_rolls_stay():
    notes = Notes([0.3, 4.9, 9.0], [1.0, 5.0, 9.5], [10, 60, 60])
    key_TxP = np.zeros((250, 88), np.float32)
    pedal_Tx3 = np.ones((250, 3), np.float32)
    est = performance_of(notes, key_TxP, pedal_Tx3, RATE, PedalDecodingConfig())
    assert (est.keys.offset_s <= notes.offset_s).all()
    assert est.keys.offset_s[0] == 1.0 and est.keys.offset_s[2] == 9.5


@pytest.mark.parametrize(
    "name", ["pedal_threshold", "release_threshold", "key_threshold"]
)
def test_bad_thresholds_are_refused(name):
    with pytest.raises(ValueError, match=name):
        PedalDecodingConfig(**{name: 1.5})

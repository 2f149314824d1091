"""Notes of several instruments as one keyboard would play them."""

import itertools

import numpy as np
import pytest

from mt3x.music.notes import Notes
from mt3x.music.rolls import RollLabelConfig, notes_to_rolls, on_one_keyboard


@pytest.mark.parametrize("seed", range(20))
def test_one_keyboard(seed):
    """Frame by frame: what sounds, the last onset's velocity, ends of all notes."""
    rng = np.random.default_rng(seed)
    number = int(rng.integers(0, 30))
    onset_s = rng.integers(0, 40, number) / 10 + rng.choice([0, 0.001], number)
    notes = Notes(
        onset_s,
        onset_s + rng.choice([0.1, 0.5, 2.0], number),
        rng.integers(60, 63, number),
        rng.integers(1, 128, number),
        rng.integers(0, 3, number),
        rng.random(number) < 0.2,
    )
    config = RollLabelConfig(frame_rate_hz=100.0)
    rolls = notes_to_rolls(on_one_keyboard(notes, 100.0), 700, config)
    pitched = notes[~notes.is_drum]
    begin = np.round(pitched.onset_s * 100)
    end = np.round(pitched.offset_s * 100)
    for t, p in itertools.product(range(700), range(60, 63)):
        sounding = (pitched.pitch == p) & (begin <= t) & (t < end)
        begins = (pitched.pitch == p) & (begin == t)
        ended = (pitched.pitch == p) & (end == t)
        key = p - 21
        assert rolls.frame_TxP[t, key] == sounding.any()
        assert rolls.onset_TxP[t, key] == begins.any()
        assert rolls.offset_TxP[t, key] == (ended.any() and not sounding.any())
        if begins.any():
            loudest = pitched.velocity[begins].max()
            assert rolls.velocity_TxP[t, key] == np.float32(loudest / 128)
        elif sounding.any():
            assert rolls.velocity_TxP[t, key] == rolls.velocity_TxP[t - 1, key]


def test_one_keyboard_leaves_a_piano_alone():
    notes = Notes([0.1, 0.5, 0.5, 1.0], [0.5, 0.9, 1.5, 1.0], [60, 60, 64, 21])
    assert on_one_keyboard(notes, 100.0).equals(notes)

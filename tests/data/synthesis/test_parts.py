"""Composed parts stay within what their instruments can play."""

import numpy as np
import pytest

from mt3x.data.synthesis.parts import guitar, melody, voices


@pytest.mark.parametrize("seed", range(8))
def test_a_melody_stays_within_its_range_and_length(seed):
    notes = melody(np.random.default_rng(seed), 30.0, (55, 79))
    assert len(notes) > 10
    assert notes.pitch.min() >= 55 and notes.pitch.max() <= 79
    assert notes.onset_s.min() >= 0 and notes.onset_s.max() < 30.0
    assert (np.diff(notes.onset_s) >= 0).all()
    assert ((notes.velocity >= 1) & (notes.velocity <= 127)).all()


def test_a_melody_is_one_voice_unless_it_has_double_stops():
    def overlap(notes):
        """Return the share of notes that begin over 0.1 s before another ends."""
        before_s = np.maximum.accumulate(notes.offset_s)[:-1]
        return np.mean(notes.onset_s[1:] < before_s - 0.1)

    alone = melody(np.random.default_rng(1), 60.0, (55, 88))
    double = melody(np.random.default_rng(1), 60.0, (55, 88), double_stops=0.5)
    assert overlap(alone) < 0.02
    assert overlap(double) > 0.2


@pytest.mark.parametrize("seed", range(4))
def test_voices_keep_to_their_ranges_and_begin_together(seed):
    bounds = [(60, 84), (48, 69), (38, 60)]
    parts = voices(np.random.default_rng(seed), 40.0, bounds)
    assert len(parts) == 3
    for notes, (low, high) in zip(parts, bounds, strict=True):
        assert len(notes) > 5
        assert notes.pitch.min() >= low and notes.pitch.max() <= high
        # One note at a time, except for slurs.
        assert (notes.offset_s[:-1] <= notes.onset_s[1:] + 0.05).all()
    distance_s = np.abs(parts[0].onset_s[:, None] - parts[1].onset_s).min(axis=1)
    assert np.median(distance_s) < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_a_guitar_strikes_no_sounding_pitch_twice(seed):
    notes = guitar(np.random.default_rng(seed), 40.0)
    assert len(notes) > 20
    assert notes.pitch.min() >= 40 and notes.pitch.max() <= 83
    assert (notes.offset_s <= notes.next_onsets()).all()


def test_parts_depend_on_the_generator_alone():
    one, again = (guitar(np.random.default_rng(3), 20.0) for _ in range(2))
    assert one.onset_s.tolist() == again.onset_s.tolist()
    assert guitar(np.random.default_rng(4), 20.0).pitch.tolist() != one.pitch.tolist()

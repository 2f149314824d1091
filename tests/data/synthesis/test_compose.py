"""Composed music: playable, varied, a function of the seed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.data.synthesis.compose import compose
from mt3x.music.notes import Notes


def assert_playable(notes):
    for pitch in np.unique(notes.pitch):
        one = notes[notes.pitch == pitch]
        assert (np.diff(one.onset_s) >= 0.05).all()
        assert (one.offset_s[:-1] <= one.onset_s[1:] + 1e-9).all()
    assert not len(notes) or (notes.pitch.min() >= 21 and notes.pitch.max() <= 108)


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_composed_music_is_playable(seed):
    notes = compose(np.random.default_rng(seed), 20.0).notes()
    assert_playable(notes)
    assert notes.onset_s.max(initial=0) <= 20.1
    assert notes.equals(compose(np.random.default_rng(seed), 20.0).notes())


def test_composed_music_covers_the_piano():
    notes = Notes.concatenate(
        [compose(np.random.default_rng(seed), 120.0).notes() for seed in range(12)]
    )
    assert len(np.unique(notes.pitch)) == 88
    assert notes.velocity.min() <= 5 and notes.velocity.max() == 127
    assert 6 < len(notes) / (12 * 120) < 18
    length_s = notes.offset_s - notes.onset_s
    assert (length_s < 0.08).mean() > 0.03 and (length_s > 2).mean() > 0.02

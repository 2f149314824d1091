"""Drums: decoded as they were drawn, in blocks of any length, with a minimal gap."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.music.drum_decoder import HIT_S, DrumDecoder, DrumDecodingConfig
from mt3x.music.instrument_classes import DRUM_CLASS_OF_KEY, DRUM_CLASSES
from mt3x.music.notes import Notes

RATE = 125.0
D = len(DRUM_CLASSES)


def decode(drums_UxD, velocity_UxD=None, config=None, cuts=()) -> Notes:
    if velocity_UxD is None:
        velocity_UxD = np.full_like(drums_UxD, 0.5)
    decoder = DrumDecoder(config or DrumDecodingConfig(), RATE)
    edges = sorted([0, *(min(cut, len(drums_UxD)) for cut in cuts), len(drums_UxD)])
    for begin, end in itertools.pairwise(edges):
        decoder.push(drums_UxD[begin:end], velocity_UxD[begin:end])
    return decoder.finish()


def draw(onset_s, drum, velocity, num_steps, radius=3.0):
    """Labels as models learn them: triangles around the exact onset."""
    drums_UxD, velocity_UxD = np.zeros((2, num_steps, D), np.float32)
    step = np.arange(num_steps)
    for exact, d, v in zip(onset_s * RATE, drum, velocity, strict=True):
        soft_U = np.maximum(1 - np.abs(step - exact) / radius, 0)
        velocity_UxD[soft_U > drums_UxD[:, d], d] = v / 128
        drums_UxD[:, d] = np.maximum(drums_UxD[:, d], soft_U)
    return drums_UxD, velocity_UxD


@pytest.mark.parametrize(("num_hits", "num_written"), [(4, 0), (5, 5)])
def test_hits_that_are_too_few_are_none(num_hits, num_written):
    onset_s = 1.0 + 3.0 * np.arange(num_hits)
    drawn = draw(onset_s, num_hits * [1], num_hits * [80], 20 * int(RATE))
    config = DrumDecodingConfig(min_rate_hz=0.25)
    found = decode(*drawn, config=config, cuts=(700, 2000))
    assert len(found) == num_written and found.is_drum.all()


def test_drawn_labels_become_their_hits():
    rng = np.random.default_rng(0)
    # Of each drum every 80 ms and more, of all drums at any time.
    gap_s = rng.uniform(0.08, 0.5, (D, 20))
    onset_s = np.cumsum(gap_s, axis=1).ravel()
    drum, velocity = np.repeat(np.arange(D), 20), rng.integers(1, 128, 20 * D)
    ref = Notes(
        onset_s,
        onset_s,
        np.array([each.key for each in DRUM_CLASSES])[drum],
        velocity,
        is_drum=np.ones(20 * D, bool),
    )
    est = decode(*draw(onset_s, drum, velocity, int(onset_s.max() * RATE) + 10))
    assert len(est) == len(ref) and est.is_drum.all() and not est.program.any()
    for key in np.unique(ref.pitch):
        one_ref, one_est = ref[ref.pitch == key], est[est.pitch == key]
        np.testing.assert_allclose(one_est.onset_s, one_ref.onset_s, atol=1e-5)
        np.testing.assert_array_equal(one_est.velocity, one_ref.velocity)
    # The highest point that was drawn is off the peak by half a step at most.
    assert ((est.confidence > 0.8) & (est.confidence <= 1)).all()
    assert (DRUM_CLASS_OF_KEY[est.pitch] >= 0).all()


@settings(max_examples=40)
@given(
    num_steps=st.integers(0, 60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    seed=st.integers(0, 2**16),
    gap_s=st.sampled_from([0.0, 0.008, 0.03, 0.05]),
)
def test_blocks_change_nothing_and_hits_keep_their_gap(num_steps, cuts, seed, gap_s):
    # Few levels, so that ties are frequent.
    levels = np.random.default_rng(seed).integers(0, 6, (num_steps, D))
    drums_UxD = levels.astype(np.float32) / 5
    config = DrumDecodingConfig(min_gap_s=gap_s)
    notes = decode(drums_UxD, config=config, cuts=cuts)
    assert notes.equals(decode(drums_UxD, config=config))
    for key in np.unique(notes.pitch):
        step = np.round(notes.onset_s[notes.pitch == key] * RATE)
        # Refinement moves a hit by half a step at most.
        assert (np.diff(step) >= gap_s * RATE - 1).all()


def test_the_strongest_of_near_hits_stays():
    drums_UxD = np.zeros((40, D), np.float32)
    drums_UxD[[10, 13, 25, 29], 2] = 0.6, 0.9, 0.9, 0.6
    # 24 ms are too near and 32 ms are not.
    notes = decode(drums_UxD)
    np.testing.assert_allclose(notes.onset_s, np.array([13, 25, 29]) / RATE)
    assert (notes.pitch == DRUM_CLASSES[2].key).all()


def test_plateaus_are_one_hit_and_ends_count():
    drums_UxD = np.zeros((30, D), np.float32)
    drums_UxD[[0, 15, 16, 17, 29], 0] = 0.8
    notes = decode(drums_UxD)
    np.testing.assert_allclose(notes.onset_s * RATE, [0, 15.5, 29], atol=1e-4)


def test_each_drum_has_its_threshold():
    drums_UxD = np.zeros((20, D), np.float32)
    drums_UxD[10] = 0.5
    thresholds = (0.4, 0.6) * (D // 2)
    notes = decode(drums_UxD, config=DrumDecodingConfig(thresholds))
    assert notes.pitch.tolist() == sorted(each.key for each in DRUM_CLASSES[::2])
    assert len(decode(drums_UxD)) == 0


def test_hits_last_until_the_next_one():
    drums_UxD = np.zeros((60, D), np.float32)
    drums_UxD[[10, 16, 50], 0] = 0.9
    notes = decode(drums_UxD)
    np.testing.assert_allclose(notes.offset_s - notes.onset_s, [0.048, HIT_S, HIT_S])


def test_nothing_gives_nothing():
    config = DrumDecodingConfig()
    assert len(DrumDecoder(config, RATE).finish()) == 0
    assert len(decode(np.zeros((500, D), np.float32))) == 0
    with pytest.raises(ValueError, match="onset_threshold has 3 values"):
        DrumDecodingConfig((0.1, 0.2, 0.3))

"""Arrays of samples: types, shapes, rates, and channels that are mixed."""

import warnings

import numpy as np
import pytest

from mt3x.music.samples import Mixer, as_samples, check_rate, is_samples

RATE_HZ = 16000


def sine(seconds: float = 2.0) -> np.ndarray:
    time_S = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 440 * time_S)).astype(np.float32)


class Tensor:
    """What PyTorch's tensors with a gradient do."""

    def __init__(self, values, has_gradient=True):
        self.values, self.has_gradient = values, has_gradient

    def detach(self):
        return Tensor(self.values, has_gradient=False)

    def __array__(self, dtype=None, copy=None):
        if self.has_gradient:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_the_longer_axis_is_time(channels):
    samples_SxC = np.stack([sine()] * channels, axis=1)
    np.testing.assert_array_equal(as_samples(samples_SxC), samples_SxC)
    np.testing.assert_array_equal(as_samples(samples_SxC.T), samples_SxC)


def test_integers_become_floats():
    for dtype, factor, offset in (
        (np.int16, 2**15, 0),
        (np.int32, 2**31, 0),
        (np.uint8, 2**7, 128),
    ):
        numbers = (sine() * factor + offset).astype(dtype)
        np.testing.assert_allclose(as_samples(numbers)[:, 0], sine(), atol=1 / 100)


def test_lists_and_tensors():
    for given in (sine().tolist(), tuple(sine().tolist()), Tensor(sine())):
        assert is_samples(given)
        np.testing.assert_allclose(as_samples(given)[:, 0], sine())
    assert not any(map(is_samples, ("a.wav", b"RIFF", None)))


@pytest.mark.parametrize(
    "wrong", [np.zeros(()), np.zeros((1, 2, 9)), ["a"], [None], [True], [[1.0], []]]
)
def test_what_is_no_sound_is_refused(wrong):
    with pytest.raises(ValueError, match="samples_S or samples_SxC"):
        as_samples(wrong)


@pytest.mark.parametrize(
    "rate_hz", [float("nan"), float("inf"), 0, -1, 1, 999, 2**31, "fast", None]
)
def test_rates_that_no_sound_has_are_refused(rate_hz):
    with pytest.raises(ValueError, match=r"a\.wav: a sample rate of"):
        check_rate(rate_hz, "a.wav")


def mix(samples_SxC: np.ndarray, block: int = 4000) -> tuple[np.ndarray, list[str]]:
    """Return what is mixed of blocks, and what is warned of."""
    mixer = Mixer("a.wav")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        blocks = np.split(samples_SxC, range(block, len(samples_SxC), block))
        mixed_S = np.concatenate([mixer(block_SxC, RATE_HZ) for block_SxC in blocks])
    return mixed_S, [str(each.message) for each in said]


@pytest.mark.parametrize("weights", [(1, -1), (1, -0.9), (1, -1, 0.5, -0.5)])
def test_channels_that_cancel(weights):
    size = 2 * RATE_HZ, len(weights)
    noise_SxC = np.random.default_rng(0).normal(0, 1e-3, size)
    samples_SxC = np.outer(sine(), weights) + noise_SxC
    # Silence decides nothing.
    samples_SxC[:8000] = 0
    mixed_S, said = mix(samples_SxC.astype(np.float32))
    # From one channel alone: a change would click.
    assert min(np.abs(mixed_S - samples_S).max() for samples_S in samples_SxC.T) < 1e-6
    assert len(said) == 1 and said[0].startswith("a.wav: its channels cancel")


@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_a_constant_does_not_hide_it(offset):
    mixed_S, said = mix(np.outer(sine(), (1, -1)) + offset)
    assert said and mixed_S.std() > 0.3


@pytest.mark.parametrize("weights", [(1, 1), (1, 0), (1, -0.5), (1,) + (0,) * 31])
def test_other_channels_are_averaged(weights):
    samples_SxC = np.outer(sine(), weights).astype(np.float32)
    mixed_S, said = mix(samples_SxC)
    np.testing.assert_allclose(mixed_S, samples_SxC.mean(axis=1), atol=1e-7)
    unrelated_SxC = np.random.default_rng(0).normal(0, 0.1, (2 * RATE_HZ, 4))
    assert not said and not mix(unrelated_SxC)[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -3e38, 1e30])
def test_samples_that_would_overflow_are_refused(bad):
    samples_SxC = np.zeros((9000, 2), np.float32)
    samples_SxC[8000, 1] = bad
    with pytest.raises(ValueError, match=r"a\.wav: a sample at 0\.500 s is NaN"):
        mix(samples_SxC)

"""Samples in arrays: of any library, at any rate, as any numbers, mixed to one."""

import warnings
from typing import Any

import numpy as np

__all__ = [
    "Mixer",
    "as_samples",
    "check_rate",
    "from_int16",
    "is_samples",
    "resample",
    "to_int16",
]

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1000, 10_000_000
"""No sound has another sample rate: a header that tells of one is damaged."""

LOUDEST = 1e10
"""A sample beyond this is damage: even integers that were not scaled are less."""

_MIX_S = 2.0
"""Seconds after which what was heard of channels counts half."""

_CANCELLED = 0.03
"""Power of a mix, as a part of that of unrelated channels, below which they cancel."""


def is_samples(audio: Any) -> bool:
    """Return whether this is an array, or what can be made one, and not a file."""
    return isinstance(audio, list | tuple) or hasattr(audio, "__array__")


def as_samples(audio: Any, time_first: bool = False) -> np.ndarray:
    """Return an array as floats samples_SxC in -1..1.

    Args:
      audio: samples_S, or samples_SxC or samples_CxS: the longer axis is time. A list,
        or an array of NumPy, JAX, PyTorch and the like; floats, int16, int32 or uint8.
      time_first: the first axis is time, however short it is.

    Raises:
      ValueError: it has another type or shape.
    """
    if hasattr(audio, "detach"):  # PyTorch: gradients are not wanted
        audio = audio.detach()
    try:
        samples = np.asarray(audio)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"samples cannot be made an array ({' '.join(str(error).split())}): give "
            "floats in -1..1, samples_S or samples_SxC"
        ) from error
    if samples.dtype.name in ("float16", "bfloat16"):
        samples = samples.astype(np.float32)
    kinds = {"int16": 2.0**15, "int32": 2.0**31, "uint8": 2.0**7}
    scale = kinds.get(samples.dtype.name)
    if (samples.dtype.kind != "f" and scale is None) or samples.ndim not in (1, 2):
        raise ValueError(
            f"samples are {samples.dtype} of shape {samples.shape}: give floats in "
            "-1..1, samples_S or samples_SxC"
        )
    if scale is not None:
        offset = 128 if samples.dtype == np.uint8 else 0
        samples = (samples.astype(np.float32) - offset) / np.float32(scale)
    if samples.ndim == 1:
        return samples[:, np.newaxis]
    # Librosa and PyTorch have channels first.
    is_first = time_first or len(samples) >= samples.shape[1]
    return samples if is_first else samples.T


def check_rate(rate_hz: Any, name: str) -> float:
    """Return a sample rate; raise ValueError where no sound has it.

    Args:
      rate_hz: in samples per second.
      name: of the recording, for the message.
    """
    try:
        rate = float(rate_hz)
    except (TypeError, ValueError):
        rate = float("nan")
    if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
        raise ValueError(
            f"{name}: a sample rate of {rate_hz} Hz is not that of a sound (from "
            f"{LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}); repair or re-export it"
        )
    return rate


class Mixer:
    """Mixes the channels of consecutive blocks to one, their mean.

    Where channels cancel each other (one is the other's inverse), the loudest is taken,
    with a warning.
    """

    def __init__(self, name: str, start_s: float = 0.0) -> None:
        """Begin a recording; its name and start are for messages."""
        self._name, self._start_s = name, start_s
        self._num_samples = 0
        self._mix_power: float = 0.0
        self._power_C = np.zeros(1)
        self._channel: int | None = None  # the one that is taken

    def __call__(self, samples_SxC: np.ndarray, rate_hz: float) -> np.ndarray:
        """Return float32 samples_S.

        Raises:
          ValueError: a sample is NaN, infinite or far too large.
        """
        # NaN compares as false.
        good = (np.abs(samples_SxC) <= LOUDEST).all(axis=1)
        if not good.all():
            bad = int(np.argmin(good))
            bad_s = self._start_s + (self._num_samples + bad) / rate_hz
            raise ValueError(
                f"{self._name}: a sample at {bad_s:.3f} s is NaN, infinite or beyond "
                f"{LOUDEST:.0e}; repair or re-export the recording"
            )
        self._num_samples += len(samples_SxC)
        mix_S = samples_SxC.mean(axis=1, dtype=np.float32)
        num_channels = samples_SxC.shape[1]
        if num_channels == 1 or not len(mix_S):
            return mix_S
        keep = 0.5 ** (len(mix_S) / rate_hz / _MIX_S)
        self._mix_power = keep * self._mix_power + (1 - keep) * float(mix_S.var())
        self._power_C = keep * self._power_C + (1 - keep) * samples_SxC.var(axis=0)
        mean_power = float(self._power_C.mean())
        if self._mix_power * num_channels >= _CANCELLED * mean_power:
            return mix_S
        if self._channel is None:
            # Once: a change in the middle would be heard as a click.
            self._channel = int(self._power_C.argmax())
            warnings.warn(
                f"{self._name}: its channels cancel each other when they are mixed "
                "(the polarity of one may be inverted); the loudest is taken",
                stacklevel=2,
            )
        return samples_SxC[:, self._channel].astype(np.float32)


def resample(
    samples_S: np.ndarray, from_hz: float, to_hz: float, quality: str = "HQ"
) -> np.ndarray:
    """Return ceil(S * to / from) samples at another rate, as librosa's `soxr_hq`."""
    if from_hz == to_hz or not len(samples_S):
        return samples_S
    import soxr

    num_samples = int(np.ceil(len(samples_S) * to_hz / from_hz))
    resampled_S = soxr.resample(samples_S, from_hz, to_hz, quality)
    missing = max(num_samples - len(resampled_S), 0)
    return np.pad(resampled_S[:num_samples], (0, missing))


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Return float samples in -1..1 as int16; what lies outside is clipped."""
    return np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16)


def from_int16(samples: np.ndarray) -> np.ndarray:
    """Return int16 samples as float32 in -1..1; floats stay as they are."""
    if samples.dtype != np.int16:
        return samples
    return samples.astype(np.float32) / 32768

"""Samples in arrays: another rate, another number format."""

import numpy as np

__all__ = ["from_int16", "resample", "to_int16"]


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

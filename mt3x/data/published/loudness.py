"""Integrated loudness as ITU-R BS.1770-4 measures it, for mono.

The K-weighting's two filters are given by the recommendation at 48 kHz; here they are
designed for any rate from the same analogue prototypes (De Man 2014, "Evaluation of
implementations of the EBU R128 loudness measurement"), and applied through the FFT.
"""

import numpy as np

__all__ = ["integrated_loudness"]

_BLOCK_S, _HOP_S = 0.4, 0.1
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
_OFFSET = -0.691
# Centre in Hz, quality, gain in dB.
_SHELF = (1681.9744509555319, 0.7071752369554193, 3.99984385397)
_HIGH_PASS = (38.13547087613982, 0.5003270373238773)


def integrated_loudness(samples_S: np.ndarray, sample_rate_hz: int) -> float:
    """The loudness of a mono signal in LUFS; -inf where it is silent.

    Signals shorter than a block of 0.4 s are measured as one block.
    """
    if not len(samples_S):
        return -np.inf
    power_S = _weighted(samples_S, sample_rate_hz) ** 2
    block, hop = round(_BLOCK_S * sample_rate_hz), round(_HOP_S * sample_rate_hz)
    sums = np.concatenate([[0.0], np.cumsum(power_S)])
    starts = np.arange(0, max(len(power_S) - block, 0) + 1, hop)
    ends = np.minimum(starts + block, len(power_S))
    power_B = (sums[ends] - sums[starts]) / (ends - starts)
    kept = power_B[_lufs(power_B) > _ABSOLUTE_GATE]
    if not len(kept):
        return -np.inf
    kept = kept[_lufs(kept) > _lufs(kept.mean()) + _RELATIVE_GATE]
    return float(_lufs(kept.mean()))


def _lufs(power: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _OFFSET + 10 * np.log10(np.maximum(power, 0))


def _weighted(samples_S: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The K-weighted signal. Half a second of zeros keeps its end from the start."""
    length = len(samples_S) + sample_rate_hz // 2
    z = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)  # z^-1
    spectrum = np.fft.rfft(np.asarray(samples_S, np.float64), length)
    for b, a in (_shelf(sample_rate_hz), _high_pass(sample_rate_hz)):
        spectrum *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    return np.fft.irfft(spectrum, length)[: len(samples_S)]


def _shelf(rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (of z^0, z^-1, z^-2) of the high shelf: the head's effect."""
    centre_hz, quality, gain_db = _SHELF
    k = np.tan(np.pi * centre_hz / rate_hz)
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    b = [high + band * k / quality + k * k, 2 * (k * k - high)]
    b.append(high - band * k / quality + k * k)
    return np.array(b), _denominator(k, quality)


def _high_pass(rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the high-pass filter, as those of the shelf."""
    centre_hz, quality = _HIGH_PASS
    k = np.tan(np.pi * centre_hz / rate_hz)
    a = _denominator(k, quality)
    # The recommendation's numerator is 1, -2, 1 beside a denominator led by 1.
    return np.array([1.0, -2.0, 1.0]) * a[0], a


def _denominator(k: float, quality: float) -> np.ndarray:
    return np.array([1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k])

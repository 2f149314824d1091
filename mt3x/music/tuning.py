"""How far a recording is from A4 = 440 Hz."""

from collections.abc import Iterable

import numpy as np

__all__ = ["estimate_tuning"]

# Of the spectra: a second, so that a semitone of low notes has several bins.
_WINDOW_S, _HOP_S = 1.0, 0.5
# Partials of these frequencies are looked at. Those of pianos' higher notes are sharp.
_LOWEST_HZ, _HIGHEST_HZ = 100.0, 1000.0
# Peaks below a spectrum's highest by more than this do not count.
_RANGE_DB = 40.0
# How much peaks have to agree, 0 to 1: the length of the mean of their directions.
_LEAST_AGREEMENT = 0.1


def estimate_tuning(parts: Iterable[np.ndarray], sample_rate_hz: float) -> float:
    """Return the cents from -50 to 50 that notes are above equal temperament at 440 Hz.

    The mean direction of the peaks of spectra on a circle of 100 cents, weighted by
    their magnitudes. It is 0 where they do not agree, as in noise.

    Args:
      parts: samples_S of a recording.
      sample_rate_hz: their rate.
    """
    size, hop = round(_WINDOW_S * sample_rate_hz), round(_HOP_S * sample_rate_hz)
    window_S = np.hanning(size)
    lowest, highest = (round(hz * _WINDOW_S) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    total, weight = 0j, 0.0
    for part_S in parts:
        for begin in range(0, len(part_S) - size + 1, hop):
            mags_K = np.abs(np.fft.rfft(part_S[begin : begin + size] * window_S))
            logs_K = np.log(np.maximum(mags_K[: highest + 2], 1e-12))
            k = np.arange(lowest, highest)
            least = logs_K[lowest:highest].max() - _RANGE_DB * np.log(10) / 20
            before, here, after = logs_K[k - 1], logs_K[k], logs_K[k + 1]
            is_peak = (here > before) & (here >= after) & (here > max(least, -20.0))
            before, here, after = before[is_peak], here[is_peak], after[is_peak]
            # The top of a parabola through the logarithms.
            shift = 0.5 * (before - after) / (before - 2 * here + after)
            hz = (k[is_peak] + shift) * sample_rate_hz / size
            turns = 12 * np.log2(hz / 440)
            magnitudes = np.exp(here)
            total += np.sum(magnitudes * np.exp(2j * np.pi * turns))
            weight += float(np.sum(magnitudes))
    if not weight or abs(total) < _LEAST_AGREEMENT * weight:
        return 0.0
    return float(np.angle(total) / (2 * np.pi) * 100)

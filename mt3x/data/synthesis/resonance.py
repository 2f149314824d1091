"""Strings that sound along while the sustain pedal is down.

Samples of single keys lack what the pedal adds: with all dampers up, every string
answers to what is played, and goes on until the dampers fall.
"""

from dataclasses import dataclass

import numpy as np

from mt3x.data.augment import string_response


@dataclass(frozen=True)
class StringsConfig:
    """How the strings of a piano answer."""

    level_db: float = (
        -20.0
    )  # their energy over that of the sound while the pedal is down
    piano: int = 0  # one of a few imagined pianos
    damper_s: float = 0.15  # in which the dampers silence them, by 60 dB


def with_strings(
    samples_S: np.ndarray,
    pedal_s: np.ndarray,
    config: StringsConfig,
    sample_rate_hz: int = 16000,
) -> np.ndarray:
    """Add the strings that sound along to a rendered piece.

    Args:
      samples_S: mono samples of the keys that are played.
      pedal_s: K x 2 seconds, when the dampers rise and fall.
      config: how the strings answer.
      sample_rate_hz: of the samples.

    Returns:
      float32 samples_S.
    """
    along_S = np.zeros(len(samples_S), np.float32)
    damping = max(2, round(config.damper_s * sample_rate_hz))
    fade_S = (10 ** (-3 * np.arange(damping) / damping)).astype(np.float32)
    played = 0.0
    for start, stop in np.round(pedal_s * sample_rate_hz).astype(int).tolist():
        start, stop = max(start, 0), min(stop, len(samples_S))
        if stop <= start:
            continue
        heard_S = samples_S[start:stop]
        size = 1 << (2 * len(heard_S) + damping).bit_length()
        response_K = string_response(config.piano, size, sample_rate_hz)
        answer_S = np.fft.irfft(np.fft.rfft(heard_S, size) * response_K, size)
        end = min(stop + damping, len(samples_S))
        answer_S = answer_S[: end - start].astype(np.float32)
        answer_S[stop - start :] *= fade_S[: end - stop]
        along_S[start:end] += answer_S
        played += float(np.dot(heard_S, heard_S))
    energy = float(np.dot(along_S, along_S))
    gain = np.sqrt(10 ** (config.level_db / 10) * played / max(energy, 1e-20))
    return samples_S + along_S * np.float32(gain)

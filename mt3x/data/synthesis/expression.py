"""Vibrato, scoops and bends, laid over a part that is already played.

A part is played faster and slower by a few cents to a few semitones: its samples are
read at a position that runs ahead and falls back. Notes are read at the same position,
so that labels stay with the sound.
"""

from dataclasses import dataclass, replace

import numpy as np

from mt3x.music.notes import Notes

_CONTROL_HZ = 1000  # curves of pitch are drawn at this rate


@dataclass(frozen=True)
class ExpressionConfig:
    """How often and how much; ranges are drawn from uniformly."""

    # Share of notes with vibrato, and its size, speed and time of growth.
    vibrato_prob: float = 0.6
    vibrato_cents: tuple[float, float] = (8.0, 70.0)
    vibrato_hz: tuple[float, float] = (4.2, 7.2)
    vibrato_delay_s: tuple[float, float] = (0.05, 0.5)
    min_vibrato_s: float = 0.25  # shorter notes have none
    # Share of notes that are reached from below or above, and how.
    scoop_prob: float = 0.25
    scoop_cents: tuple[float, float] = (20.0, 150.0)
    scoop_s: tuple[float, float] = (0.03, 0.15)
    # Standard deviation of each note's own tuning.
    tuning_cents: float = 6.0


def pitch_curve(
    notes: Notes, num_samples: int, rng: np.random.Generator, config: ExpressionConfig
) -> np.ndarray:
    """Return cents_T at 1 kHz that a player of one part adds to its notes.

    Args:
      notes: of one part; where they overlap the later one decides.
      num_samples: T.
      rng: decides everything.
      config: how much.
    """
    cents_T = np.zeros(num_samples)
    depth = rng.uniform(*config.vibrato_cents)  # a player's habit
    speed_hz = rng.uniform(*config.vibrato_hz)
    next_s = np.append(notes.onset_s[1:], np.inf)
    for n in range(len(notes)):
        start_s, end_s = notes.onset_s[n], min(notes.offset_s[n] + 0.1, next_s[n])
        first, last = (int(t * _CONTROL_HZ) for t in (start_s, end_s))
        first, last = max(first, 0), min(last, num_samples)
        if last - first < 2:
            continue
        time_K = np.arange(last - first) / _CONTROL_HZ
        curve_K = np.full(last - first, rng.normal(0, config.tuning_cents))
        if rng.random() < config.scoop_prob:
            cents = rng.uniform(*config.scoop_cents) * (-1 if rng.random() < 0.8 else 1)
            curve_K += cents * np.exp(-3 * time_K / rng.uniform(*config.scoop_s))
        if (
            end_s - start_s > config.min_vibrato_s
            and rng.random() < config.vibrato_prob
        ):
            delay_s = rng.uniform(*config.vibrato_delay_s)
            grown_K = np.clip((time_K - delay_s) / 0.2, 0, 1)
            hz = speed_hz * rng.uniform(0.93, 1.07)
            phase = rng.uniform(0, 2 * np.pi)
            size = depth * rng.uniform(0.6, 1.3)
            curve_K += size * grown_K * np.sin(2 * np.pi * hz * time_K + phase)
        cents_T[first:last] = curve_K
    # No player jumps from pitch to pitch: 8 ms to get there.
    return np.convolve(cents_T, np.full(8, 1 / 8), mode="same")


def bend(
    samples_S: np.ndarray, notes: Notes, cents_T: np.ndarray, sample_rate_hz: int
) -> tuple[np.ndarray, Notes]:
    """Return samples and notes of a part with its pitch raised by a curve.

    Args:
      samples_S: the part; best at twice the rate that it is wanted at, since samples
        are interpolated linearly.
      notes: its notes.
      cents_T: the curve, in time of the result, at 1 kHz.
      sample_rate_hz: of the samples.
    """
    # Where in the original a moment of the result lies.
    speed_T = 2 ** (cents_T / 1200)
    source_T = np.concatenate([[0.0], np.cumsum(speed_T)]) / _CONTROL_HZ
    result_T = np.arange(len(source_T)) / _CONTROL_HZ
    time_S = np.arange(len(samples_S)) / sample_rate_hz
    position_S = np.interp(time_S, result_T, source_T) * sample_rate_hz
    bent_S = np.interp(position_S, np.arange(len(samples_S)), samples_S, right=0.0)
    onset_s = np.interp(notes.onset_s, source_T, result_T)
    offset_s = np.interp(notes.offset_s, source_T, result_T)
    moved = replace(notes, onset_s=onset_s, offset_s=np.maximum(offset_s, onset_s))
    return bent_S.astype(np.float32), moved

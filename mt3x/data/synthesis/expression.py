"""Vibrato, scoops, bends, swells and rests, laid over a part that is already played.

A part is played faster and slower by a few cents to a few semitones: its samples are
read at a position that runs ahead and falls back. Notes are read at the same position,
so that labels stay with the sound. A bow or a breath also shapes how loud a note is:
notes swell, and fade before the next one begins.
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


@dataclass(frozen=True)
class SwellConfig:
    """How often and how much; ranges are drawn from uniformly."""

    # Share of notes that swell, from so many decibels below, in so many seconds.
    swell_prob: float = 0.6
    swell_db: tuple[float, float] = (2.0, 16.0)
    swell_s: tuple[float, float] = (0.03, 0.5)
    # Share of notes that fade before the next begins; how far, how fast, and seconds
    # that are left before the next.
    fade_prob: float = 0.6
    fade_db: tuple[float, float] = (6.0, 30.0)
    fade_s: tuple[float, float] = (0.03, 0.15)
    rest_s: tuple[float, float] = (0.0, 0.06)


_TOGETHER_S = 0.03  # notes that begin within so many seconds have one bow


def swell(
    samples_S: np.ndarray,
    notes: Notes,
    sample_rate_hz: int,
    rng: np.random.Generator,
    config: SwellConfig,
    end_db: float,
) -> tuple[np.ndarray, Notes]:
    """Return samples and notes of a part that swells and fades as one bow does.

    Onsets stay: a swell begins well above a tenth of the level. Notes that fade end
    where they have fallen by `end_db`.

    Args:
      samples_S: the part.
      notes: its notes.
      sample_rate_hz: of the samples.
      rng: decides everything.
      config: how much.
      end_db: decibels, as in the labels of other notes' ends.
    """
    num = int(len(samples_S) / sample_rate_hz * _CONTROL_HZ) + 2
    time_T = np.arange(num) / _CONTROL_HZ
    gain_db_T = np.zeros(num)
    offset_s = notes.offset_s.copy()
    starts_s = _bows(notes.onset_s)
    for start_s, next_s in zip(starts_s, [*starts_s[1:], np.inf], strict=True):
        own = (notes.onset_s >= start_s) & (notes.onset_s < start_s + _TOGETHER_S)
        end_s = min(float(notes.offset_s[own].max()), next_s)
        if rng.random() < config.swell_prob:
            gain_db_T += _rise_db(time_T, start_s, end_s, rng, config)
        if rng.random() < config.fade_prob:
            fall_db_T = _fall_db(time_T, (start_s, end_s, next_s), rng, config)
            gain_db_T += fall_db_T
            fallen_T = fall_db_T <= -end_db
            if fallen_T.any():
                ends = own & (notes.offset_s < end_s + 0.1)
                fallen_s = time_T[fallen_T.argmax()]
                offset_s[ends] = np.minimum(offset_s[ends], fallen_s)
    # 5 ms between levels: a step would click.
    gain_db_T = np.convolve(gain_db_T, np.full(5, 1 / 5), mode="same")
    time_S = np.arange(len(samples_S)) / sample_rate_hz
    gain_S = 10 ** (np.interp(time_S, time_T, gain_db_T) / 20)
    shaped_S = (samples_S * gain_S).astype(np.float32)
    return shaped_S, replace(notes, offset_s=np.maximum(offset_s, notes.onset_s))


def _rise_db(
    time_T: np.ndarray,
    start_s: float,
    end_s: float,
    rng: np.random.Generator,
    config: SwellConfig,
) -> np.ndarray:
    """Return decibels of a bow that begins softly."""
    rise_s = min(rng.uniform(*config.swell_s), 0.7 * (end_s - start_s))
    depth_db = rng.uniform(*config.swell_db)
    rising_T = np.clip((time_T - start_s) / max(rise_s, 1e-3), 0, 1)
    return np.where(time_T >= start_s - 0.01, depth_db * (rising_T - 1), 0.0)


def _fall_db(
    time_T: np.ndarray,
    bow_s: tuple[float, float, float],
    rng: np.random.Generator,
    config: SwellConfig,
) -> np.ndarray:
    """Return decibels of a bow that fades: start, end and the next start are given."""
    start_s, end_s, next_s = bow_s
    fall_s = min(rng.uniform(*config.fade_s), 0.4 * (end_s - start_s))
    rest_s = min(rng.uniform(*config.rest_s), 0.15 * (end_s - start_s))
    depth_db = rng.uniform(*config.fade_db)
    falling_T = np.clip((time_T - end_s + rest_s + fall_s) / max(fall_s, 1e-3), 0, 1)
    until_s = min(next_s - 0.01, end_s + 0.3)
    return np.where(time_T < until_s, -depth_db * falling_T, 0.0)


def _bows(onset_s: np.ndarray) -> list[float]:
    """Return when notes begin, once for those that begin together."""
    starts_s: list[float] = []
    for onset in np.sort(onset_s):
        if not starts_s or onset >= starts_s[-1] + _TOGETHER_S:
            starts_s.append(float(onset))
    return starts_s

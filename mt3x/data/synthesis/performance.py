"""What one piano can play, and variations of performances for training.

A variation is a function of the random generator alone.
"""

from dataclasses import replace

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.performance import NO_PEDAL, Performance, held_until

LOWEST_KEY, HIGHEST_KEY = 21, 108
# A key needs this long between two strikes (the fastest repetition is 15 Hz or so).
_MIN_REPEAT_S = 0.05
_MIN_KEY_S = 0.025


def from_keys(
    onset_s: np.ndarray,
    key_up_s: np.ndarray,
    pitch: np.ndarray,
    velocity: np.ndarray,
    pedal_s: np.ndarray,
) -> Notes:
    """Return notes from what the hands and the foot do.

    Args:
      onset_s, key_up_s, pitch, velocity: key strokes, any order. Pitches off the
        keyboard are left out. Velocities are rounded and kept in 1..127. Of two
        strokes of one key within 50 ms the second is left out.
      pedal_s: K x 2, times when the pedal goes down and up.

    Returns:
      Notes that end at the key-up, or where the pedal is down then, at its release,
      or at the key's next onset if that comes first.
    """
    pitch = np.round(pitch).astype(int)
    keep = np.flatnonzero((pitch >= LOWEST_KEY) & (pitch <= HIGHEST_KEY))
    keep = keep[np.lexsort((onset_s[keep], pitch[keep]))]
    onset_s, key_up_s = onset_s[keep], key_up_s[keep]
    pitch, velocity = pitch[keep], velocity[keep]
    keep = _playable(onset_s, pitch)
    onset_s, key_up_s = onset_s[keep], key_up_s[keep]
    pitch, velocity = pitch[keep], velocity[keep]

    key_up_s = np.maximum(key_up_s, onset_s + _MIN_KEY_S)
    velocity = np.clip(np.round(velocity), 1, 127).astype(int)
    notes = Notes(onset_s, held_until(key_up_s, pedal_s), pitch, velocity)
    return replace(notes, offset_s=np.minimum(notes.offset_s, notes.next_onsets()))


def clean(notes: Notes) -> Notes:
    """Return what one piano can play: program 0, strokes resolved as in `from_keys`."""
    notes = notes[~notes.is_drum]
    return from_keys(
        notes.onset_s, notes.offset_s, notes.pitch, notes.velocity, NO_PEDAL
    )


def transpose_on_keyboard(notes: Notes, semitones: int) -> Notes:
    """Move every pitch, by less where the keyboard 21..108 would be left."""
    if not len(notes):
        return notes
    lowest, highest = int(notes.pitch.min()), int(notes.pitch.max())
    bounds = LOWEST_KEY - lowest, HIGHEST_KEY - highest
    return notes.transposed(int(np.clip(semitones, *bounds)))


def scale_velocity(notes: Notes, gain: float, shift: float = 0.0) -> Notes:
    """Set velocities to mean + gain * (velocity - mean) + shift, kept in 1..127."""
    if not len(notes):
        return notes
    mean = notes.velocity.mean()
    velocity = mean + gain * (notes.velocity - mean) + shift
    velocity = np.clip(np.round(velocity), 1, 127).astype(int)
    return replace(notes, velocity=velocity)


def vary(
    performance: Performance, rng: np.random.Generator, duration_s: float
) -> tuple[float, Performance]:
    """Return part of a performance in another key, tempo and loudness.

    Drawn are a transposition (+-6 semitones), a tempo (0.8 to 1.25) and velocities.

    Args:
      performance: is left as it is.
      rng: decides everything.
      duration_s: the part's length; less where the performance is shorter.

    Returns:
      Seconds at which the part began, and the part.
    """
    keys = transpose_on_keyboard(clean(performance.keys), int(rng.integers(-6, 7)))
    tempo = float(np.exp(rng.uniform(np.log(0.8), np.log(1.25))))
    keys = keys.stretched(tempo)
    mean = keys.velocity.mean() if len(keys) else 64.0
    shift = float(np.clip(rng.normal(54, 16), 25, 105) - mean)
    keys = scale_velocity(keys, float(rng.uniform(0.7, 1.8)), shift)
    end_s = float(keys.offset_s.max(initial=0.0))
    start_s = float(rng.uniform(0, max(0.0, end_s - duration_s)))
    keys = clean(keys.clip(start_s, start_s + duration_s).shift(-start_s))
    pedal_s = np.clip(performance.pedal_s * tempo - start_s, 0.0, duration_s)
    # Scores are often on a grid: hands are not.
    jitter_s = np.abs(rng.normal(0, 0.004, len(keys)))
    key_up_s = np.maximum(keys.offset_s, keys.onset_s + jitter_s + 0.02)
    keys = replace(keys, onset_s=keys.onset_s + jitter_s, offset_s=key_up_s)
    return start_s, Performance(clean(keys), pedal_s)


def _playable(onset_s: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Return indices of strokes (sorted by pitch, onset) far enough from those kept."""
    keep: list[int] = []
    last_pitch, last_s = -1, -np.inf
    for i, (p, time_s) in enumerate(zip(pitch.tolist(), onset_s.tolist(), strict=True)):
        if p != last_pitch or time_s - last_s >= _MIN_REPEAT_S:
            keep.append(i)
            last_pitch, last_s = p, time_s
    return np.array(keep, int)

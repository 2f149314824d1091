"""Which hand plays which note of a piano: a split that moves with the music.

At each onset the notes below a pitch, the split, belong to the left hand. Dynamic
programming finds the splits that keep hands within their span, in their half of the
keyboard and in one place.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["left_hand"]

_SPLITS = np.arange(40, 82)
_MIDDLE_C = 60
_BOTH = 5  # semitones around it that are in both halves


@dataclass(frozen=True)
class _Costs:
    """What makes a split expensive; fitted to piano parts of songs."""

    stretch: float = 1.0  # a semitone by which a chord goes beyond an octave, squared
    reach: float = 0.044  # the same of what is played within a beat
    far: float = 0.05  # a semitone of a note in the other hand's half
    close: float = 0.5  # a note beside the split
    move: float = 0.12  # of the split, by a semitone


COSTS = _Costs()


def left_hand(tick: np.ndarray, pitch: np.ndarray, window: int) -> np.ndarray:
    """Return which notes the left hand plays: bool [N].

    Args:
      tick: onsets, sorted.
      pitch: of each note.
      window: ticks before and after an onset in which a hand stays in reach.
    """
    if not len(tick):
        return np.zeros(0, bool)
    onsets, index = np.unique(tick, return_index=True)
    ends = np.append(index[1:], len(tick))
    near = np.searchsorted(tick, onsets - window)
    until = np.searchsorted(tick, onsets + window, side="right")
    cost = np.zeros((len(onsets), len(_SPLITS)))
    keys = pitch.tolist()

    def cost_of(first: int, last: int, with_place: bool) -> np.ndarray:
        return _cost(tuple(sorted(set(keys[first:last]))), with_place)

    for i in range(len(onsets)):
        cost[i] = cost_of(index[i], ends[i], True) + cost_of(near[i], until[i], False)
    move = COSTS.move * np.abs(_SPLITS[:, None] - _SPLITS[None, :])
    best, came = cost[0], np.zeros(cost.shape, int)
    for i in range(1, len(onsets)):
        total = best[:, None] + move
        # Of equal ways, that which moves late.
        came[i] = (total - 1e-6 * move).argmin(axis=0)
        best = total.min(axis=0) + cost[i]
    split = np.zeros(len(onsets), int)
    split[-1] = best.argmin()
    for i in range(len(onsets) - 1, 0, -1):
        split[i - 1] = came[i, split[i]]
    return pitch < np.repeat(_SPLITS[split], ends - index)


@lru_cache(maxsize=1 << 14)
def _cost(keys: tuple[int, ...], with_place: bool) -> np.ndarray:
    """Return what each split costs for keys that one hand or both have to reach.

    Music repeats itself, and so do they.

    Args:
      keys: pitches, each once, sorted.
      with_place: whether they are struck at once and the hands' places count, or they
        are what is near.
    """
    pitch = np.array(keys)
    stretch = COSTS.stretch if with_place else COSTS.reach
    is_left = pitch[None, :] < _SPLITS[:, None]
    lows = np.where(is_left, pitch, 999).min(axis=1)
    left_top = np.where(is_left, pitch, -999).max(axis=1)
    right_low = np.where(is_left, 999, pitch).min(axis=1)
    highs = np.where(is_left, -999, pitch).max(axis=1)
    cost = stretch * np.clip(left_top - lows - 12, 0, 24) ** 2
    cost = cost + stretch * np.clip(highs - right_low - 12, 0, 24) ** 2
    if with_place:
        away = np.where(is_left, pitch - _MIDDLE_C, _MIDDLE_C - pitch)
        cost = cost + COSTS.far * np.clip(away - _BOTH, 0, 30).sum(axis=1)
    distance = np.abs(pitch[None, :] + 0.5 - _SPLITS[:, None]).min(axis=1)
    return cost + COSTS.close * (distance < 1) * (1.0 if with_place else 0.3)

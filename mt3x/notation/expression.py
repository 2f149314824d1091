"""Marks beside the notes: how loud, and where the pedal is down."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mt3x.notation.meter import Bar
from mt3x.notation.quantize import Pulses

__all__ = ["find_dynamics", "pedal_ticks"]

_MARKS = ("ppp", "pp", "p", "mp", "mf", "f", "ff", "fff")
_BETWEEN = np.array([22, 36, 50, 64, 80, 96, 112])  # velocities
_MARGIN = 5.0  # beyond a border before the mark changes
_BARS = 4  # in which a mark is the same


def find_dynamics(
    tick: np.ndarray, velocity: np.ndarray, bars: Sequence[Bar]
) -> list[tuple[int, str]]:
    """Return marks by median velocities, where they change: of every four bars.

    Args:
      tick, velocity: of the notes, sorted by tick.
      bars: of the score.
    """
    marks: list[tuple[int, str]] = []
    level = -1
    for first in range(0, len(bars), _BARS):
        section = bars[first : first + _BARS]
        begin, end = np.searchsorted(tick, (section[0].start, section[-1].end))
        if begin == end:
            continue
        loudness = float(np.median(velocity[begin:end]))
        found = int(np.searchsorted(_BETWEEN, loudness))
        if found == level:
            continue
        if level >= 0 and abs(loudness - _BETWEEN[min(found, level)]) < _MARGIN:
            continue
        level = found
        marks.append((int(tick[begin]), _MARKS[level]))
    return marks


def pedal_ticks(pedal_s: npt.ArrayLike | None, pulses: Pulses) -> np.ndarray:
    """Return when the pedal goes down and up: K x 2 ticks, on eighths, none empty."""
    if pedal_s is None:
        return np.zeros((0, 2), int)
    pedal = pulses.at(np.asarray(pedal_s, float).reshape(-1, 2)) * pulses.ticks
    step = min(12, pulses.ticks)
    ticks = np.rint(pedal / step).astype(int) * step
    return ticks[ticks[:, 1] > ticks[:, 0]]

"""Onsets in seconds become places in bars, counted in ticks of a 24th of a quarter.

Each beat is divided by the cheapest of a few grids. A grid costs what its place values
cost (an eighth is simpler than a thirty-second), how far onsets are from its lines, and
onsets that fall on one line though they were not played together. A Viterbi search over
the beats finds the cheapest sequence, because an onset just before a beat may belong
to it and collide there. Such grids are those of Cemgil and Kappen, "Monte Carlo methods
for tempo tracking and rhythm quantization", 2003, with a search in place of sampling.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mt3x.music.beats import Beats

__all__ = ["TICKS_PER_QUARTER", "Grid", "Pulses", "quantize"]

TICKS_PER_QUARTER = 24
FINEST_TICKS = 3  # a thirty-second note
_CHORD_GAP_S = 0.035
_CHORD_S = 0.08  # the longest from a chord's first note to its last
_LATE = 6  # ticks
_DIVISIONS = (1, 2, 3, 4, 6, 8, 12)


@dataclass(frozen=True)
class _Costs:
    """What makes a grid expensive; fitted to pieces that tables do not use."""

    deviation_s: float = 0.015  # of an onset from its line, at the least
    deviation: float = 0.03  # the same in beats
    furthest: float = 12.0  # what one onset costs at the most
    change: float = 0.4  # from a beat in two to one in three
    chord: float = 0.3  # a collision of onsets that are nearly together
    collision: float = 7.0  # of others
    late: float = 2.5  # a beat's only onset is just after it


COSTS = _Costs()
# Of lines, by the number of ticks that divides their place.
_OF_PLACE = {24: 0.0, 12: 0.3, 6: 0.8, 3: 2.3, 8: 1.2, 4: 2.5}


@dataclass(frozen=True)
class Pulses:
    """Beats that are quarter notes, dotted ones, or shorter: half notes are two."""

    beats: Beats
    parts: int  # pulses in a beat
    ticks: int  # in a pulse

    @classmethod
    def of(cls, beats: Beats) -> "Pulses":
        """Divide beats that are longer than a dotted quarter."""
        ticks = round(beats.quarters_per_beat * TICKS_PER_QUARTER)
        if ticks < FINEST_TICKS:
            raise ValueError(f"meter {beats.meter}: beats are at least 32nd notes")
        parts = 1
        while ticks > 36:
            ticks, parts = ticks // 2, parts * 2
        return cls(beats, parts, ticks)

    def at(self, time_s: np.ndarray) -> np.ndarray:
        """Return positions in pulses."""
        return self.beats.beat_at(time_s) * self.parts

    def seconds(self, pulse: np.ndarray) -> np.ndarray:
        """Return when positions in pulses come."""
        return self.beats.time_at(pulse / self.parts)


@dataclass(frozen=True)
class Grid:
    """Quantized onsets and the grid of every pulse.

    Attributes:
      tick: int [N], of each onset, from the first beat; may be negative.
      first: the first pulse that `step` tells of.
      step: int [M], ticks between the lines of each pulse's grid.
      pulse_ticks: of each pulse.
    """

    tick: np.ndarray
    first: int
    step: np.ndarray
    pulse_ticks: int

    def end_steps(self, tick: np.ndarray) -> np.ndarray:
        """Return the steps of lines on which notes may end, where ticks are."""
        pulse = np.asarray(tick) // self.pulse_ticks - self.first
        inside = (pulse >= 0) & (pulse < len(self.step))
        step = np.append(self.step, self.pulse_ticks)[np.where(inside, pulse, -1)]
        # Rests may be eighths though no onset is one, but not within triplets.
        eighth = min(TICKS_PER_QUARTER // 2, self.pulse_ticks)
        step = np.where(step == 18, 6, step)
        return np.where(
            _is_triple(step, self.pulse_ticks), step, np.minimum(step, eighth)
        )


def quantize(onset_s: np.ndarray, beats: Beats) -> Grid:
    """Return the ticks of onsets, which are sorted, and the grids that gave them."""
    pulses = Pulses.of(beats)
    chord_N, chord_s = _chords(onset_s)
    place = pulses.at(chord_s)
    if not len(place):
        return Grid(np.zeros(0, int), 0, np.zeros(0, int), pulses.ticks)
    first, last = int(np.floor(place[0])), int(np.floor(place[-1]))
    bounds = np.searchsorted(place, np.arange(first, last + 2))
    steps = _steps(pulses.ticks)
    lengths_s = np.diff(pulses.seconds(np.arange(first, last + 2, dtype=float)))

    cost = np.zeros((last - first + 1, len(steps)))
    lines: list[list[np.ndarray]] = []
    for pulse, (begin, end) in enumerate(pairwise(bounds)):
        within = place[begin:end] - (first + pulse)
        found = [
            _snap(within, chord_s[begin:end], lengths_s[pulse], step, pulses.ticks)
            for step in steps
        ]
        lines.append([line for line, _ in found])
        cost[pulse] = [price for _, price in found]
    chosen = _cheapest(cost, lines, bounds, chord_s, steps, pulses.ticks)
    tick = np.concatenate(
        [
            lines[pulse][grid] + (first + pulse) * pulses.ticks
            for pulse, grid in enumerate(chosen)
        ]
    )
    return Grid(tick[chord_N], first, np.array(steps)[chosen], pulses.ticks)


def _chords(onset_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the chord of each onset, and the mean onset of each chord."""
    chord_N, begin_s = np.zeros(len(onset_s), int), -np.inf
    for i in range(len(onset_s)):
        gap_s = onset_s[i] - onset_s[i - 1] if i else np.inf
        joins = gap_s <= _CHORD_GAP_S and onset_s[i] - begin_s <= _CHORD_S
        chord_N[i] = chord_N[i - 1] + (not joins) if i else 0
        if not joins:
            begin_s = onset_s[i]
    count = np.bincount(chord_N)
    return chord_N, np.bincount(chord_N, weights=onset_s) / np.maximum(count, 1)


def _steps(ticks: int) -> list[int]:
    """Return the ticks between the lines of each grid that divides a pulse."""
    steps = [ticks // n for n in _DIVISIONS if ticks % n == 0]
    return [step for step in steps if step >= FINEST_TICKS and step not in (9, 2)]


def _place_cost(tick: np.ndarray, ticks: int) -> np.ndarray:
    """Return what lines cost, by their places in a pulse of `ticks`."""
    price = np.full(len(tick), _OF_PLACE[4])
    for step in (3, 4, 8, 6, 12, 24):
        price[tick % step == 0] = _OF_PLACE[step]
    price[tick % ticks == 0] = 0.0
    if ticks == 36:
        price[tick == 18] = 1.4  # two against three
    return price


def _snap(
    within: np.ndarray, onset_s: np.ndarray, length_s: float, step: int, ticks: int
) -> tuple[np.ndarray, float]:
    """Return the lines nearest to onsets in a pulse, in ticks, and what they cost."""
    if not len(within):
        return np.zeros(0, int), 0.1 * float(_is_triple(step, ticks))
    line = np.rint(within * ticks / step).astype(int) * step
    deviation_s = COSTS.deviation_s + COSTS.deviation * length_s
    error = (within - line / ticks) * length_s / deviation_s
    price = np.minimum(error**2 / 2, COSTS.furthest).sum()
    price += _place_cost(line, ticks).sum()
    if len(line) == 1 and 0 < line[0] < _LATE:
        price += COSTS.late
    together = np.diff(line) == 0
    price += _collisions(np.diff(onset_s)[together]).sum()
    return line, float(price)


def _collisions(gap_s: np.ndarray) -> np.ndarray:
    """Return what onsets cost that are this far apart and fall on one line."""
    much = np.clip((gap_s - 0.06) / 0.06, 0, 1)
    return COSTS.chord + much * (COSTS.collision - COSTS.chord)


def _is_triple(step: npt.ArrayLike, ticks: int) -> np.ndarray:
    return np.isin(step, (4, 8)) & (ticks % 36 > 0)


def _cheapest(
    cost: np.ndarray,
    lines: list[list[np.ndarray]],
    bounds: np.ndarray,
    chord_s: np.ndarray,
    steps: list[int],
    ticks: int,
) -> np.ndarray:
    """Return the grid of each pulse, as an index of `steps`."""
    triple = _is_triple(steps, ticks)
    change = COSTS.change * (triple[:, None] != triple[None, :])
    best, came = cost[0], np.zeros(cost.shape, int)
    for pulse in range(1, len(cost)):
        total = best[:, None] + change
        begin = bounds[pulse]
        before, here = lines[pulse - 1], lines[pulse]
        if len(before[0]) and len(here[0]):
            late = np.array([line[-1] == ticks for line in before])
            early = np.array([line[0] == 0 for line in here])
            gap_s = chord_s[begin] - chord_s[begin - 1]
            price = _collisions(np.array([gap_s]))[0]
            total = total + price * (late[:, None] & early[None, :])
        came[pulse] = total.argmin(axis=0)
        best = total.min(axis=0) + cost[pulse]
    chosen = np.zeros(len(cost), int)
    chosen[-1] = best.argmin()
    for pulse in range(len(cost) - 1, 0, -1):
        chosen[pulse - 1] = came[pulse, chosen[pulse]]
    return chosen

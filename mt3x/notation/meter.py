"""Bars, and how strong their places are."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from mt3x.music.beats import Beats
from mt3x.notation.quantize import TICKS_PER_QUARTER, Pulses

__all__ = ["MOST_BARS", "Bar", "find_bars"]

MOST_BARS = 20_000
"""More than any music has; they would take minutes and gigabytes."""


@dataclass(frozen=True)
class Bar:
    """A bar of a score.

    Attributes:
      start: tick at which it begins.
      length: ticks it has.
      number: 1 is the first whole one, 0 a pick-up.
      numerator, denominator: the time signature; a pick-up has that of whole bars.
      pulse: ticks of what is counted: 24 for a quarter, 36 for a dotted one, ...
      shift: ticks that a pick-up leaves out at its beginning.
    """

    start: int
    length: int
    number: int
    numerator: int
    denominator: int
    pulse: int
    shift: int = 0

    @property
    def end(self) -> int:
        """The tick after it."""
        return self.start + self.length

    @property
    def is_compound(self) -> bool:
        """Whether its beats are dotted."""
        return self.pulse * self.denominator == 12 * TICKS_PER_QUARTER

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """Places at which groups of beats begin, from 0."""
        length = self.length + self.shift
        if self.is_compound:
            return tuple(range(0, length, self.pulse))
        count = length // self.pulse
        if self.pulse < TICKS_PER_QUARTER:  # eighths: in twos, an odd one at the end
            sizes = [2] * (count // 2)
            if count % 2 and sizes:
                sizes[-1] = 3
            if count == 5:
                sizes = [3, 2]
        else:
            sizes = {2: [2], 3: [3], 5: [3, 2], 6: [3, 3], 7: [4, 3]}.get(
                count, [2] * (count // 2) + [1] * (count % 2)
            )
        starts = np.cumsum([0, *sizes[:-1]]) * self.pulse
        return tuple(starts.tolist())

    def level(self, tick: int) -> int:
        """Return how weak a tick is: 0 bar lines, 1 groups, 2 beats, 3 eighths, ..."""
        place = tick - self.start
        if place in (0, self.length):
            return 0
        place += self.shift
        if place in self.groups:
            return 1
        if place % self.pulse == 0 and self.pulse >= TICKS_PER_QUARTER:
            return 2
        place %= self.pulse
        for level, step in ((3, 12), (3, 8), (4, 6), (4, 4), (5, 3)):
            if place % step == 0:
                return level
        return 6


def find_bars(beats: Beats, first_tick: int, end_tick: int) -> list[Bar]:
    """Return the bars from a first onset to a last end, all whole but a pick-up.

    Raises:
      ValueError: they are too many.
    """
    pulses = Pulses.of(beats)
    per_beat = pulses.ticks * pulses.parts
    first, end = first_tick // per_beat, -(-end_tick // per_beat)
    end = max(end, first + 1)
    if (end - first) / beats.beats_per_bar > MOST_BARS:
        raise ValueError(
            f"the notes last for {end - first:.2g} beats: a score has up to "
            f"{MOST_BARS} bars; transcribe a part"
        )
    lines = _bar_lines(beats, first, end)
    if len(lines) > 2 and lines[1] <= first:
        lines.pop(0)
    left_out = first - lines[0]
    picks_up = 2 * left_out >= lines[1] - lines[0]
    bars = []
    for begin, stop in pairwise(lines):
        shift = left_out if picks_up and not bars else 0
        num = stop - begin
        bars.append(
            Bar(
                (begin + shift) * per_beat,
                (num - shift) * per_beat,
                len(bars) + (0 if picks_up else 1),
                num * (3 if beats.is_dotted else 1),
                beats.beat_unit,
                pulses.ticks,
                shift * per_beat,
            )
        )
    return bars


def _bar_lines(beats: Beats, first: int, end: int) -> list[int]:
    """Return the beats at which bars begin, from before `first` to `end` or after."""
    per_bar = beats.beats_per_bar
    known = np.flatnonzero(beats.position == 1).tolist()
    if not known:
        known = [1 - int(beats.position[0])]
    before = [line for line in known if line <= first]
    if not before:
        lines = [first - (first - known[0]) % per_bar]
    elif first - before[-1] >= 2 * per_bar:  # bar lines that nobody marked
        lines = [first - (first - before[-1]) % per_bar]
    else:
        lines = [before[-1]]
    inner = [line for line in known if lines[0] < line < end]
    for line in [*inner, None]:
        until = end - per_bar if line is None else line - 2 * per_bar
        while lines[-1] <= until:
            lines.append(lines[-1] + per_bar)
        if line is not None:
            lines.append(line)
    if lines[-1] < end:
        lines.append(lines[-1] + per_bar)
    return lines

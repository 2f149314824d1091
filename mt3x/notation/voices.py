"""The voices of a staff, at most two, and how long notes are written.

Notes that begin together in a voice are a chord. A note ends where its voice goes on,
unless the sound ended well before: so a pedal that lets everything ring does not show.
A beam search decides which voice has which notes. It weighs what would be cut short
against what a second voice costs the reader. After Chew and Wu, "Separating voices in
polyphonic music: a contig mapping approach", 2004, voices are lines of near pitches
that do not cross.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import numpy as np

from mt3x.notation.quantize import TICKS_PER_QUARTER

__all__ = ["Chord", "find_voices"]

_BEAM = 12
_QUARTER = float(TICKS_PER_QUARTER)


@dataclass(frozen=True)
class _Costs:
    """What makes voices expensive; fitted to piano parts of songs."""

    cut: float = 0.12  # a quarter note of sound that is cut by the voice's next note
    snap: float = 1.2  # an octave by which that one is more than twice as long
    enter: float = 7.0  # a second voice begins
    stay: float = 0.25  # an onset while both voices sound
    rest: float = 1.2  # a quarter note of rest within a voice
    leap: float = 0.067  # a semitone from one chord of a voice to the next
    cross: float = 4.0  # the lower voice is above the upper one
    uneven: float = 1.7  # a chord whose notes end apart, by a quarter note


COSTS = _Costs()


@dataclass
class Chord:
    """Notes of a voice that begin together."""

    tick: int
    notes: list[int]  # indices of the notes, from the lowest to the highest
    end: float  # tick at which the sound ends
    duration: int = 0  # as written


# Tuples, which are made faster than dataclasses: long scores have millions.
class _Line(NamedTuple):
    """Where a voice is."""

    tick: float = -math.inf
    end: float = -math.inf
    low: float = 0.0
    high: float = 0.0
    count: int = 0


class _State(NamedTuple):
    cost: float = 0.0
    lines: tuple[_Line, _Line] = (_Line(), _Line())
    choices: tuple = ()


def find_voices(
    tick: np.ndarray, end: np.ndarray, pitch: np.ndarray
) -> tuple[list[Chord], list[Chord]]:
    """Return the upper and the lower voice of a staff; the lower one may be empty.

    Args:
      tick: onsets, sorted.
      end: ticks at which the sounds end, quantized or not.
      pitch: of each note.
    """
    groups = _groups(tick, pitch)
    voices: tuple[list[Chord], list[Chord]] = ([], [])
    if not groups:
        return voices
    following = [*(at for at, _ in groups[1:]), math.inf]
    ends, pitches = end.tolist(), pitch.tolist()
    states = [_State()]
    for (at, members), then in zip(groups, following, strict=True):
        found: list[_State] = []
        end_of = [float(ends[i]) for i in members]
        pitch_of = [float(pitches[i]) for i in members]
        for choice in _choices(pitch_of):
            upper, lower = slice(choice, None), slice(choice)
            parts = [_line(at, end_of[part], pitch_of[part]) for part in (upper, lower)]
            own = _uneven(end_of[upper]) + _uneven(end_of[lower])
            found += [_extend(state, at, parts, own, choice, then) for state in states]
        found.sort(key=lambda state: state.cost)
        states = _different(found)
    choices = []
    link = states[0].choices
    while link:
        link, choice = link
        choices.append(choice)
    for (at, members), choice in zip(groups, reversed(choices), strict=True):
        for voice, part in zip(
            voices, (members[choice:], members[:choice]), strict=True
        ):
            if part:
                voice.append(Chord(at, part, median(float(ends[i]) for i in part)))
    return voices


def _groups(tick: np.ndarray, pitch: np.ndarray) -> list[tuple[int, list[int]]]:
    """Return onsets with the notes that begin there, from the lowest to the highest."""
    onsets, begin = np.unique(tick, return_index=True)
    groups = np.split(np.arange(len(tick)), begin[1:]) if len(tick) else []
    return [
        (int(at), group[np.argsort(pitch[group], kind="stable")].tolist())
        for at, group in zip(onsets, groups, strict=True)
    ]


def _choices(pitch: Sequence[float]) -> Sequence[int]:
    """Return how many of a chord's notes the lower voice may have."""
    num = len(pitch)
    if num <= 3:
        return range(num + 1)
    gaps = [then - here for here, then in pairwise(pitch)]
    widest = gaps.index(max(gaps)) + 1
    return sorted({0, 1, widest, num - 1, num})


def _line(at: int, end: list[float], pitch: list[float]) -> _Line | None:
    if not end:
        return None
    return _Line(at, median(end), pitch[0], pitch[-1], len(end))


def _uneven(end: list[float]) -> float:
    if len(end) < 2:
        return 0.0
    return COSTS.uneven * min((max(end) - min(end)) / _QUARTER, 3.0)


def _extend(
    state: _State,
    at: int,
    parts: list[_Line | None],
    own: float,
    choice: int,
    then: float,
) -> _State:
    """Return what follows when a chord's parts are given to the voices."""
    cost = state.cost + own
    lines = list(state.lines)
    for voice, part in enumerate(parts):
        line = state.lines[voice]
        if part is None:
            continue
        if line.end > at:
            covered = min(line.end, then, at + 4 * _QUARTER) - at
            cost += COSTS.cut * line.count * covered / _QUARTER
            cost += COSTS.snap * max(math.log2(covered / (at - line.tick)) - 1, 0)
        elif line.count:
            cost += COSTS.rest * min((at - line.end) / _QUARTER, 4.0)
        if line.count:
            leap = abs(part.low + part.high - line.low - line.high) / 2
            cost += COSTS.leap * min(leap, 12.0)
        lines[voice] = part
    upper, lower = lines
    idle = min(state.lines[1].end, upper.end)
    if parts[1] is not None and idle < at - 2 * _QUARTER:
        # A lower voice begins, or is alone, which the upper one should be.
        cost += COSTS.enter
    if lower.count and upper.count and lower.end > at and upper.end > at:
        cost += COSTS.stay
        if lower.high > upper.low:
            cost += COSTS.cross
    return _State(cost, (upper, lower), (state.choices, choice))


def _different(states: list[_State]) -> list[_State]:
    """Return the cheapest states that are not in the same place."""
    kept: dict[tuple[_Line, _Line], _State] = {}
    for state in states:
        kept.setdefault(state.lines, state)
        if len(kept) == _BEAM:
            break
    return list(kept.values())

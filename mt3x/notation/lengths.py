"""How long the chords of a voice are written."""

from collections.abc import Sequence

import numpy as np

from mt3x.notation.quantize import Grid
from mt3x.notation.voices import Chord

__all__ = ["set_durations", "set_hits"]

_VALUES = np.array([3, 4, 6, 8, 9, 12, 16, 18, 24, 36, 48, 72, 96, 144, 192, 288, 384])
_HELD = 1.05  # of its value is what a note is held, in the middle
_FILL = 0.55  # octaves that a length may be off so that no rest is needed
_FILL_LAST = 1.6  # the same of a piece's last notes, which nothing follows
_SYNCOPATED = 0.8  # octaves that it costs to be held over a beat and end beside one
_OFF_BEAT = 0.3  # octaves that an end on a beat is worth, against one beside

# One symbol each; in triplets and else.
_TRIPLE_VALUES, _PLAIN_VALUES = (16, 8, 4), (36, 24, 18, 12, 9, 6, 3)


def set_durations(chords: Sequence[Chord], grid: Grid, end_tick: int) -> None:
    """Set the durations of a voice's chords.

    A chord lasts until the next one, or `end_tick`, where it sounds for about as long;
    else for the nearest value that ends on a line of the grid, and a rest follows.
    """
    if not chords:
        return
    next_ticks = [*(chord.tick for chord in chords[1:]), end_tick]
    for chord, then in zip(chords, next_ticks, strict=True):
        slack = _FILL_LAST if chord is chords[-1] else _FILL
        chord.duration = _duration(chord, then, grid, slack)


def set_hits(chords: Sequence[Chord], grid: Grid, end_tick: int) -> None:
    """Set the durations of drums: one value within the beat, as hits are never tied."""
    next_ticks = [*(chord.tick for chord in chords[1:]), end_tick]
    for chord, then in zip(chords, next_ticks, strict=True):
        in_beat = grid.pulse_ticks - chord.tick % grid.pulse_ticks
        room = min(then - chord.tick, in_beat)
        values = _TRIPLE_VALUES if room % 3 else _PLAIN_VALUES
        chord.duration = next((value for value in values if value <= room), room)


def _duration(chord: Chord, then: int, grid: Grid, slack: float) -> int:
    room = then - chord.tick
    held = max(chord.end - chord.tick, 1.0) / _HELD
    if held >= room:
        return room
    to_beats = np.arange(1, 9) * grid.pulse_ticks - chord.tick % grid.pulse_ticks
    values = np.union1d(_VALUES, to_beats)
    values = values[values < room]
    ends = chord.tick + values
    steps = grid.end_steps(ends)
    on_line = ends % grid.pulse_ticks % steps == 0
    values, ends = values[on_line], ends[on_line]
    cost = np.abs(np.log2(values / held)) + _OFF_BEAT * (ends % grid.pulse_ticks > 0)
    full = abs(np.log2(room / held)) - slack
    pulse = grid.pulse_ticks
    if then % pulse and chord.tick // pulse != then // pulse:
        full += _SYNCOPATED
    if not len(values) or full <= cost.min():
        return room
    return int(values[cost.argmin()])

"""Notes and beats become a score.

seconds -> quantize -> ticks -> hands -> voices -> lengths -> rhythm -> Score
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mt3x.music.beats import Beats
from mt3x.music.instruments import PROGRAM_NAMES
from mt3x.music.key import estimate_key
from mt3x.music.notes import Notes
from mt3x.notation.expression import find_dynamics, pedal_ticks
from mt3x.notation.hands import left_hand
from mt3x.notation.lengths import set_durations, set_hits
from mt3x.notation.meter import Bar, find_bars
from mt3x.notation.ornaments import Ornaments, find_graces, fold_trills
from mt3x.notation.percussion import drum_of
from mt3x.notation.quantize import TICKS_PER_QUARTER, Grid, Pulses, quantize
from mt3x.notation.rhythm import Symbol, write_bar
from mt3x.notation.score import Part, Score, Staff
from mt3x.notation.spelling import Key, Spelled, key_of, spell
from mt3x.notation.voices import Chord, find_voices

__all__ = ["notate"]

TWO_STAVES = frozenset([*range(22), 46])
"""Programs that are written on two staves: keyboards, mallets with both, the harp."""
# From the top of a page down: woodwinds, brass, voices, guitars, mallets, keyboards,
# harp, strings, others, the bass; drums come last.
# fmt: off
_ORDER = [
    *range(72, 80), 68, 69, 71, *range(64, 68), 70, 60, 56, 59, 57, 58, *range(61, 64),
    *range(52, 55), *range(24, 32), *range(8, 16), *range(8), *range(16, 24), 46,
    *range(40, 46), *range(47, 52), 55, *range(80, 128), *range(32, 40),
]
# fmt: on
# Medians of pitch that treble clefs begin at: of any part, and of those that read one
# clef or the other by custom.
_TREBLE_FROM, _HIGH_FROM, _LOW_FROM = 60, 53, 67
_HIGH = frozenset([40, 56, 59, 64, 65, 68, 69, 71, *range(72, 80)])
_LOW = frozenset([42, 57, 58, 70])


def notate(
    notes: Notes,
    beats: Beats,
    *,
    title: str = "",
    names: Mapping[int, str] | None = None,
    pedal_s: npt.ArrayLike | None = None,
) -> Score:
    """Write notes down.

    Args:
      notes: what was played. All are in the score, but for those that trills stand for
        and for keys struck twice on one tick.
      beats: where the beats are.
      title: of the piece.
      names: of instruments by program; by default General MIDI's.
      pedal_s: K x 2 seconds at which the sustain pedal goes down and up, if known.

    Raises:
      ValueError: there are no notes, or too many bars.
      ModuleNotFoundError: partitura, which names notes, is missing: `mt3x[score]`.
    """
    if not len(notes):
        raise ValueError("there are no notes to write a score of")
    melodic, ornaments = fold_trills(notes)
    grid = quantize(melodic.onset_s, beats)
    melodic, grid, ornaments = _without_doubles(melodic, grid, ornaments)
    ornaments = find_graces(melodic, grid.tick, ornaments)
    pulses = Pulses.of(beats)
    end = pulses.at(melodic.offset_s) * pulses.ticks
    bars = find_bars(beats, int(grid.tick[0]), _last_tick(grid, end))
    key = key_of(estimate_key(notes))
    pedal = pedal_ticks(pedal_s, pulses)
    parts = [
        _part(melodic, chosen, grid, end, bars, key, ornaments, pedal, names or {})
        for chosen in _instruments(melodic)
    ]
    return Score(parts, bars, key, beats, title)


def _without_doubles(
    notes: Notes, grid: Grid, ornaments: Ornaments
) -> tuple[Notes, Grid, Ornaments]:
    """Keep the first of two strokes of one key on one tick."""
    key = (notes.is_drum * 128 + notes.program) * 128 + notes.pitch
    _, first = np.unique(np.stack([grid.tick, key]), axis=1, return_index=True)
    if len(first) == len(notes):
        return notes, grid, ornaments
    first = np.sort(first)
    number = dict(zip(first.tolist(), range(len(first)), strict=True))
    trills = frozenset(number[i] for i in ornaments.trills if i in number)
    grid = replace(grid, tick=grid.tick[first])
    return notes[first], grid, Ornaments(trills)


def _last_tick(grid: Grid, end: np.ndarray) -> int:
    """Return where the last bar has to reach: not as far as the pedal may."""
    last = int(grid.tick.max())
    half = grid.pulse_ticks / 2
    return max(last + 1, int(min(end.max() - half, last + 8 * grid.pulse_ticks)))


def _instruments(notes: Notes) -> list[np.ndarray]:
    """Return the notes of each instrument, in the order of parts."""
    programs = sorted(set(notes.program[~notes.is_drum].tolist()), key=_ORDER.index)
    parts = [~notes.is_drum & (notes.program == program) for program in programs]
    if notes.is_drum.any():
        parts.append(notes.is_drum)
    return [np.flatnonzero(part) for part in parts]


def _part(
    notes: Notes,
    chosen: np.ndarray,
    grid: Grid,
    end: np.ndarray,
    bars: Sequence[Bar],
    key: Key,
    ornaments: Ornaments,
    pedal: np.ndarray,
    names: Mapping[int, str],
) -> Part:
    part = notes[chosen]
    order = chosen.tolist()
    own = {index: i for i, index in enumerate(order)}
    graces = {
        own[main]: [own[i] for i in others]
        for main, others in ornaments.graces.items()
        if main in own
    }
    ornamental = {i for others in graces.values() for i in others}
    main = np.array([i for i in range(len(part)) if i not in ornamental])
    tick, end = grid.tick[chosen], end[chosen]
    main = main[np.lexsort((part.pitch[main], tick[main]))]
    is_drum, program = bool(part.is_drum[0]), int(part.program[0])
    groups, clefs = _staves(part, main, tick, program, is_drum, grid)
    staves = [
        Staff(clef, _voices(group, tick, end, part.pitch, grid, bars, is_drum))
        for group, clef in zip(groups, clefs, strict=True)
    ]
    if is_drum:
        drums = [drum_of(int(pitch)) for pitch in part.pitch]
        spelled = [Spelled(drum.step, 0, drum.octave) for drum in drums]
        heads = [drum.head for drum in drums]
    else:
        quarters = tick / TICKS_PER_QUARTER
        spelled = spell(quarters, part.pitch, key)
        heads = ["normal"] * len(part)
    return Part(
        name="Drums" if is_drum else names.get(program) or PROGRAM_NAMES[program],
        program=0 if is_drum else program,
        is_drum=is_drum,
        onset_s=part.onset_s,
        pitch=part.pitch,
        names=spelled,
        heads=heads,
        graces=graces,
        trills=frozenset(own[i] for i in ornaments.trills if i in own),
        staves=staves,
        dynamics=find_dynamics(tick[main], part.velocity[main], bars),
        pedal=pedal if program in TWO_STAVES and not is_drum else pedal[:0],
    )


def _staves(
    part: Notes,
    main: np.ndarray,
    tick: np.ndarray,
    program: int,
    is_drum: bool,
    grid: Grid,
) -> tuple[list[np.ndarray], list[str]]:
    """Return the notes of each staff, the upper one first, and the staves' clefs."""
    if is_drum:
        return [main], ["percussion"]
    if program in TWO_STAVES:
        is_left = left_hand(tick[main], part.pitch[main], grid.pulse_ticks)
        return [main[~is_left], main[is_left]], ["treble", "bass"]
    middle = float(np.median(part.pitch[main]))
    if 24 <= program < 32:
        return [main], ["treble8"]
    if 32 <= program < 40 or program == 43:
        return [main], ["bass8"]
    if program == 41:
        return [main], ["alto"]
    lowest = _HIGH_FROM if program in _HIGH else _TREBLE_FROM
    lowest = _LOW_FROM if program in _LOW else lowest
    return [main], ["treble" if middle >= lowest else "bass"]


def _voices(
    group: np.ndarray,
    tick: np.ndarray,
    end: np.ndarray,
    pitch: np.ndarray,
    grid: Grid,
    bars: Sequence[Bar],
    is_drum: bool,
) -> list[list[list[Symbol]]]:
    """Return the symbols of a staff's voices, bar by bar."""
    if is_drum:
        chords = _drum_chords(group, tick, grid)
        voices: Sequence[list[Chord]] = [chords]
    else:
        voices = find_voices(tick[group], end[group], pitch[group])
        for chord in (chord for voice in voices for chord in voice):
            chord.notes = group[chord.notes].tolist()
        voices = [voice for voice in voices if voice] or [[]]
    set_lengths = set_hits if is_drum else set_durations
    for voice in voices:
        set_lengths(voice, grid, bars[-1].end)
    written = [_write(voice, bars) for voice in voices]
    for number, bar in enumerate(bars):
        _simplify([voice[number] for voice in written], bar)
    return written


def _write(chords: Sequence[Chord], bars: Sequence[Bar]) -> list[list[Symbol]]:
    """Return the symbols of each bar."""
    written, first = [], 0
    for bar in bars:
        while first < len(chords) and (
            chords[first].tick + chords[first].duration <= bar.start
        ):
            first += 1
        last = first
        while last < len(chords) and chords[last].tick < bar.end:
            last += 1
        written.append(write_bar(chords[first:last], bar))
    return written


def _simplify(voices: list[list[Symbol]], bar: Bar) -> None:
    """Leave out a second voice that rests; make it the first if that one rests."""
    if len(voices) < 2:
        return
    upper, lower = voices
    tied = lower[0].is_continued or lower[-1].continues
    if upper[0].fills_bar and not lower[0].fills_bar and not tied:
        upper[:], lower[:] = lower[:], upper[:]
    if lower[0].fills_bar:
        lower.clear()


def _drum_chords(group: np.ndarray, tick: np.ndarray, grid: Grid) -> list[Chord]:
    """Return drums as chords that last up to the next ones, a beat at the most."""
    onsets, begin = np.unique(tick[group], return_index=True)
    return [
        Chord(int(at), members.tolist(), float(at + grid.pulse_ticks))
        for at, members in zip(onsets, np.split(group, begin[1:]), strict=True)
    ]

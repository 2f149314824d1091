"""Scores as MusicXML 4.0.

Written here and not by partitura, whose files have no beams, accidentals, tempo marks
or instruments, and elements in an order that the schema of MusicXML refuses.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mt3x.notation.meter import Bar
from mt3x.notation.quantize import TICKS_PER_QUARTER
from mt3x.notation.rhythm import TYPES, Symbol
from mt3x.notation.spelling import Key, Spelled

if TYPE_CHECKING:
    from mt3x.notation.score import Part, Score

__all__ = ["note_id", "to_musicxml"]

_HEADER = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
    b'"http://www.musicxml.org/dtds/partwise.dtd">\n'
)
_CLEFS = {
    "treble": ("G", 2, 0),
    "treble8": ("G", 2, -1),
    "bass": ("F", 4, 0),
    "bass8": ("F", 4, -1),
    "alto": ("C", 3, 0),
    "percussion": ("percussion", 0, 0),
}
_ACCIDENTALS = {
    **{-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"},
}
_SHARPS = "FCGDAEB"
_MELODIC_CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16)
_DRUM_CHANNEL = 10


def note_id(part: int, note: int, tick: int) -> str:
    """Return the name of a note's head in MusicXML and in pictures made of it.

    Args:
      part: its number, from 1.
      note: its index in the part.
      tick: where the head stands, since notes that are tied have several.
    """
    return f"P{part}-{note}-{tick}"


def to_musicxml(score: "Score") -> bytes:
    """Return the bytes of an uncompressed MusicXML file."""
    root = ET.Element("score-partwise", version="4.0")
    if score.title:
        _add(_add(root, "work"), "work-title", _printable(score.title))
    encoding = _add(_add(root, "identification"), "encoding")
    _add(encoding, "software", f"mt3x {version('mt3x')}")
    part_list = _add(root, "part-list")
    melodic = 0
    for number, part in enumerate(score.parts, start=1):
        channel = _MELODIC_CHANNELS[melodic % 15]
        melodic += not part.is_drum
        _list_part(part_list, part, f"P{number}", channel, len(score.parts) == 1)
    for number, part in enumerate(score.parts, start=1):
        _write_part(_add(root, "part", id=f"P{number}"), part, score, number)
    ET.indent(root)
    return _HEADER + ET.tostring(root, encoding="utf-8") + b"\n"


def _add(parent: ET.Element, tag: str, text: Any = None, **attributes: str) -> Any:
    element = ET.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = str(text)
    return element


def _printable(text: str) -> str:
    """Return a text without what XML cannot hold."""
    return "".join(letter for letter in text if letter.isprintable())


def _list_part(
    part_list: ET.Element, part: "Part", name: str, channel: int, is_alone: bool
) -> None:
    entry = _add(part_list, "score-part", id=name)
    hidden = {"print-object": "no"} if is_alone else {}
    _add(entry, "part-name", _printable(part.name), **hidden)
    if part.is_drum:
        drums = sorted(set(part.pitch.tolist()))
        for pitch in drums:
            instrument = _add(entry, "score-instrument", id=f"drum-{pitch}")
            _add(instrument, "instrument-name", f"Drum {pitch}")
        for pitch in drums:
            midi = _add(entry, "midi-instrument", id=f"drum-{pitch}")
            _add(midi, "midi-channel", _DRUM_CHANNEL)
            _add(midi, "midi-unpitched", pitch + 1)
        return
    instrument = _add(entry, "score-instrument", id=f"{name}-I1")
    _add(instrument, "instrument-name", _printable(part.name))
    midi = _add(entry, "midi-instrument", id=f"{name}-I1")
    _add(midi, "midi-channel", channel)
    _add(midi, "midi-program", part.program + 1)


def _write_part(
    element: ET.Element, part: "Part", score: "Score", part_number: int
) -> None:
    meter = None
    for number, bar in enumerate(score.bars):
        attributes = {"implicit": "yes"} if bar.number == 0 else {}
        measure = _add(element, "measure", number=str(bar.number), **attributes)
        if (bar.numerator, bar.denominator) != meter or not number:
            _write_attributes(measure, part, bar, score.key, is_start=not number)
            meter = (bar.numerator, bar.denominator)
        if part_number == 1 and not number:
            _write_tempo(measure, bar, score.bpm)
        _write_bar(measure, part, part_number, number, bar, score.key)
        if number + 1 == len(score.bars):
            line = _add(measure, "barline", location="right")
            _add(line, "bar-style", "light-heavy")


def _write_attributes(
    measure: ET.Element, part: "Part", bar: Bar, key: Key, is_start: bool
) -> None:
    attributes = _add(measure, "attributes")
    if is_start:
        _add(attributes, "divisions", TICKS_PER_QUARTER)
        signature = _add(attributes, "key")
        _add(signature, "fifths", 0 if part.is_drum else key.fifths)
        if not part.is_drum:
            _add(signature, "mode", key.mode)
    time = _add(attributes, "time")
    _add(time, "beats", bar.numerator)
    _add(time, "beat-type", bar.denominator)
    if is_start:
        if len(part.staves) > 1:
            _add(attributes, "staves", len(part.staves))
        for number, staff in enumerate(part.staves, start=1):
            sign, line, octave = _CLEFS[staff.clef]
            clef = _add(attributes, "clef", number=str(number))
            _add(clef, "sign", sign)
            if line:
                _add(clef, "line", line)
            if octave:
                _add(clef, "clef-octave-change", octave)


def _write_tempo(measure: ET.Element, bar: Bar, bpm: float) -> None:
    beat = TICKS_PER_QUARTER * 4 // bar.denominator
    dotted = bar.is_compound
    direction = _add(measure, "direction", placement="above")
    metronome = _add(_add(direction, "direction-type"), "metronome")
    _add(metronome, "beat-unit", TYPES[beat * 2 if dotted else beat])
    if dotted:
        _add(metronome, "beat-unit-dot")
    _add(metronome, "per-minute", round(bpm))
    quarters = beat * (3 if dotted else 1) / TICKS_PER_QUARTER
    _add(direction, "sound", tempo=f"{bpm * quarters:.2f}")


def _write_bar(
    measure: ET.Element,
    part: "Part",
    part_number: int,
    number: int,
    bar: Bar,
    key: Key,
) -> None:
    """Write the voices of a bar, one after another."""
    marks = _marks(part, bar, number + 1 == len(part.staves[0].voices[0]))
    is_written = False
    for staff_number, staff in enumerate(part.staves, start=1):
        accidentals = _Accidentals(key)
        symbols = [voice[number] for voice in staff.voices]
        shown = _shown_accidentals(symbols, part, accidentals)
        has_two = sum(bool(voice) for voice in symbols) > 1
        stems = ("up", "down") if has_two or part.is_drum else ("", "")
        for voice_number, voice in enumerate(symbols):
            if not voice:
                continue
            if is_written:
                _add(_add(measure, "backup"), "duration", bar.length)
            writer = _VoiceWriter(
                measure,
                part,
                part_number,
                voice=4 * (staff_number - 1) + voice_number + 1,
                staff=staff_number if len(part.staves) > 1 else 0,
                stem=stems[voice_number],
                shown=shown,
            )
            writer.write(voice, () if is_written else marks)
            is_written = True


def _marks(part: "Part", bar: Bar, is_last: bool) -> list[tuple[int, str, str]]:
    """Return the marks of a bar in order: ticks, what they are, and which."""
    end = bar.end + 1 if is_last else bar.end
    marks = [(tick, "dynamics", mark) for tick, mark in part.dynamics]
    for down, up in part.pedal.tolist():
        marks += [(down, "pedal", "start"), (up, "pedal", "stop")]
    # Where it goes up and down at once, up comes first.
    marks.sort(key=lambda mark: (mark[0], mark[2] != "stop"))
    return [mark for mark in marks if bar.start <= mark[0] < end]


class _Accidentals:
    """What a reader takes for granted within a bar of a staff."""

    def __init__(self, key: Key) -> None:
        altered = _SHARPS[: max(key.fifths, 0)], _SHARPS[::-1][: max(-key.fifths, 0)]
        self._of_key = {**dict.fromkeys(altered[0], 1), **dict.fromkeys(altered[1], -1)}
        self._in_bar: dict[tuple[str, int], int] = {}

    def show(self, name: Spelled) -> str:
        """Return the accidental that a note needs, or none."""
        place = name.step, name.octave
        known = self._in_bar.get(place, self._of_key.get(name.step, 0))
        self._in_bar[place] = name.alter
        return "" if known == name.alter else _ACCIDENTALS[name.alter]


def _shown_accidentals(
    voices: Iterable[Sequence[Symbol]], part: "Part", accidentals: _Accidentals
) -> dict[tuple[int, int], str]:
    """Return the accidentals of notes, by tick and note, read from left to right."""
    shown: dict[tuple[int, int], str] = {}
    if part.is_drum:
        return shown
    symbols = sorted(
        (symbol for voice in voices for symbol in voice if symbol.chord),
        key=lambda symbol: symbol.tick,
    )
    for symbol in symbols:
        assert symbol.chord is not None
        for note in symbol.chord.notes:
            if symbol.is_continued:
                continue
            for each in (*part.graces.get(note, ()), note):
                shown[symbol.tick, each] = accidentals.show(part.names[each])
    return shown


class _VoiceWriter:
    """Writes the symbols of one voice of a bar."""

    def __init__(
        self,
        measure: ET.Element,
        part: "Part",
        number: int,
        voice: int,
        staff: int,
        stem: str,
        shown: dict[tuple[int, int], str],
    ) -> None:
        self.measure, self.part, self.number = measure, part, number
        self.voice, self.staff, self.stem, self.shown = voice, staff, stem, shown

    def write(
        self, symbols: Sequence[Symbol], marks: Sequence[tuple[int, str, str]]
    ) -> None:
        """Write symbols, with the marks of the part among them."""
        waiting = list(marks)
        for symbol in symbols:
            while waiting and waiting[0][0] < symbol.end:
                self._mark(waiting.pop(0), symbol.tick)
            self._symbol(symbol)
        for mark in waiting:
            self._mark(mark, symbols[-1].end)

    def _mark(self, mark: tuple[int, str, str], now: int) -> None:
        tick, kind, which = mark
        direction = _add(self.measure, "direction", placement="below")
        content = _add(direction, "direction-type")
        if kind == "dynamics":
            _add(_add(content, kind), which)
        else:
            _add(content, kind, type=which, line="no", sign="yes")
        if tick != now:
            _add(direction, "offset", tick - now)
        if self.staff:
            last = len(self.part.staves)
            _add(direction, "staff", 1 if kind == "dynamics" else last)

    def _symbol(self, symbol: Symbol) -> None:
        if symbol.chord is None:
            note = _add(self.measure, "note")
            _add(note, "rest", **({"measure": "yes"} if symbol.fills_bar else {}))
            _add(note, "duration", symbol.duration)
            self._rest_of(note, symbol, is_main=True)
            return
        notes = symbol.chord.notes
        if not symbol.is_continued:
            graces = [g for note in notes for g in self.part.graces.get(note, ())]
            for grace in sorted(graces):
                self._grace(grace, symbol)
        for place, note in enumerate(notes):
            self._note(note, symbol, is_main=place == 0)

    def _named_note(self, index: int, symbol: Symbol) -> ET.Element:
        name = note_id(self.number, index, symbol.tick)
        return _add(self.measure, "note", id=name)

    def _note(self, index: int, symbol: Symbol, is_main: bool) -> None:
        note = self._named_note(index, symbol)
        if not is_main:
            _add(note, "chord")
        self._pitch(note, index)
        _add(note, "duration", symbol.duration)
        if symbol.is_continued:
            _add(note, "tie", type="stop")
        if symbol.continues:
            _add(note, "tie", type="start")
        self._rest_of(note, symbol, is_main, index)

    def _rest_of(
        self, note: ET.Element, symbol: Symbol, is_main: bool, index: int | None = None
    ) -> None:
        """Write what follows the duration, in the order of the schema."""
        if index is not None and self.part.is_drum:
            _add(note, "instrument", id=f"drum-{self.part.pitch[index]}")
        _add(note, "voice", self.voice)
        if symbol.type:
            _add(note, "type", symbol.type)
        for _ in range(symbol.dots):
            _add(note, "dot")
        if index is not None:
            accidental = self.shown.get((symbol.tick, index))
            if accidental:
                _add(note, "accidental", accidental)
        if symbol.in_triplet:
            ratio = _add(note, "time-modification")
            _add(ratio, "actual-notes", 3)
            _add(ratio, "normal-notes", 2)
        if index is not None:
            if self.stem and symbol.type not in ("whole", "breve"):
                _add(note, "stem", self.stem)
            if self.part.heads[index] != "normal":
                _add(note, "notehead", self.part.heads[index])
        if self.staff:
            _add(note, "staff", self.staff)
        if is_main:
            for number, beam in enumerate(symbol.beams, start=1):
                _add(note, "beam", beam, number=str(number))
        self._notations(note, symbol, is_main, index)

    def _notations(
        self, note: ET.Element, symbol: Symbol, is_main: bool, index: int | None
    ) -> None:
        found = ET.Element("notations")
        if index is not None and symbol.is_continued:
            _add(found, "tied", type="stop")
        if index is not None and symbol.continues:
            _add(found, "tied", type="start")
        if is_main and symbol.tuplet:
            _add(found, "tuplet", type=symbol.tuplet)
        if index in self.part.trills and not symbol.is_continued:
            _add(_add(found, "ornaments"), "trill-mark")
        if len(found):
            note.append(found)

    def _grace(self, index: int, symbol: Symbol) -> None:
        note = self._named_note(index, symbol)
        _add(note, "grace", slash="yes")
        self._pitch(note, index)
        _add(note, "voice", self.voice)
        _add(note, "type", "eighth")
        accidental = self.shown.get((symbol.tick, index))
        if accidental:
            _add(note, "accidental", accidental)
        if self.stem:
            _add(note, "stem", self.stem)
        if self.staff:
            _add(note, "staff", self.staff)

    def _pitch(self, note: ET.Element, index: int) -> None:
        name = self.part.names[index]
        prefix = "display-" if self.part.is_drum else ""
        pitch = _add(note, "unpitched" if self.part.is_drum else "pitch")
        _add(pitch, prefix + "step", name.step)
        if name.alter:
            _add(pitch, "alter", name.alter)
        _add(pitch, prefix + "octave", name.octave)

"""What a score holds; `mt3x.notation.notate` makes one of notes and beats."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mt3x.files import write_whole
from mt3x.music.beats import Beats
from mt3x.notation.meter import Bar
from mt3x.notation.musicxml import note_id, to_musicxml
from mt3x.notation.quantize import Pulses
from mt3x.notation.rhythm import Symbol
from mt3x.notation.spelling import Key, Spelled

__all__ = ["Part", "Score", "Staff"]

Target = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Staff:
    """A staff: its clef and its one or two voices, each a list of symbols a bar.

    A voice's bar is empty where the voice does not exist; the first voice's never is.
    """

    clef: str  # treble, bass, alto, percussion, treble8 and bass8 (an octave lower)
    voices: list[list[list[Symbol]]]


@dataclass(frozen=True)
class Part:
    """What one instrument plays.

    Attributes:
      name: of the instrument.
      program: General MIDI's.
      is_drum: whether pitches name drums.
      onset_s: of each note, when it was played.
      names: of each note, by the indices that chords hold; of drums, their places.
      heads: of each note.
      graces: by a note's index, the notes that grace it, first to last.
      trills: notes that are trilled.
      staves: one, or two with the right hand first.
      dynamics: ticks with their marks.
      pedal: K x 2 ticks at which the pedal goes down and up.
    """

    name: str
    program: int
    is_drum: bool
    onset_s: np.ndarray
    pitch: np.ndarray
    names: list[Spelled]
    heads: list[str]
    graces: Mapping[int, list[int]]
    trills: frozenset[int]
    staves: list[Staff]
    dynamics: list[tuple[int, str]]
    pedal: np.ndarray

    def symbols(self) -> Iterator[Symbol]:
        """Yield the symbols of all staves, voices and bars."""
        for staff in self.staves:
            for voice in staff.voices:
                for bar in voice:
                    yield from bar


@dataclass(frozen=True)
class Score:
    """A piece: what `mt3x.notation.musicxml` writes.

    Its ticks are counted from the first of its beats.
    """

    parts: list[Part]
    bars: list[Bar]
    key: Key
    beats: Beats
    title: str = ""

    @property
    def bpm(self) -> float:
        """Beats a minute, in the middle of all."""
        return self.beats.bpm

    def sounding_s(self) -> dict[str, tuple[float, float]]:
        """Return when the written notes sound: seconds by `note_id`.

        A note begins when it was played and ends where it is written to end. What is
        tied has an entry for each of its heads.
        """
        pulses, bounds = Pulses.of(self.beats), (self.bars[0].start, self.bars[-1].end)
        ticks = np.arange(bounds[0], bounds[1] + 1)
        at_s = pulses.seconds(ticks / pulses.ticks).tolist()
        seconds = dict(zip(ticks.tolist(), at_s, strict=True))
        found: dict[str, tuple[float, float]] = {}
        for number, part in enumerate(self.parts, start=1):
            onset_s = part.onset_s.tolist()
            for symbol in part.symbols():
                if symbol.chord is None:
                    continue
                end_s = seconds[symbol.end]
                for note in symbol.chord.notes:
                    start_s = onset_s[note]
                    if symbol.is_continued:
                        start_s = seconds[symbol.tick]
                    for grace in part.graces.get(note, ()):
                        name = note_id(number, grace, symbol.tick)
                        found[name] = onset_s[grace], start_s
                    name = note_id(number, note, symbol.tick)
                    found[name] = start_s, max(end_s, start_s)
        return found

    def to_musicxml(self, path: Target = None, overwrite: bool = False) -> bytes:
        """Return the score as MusicXML, and write it to `path` if there is one.

        Raises:
          OSError: the file exists already or cannot be written.
        """
        return _deliver(to_musicxml(self), path, overwrite)

    def to_svg(self, path: Target = None, overwrite: bool = False) -> bytes:
        """Return a picture of all pages, one below the other, or write it.

        Raises:
          ModuleNotFoundError: verovio is missing: `mt3x[score]`.
          OSError: as `to_musicxml`.
        """
        from mt3x.notation.engraving import to_svg

        return _deliver(to_svg(self.to_musicxml()), path, overwrite)

    def to_screens(self, width_px: int) -> list[str]:
        """Return pictures for a web page; see `mt3x.notation.engraving.draw_screens`.

        Raises:
          ModuleNotFoundError: verovio is missing: `mt3x[score]`.
        """
        from mt3x.notation.engraving import draw_screens

        return list(draw_screens(self.to_musicxml(), width_px))

    def to_pdf(self, path: Target = None, overwrite: bool = False) -> bytes:
        """Return a PDF file of A4 pages, or write it.

        Raises:
          ModuleNotFoundError: a library of `mt3x[score]` is missing.
          OSError: as `to_musicxml`.
        """
        from mt3x.notation.pdf import to_pdf

        return _deliver(to_pdf(self.to_musicxml()), path, overwrite)


def _deliver(data: bytes, path: Target, overwrite: bool) -> bytes:
    if path is not None:
        with write_whole(path, overwrite) as file:
            file.write(data)
    return data

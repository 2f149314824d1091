"""Pieces of data sets as their owners publish them, read one by one.

What is wrong with a piece is returned as `Problem`s: a stem or a piece that can not be
used is left out, never half read. Pitch bends have no effect on notes; they are
reported too (`MINOR` problems).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mido
import numpy as np

from mt3x.data.pieces import Piece, Stem
from mt3x.data.published.label_files import read_jams_notes, read_musicnet_notes
from mt3x.music.audio import audio_info, load_audio
from mt3x.music.notes import Notes

MINOR = ("pitch bends",)
"""Kinds of problems for which nothing is left out."""


class Problem(NamedTuple):
    """What is wrong with a piece."""

    kind: str
    what: str


class Loaded(NamedTuple):
    """A piece, or none where it can not be used, and what is wrong."""

    piece: Piece | None
    problems: list[Problem]


@dataclass(frozen=True)
class ReadOptions:
    """What is read of a piece."""

    sample_rate_hz: int = 16000
    stem_audio: bool = False  # read the audio of stems too
    midi_programs: bool = False  # Slakh: programs of the MIDI files, not of classes


@dataclass(frozen=True)
class Source(ABC):
    """One piece of a data set, not read yet."""

    id: str
    split: str

    def read(self, options: ReadOptions) -> Loaded:
        """Reads it; whatever is wrong is in the result."""
        problems: list[Problem] = []
        try:
            piece = self._read(options, problems)
        except (OSError, ValueError) as error:
            problems.append(Problem("unreadable", f"{self.id}: {error}"))
            return Loaded(None, problems)
        if not len(piece.notes):
            problems.append(Problem("no notes", f"{self.id}: there are no notes"))
            return Loaded(None, problems)
        return Loaded(piece, problems)

    @abstractmethod
    def _read(self, options: ReadOptions, problems: list[Problem]) -> Piece:
        """The piece; what is wrong with parts of it is added to `problems`."""


@dataclass(frozen=True)
class NotesSource(Source):
    """One audio file and one file of notes.

    MIDI keeps its programs and its sustain pedal; tables are MAPS's (.tsv), MusicNet's
    (.csv, times in samples at 44.1 kHz) and GuitarSet's (.jams, pitches rounded).
    """

    audio_path: str
    notes_path: str

    def _read(self, options: ReadOptions, problems: list[Problem]) -> Piece:
        path = Path(self.notes_path)
        readers: dict[str, Callable[[Path], Notes]] = {
            ".tsv": Notes.from_tsv,
            ".csv": read_musicnet_notes,
            ".jams": read_jams_notes,
        }
        if path.suffix in readers:
            notes = readers[path.suffix](path)
        else:
            notes = midi_notes(path, problems)
        rate_hz = options.sample_rate_hz
        return Piece(self.id, load_audio(self.audio_path, rate_hz), rate_hz, notes)


@dataclass(frozen=True)
class StemsSource(Source):
    """A folder with a mix and stems, each an audio file and notes of its own.

    Where a stem can not be used, the audio is the sum of the others; otherwise it is
    the mix's file.
    """

    folder: str

    def _read(self, options: ReadOptions, problems: list[Problem]) -> Piece:
        folder, rate_hz = Path(self.folder), options.sample_rate_hz
        parts, num_missing = self._parts(folder, options, problems)
        stems = []
        for path, stem in parts:
            try:
                if options.stem_audio:
                    samples_S = load_audio(path, rate_hz)
                    stem = Stem(**{**vars(stem), "samples_S": samples_S})
                else:
                    audio_info(path)
            except (OSError, ValueError) as error:
                problems.append(Problem("broken stem", f"{self.id}: {error}"))
                num_missing += 1
                continue
            stems.append((path, stem))
        if not stems:
            raise ValueError("none of its stems can be used")
        samples_S = None
        if not num_missing:
            try:
                samples_S = load_audio(self._mix(folder), rate_hz)
            except (OSError, ValueError) as error:
                problems.append(Problem("broken mix", f"{self.id}: {error}"))
        if samples_S is None:
            samples_S = mix_samples(
                load_audio(path, rate_hz) if stem.samples_S is None else stem.samples_S
                for path, stem in stems
            )
        notes = Notes.concatenate([stem.notes for _, stem in stems])
        return Piece(
            self.id, samples_S, rate_hz, notes, tuple(stem for _, stem in stems)
        )

    @abstractmethod
    def _mix(self, folder: Path) -> Path:
        """The mix's audio file."""

    @abstractmethod
    def _parts(
        self, folder: Path, options: ReadOptions, problems: list[Problem]
    ) -> tuple[list[tuple[Path, Stem]], int]:
        """Audio file and stem without audio of each part, and how many are left out."""


def mix_samples(parts: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of samples of several lengths, scaled down where it is louder than 1."""
    parts = list(parts)
    sum_S = np.zeros(max(map(len, parts)), np.float32)
    for samples_S in parts:
        sum_S[: len(samples_S)] += samples_S
    return sum_S / max(float(np.abs(sum_S).max(initial=0)), 1.0)


def midi_notes(path: Path, problems: list[Problem]) -> Notes:
    """The notes of a MIDI file; pitch bends are among the problems."""
    notes = Notes.from_midi(path)
    bends = sum(
        message.type == "pitchwheel" and message.pitch != 0
        for track in mido.MidiFile(path, clip=True).tracks
        for message in track
    )
    if bends:
        problems.append(Problem("pitch bends", f"{path}: {bends} have no effect"))
    return notes

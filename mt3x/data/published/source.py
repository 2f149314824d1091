"""Pieces of data sets as their owners publish them, read one by one.

What is wrong with a piece is returned as `Problem`s. A stem or a piece that cannot be
used is left out, never half read. Pitch bends have no effect on notes; they are
reported, too (`MINOR` problems).
"""

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mt3x.data.pieces import Piece, Stem, mix_samples
from mt3x.files import find_files, name_key
from mt3x.music.audio import audio_info, load_audio
from mt3x.music.midi import count_pitch_bends
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3")
MIDI_SUFFIXES = (".mid", ".midi")
MINOR = ("pitch bends",)
"""Kinds of problems for which nothing is left out."""


def load_whole(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Read a whole file as mono float32 samples_S: its labels tell of all of it.

    Raises:
      OSError, ValueError: as `load_audio`; the file is cut off.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* is cut off")
        try:
            return load_audio(path, sample_rate_hz)
        except UserWarning as warning:
            raise ValueError(str(warning)) from warning


class Problem(NamedTuple):
    """What is wrong with a piece."""

    kind: str
    what: str


class Loaded(NamedTuple):
    """A piece, or None where it cannot be used, and what is wrong."""

    piece: Piece | None
    problems: list[Problem]


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading: what is read of a piece."""

    sample_rate_hz: int = 16000
    stem_audio: bool = False  # read the audio of stems, too
    midi_programs: bool = False  # Slakh: programs of the MIDI files, not of classes


@dataclass(frozen=True)
class Source(ABC):
    """One piece of a data set, not read yet."""

    id: str
    split: str

    def read(self, options: ReadOptions) -> Loaded:
        """Read the piece; whatever is wrong is in the result."""
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
        """Return the piece; add what is wrong with parts of it to `problems`."""


@dataclass(frozen=True)
class NotesSource(Source):
    """A piece that is one audio file and one file of notes."""

    audio_path: Path | None  # None: there is no audio
    notes_path: Path
    reader: Callable[[Path], Notes] = read_notes
    info: Mapping[str, Any] = field(default_factory=dict)  # title, composer, ...

    def notes(self) -> Notes:
        """Read the notes; offsets hold the sustain pedal."""
        return self.reader(self.notes_path)

    def samples(self, sample_rate_hz: int) -> np.ndarray:
        """Read the audio as mono float32 samples_S.

        Raises:
          ValueError: there is no audio.
        """
        if self.audio_path is None:
            raise ValueError(f"{self.notes_path}: no audio beside it")
        return load_whole(self.audio_path, sample_rate_hz)

    def _read(self, options: ReadOptions, problems: list[Problem]) -> Piece:
        notes = self.notes()
        if self.notes_path.suffix.lower() in MIDI_SUFFIXES:
            problems += pitch_bends(self.notes_path)
        rate_hz = options.sample_rate_hz
        return Piece(self.id, self.samples(rate_hz), rate_hz, notes)


@dataclass(frozen=True)
class StemsSource(Source):
    """A folder with a mix and stems, each an audio file with its own notes.

    The audio of the piece is the mix's file. Where a stem cannot be used, it is the sum
    of the other stems.
    """

    folder: Path

    def _read(self, options: ReadOptions, problems: list[Problem]) -> Piece:
        rate_hz = options.sample_rate_hz
        parts, num_missing = self._parts(options, problems)
        stems = []
        for path, stem in parts:
            try:
                if options.stem_audio:
                    stem = replace(stem, samples_S=load_whole(path, rate_hz))
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
                samples_S = load_whole(self._mix(), rate_hz)
            except (OSError, ValueError) as error:
                problems.append(Problem("broken mix", f"{self.id}: {error}"))
        if samples_S is None:
            samples_S = mix_samples(
                load_whole(path, rate_hz) if stem.samples_S is None else stem.samples_S
                for path, stem in stems
            )
        notes = Notes.concatenate([stem.notes for _, stem in stems])
        return Piece(
            self.id, samples_S, rate_hz, notes, tuple(stem for _, stem in stems)
        )

    @abstractmethod
    def _mix(self) -> Path:
        """Return the path of the mix's audio file."""

    @abstractmethod
    def _parts(
        self, options: ReadOptions, problems: list[Problem]
    ) -> tuple[list[tuple[Path, Stem]], int]:
        """Return each part's audio file and stem, and how many parts are left out.

        The stems have no audio yet.
        """


def pitch_bends(path: Path) -> list[Problem]:
    """Return the problem that a MIDI file has pitch bends, if it has any."""
    bends = count_pitch_bends(path)
    if not bends:
        return []
    return [Problem("pitch bends", f"{path}: {bends} have no effect")]


def find_by_name(
    folder: Path, main: Sequence[str], beside: Sequence[str]
) -> list[tuple[Path, Path | None]]:
    """Return the files below a folder, each with the one of its name in its folder.

    Endings may be in upper case, and names in another form of Unicode.

    Args:
      folder: searched as by `find_files`.
      main: endings of the files to find.
      beside: endings of those that go with them; the first that is there is taken.

    Raises:
      OSError: a folder cannot be read.
    """
    paths = find_files(folder, {*main, *beside})
    by_name = {(_stem(path), path.suffix.lower()): path for path in reversed(paths)}
    found = []
    for path in paths:
        if path.suffix.lower() in main:
            others = [by_name.get((_stem(path), suffix)) for suffix in beside]
            found.append((path, next(filter(None, others), None)))
    return found


def _stem(path: Path) -> tuple[Path, str]:
    return path.parent, name_key(path.stem)


def unique_ids(sources: Sequence[NotesSource], folder: Path) -> list[NotesSource]:
    """Return the pieces; those that share an id get their path inside of the folder."""
    counts = Counter(source.id for source in sources)
    return [
        replace(source, id=path_id(source.notes_path, folder))
        if counts[source.id] > 1
        else source
        for source in sources
    ]


def path_id(path: Path, folder: Path) -> str:
    """Return the id of a piece: its path inside of a folder, without the ending."""
    return name_key(path.relative_to(folder).with_suffix("").as_posix())

"""MAPS (Emiya et al. 2010): pianos, two of them real, each with its labels."""

import os
from dataclasses import replace
from pathlib import Path

from mt3x.data.published.source import (
    AUDIO_SUFFIXES,
    MIDI_SUFFIXES,
    NotesSource,
    file_beside,
)


def read_maps(folder: str | os.PathLike[str]) -> list[NotesSource]:
    """Return the audio files below a folder with the .tsv or .mid labels beside them.

    A downloaded piano's folder has `ENSTDkCl/MUS/MAPS_MUS-*.wav` with `.mid`, or with a
    table of onset s, offset s with pedal, pitch, velocity, key-up s (`.tsv`). The table
    is preferred, as it holds the pedal by MAPS's own rule. The split is the name of the
    audio's folder.

    Raises:
      FileNotFoundError: there is no audio, or an audio file has no labels.
    """
    folder = Path(folder)
    pieces = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        notes_path = file_beside(path, (".tsv", *MIDI_SUFFIXES))
        if notes_path is None:
            raise FileNotFoundError(f"{path}: no .tsv or .mid labels beside it")
        pieces.append(NotesSource(path.stem, path.parent.name, path, notes_path))
    if not pieces:
        raise FileNotFoundError(f"{folder}: no audio files; expected a MAPS folder")
    return pieces


def find_maps(folder: Path) -> list[NotesSource]:
    """Return the pieces with the usual splits: two real pianos (ENSTDk*) are for tests.

    Raises:
      FileNotFoundError: as `read_maps`.
    """
    return [replace(piece, split=_split(piece.id)) for piece in read_maps(folder)]


def _split(id: str) -> str:
    piano = id.rpartition("_")[2]
    return "test" if piano.startswith("ENSTDk") else "train"

"""MAPS (Emiya et al. 2010): pianos, two of them real, each with its labels."""

import os
from dataclasses import replace
from pathlib import Path

from mt3x.data.published.source import (
    AUDIO_SUFFIXES,
    MIDI_SUFFIXES,
    NotesSource,
    find_by_name,
    unique_ids,
)
from mt3x.files import name_key


def read_maps(folder: str | os.PathLike[str]) -> list[NotesSource]:
    """Return the audio files below a folder with the .tsv or .mid labels beside them.

    A downloaded piano's folder has `ENSTDkCl/MUS/MAPS_MUS-*.wav` with `.mid`, or with a
    table of onset s, offset s with pedal, pitch, velocity, key-up s (`.tsv`). The table
    is preferred, as it holds the pedal by MAPS's own rule. The split is the name of the
    audio's folder. A recording whose labels are missing cannot be read.

    Raises:
      FileNotFoundError: there is no audio, or none has labels.
      OSError: a folder cannot be read.
    """
    folder = Path(folder)
    found = find_by_name(folder, AUDIO_SUFFIXES, (".tsv", *MIDI_SUFFIXES))
    if not found:
        raise FileNotFoundError(f"{folder}: no audio files; expected a MAPS folder")
    if not any(notes_path for _, notes_path in found):
        raise FileNotFoundError(f"{found[0][0]}: no .tsv or .mid labels beside it")
    pieces = [
        NotesSource(
            name_key(path.stem),
            path.parent.name,
            path,
            notes_path or path.with_name(f"{path.stem}.mid"),
        )
        for path, notes_path in found
    ]
    return unique_ids(pieces, folder)


def find_maps(folder: Path) -> list[NotesSource]:
    """Return the pieces with the usual splits: two real pianos (ENSTDk*) are for tests.

    Raises:
      FileNotFoundError: as `read_maps`.
    """
    return [replace(piece, split=_split(piece.id)) for piece in read_maps(folder)]


def _split(id: str) -> str:
    piano = id.rpartition("_")[2]
    return "test" if piano.startswith("ENSTDk") else "train"

"""Folders of MIDI files with audio files of the same names."""

import os
from pathlib import Path

from mt3x.data.published.source import (
    AUDIO_SUFFIXES,
    MIDI_SUFFIXES,
    NotesSource,
    find_by_name,
    path_id,
)


def find_pairs(folder: str | os.PathLike[str]) -> list[NotesSource]:
    """Return the MIDI files below a folder, each with its audio where there is one.

    The id of a piece is its path inside of the folder, without the ending.

    Raises:
      FileNotFoundError: there are no MIDI files.
      OSError: a folder cannot be read.
    """
    folder = Path(folder)
    pieces = [
        NotesSource(path_id(path, folder), "", audio_path, path)
        for path, audio_path in find_by_name(folder, MIDI_SUFFIXES, AUDIO_SUFFIXES)
    ]
    if not pieces:
        raise FileNotFoundError(f"{folder}: no .mid or .midi files in it")
    return pieces

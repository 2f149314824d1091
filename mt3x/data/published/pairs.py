"""Folders of MIDI files with audio files of the same names."""

import os
from pathlib import Path

from mt3x.data.published.source import (
    AUDIO_SUFFIXES,
    MIDI_SUFFIXES,
    NotesSource,
    file_beside,
)


def find_pairs(folder: str | os.PathLike[str]) -> list[NotesSource]:
    """Return the MIDI files below a folder, each with its audio where there is one.

    Raises:
      FileNotFoundError: there are no MIDI files.
    """
    folder = Path(folder)
    pieces = [
        NotesSource(path.stem, "", file_beside(path, AUDIO_SUFFIXES), path)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in MIDI_SUFFIXES
    ]
    if not pieces:
        raise FileNotFoundError(f"{folder}: no .mid or .midi files in it")
    return pieces

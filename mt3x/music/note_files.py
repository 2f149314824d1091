"""Files of notes, read by their ending.

MIDI (.mid, .midi), tables (.tsv, .txt: onset, offset, pitch, velocity, key-up, as the
MAPS labels, or also program and is_drum where the first line names them) and the .csv
and .json that `Notes` writes. The sustain pedal is in the offsets: CC64 of MIDI files
is applied as in MAESTRO (`mt3x.music.midi`), tables hold it in their offset column.
Without the pedal, notes end when their key is released: for tables that is the key-up
column, where they have one.
"""

import json
import os
from pathlib import Path

import numpy as np

from mt3x.music.label_files import naming, read_text
from mt3x.music.notes import Notes
from mt3x.music.performance import NO_PEDAL, Performance

__all__ = ["NOTE_SUFFIXES", "check_note_file", "read_notes", "read_performance"]

NOTE_SUFFIXES = (".mid", ".midi", ".tsv", ".txt", ".csv", ".json")
"""Endings of note files; in a folder, the first of one name is taken."""


def read_notes(path: str | os.PathLike[str], sustain_pedal: bool = True) -> Notes:
    """Read a note file of any kind, by its ending.

    Raises:
      OSError: the file cannot be opened.
      ValueError: not a note file, or a damaged one; the message names it.
    """
    path = Path(path)
    check_note_file(path)
    suffix = path.suffix.lower()
    if suffix in (".mid", ".midi"):
        return Notes.from_midi(path, sustain_pedal)
    if suffix == ".csv":
        return Notes.from_csv(path, key_up=not sustain_pedal)
    if suffix == ".json":
        return Notes.from_json(path, key_up=not sustain_pedal)
    return Notes.from_tsv(path, key_up=not sustain_pedal)


def read_performance(path: str | os.PathLike[str]) -> Performance:
    """Read key releases and the sustain pedal: of MIDI files and of JSON files.

    Tables have key releases alone, and JSON files without `pedal`, too.

    Raises:
      OSError, ValueError: as `read_notes`.
    """
    path = Path(path)
    keys, pedal_s = read_notes(path, sustain_pedal=False), NO_PEDAL
    if path.suffix.lower() in (".mid", ".midi"):
        from mt3x.music.midi import read_pedal

        pedal_s = read_pedal(path)
    elif path.suffix.lower() == ".json":
        _, text = read_text(path)
        with naming(path, "pedal is not a list of spans with down_s and up_s"):
            spans = json.loads(text).get("pedal", [])
            rows = [(float(span["down_s"]), float(span["up_s"])) for span in spans]
            return Performance(keys, np.array(rows).reshape(-1, 2))
    return Performance(keys, pedal_s)


def check_note_file(path: Path) -> None:
    """Raise ValueError where a file's ending is not one of `NOTE_SUFFIXES`."""
    if path.suffix.lower() not in NOTE_SUFFIXES:
        raise ValueError(
            f"{path} is not a note file; name one that ends in "
            f"{' '.join(NOTE_SUFFIXES)}"
        )

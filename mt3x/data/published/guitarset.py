"""GuitarSet (Xi et al. 2018): solo guitar, played along with lead sheets."""

import json
import re
from pathlib import Path

import numpy as np

from mt3x.data.published.source import NotesSource
from mt3x.files import find_files
from mt3x.music.label_files import naming, read_text
from mt3x.music.notes import Notes

GUITAR_PROGRAM = 24


def read_guitarset_notes(path: Path) -> Notes:
    """Read the notes of all six strings of a JAMS file; pitches are rounded.

    Raises:
      OSError, ValueError: there is no such file, or it is not one of GuitarSet.
    """
    _, text = read_text(path)
    with naming(path, "not a JAMS file of GuitarSet"):
        annotations = json.loads(text)["annotations"]
        rows = [
            (
                float(note["time"]),
                float(note["time"]) + float(note["duration"]),
                round(float(note["value"])),
            )
            for annotation in annotations
            if annotation["namespace"] == "note_midi"
            for note in annotation["data"]
        ]
        onset_s, offset_s, pitch = np.array(rows, float).reshape(-1, 3).T
        program = np.full(len(rows), GUITAR_PROGRAM)
        return Notes(onset_s, offset_s, pitch, program=program)


def find_guitarset(folder: Path) -> list[NotesSource]:
    """Return the pieces; as in MT3, third progressions are for validation.

    Files of other names than GuitarSet's cannot be read.

    Raises:
      OSError: a folder cannot be read.
    """
    pieces = []
    for notes_path in find_files(folder, {".jams"}):
        id = notes_path.stem  # 00_BN1-129-Eb_comp
        progression = re.fullmatch(r"\d+_[A-Za-z]+(\d)-.*", id)
        reader = read_guitarset_notes if progression else _refuse
        split = "validation" if progression and progression[1] == "3" else "train"
        audio_path = folder / "audio_mono-mic" / f"{id}_mic.wav"
        pieces.append(NotesSource(id, split, audio_path, notes_path, reader))
    return pieces


def _refuse(path: Path) -> Notes:
    raise ValueError(f"{path}: not the name of a file of GuitarSet")

"""Notes as MusicNet, GuitarSet and URMP publish them."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mt3x.music.notes import Notes

GUITAR_PROGRAM = 24


def read_musicnet_notes(path: Path) -> Notes:
    """A label file of MusicNet; instruments count General MIDI's programs from 1."""
    columns = ("start_time", "end_time", "note", "instrument")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        values = np.array([[int(row[name]) for name in columns] for row in rows])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a label file of MusicNet ({error})") from error
    if not len(rows):
        return Notes.empty()
    start, end, pitch, instrument = values.T
    return Notes(start / 44100, end / 44100, pitch, program=instrument - 1)


def read_jams_notes(path: Path) -> Notes:
    """The notes of all six strings of a JAMS file of GuitarSet, as MT3's guitar."""
    try:
        annotations = json.loads(path.read_text(encoding="utf-8"))["annotations"]
        rows = [
            (note["time"], note["time"] + note["duration"], round(note["value"]))
            for annotation in annotations
            if annotation["namespace"] == "note_midi"
            for note in annotation["data"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a JAMS file of GuitarSet ({error})") from error
    return played_by(_from_rows(rows), GUITAR_PROGRAM, False)


def read_urmp_notes(path: Path) -> Notes:
    """A note table of URMP: onset in s, frequency in Hz, duration in s."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            onset_s, frequency_hz, duration_s = map(float, line.split())
            pitch = round(69 + 12 * math.log2(frequency_hz / 440))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        rows.append((onset_s, onset_s + duration_s, pitch))
    return _from_rows(rows)


def played_by(notes: Notes, program: int, is_drum: bool) -> Notes:
    """The notes, all with one program."""
    number = len(notes)
    return Notes(
        *(notes.onset_s, notes.offset_s, notes.pitch, notes.velocity),
        *(np.full(number, program), np.full(number, is_drum)),
    )


def _from_rows(rows: Sequence[tuple[float, float, int]]) -> Notes:
    return Notes(*zip(*rows, strict=True)) if rows else Notes.empty()

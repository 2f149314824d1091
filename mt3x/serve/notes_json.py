"""Notes as the API sends and takes them, and what a client may send in JSON.

A note is `{"onset": 0.5, "offset": 1.0, "pitch": 60, "velocity": 80, "program": 0,
"drum": false, "confidence": 0.9}`: seconds, MIDI numbers, and how sure the model is (0
to 1, null where nobody knows). Times are exact, so that what is sent back unchanged is
the same.
"""

import json
import math
from typing import Any

import numpy as np

from mt3x.music.notes import Notes

__all__ = [
    "JsonError",
    "notes_from_json",
    "notes_to_json",
    "parse_json",
    "pedal_to_json",
]


class JsonError(ValueError):
    """What a client sent is not what was asked for."""


def notes_to_json(notes: Notes) -> list[dict[str, Any]]:
    """Return notes as JSON values."""
    columns = (
        notes.onset_s,
        notes.offset_s,
        notes.pitch,
        notes.velocity,
        notes.program,
        notes.is_drum,
    )
    names = ("onset", "offset", "pitch", "velocity", "program", "drum")
    sure = (None if math.isnan(x) else x for x in notes.confidence.tolist())
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {**dict(zip(names, row, strict=True)), "confidence": value}
        for row, value in zip(rows, sure, strict=True)
    ]


def pedal_to_json(pedal_s: np.ndarray | None) -> list[dict[str, float]] | None:
    """Return when the pedal goes down and up, K x 2 seconds, as JSON values."""
    if pedal_s is None:
        return None
    return [{"down": down_s, "up": up_s} for down_s, up_s in pedal_s.tolist()]


def notes_from_json(values: Any) -> Notes:
    """Return the notes that a client sent.

    Velocity, program, drum and confidence may be left out.

    Raises:
      JsonError: they are not a list of notes, or `Notes` refuses one.
    """
    if not isinstance(values, list) or not all(isinstance(x, dict) for x in values):
        raise JsonError("notes are not a list of objects: send [{...}, ...]")

    def numbers(name: str, usual: float | None = None) -> np.ndarray:
        column = [note.get(name, usual) for note in values]
        for n, value in enumerate(column):
            if not _is_number(value):
                raise JsonError(
                    f"{name} of note {n} is {json.dumps(value)[:40]}: give a number"
                )
        return np.array(column, np.float64)

    sure = [note.get("confidence") for note in values]
    if not all(value is None or _is_number(value) for value in sure):
        raise JsonError("confidence of a note is neither a number nor null")
    is_drum = [note.get("drum", False) for note in values]
    if not all(isinstance(value, bool) for value in is_drum):
        raise JsonError("drum of a note is not true or false")
    try:
        return Notes(
            numbers("onset"),
            numbers("offset"),
            numbers("pitch"),
            numbers("velocity", 100),
            numbers("program", 0),
            np.array(is_drum, bool),
            np.array(sure, np.float64),  # null is NaN
        )
    except ValueError as error:
        raise JsonError(str(error)) from error


def parse_json(data: bytes) -> Any:
    """Return what JSON says.

    Raises:
      JsonError: it is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"this is not JSON ({error})") from error


def _is_number(value: Any) -> bool:
    # Whole numbers of JSON can be too large for a float.
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and abs(value) < 1e15

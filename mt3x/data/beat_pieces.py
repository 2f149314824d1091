"""Pieces whose beats are known, in one file: what beat models are trained on."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mt3x.files import write_whole
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes

__all__ = ["BeatPiece", "read_pieces", "write_pieces"]

_NOTES = ("onset_s", "offset_s", "pitch", "velocity", "program", "is_drum")


@dataclass(frozen=True)
class BeatPiece:
    """Notes and beats of a piece."""

    name: str
    # Of a score, notes of length 0 are grace notes.
    notes: Notes
    beats: Beats
    # Whether times are those of a score, in an even tempo: it is yet to be performed.
    is_score: bool


def write_pieces(
    path: str | os.PathLike[str], pieces: Iterable[BeatPiece], overwrite: bool = False
) -> int:
    """Write pieces to an .npz file, whole or not at all; return how many.

    Raises:
      OSError: the file exists already or cannot be written.
    """
    with write_whole(path, overwrite) as file:
        pieces = list(pieces)
        columns: dict[str, Any] = {
            f"notes/{name}": _joined([getattr(p.notes, name) for p in pieces])
            for name in _NOTES
        }
        np.savez_compressed(
            file,
            name=np.array([piece.name for piece in pieces]),
            is_score=np.array([piece.is_score for piece in pieces], bool),
            meter=np.array(
                [
                    (p.beats.beats_per_bar, p.beats.beat_unit, p.beats.is_dotted)
                    for p in pieces
                ],
                int,
            ).reshape(-1, 3),
            num_notes=np.array([len(piece.notes) for piece in pieces], int),
            num_beats=np.array([len(piece.beats) for piece in pieces], int),
            time_s=_joined([piece.beats.time_s for piece in pieces]),
            position=_joined([piece.beats.position for piece in pieces]),
            **columns,
        )
    return len(pieces)


def read_pieces(path: str | os.PathLike[str]) -> list[BeatPiece]:
    """Read what `write_pieces` wrote.

    Raises:
      OSError: the file cannot be opened.
      ValueError: it is not such a file; names it.
    """
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in file.files}
        notes = _split(found, [f"notes/{name}" for name in _NOTES], "num_notes")
        beats = _split(found, ["time_s", "position"], "num_beats")
        return [
            BeatPiece(
                str(name),
                Notes(*columns),
                Beats(time_s, position, int(per_bar), int(unit), bool(is_dotted)),
                bool(is_score),
            )
            for name, is_score, (per_bar, unit, is_dotted), columns, (
                time_s,
                position,
            ) in zip(
                *(found["name"], found["is_score"], found["meter"], notes, beats),
                strict=True,
            )
        ]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not a file of pieces with beats ({error}); write one with "
            "`mt3x corpus beats`"
        ) from error


def _split(
    found: Mapping[str, np.ndarray], names: Sequence[str], counts: str
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the columns of each piece."""
    ends = np.cumsum(found[counts])[:-1]
    return zip(*(np.split(found[name], ends) for name in names), strict=True)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0)

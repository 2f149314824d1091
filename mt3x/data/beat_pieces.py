"""Pieces whose beats are known, in one file: what beat models are trained on."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mt3x.data.note_columns import join_notes, joined, split_columns, split_notes
from mt3x.files import write_whole
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes

__all__ = ["BeatPiece", "read_pieces", "write_pieces"]


@dataclass(frozen=True)
class BeatPiece:
    """Notes and beats of a piece."""

    name: str
    # Of its song or score, from 0, in the order of its folder; what cannot be read
    # counts. Sections of a score share it. What is held out goes by it.
    number: int
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
        np.savez_compressed(
            file,
            name=np.array([piece.name for piece in pieces]),
            number=np.array([piece.number for piece in pieces], int),
            is_score=np.array([piece.is_score for piece in pieces], bool),
            meter=np.array(
                [
                    (p.beats.beats_per_bar, p.beats.beat_unit, p.beats.is_dotted)
                    for p in pieces
                ],
                int,
            ).reshape(-1, 3),
            num_beats=np.array([len(piece.beats) for piece in pieces], int),
            time_s=joined([piece.beats.time_s for piece in pieces]),
            position=joined([piece.beats.position for piece in pieces]),
            **join_notes([piece.notes for piece in pieces]),
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
        beats = split_columns(found, ["time_s", "position"], "num_beats")
        return [
            BeatPiece(
                str(name),
                int(number),
                notes,
                Beats(time_s, position, int(per_bar), int(unit), bool(is_dotted)),
                bool(is_score),
            )
            for name, number, is_score, (per_bar, unit, is_dotted), notes, (
                time_s,
                position,
            ) in zip(
                *(
                    found["name"],
                    found["number"],
                    found["is_score"],
                    found["meter"],
                    split_notes(found),
                    beats,
                ),
                strict=True,
            )
        ]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not a file of pieces with beats ({error}); write one with "
            "`mt3x corpus beats`"
        ) from error

"""Notes of many pieces as columns of one .npz file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mt3x.music.notes import Notes

__all__ = ["join_notes", "joined", "split_columns", "split_notes"]

_NAMES = ("onset_s", "offset_s", "pitch", "velocity", "program", "is_drum")


def join_notes(pieces: Sequence[Notes]) -> dict[str, Any]:
    """Return the columns of all notes, and how many each piece has."""
    columns = {
        f"notes/{name}": joined([getattr(notes, name) for notes in pieces])
        for name in _NAMES
    }
    return {**columns, "num_notes": np.array([len(notes) for notes in pieces], int)}


def split_notes(found: Mapping[str, np.ndarray]) -> list[Notes]:
    """Return the notes of each piece.

    Raises:
      KeyError, ValueError: the columns are not those of `join_notes`.
    """
    names = [f"notes/{name}" for name in _NAMES]
    return [Notes(*part) for part in split_columns(found, names, "num_notes")]


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return one array after the other; without any, an empty one."""
    return np.concatenate(arrays) if arrays else np.zeros(0)


def split_columns(
    found: Mapping[str, np.ndarray], names: Sequence[str], counts: str
) -> list[tuple[np.ndarray, ...]]:
    """Return the named columns of each piece, by how many rows it has."""
    ends = np.cumsum(found[counts])[:-1]
    return list(zip(*(np.split(found[name], ends) for name in names), strict=True))

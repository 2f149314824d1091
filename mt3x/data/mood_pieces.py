"""Clips whose mood is known, in one file: what music is generated from."""

import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mt3x.data.note_columns import join_notes, split_notes
from mt3x.files import write_whole
from mt3x.music.notes import Notes

__all__ = ["SPLITS", "MoodPiece", "read_moods", "write_moods"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class MoodPiece:
    """A clip of some 30 s and its mood."""

    notes: Notes
    # -1..1, NaN where it is not known.
    valence: float
    arousal: float
    # What it is a clip of; all clips of a piece are in one split.
    piece: str
    source: str
    split: str  # of SPLITS


def write_moods(
    path: str | os.PathLike[str], clips: Iterable[MoodPiece], overwrite: bool = False
) -> int:
    """Write clips to an .npz file, whole or not at all; return how many.

    Raises:
      OSError: the file exists already or cannot be written.
    """
    with write_whole(path, overwrite) as file:
        clips = list(clips)
        np.savez_compressed(
            file,
            piece=np.array([clip.piece for clip in clips], str),
            split=np.array([clip.split for clip in clips], str),
            source=np.array([clip.source for clip in clips], str),
            valence=np.array([clip.valence for clip in clips], np.float32),
            arousal=np.array([clip.arousal for clip in clips], np.float32),
            **join_notes([clip.notes for clip in clips]),
        )
    return len(clips)


def read_moods(
    path: str | os.PathLike[str], split: str | None = None
) -> list[MoodPiece]:
    """Read the clips of a split, or of all, that `write_moods` wrote.

    Raises:
      OSError: the file cannot be opened.
      ValueError: it is not such a file, or has no clips in this split; names it.
    """
    try:
        # Opened here, so that it is closed where NumPy cannot read it.
        with open(path, "rb") as stream, np.load(stream) as file:
            found = {name: file[name] for name in file.files}
        names = ("valence", "arousal", "piece", "source", "split")
        rows = zip(*(found[name].tolist() for name in names), strict=True)
        clips = [
            MoodPiece(notes, *row)
            for notes, row in zip(split_notes(found), rows, strict=True)
        ]
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a file of clips with moods ({error}); write one with "
            "`mt3x corpus moods`"
        ) from error
    clips = [clip for clip in clips if split in (None, clip.split)]
    if not clips:
        raise ValueError(
            f"{path}: no clips{f' of the split {split!r}' if split else ''}; the "
            f"splits are {', '.join(SPLITS)}"
        )
    return clips

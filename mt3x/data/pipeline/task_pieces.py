"""Recordings with their notes, to validate on and to score, from SeqIO tasks."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from mt3x.data.clips import Clip, TaskPiece
from mt3x.data.pipeline.record_format import unpack_notes
from mt3x.data.pipeline.registry import find_task, reading

WHOLE = 2**30
"""More frames than a piece has."""


def task_clips(
    task: str,
    module: str,
    sample_rate_hz: int,
    hop_samples: int,
    clip_s: float,
    max_clips: int | None = None,
) -> list[Clip]:
    """Return the first `clip_s` seconds of each piece of an evaluation task.

    Args:
      task: such as `slakh_notes_ties_vb1_validation`.
      module: registers it when it is imported.
      sample_rate_hz: of the model's features.
      hop_samples: of the model's features; the task's frames must have as many.
      clip_s: notes that begin later are left out, and those that sound longer are cut.
      max_clips: how many pieces, from the first; None for all.

    Raises:
      ValueError: there is no such task, or it has no whole pieces.
      OSError: its records are missing.
    """
    num_frames = max(round(clip_s * sample_rate_hz / hop_samples), 1)
    pieces = task_pieces(task, module, hop_samples, num_frames)
    clips = []
    for piece in itertools.islice(pieces, max_clips):
        end_s = len(piece.samples_S) / sample_rate_hz
        clips.append((piece.samples_S, piece.notes.clip(-np.inf, end_s)))
    return clips


def task_pieces(
    task: str, module: str, hop_samples: int, num_frames: int = WHOLE
) -> Iterator[TaskPiece]:
    """Return the pieces of an evaluation task one at a time; of a mixture, by turns.

    Args:
      task, module, hop_samples: as for `task_clips`.
      num_frames: how much of each piece, from its beginning.

    Raises:
      ValueError: there is no such task, or it has no whole pieces.
      OSError: its records are missing; at once, not when pieces are asked for.
    """
    found: Any = find_task(task, module)
    parts = getattr(found, "tasks", [found])
    streams = [
        _pieces_of(part, hop_samples, num_frames)
        for part in sorted(parts, key=lambda part: part.name)
    ]
    firsts = [next(stream) for stream in streams]
    streams = [
        itertools.chain([first], stream)
        for first, stream in zip(firsts, streams, strict=True)
    ]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*streams))
    return (piece for piece in turns if piece is not None)


def _pieces_of(task: Any, hop_samples: int, num_frames: int) -> Iterator[TaskPiece]:
    wrong = ValueError(
        f"task {task.name} has no whole pieces in frames of {hop_samples} samples: "
        "name one for evaluation"
    )
    if "eval" not in task.splits:
        raise wrong
    dataset = task.get_dataset(
        sequence_length={"inputs": num_frames, "targets": 1},
        split="eval",
        shuffle=False,
    )
    segments = dataset.as_numpy_iterator()
    is_empty = True
    while True:
        with reading(task.name):
            segment = next(segments, None)
        if segment is None:
            break
        if "unique_id" not in segment or segment["inputs"].shape[1] != hop_samples:
            raise wrong
        is_empty = False
        if segment["first_frame"][0] == 0:
            yield TaskPiece(
                task.name,
                int(segment["unique_id"][0]),
                segment["id"][0].decode(),
                segment["inputs"].ravel(),
                unpack_notes(segment["notes"][0]),
            )
    if is_empty:
        raise wrong

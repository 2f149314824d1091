"""Recordings with their notes, to validate on: from a corpus or a SeqIO task."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mt3x.data.corpus import Corpus
from mt3x.music.notes import Notes

Clip = tuple[np.ndarray, Notes]
"""samples_S, float32 or int16, and the notes that begin in them."""

WHOLE = 2**30
"""More frames than a piece has."""


class TaskPiece(NamedTuple):
    """A recording of an evaluation task."""

    task: str
    number: int  # in the task, from 0
    id: str  # of its record
    samples_S: np.ndarray  # float32; zeros fill the last frame
    notes: Notes


def corpus_clips(
    folder: str, sample_rate_hz: int, clip_s: float, max_clips: int | None = None
) -> list[Clip]:
    """The first `clip_s` seconds of each piece of a corpus, at most `max_clips`.

    Notes that begin later are left out, and notes that sound on are cut there.
    """
    corpus = Corpus(folder)
    if corpus.sample_rate_hz != sample_rate_hz:
        raise ValueError(
            f"{folder}: {corpus.sample_rate_hz} Hz, but the features need "
            f"{sample_rate_hz} Hz; build the corpus at that rate"
        )
    count = len(corpus) if max_clips is None else min(max_clips, len(corpus))
    num_samples = round(clip_s * sample_rate_hz)
    return [
        _first(corpus.samples(i)[:num_samples], corpus.notes(i), sample_rate_hz)
        for i in range(count)
    ]


def task_clips(
    task: str,
    module: str,
    sample_rate_hz: int,
    hop_samples: int,
    clip_s: float,
    max_clips: int | None = None,
) -> list[Clip]:
    """The first `clip_s` seconds of each piece of an evaluation task.

    Args:
      task: such as `slakh_notes_ties_vb1_validation`.
      module: registers it when it is imported.
      sample_rate_hz: of the model's features.
      hop_samples: of the model's features; the task's frames must have as many.
      clip_s: notes that begin later are left out, and those that sound on are cut.
      max_clips: how many pieces, from the first; None for all.

    Raises:
      ValueError: there is no such task, or it is none of whole pieces.
      OSError: its records are missing.
    """
    num_frames = max(round(clip_s * sample_rate_hz / hop_samples), 1)
    pieces = task_pieces(task, module, hop_samples, num_frames)
    return [
        _first(piece.samples_S, piece.notes, sample_rate_hz)
        for piece in itertools.islice(pieces, max_clips)
    ]


def task_pieces(
    task: str, module: str, hop_samples: int, num_frames: int = WHOLE
) -> Iterator[TaskPiece]:
    """The pieces of an evaluation task, one at a time; of a mixture, by turns.

    Args:
      task, module, hop_samples: as for `task_clips`.
      num_frames: how much of each piece, from its beginning.

    Raises:
      ValueError: there is no such task, or it is none of whole pieces.
      OSError: its records are missing; at once, not when pieces are asked for.
    """
    from mt3x.data import pipeline

    found: Any = pipeline.find_task(task, module)
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
    from mt3x.data import pipeline
    from mt3x.data.pieces import unpack_notes

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
        with pipeline.reading(task.name):
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


def _first(samples_S: np.ndarray, notes: Notes, sample_rate_hz: int) -> Clip:
    """Return samples with the notes that begin in them, cut at their end."""
    return samples_S, notes.clip(-np.inf, len(samples_S) / sample_rate_hz)

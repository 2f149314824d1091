"""Recordings with their notes, to validate on: from a corpus or a SeqIO task."""

import numpy as np

from mt3x.corpus import Corpus
from mt3x.notes import Notes

Clip = tuple[np.ndarray, Notes]
"""samples_S, float32 or int16, and the notes that begin in them."""


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
        _cut(corpus.samples(i)[:num_samples], corpus.notes(i), sample_rate_hz)
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
    from mt3x import pipeline
    from mt3x.pieces import unpack_notes

    found = pipeline.find_task(task, module)
    num_frames = max(round(clip_s * sample_rate_hz / hop_samples), 1)
    wrong = ValueError(
        f"task {task} has no whole pieces in frames of {hop_samples} samples: name one "
        "for evaluation"
    )
    if "eval" not in found.splits:
        raise wrong
    dataset = found.get_dataset(
        sequence_length={"inputs": num_frames, "targets": 1},
        split="eval",
        shuffle=False,
    )
    clips: list[Clip] = []
    for segment in dataset.as_numpy_iterator():
        if "unique_id" not in segment or segment["inputs"].shape[1] != hop_samples:
            raise wrong
        if segment["first_frame"][0] == 0:
            notes = unpack_notes(segment["notes"][0])
            clips.append(_cut(segment["inputs"].ravel(), notes, sample_rate_hz))
        if len(clips) == max_clips:
            break
    if not clips:
        raise wrong
    return clips


def _cut(samples_S: np.ndarray, notes: Notes, sample_rate_hz: int) -> Clip:
    """The notes that begin in the samples, cut at their end."""
    end_s = len(samples_S) / sample_rate_hz
    notes = notes[notes.onset_s < end_s]
    cut = Notes(
        notes.onset_s,
        np.minimum(notes.offset_s, end_s),
        notes.pitch,
        notes.velocity,
        notes.program,
        notes.is_drum,
    )
    return samples_S, cut

"""Recordings with their notes, to validate on and to score."""

from typing import NamedTuple

import numpy as np

from mt3x.data.corpus import Corpus
from mt3x.music.notes import Notes

Clip = tuple[np.ndarray, Notes]
"""samples_S, float32 or int16, and the notes that begin in them."""


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
    """Return the first `clip_s` seconds of each piece of a corpus, at most `max_clips`.

    Notes that begin later are left out, and notes that sound longer are cut there.

    Raises:
      ValueError: the corpus has another sample rate.
    """
    corpus = Corpus(folder)
    if corpus.sample_rate_hz != sample_rate_hz:
        raise ValueError(
            f"{folder}: {corpus.sample_rate_hz} Hz, but the features need "
            f"{sample_rate_hz} Hz; build the corpus at that rate"
        )
    count = len(corpus) if max_clips is None else min(max_clips, len(corpus))
    num_samples = round(clip_s * sample_rate_hz)
    clips = []
    for index in range(count):
        samples_S = corpus.samples(index)[:num_samples]
        end_s = len(samples_S) / sample_rate_hz
        clips.append((samples_S, corpus.notes(index).clip(-np.inf, end_s)))
    return clips

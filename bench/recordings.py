"""Recordings with their notes, for the measurements in this folder."""

from pathlib import Path

import numpy as np

from mt3x.audio import load_audio
from mt3x.clips import corpus_clips
from mt3x.datasets import Recording, read_maps
from mt3x.evaluate import restrict
from mt3x.notes import Notes


def clips(
    folder: str, rate_hz: int, seconds: float, pieces: int | None = None
) -> list[tuple[np.ndarray, Notes]]:
    """Float samples_S and notes of the first seconds of each piece.

    The folder holds recordings with labels beside them, as MAPS has them, or is a
    corpus written by `mt3x corpus`.
    """
    if (Path(folder) / "index.json").is_file():
        found = corpus_clips(folder, rate_hz, seconds, pieces)
        return [(samples_S / np.float32(32768), notes) for samples_S, notes in found]
    return [_clip(piece, rate_hz, seconds) for piece in read_maps(folder)[:pieces]]


def _clip(
    recording: Recording, rate_hz: int, seconds: float
) -> tuple[np.ndarray, Notes]:
    samples_S = load_audio(recording.audio_path, rate_hz)[: int(seconds * rate_hz)]
    return samples_S, restrict(recording.notes(), 0.0, len(samples_S) / rate_hz)

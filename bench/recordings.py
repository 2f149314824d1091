"""Recordings with their notes, for the measurements in this folder."""

from pathlib import Path

import numpy as np

from mt3x.data.clips import corpus_clips
from mt3x.data.published.maps import read_maps
from mt3x.data.published.source import NotesSource
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes


def clips(
    folder: str, rate_hz: int, seconds: float, pieces: int | None = None
) -> list[tuple[np.ndarray, Notes]]:
    """Float samples_S and notes of the first seconds of each piece.

    The folder holds recordings with labels beside them, as MAPS has them, or is a
    corpus written by `mt3x corpus`.
    """
    recordings = maps_recordings(folder)
    if recordings:
        return [_clip(piece, rate_hz, seconds) for piece in recordings[:pieces]]
    found = corpus_clips(folder, rate_hz, seconds, pieces)
    return [(samples_S / np.float32(32768), notes) for samples_S, notes in found]


def maps_recordings(folder: str) -> list[NotesSource]:
    """The recordings of a folder as MAPS has them; none where it is a corpus."""
    return [] if (Path(folder) / "index.json").is_file() else read_maps(folder)


def held_by_pedal(recording: NotesSource, seconds: float) -> np.ndarray:
    """Which notes of the first seconds the pedal holds when their key is released."""
    notes, keys = (
        read_notes(recording.notes_path, pedal).clip(0.0, seconds)
        for pedal in (True, False)
    )
    assert np.array_equal(notes.onset_s, keys.onset_s), recording.id
    return notes.offset_s > keys.offset_s + 0.02


def _clip(
    recording: NotesSource, rate_hz: int, seconds: float
) -> tuple[np.ndarray, Notes]:
    samples_S = recording.samples(rate_hz)[: int(seconds * rate_hz)]
    return samples_S, recording.notes().clip(0.0, len(samples_S) / rate_hz)

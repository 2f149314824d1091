"""Pieces of several instruments, and transcriptions of them with mistakes."""

import numpy as np

from mt3x.music.notes import Notes

NUM_GOLDEN = 8


def piece(seed: int, num_notes: int = 80) -> tuple[Notes, Notes]:
    """Reference and estimate: lost, added, moved and cut notes, wrong programs."""
    rng = np.random.default_rng(seed)
    onset_s = np.sort(rng.uniform(0, 10, num_notes))
    is_drum = rng.random(num_notes) < 0.25
    programs = np.array([0, 1, 7, 33, 40, 42])
    ref = Notes(
        onset_s,
        onset_s + rng.choice([0.01, 0.03, 0.2, 1.0], num_notes) * rng.uniform(0.5, 2),
        rng.integers(60, 66, num_notes),
        rng.integers(1, 128, num_notes),
        np.where(is_drum, 0, rng.choice(programs, num_notes)),
        is_drum,
    )
    heard = rng.random(num_notes) < 0.85
    notes = ref[heard]
    count = len(notes)
    moved_s = notes.onset_s + rng.normal(0, 0.025, count).clip(-0.2, 0.2)
    moved_s = np.maximum(moved_s, 0)
    length_s = (notes.offset_s - notes.onset_s) * rng.uniform(0.7, 1.3, count)
    wrong = (rng.random(count) < 0.3) & ~notes.is_drum
    est = Notes(
        moved_s,
        moved_s + np.maximum(length_s, 0.01),
        np.where(rng.random(count) < 0.1, notes.pitch + 1, notes.pitch),
        (notes.velocity * 0.6 + rng.normal(30, 8, count)).clip(1, 127).astype(int),
        np.where(wrong, rng.choice(programs, count), notes.program),
        notes.is_drum,
    )
    return ref, est

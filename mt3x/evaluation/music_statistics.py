"""What notes are like, without saying what is good: compare with real music.

The first three are as muspy has them (Dong et al., ISMIR 2020).
"""

import numpy as np

from mt3x.music.notes import Notes

__all__ = ["STATISTICS", "music_statistics"]

STATISTICS = (
    "pitch range",
    "pitch classes",
    "polyphony",
    "notes a second",
    "velocity",
    "spread of velocities",
    "seconds a note",
)
_STEPS_HZ = 100  # in which polyphony is counted


def music_statistics(notes: Notes) -> np.ndarray:
    """Return `STATISTICS` of notes: semitones, counts, 1/s, velocities, seconds.

    Polyphony is the mean number of pitches that sound where any does. Drums have no
    say; all are NaN without notes.
    """
    notes = notes[~notes.is_drum]
    if not len(notes):
        return np.full(len(STATISTICS), np.nan)
    return np.array(
        (
            np.ptp(notes.pitch),
            len(np.unique(notes.pitch % 12)),
            _polyphony(notes),
            len(notes) / max(notes.offset_s.max() - notes.onset_s[0], 1 / _STEPS_HZ),
            notes.velocity.mean(),
            notes.velocity.std(),
            (notes.offset_s - notes.onset_s).mean(),
        )
    )


def _polyphony(notes: Notes) -> float:
    first = np.round(notes.onset_s * _STEPS_HZ).astype(int)
    last = np.round(notes.offset_s * _STEPS_HZ).astype(int)
    change_TxP = np.zeros((last.max() + 1 - first.min(), 128), int)
    np.add.at(change_TxP, (first - first.min(), notes.pitch), 1)
    np.add.at(change_TxP, (last - first.min(), notes.pitch), -1)
    sounding_T = (change_TxP.cumsum(axis=0) > 0).sum(axis=1)
    return float(sounding_T.sum() / max(np.count_nonzero(sounding_T), 1))

"""The key of a piece, by the weights of its pitch classes.

Each of the 24 keys has a profile, how well each pitch class fits it; the key is that
whose profile correlates best (Krumhansl 1990, Cognitive Foundations of Musical Pitch,
ch. 4). The profiles are Temperley's (The Cognition of Basic Musical Structures, 2001).
"""

import re

import numpy as np

from mt3x.music.notes import Notes

__all__ = ["TONICS", "estimate_key", "key_weights"]

_MAJOR = (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0)
_MINOR = (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0)
TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MINOR_NAMES = (
    *("Cm", "C#m", "Dm", "Ebm", "Em", "Fm", "F#m", "Gm", "G#m", "Am", "Bbm", "Bm"),
)
_LONGEST_S = 1.0  # of a note, so that held and pedalled ones do not outweigh all


def key_weights(key: str) -> np.ndarray:
    """Return how well each of the 12 pitch classes from C on fits a key: up to 5.

    Raises:
      ValueError: there is no such key; it is to be such as `Eb`, `F#` or `C#m`.
    """
    found = re.fullmatch("([A-G])([#b]?)(m?)", key.strip())
    if found is None:
        raise ValueError(f"key {key!r}: give one such as C, Eb, F# or C#m")
    letter, accidental, minor = found.groups()
    tonic = TONICS.index(letter) + {"": 0, "#": 1, "b": -1}[accidental]
    return np.roll(_MINOR if minor else _MAJOR, tonic)


def estimate_key(notes: Notes) -> str | None:
    """Return the key, such as `Eb` or `C#m`; None where no pitched notes are there."""
    notes = notes[~notes.is_drum]
    length_s = np.clip(notes.offset_s - notes.onset_s, 0.05, _LONGEST_S)
    weight_C = np.bincount(notes.pitch % 12, length_s, minlength=12)
    if not weight_C.any() or np.ptp(weight_C) == 0:
        return None
    scores = {
        names[tonic]: np.corrcoef(np.roll(profile, tonic), weight_C)[0, 1]
        for profile, names in ((_MAJOR, TONICS), (_MINOR, _MINOR_NAMES))
        for tonic in range(12)
    }
    return max(scores, key=lambda name: scores[name])

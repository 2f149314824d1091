"""The key of a piece and the names of its notes, found by partitura.

The key is that of Krumhansl and Schmuckler's profiles, names are those of Meredith's
ps13, "The ps13 pitch spelling algorithm", 2006; names that the key would write with
fewer accidentals win where ps13 leaves its signature behind by a whole octave of fifths.
"""

import warnings
from typing import NamedTuple

import numpy as np

__all__ = ["Key", "Spelled", "find_key", "spell"]

_STEPS = "CDEFGAB"
_SEMITONES = (0, 2, 4, 5, 7, 9, 11)
_FIFTHS_OF_STEP = {step: i - 1 for i, step in enumerate("FCGDAEB")}


class Key(NamedTuple):
    """A key signature: sharps, or flats below 0, and major or minor."""

    fifths: int = 0
    mode: str = "major"


class Spelled(NamedTuple):
    """A pitch with a name: C sharp 4 is ("C", 1, 4)."""

    step: str
    alter: int
    octave: int


def find_key(onset: np.ndarray, duration: np.ndarray, pitch: np.ndarray) -> Key:
    """Return the key of notes; C major where there are few."""
    if len(np.unique(pitch % 12)) < 3:
        return Key()
    with _partitura():
        from partitura.musicanalysis import estimate_key
        from partitura.utils import key_name_to_fifths_mode

        name = estimate_key(_note_array(onset, duration, pitch))
        fifths, mode = key_name_to_fifths_mode(name)
    fifths = int(fifths)
    # Six flats are kinder than seven sharps, and so on.
    if abs(fifths) > 6:
        fifths -= 12 * int(np.sign(fifths))
    return Key(fifths, mode)


def spell(
    onset: np.ndarray, duration: np.ndarray, pitch: np.ndarray, key: Key
) -> list[Spelled]:
    """Return the names of notes, which are sorted by onset."""
    if not len(pitch):
        return []
    with _partitura():
        from partitura.musicanalysis import estimate_spelling

        found = estimate_spelling(_note_array(onset, duration, pitch))
    names = [
        Spelled(str(step), int(alter), int(octave))
        for step, alter, octave in zip(
            found["step"], found["alter"], found["octave"], strict=True
        )
    ]
    return [
        _near_key(name, int(number), key)
        for name, number in zip(names, pitch, strict=True)
    ]


def fifths_of(name: Spelled) -> int:
    """Return a name's place on the line of fifths; C is 0, G 1, F -1."""
    return _FIFTHS_OF_STEP[name.step] + 7 * name.alter


def _near_key(name: Spelled, pitch: int, key: Key) -> Spelled:
    """Return a name that is at most seven fifths from the middle of the key's notes."""
    middle = key.fifths + 2
    place = fifths_of(name)
    if place - middle > 7:
        place -= 12
    elif middle - place > 7:
        place += 12
    else:
        return name
    step = "FCGDAEB"[(place + 1) % 7]
    alter = (place + 1) // 7
    semitone = _SEMITONES[_STEPS.index(step)] + alter
    return Spelled(step, alter, (pitch - semitone) // 12 - 1)


def _note_array(onset, duration, pitch) -> np.ndarray:
    notes = np.zeros(
        len(pitch),
        [("onset_quarter", "f8"), ("duration_quarter", "f8"), ("pitch", "i4")],
    )
    notes["onset_quarter"], notes["duration_quarter"] = onset, duration
    notes["pitch"] = pitch
    return notes


class _partitura(warnings.catch_warnings):
    """Keep partitura's warnings for its developers, and say how to install it."""

    def __enter__(self):
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        if isinstance(error, ModuleNotFoundError) and error.name == "partitura":
            raise ModuleNotFoundError(
                "scores need partitura: pip install 'mt3x[score]'", name="partitura"
            ) from error

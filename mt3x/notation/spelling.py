"""The names of notes: whether a pitch is C sharp or D flat.

Found by partitura with Meredith's ps13, "The ps13 pitch spelling algorithm", 2006. It
does not know the key: names far from it, by fifths, give way to the nearer ones.
"""

import warnings
from typing import NamedTuple

import numpy as np

__all__ = ["Key", "Spelled", "key_of", "spell"]

_STEPS = "CDEFGAB"
_SEMITONES = (0, 2, 4, 5, 7, 9, 11)
_FIFTHS_OF_STEP = {step: i - 1 for i, step in enumerate("FCGDAEB")}


class Key(NamedTuple):
    """A key signature: sharps, or flats below 0, and major or minor."""

    fifths: int = 0
    mode: str = "major"

    @property
    def name(self) -> str:
        """Its name, such as E flat minor."""
        place = self.fifths + (3 if self.mode == "minor" else 0)
        sign = (place + 1) // 7
        words = {-1: " flat", 1: " sharp"}
        return f"{'FCGDAEB'[(place + 1) % 7]}{words.get(sign, '')} {self.mode}"


class Spelled(NamedTuple):
    """A pitch with a name: C sharp 4 is ("C", 1, 4)."""

    step: str
    alter: int
    octave: int


def key_of(name: str | None) -> Key:
    """Return the signature of a key such as `Eb` or `C#m`; C major for None."""
    if name is None:
        return Key()
    is_minor = name.endswith("m")
    fifths = _FIFTHS_OF_STEP[name[0]] + 7 * (name.count("#") - name.count("b"))
    return Key(fifths - 3 * is_minor, "minor" if is_minor else "major")


def spell(onset: np.ndarray, pitch: np.ndarray, key: Key) -> list[Spelled]:
    """Return the names of notes, which are sorted by onset.

    Raises:
      ModuleNotFoundError: partitura is missing: `mt3x[score]`.
    """
    if not len(pitch):
        return []
    # partitura returns no name for one note alone.
    least = np.resize(np.arange(len(pitch)), max(len(pitch), 2))
    notes = np.zeros(len(least), [("onset_quarter", "f8"), ("pitch", "i4")])
    notes["onset_quarter"], notes["pitch"] = onset[least], pitch[least]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are for partitura's developers
        from partitura.musicanalysis import estimate_spelling

        found = estimate_spelling(notes)
    return [
        _near_key(Spelled(str(step), int(alter), int(octave)), int(number), key)
        for (step, alter, octave), number in zip(
            found.tolist()[: len(pitch)], pitch, strict=True
        )
    ]


def _fifths_of(name: Spelled) -> int:
    """Return a name's place on the line of fifths; C is 0, G 1, F -1."""
    return _FIFTHS_OF_STEP[name.step] + 7 * name.alter


def _near_key(name: Spelled, pitch: int, key: Key) -> Spelled:
    """Return a name that is at most seven fifths from the middle of the key's notes."""
    middle = key.fifths + 2
    place = _fifths_of(name)
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

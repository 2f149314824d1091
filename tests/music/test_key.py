"""Keys by pitch classes."""

import numpy as np
import pytest

from mt3x.music.key import estimate_key
from mt3x.music.notes import Notes

CADENCE = [0, 4, 7, 0, 5, 9, 0, 7, 11, 2, 0, 4, 7, 0, 0]
MINOR = [0, 3, 7, 0, 5, 8, 0, 7, 11, 2, 0, 3, 7, 0, 0]


def played(pitches):
    onset_s = np.arange(len(pitches)) * 0.5
    return Notes(onset_s, onset_s + 0.5, pitches)


@pytest.mark.parametrize(
    ("tonic", "expected"), [(60, "C"), (63, "Eb"), (66, "F#"), (70, "Bb")]
)
def test_a_cadence_has_its_key(tonic, expected):
    assert estimate_key(played(np.array(CADENCE) + tonic)) == expected


@pytest.mark.parametrize(("tonic", "expected"), [(60, "Cm"), (61, "C#m"), (69, "Am")])
def test_minor_cadences(tonic, expected):
    assert estimate_key(played(np.array(MINOR) + tonic)) == expected


def test_no_pitched_notes_have_no_key():
    assert estimate_key(Notes.empty()) is None
    drums = Notes([0.0], [0.1], [38], is_drum=[True])
    assert estimate_key(drums) is None
    assert estimate_key(played(np.arange(60, 72))) is None

"""Keys by pitch classes."""

import numpy as np
import pytest

from mt3x.music.key import estimate_key, key_weights
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


@pytest.mark.parametrize("key", ["C", "Eb", "F#", "C#m", "Bbm"])
def test_the_weights_of_a_key_tell_its_scale(key):
    weight_C = key_weights(key)
    assert len(weight_C) == 12 and weight_C.max() == 5
    assert (
        estimate_key(played(60 + np.repeat(np.arange(12), (2 * weight_C).astype(int))))
        == key
    )


def test_other_names_of_a_key():
    assert key_weights("A#").tolist() == key_weights("Bb").tolist()
    for name in ("H", "", "c", "Cb#", "C minor"):
        with pytest.raises(ValueError, match="give one such as C, Eb, F# or C#m"):
            key_weights(name)

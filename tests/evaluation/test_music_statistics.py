"""Statistics of music: by hand, and as muspy has them."""

from pathlib import Path

import numpy as np
import pytest

from mt3x.evaluation.music_statistics import STATISTICS, music_statistics
from mt3x.music.notes import Notes

DATA = Path(__file__).parents[1] / "data"


def test_by_hand():
    # C and E together for a second, rest, C and its octave overlapping by half.
    notes = Notes([0, 0, 2, 2.5], [1, 1, 3, 3.5], [60, 64, 60, 72], [50, 70, 60, 60])
    drum = Notes([0], [9], [36], is_drum=[True])
    expected = {
        "pitch range": 12,
        "pitch classes": 2,
        "polyphony": (1 * 2 + 0.5 * 1 + 0.5 * 2 + 0.5 * 1) / 2.5,
        "notes a second": 4 / 3.5,
        "velocity": 60,
        "spread of velocities": np.std([50, 70, 60, 60]),
        "seconds a note": 1,
    }
    found = music_statistics(Notes.concatenate([notes, drum]))
    assert dict(zip(STATISTICS, found, strict=True)) == pytest.approx(expected)


def test_a_pitch_that_is_held_twice_sounds_once():
    notes = Notes([0, 0.5], [2, 1.5], [60, 60])
    assert music_statistics(notes)[2] == 1


@pytest.mark.parametrize("notes", [Notes.empty(), Notes([0], [1], [36], is_drum=[1])])
def test_no_notes_have_none(notes):
    assert np.isnan(music_statistics(notes)).all()


@pytest.mark.parametrize("name", ["prelude", "lied_minor", "lied_major"])
def test_as_muspy_has_them(name):
    muspy = pytest.importorskip("muspy")
    notes = Notes.from_midi(DATA / f"{name}.mid")
    onset, offset = (
        np.round(100 * time_s).astype(int) for time_s in (notes.onset_s, notes.offset_s)
    )
    track = muspy.Track(
        notes=[
            muspy.Note(time=int(start), duration=int(end - start), pitch=int(pitch))
            for start, end, pitch in zip(onset, offset, notes.pitch, strict=True)
        ]
    )
    music = muspy.Music(resolution=100, tracks=[track])
    expected = (
        muspy.pitch_range(music),
        muspy.n_pitch_classes_used(music),
        muspy.polyphony(music),
    )
    assert music_statistics(notes)[:3] == pytest.approx(expected)

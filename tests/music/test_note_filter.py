"""Notes that are left out."""

import numpy as np
import pytest

from mt3x.music.note_filter import NoteFilter, without_stutter
from mt3x.music.notes import Notes

NOTES = Notes(
    [0, 1, 2, 3],
    [0.05, 2, 3, 3.01],
    [60, 30, 90, 36],
    [100, 50, 20, 40],
    is_drum=[False, False, False, True],
    confidence=[0.1, 0.2, 0.3, 0.4],
)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"min_duration_s": 0.05}, [0, 1, 2, 3]),
        ({"min_duration_s": 0.051}, [1, 2, 3]),
        ({"lowest": 60, "highest": 90}, [0, 2, 3]),
        ({"highest": 60}, [0, 1, 3]),
        ({"min_velocity": 41}, [0, 1]),
    ],
)
def test_notes_are_kept(options, kept):
    assert NoteFilter(**options)(NOTES).equals(NOTES[np.array(kept)])


def test_a_range_without_a_pitch_is_refused():
    with pytest.raises(ValueError, match="the lowest pitch, 70, is above the highest"):
        NoteFilter(lowest=70, highest=60)
    assert len(NoteFilter()(Notes.empty())) == 0


def test_notes_that_begin_again_too_soon_prolong_the_one_before():
    notes = Notes(
        [0, 0.03, 0.06, 1, 1.04, 1.04, 2, 2],
        [0.01, 0.05, 0.5, 1.5, 1.2, 1.2, 2.01, 2.02],
        [60, 60, 60, 60, 60, 61, 36, 36],
        program=[0, 0, 0, 0, 0, 0, 0, 1],
    )
    found = without_stutter(notes, 0.05)
    assert found.onset_s.tolist() == [0, 0.06, 1, 1.04, 2, 2]
    assert found.offset_s.tolist() == [0.05, 0.5, 1.5, 1.2, 2.01, 2.02]
    assert found.pitch.tolist() == [60, 60, 60, 61, 36, 36]
    assert without_stutter(notes, 0) is notes
    assert len(without_stutter(Notes.empty(), 0.05)) == 0

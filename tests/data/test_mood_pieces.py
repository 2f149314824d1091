"""Files of clips with moods."""

import numpy as np
import pytest

from mt3x.data.mood_pieces import MoodPiece, read_moods, write_moods
from mt3x.music.notes import Notes

NOTES = Notes([0.1, 0.3], [0.2, 0.9], [60, 64], [70, 90])
CLIPS = [
    MoodPiece(NOTES, 0.5, -0.25, "a/1", "a", "train"),
    MoodPiece(Notes.empty(), np.nan, np.nan, "a/2", "a", "test"),
    MoodPiece(NOTES.shift(1), -1, 1, "b/é", "b", "train"),
]


def test_reads_what_was_written(tmp_path):
    path = tmp_path / "a.npz"
    assert write_moods(path, CLIPS) == 3
    for read, clip in zip(read_moods(path), CLIPS, strict=True):
        assert read.notes.equals(clip.notes)
        np.testing.assert_equal(read.valence, clip.valence)
        np.testing.assert_equal(read.arousal, clip.arousal)
        assert (read.piece, read.source) == (clip.piece, clip.source)
    assert [clip.piece for clip in read_moods(path, "train")] == ["a/1", "b/é"]


def test_a_split_without_clips_is_an_error(tmp_path):
    write_moods(tmp_path / "a.npz", CLIPS)
    with pytest.raises(ValueError, match=r"a\.npz: no clips of the split 'validation'"):
        read_moods(tmp_path / "a.npz", "validation")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4 cut off"])
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz: .*mt3x corpus moods"):
        read_moods(tmp_path / "a.npz")


def test_other_npz_files_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", beats=np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.npz: .*mt3x corpus moods"):
        read_moods(tmp_path / "a.npz")

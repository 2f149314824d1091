"""Folders of MIDI files and audio."""

import pytest
from toy_data_sets import write_tone

from mt3x.data.published.pairs import find_pairs
from mt3x.music.notes import Notes

NOTES = Notes([0.1, 0.5], [0.4, 0.9], [60, 64], [80, 50])


def test_pairs(tmp_path):
    with pytest.raises(FileNotFoundError, match="no \\.mid"):
        find_pairs(tmp_path)
    NOTES.to_midi(tmp_path / "a.mid")
    NOTES.to_midi(tmp_path / "b.mid")
    write_tone(tmp_path / "b.flac")
    a, b = find_pairs(tmp_path)
    assert a.audio_path is None and b.audio_path == tmp_path / "b.flac"

"""Folders of MIDI files and audio."""

import os
import unicodedata

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


def test_a_name_may_be_in_several_folders(tmp_path):
    for folder in ("1", "2"):
        write_tone(tmp_path / folder / "take.wav")
        NOTES.to_midi(tmp_path / folder / "take.mid")
    pieces = find_pairs(tmp_path)
    assert [piece.id for piece in pieces] == ["1/take", "2/take"]
    assert [piece.audio_path for piece in pieces] == [
        tmp_path / folder / "take.wav" for folder in ("1", "2")
    ]


def test_endings_in_upper_case_and_other_forms_of_unicode_pair(tmp_path):
    composed, taken_apart = (
        unicodedata.normalize(form, "Étude No. 1") for form in ("NFC", "NFD")
    )
    NOTES.to_midi(tmp_path / f"{composed}.MID")
    write_tone(tmp_path / f"{taken_apart}.wav")
    os.rename(tmp_path / f"{taken_apart}.wav", tmp_path / f"{taken_apart}.WAV")
    (piece,) = find_pairs(tmp_path)
    assert piece.id == composed
    assert piece.audio_path == tmp_path / f"{taken_apart}.WAV"


def test_companions_of_a_mac_are_no_pieces(tmp_path):
    NOTES.to_midi(tmp_path / "a.mid")
    write_tone(tmp_path / "a.wav")
    for name in ("._a.mid", "._a.wav"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (piece,) = find_pairs(tmp_path)
    assert piece.audio_path == tmp_path / "a.wav"

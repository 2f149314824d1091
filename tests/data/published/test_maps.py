"""MAPS as it is downloaded: audio beside its labels."""

import pytest
from toy_data_sets import write_tone

from mt3x.data.published.maps import read_maps
from mt3x.data.published.source import ReadOptions
from mt3x.music.notes import Notes

NOTES = Notes([0.1, 0.5], [0.4, 0.9], [60, 64], [80, 50])


def test_maps(tmp_path):
    """The table is preferred; its second column holds the pedal."""
    write_tone(tmp_path / "train" / "MAPS_MUS-a.b_C.flac")
    (tmp_path / "train" / "MAPS_MUS-a.b_C.tsv").write_text(
        "# onset offset note velocity keyup\n0.1\t0.8\t60\t70\t0.3\n"
    )
    NOTES.to_midi(tmp_path / "train" / "MAPS_MUS-a.b_C.mid")
    write_tone(tmp_path / "valid" / "d.wav")
    NOTES.to_midi(tmp_path / "valid" / "d.mid")
    recordings = read_maps(tmp_path)
    assert [(r.id, r.split) for r in recordings] == [
        ("MAPS_MUS-a.b_C", "train"),
        ("d", "valid"),
    ]
    assert recordings[0].notes().equals(Notes([0.1], [0.8], [60], [70]))
    assert len(recordings[1].notes()) == 2


def test_maps_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no audio files"):
        read_maps(tmp_path)
    write_tone(tmp_path / "a.wav")
    with pytest.raises(FileNotFoundError, match=r"a\.wav: no \.tsv or \.mid"):
        read_maps(tmp_path)


def test_missing_labels_do_not_stop_the_rest(tmp_path):
    for folder in ("1", "2"):
        write_tone(tmp_path / folder / "a.wav")
    NOTES.to_midi(tmp_path / "1" / "a.mid")
    pieces = read_maps(tmp_path)
    assert [piece.id for piece in pieces] == ["1/a", "2/a"]
    assert [piece.read(ReadOptions()).piece is None for piece in pieces] == [
        *(False, True)
    ]

"""Songs and grooves as they lie in folders."""

import numpy as np
import pytest
from toy_songs import (
    BEAT_S,
    groove_notes,
    lead_tracks,
    write_groove,
    write_lead_sheet,
)

from mt3x.data.synthesis.songs import (
    find_beats,
    find_grooves,
    find_songs,
    groove_bpm,
    nearest_groove,
    read_groove,
    read_lead_sheet,
)
from mt3x.music.midi import read_beats
from mt3x.music.notes import Notes


def test_equal_files_are_one_song_and_versions_are_left_out(tmp_path):
    write_lead_sheet(tmp_path / "001" / "001.mid")
    write_lead_sheet(tmp_path / "002" / "002.mid")  # the same
    write_lead_sheet(tmp_path / "003" / "003.mid", lead_tracks(4))
    write_lead_sheet(tmp_path / "003" / "versions" / "003-v1.mid", lead_tracks(5))
    songs = find_songs(tmp_path, is_lead=True)
    assert [song.name for song in songs] == ["001/001.mid", "003/003.mid"]
    assert len(find_songs(tmp_path, is_lead=False)) == 3


def test_folders_without_songs(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_songs(tmp_path / "none", is_lead=False)
    with pytest.raises(FileNotFoundError, match="no MIDI files"):
        find_songs(tmp_path, is_lead=False)
    write_lead_sheet(tmp_path / "a.mid")
    with pytest.raises(FileNotFoundError, match="no grooves; names such as"):
        find_grooves(tmp_path)


@pytest.mark.parametrize("beats", [True, False])
def test_a_lead_sheets_tracks_and_beats(tmp_path, beats):
    path = tmp_path / "001" / "001.mid"
    write_lead_sheet(path, beats=beats, late_s=0.0625)
    lead = read_lead_sheet(find_songs(tmp_path, is_lead=True)[0])
    tracks = lead_tracks(late_s=0.0625)
    for name in ("melody", "bridge", "piano"):
        read, written = getattr(lead, name), tracks[name.upper()]
        np.testing.assert_array_equal(read.pitch, written.pitch)
        np.testing.assert_allclose(read.onset_s, written.onset_s, atol=1e-3)
    assert lead.bpm == pytest.approx(120, abs=0.01)
    np.testing.assert_allclose(
        lead.beats_s[:8], 0.0625 + BEAT_S * np.arange(8), atol=1e-3
    )
    assert lead.bars[:3].tolist() == [0, 4, 8]


@pytest.mark.parametrize("late_s", [0.05, 0.3])  # half a beat is 0.25 s
def test_beats_are_found_where_the_bar_begins_later(tmp_path, late_s):
    path = tmp_path / "a.mid"
    write_lead_sheet(path, beats=False, late_s=0.5 + late_s)
    piano = lead_tracks(late_s=0.5 + late_s)["PIANO"]
    beats_s, bars = find_beats(piano, read_beats(path))
    np.testing.assert_allclose(beats_s[:4], late_s + 0.5 * np.arange(4), atol=1e-3)
    assert bars[:2].tolist() == [1, 5]


def test_what_is_no_lead_sheet(tmp_path):
    empty = {"MELODY": Notes.empty(), "PIANO": Notes.empty()}
    write_lead_sheet(tmp_path / "short" / "a.mid", empty, beats=False)
    with pytest.raises(ValueError, match=r"a\.mid: too short to have beats"):
        read_lead_sheet(find_songs(tmp_path / "short", is_lead=True)[0])
    Notes([0], [1], [60]).to_midi(tmp_path / "a.mid")
    with pytest.raises(ValueError, match=r"a\.mid: no track MELODY.*--midi"):
        read_lead_sheet(find_songs(tmp_path, is_lead=True)[0])
    write_lead_sheet(tmp_path / "001" / "b.mid")
    (tmp_path / "001" / "beat_midi.txt").write_text("1.0 0 0\n0.5 0 0\n")
    with pytest.raises(ValueError, match=r"beat_midi\.txt: rows of a rising time"):
        read_lead_sheet(find_songs(tmp_path / "001", is_lead=True)[0])
    (tmp_path / "001" / "beat_midi.txt").write_text("one two three\n")
    with pytest.raises(ValueError, match=r"beat_midi\.txt: not a table"):
        read_lead_sheet(find_songs(tmp_path / "001", is_lead=True)[0])


def test_grooves(tmp_path):
    names = (
        *("1_funk-groove1_138_beat_4-4", "2_rock_95_beat_4-4", "3_jazz_99_beat_4-4"),
        *("4_rock_95_fill_4-4", "5_jazz_95_beat_5-4", "notes"),
    )
    for number, name in enumerate(names):
        write_groove(tmp_path / "drummer1" / f"{name}.mid", num_bars=8 + number)
    grooves = find_grooves(tmp_path)
    assert [groove_bpm(groove) for groove in grooves] == [138, 95, 99]
    rng = np.random.default_rng(0)
    near = {nearest_groove(grooves, 100, rng) for _ in range(20)}
    assert near == set(grooves[1:])
    assert groove_bpm(nearest_groove(grooves, 300, rng)) == 138
    groove = read_groove(grooves[1])
    assert groove.bpm == 95 and len(groove.notes) >= len(groove_notes())

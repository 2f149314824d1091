"""Piano music with moods: labelled clips, EMOPIA, VGMIDI, any MIDI."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mt3x.cli.corpus import command
from mt3x.data.mood_pieces import SPLITS, MoodPiece, read_moods, write_moods
from mt3x.data.published.mood_sources import read_folder
from mt3x.music.notes import Notes


def fail(message):
    raise AssertionError(message)


def music(seconds, step_s=0.5, program=0):
    onset_s = np.arange(0, seconds, step_s)
    pitch = np.resize([60, 64, 67, 72], len(onset_s))
    return Notes(onset_s, onset_s + step_s, pitch, program=np.full(len(pitch), program))


def write_labels(folder, split="valid", valence="-0.4"):
    music(30).to_midi(folder / "a.mid")
    (folder / "labels.csv").write_text(
        "file,source,piece,split,valence,arousal\n"
        f"a.mid,pop,pop/7,{split},{valence},0.9\n"
    )


def test_labelled_clips_are_taken_whole(tmp_path):
    write_labels(tmp_path)
    (clip,) = read_folder(tmp_path, fail)
    assert (clip.valence, clip.arousal, clip.piece) == (-0.4, 0.9, "pop/7")
    assert (clip.source, clip.split) == ("pop", "validation")
    assert len(clip.notes) == 60


@pytest.mark.parametrize("change", [{"split": "holdout"}, {"valence": "high"}])
def test_damaged_labels_name_their_line(tmp_path, change):
    write_labels(tmp_path, **change)
    with pytest.raises(ValueError, match=r"labels\.csv, line 2: .*(holdout|high)"):
        read_folder(tmp_path, fail)


def test_emopia_has_quadrants_in_its_names(tmp_path):
    (tmp_path / "midis").mkdir()
    for name in ("Q2_vid_eo-1_0", "Q4_vid_eo-1_3", "Q3_other_0"):
        music(20).to_midi(tmp_path / "midis" / f"{name}.mid")
    clips = read_folder(tmp_path, fail)
    assert [(c.valence, c.arousal) for c in clips] == [(-1, 1), (-1, -1), (1, -1)]
    pieces = [clip.piece for clip in clips]
    assert pieces == ["EMOPIA/vid_eo-1", "EMOPIA/other", "EMOPIA/vid_eo-1"]
    assert clips[0].split == clips[2].split


def test_vgmidi_clips_have_the_mean_of_raters_and_bars(tmp_path):
    (tmp_path / "labelled/midi").mkdir(parents=True)
    (tmp_path / "labelled/annotations").mkdir()
    music(60).to_midi(tmp_path / "labelled/midi/Series_N64_Game_Song.mid")
    rating = {"valence": [0.0] * 15 + [0.5] * 15, "arousal": [0.2] * 15 + [0.8] * 15}
    other = {"valence": [0.2] * 15 + [0.5] * 15, "arousal": [0.4] * 15 + [-0.8] * 15}
    table = {
        "pieces": {
            "piece1": {
                "midi": "Series_N64_Game_Song.mid",
                "duration": 60,
                "measures": 30,
            }
        },
        "annotations": {
            "piece1_1": rating,
            "piece1_2": other,
            "piece1_3": {"valence": [1.0], "arousal": [1.0]},  # broken off
            "piece11_1": {"valence": [1.0] * 30, "arousal": [1.0] * 30},
        },
    }
    path = tmp_path / "labelled/annotations/vgmidi_raw_1.json"
    path.write_text(json.dumps(table))
    clips = read_folder(tmp_path, fail)
    np.testing.assert_allclose(
        [(c.valence, c.arousal) for c in clips], [(0.1, 0.3), (0.5, 0.0)], atol=1e-9
    )
    assert {clip.piece for clip in clips} == {"VGMIDI/Series_N64_Game_Song"}
    assert [clip.notes.onset_s[0] for clip in clips] == [0, 0]


def test_unlabelled_midi_is_ranked(tmp_path):
    folder = tmp_path / "songs"
    (folder / "b").mkdir(parents=True)
    music(95, 0.25, program=40).to_midi(folder / "fast.mid")
    music(20, 0.5).to_midi(folder / "b/slow.mid")
    music(3).to_midi(folder / "short.mid")
    clips = read_folder(folder, fail)
    assert [clip.piece for clip in clips] == ["songs/b/slow", *["songs/fast"] * 3]
    assert [clip.arousal for clip in clips] == pytest.approx([-0.75, 0.25, 0.25, 0.25])
    assert all(clip.notes.offset_s.max() <= 30 for clip in clips)
    assert {program for clip in clips for program in clip.notes.program} == {0}


def test_songs_with_a_folder_of_their_own_have_one_version(tmp_path):
    folder = tmp_path / "POP"
    for name in ("001/001", "001/versions/001-v1", "001/other", "solo"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        music(20).to_midi(folder / f"{name}.mid")
    pieces = [clip.piece for clip in read_folder(folder, fail)]
    assert pieces == ["POP/001", "POP/solo"]


def test_pieces_are_drawn_into_splits(tmp_path):
    (tmp_path / "songs").mkdir()  # its name is part of the draw
    for number in range(40):
        music(20).to_midi(tmp_path / f"songs/{number}.mid")
    splits = [clip.split for clip in read_folder(tmp_path / "songs", fail)]
    assert splits.count("train") > 20 and {"validation", "test"} < set(splits)


def run(*args):
    return CliRunner().invoke(command, ["moods", *map(str, args)])


def test_the_command_joins_folders_and_tells_what_it_left_out(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        music(20).to_midi(tmp_path / name / "x.mid")
    (tmp_path / "b/broken.mid").write_bytes(b"MThd")
    out = tmp_path / "out.npz"
    result = run(tmp_path / "a", tmp_path / "b", out)
    assert result.exit_code == 0, result.output
    assert "left out" in result.output and "broken.mid" in result.output
    assert [clip.piece for clip in read_moods(out)] == ["a/x", "b/x"]
    assert run(tmp_path / "a", tmp_path / "b", tmp_path / "2.npz", "--strict").exit_code


@pytest.mark.parametrize("split", SPLITS)
def test_the_command_takes_splits_from_other_clips(tmp_path, split):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in "xy":
            music(20).to_midi(tmp_path / folder / f"{name}.mid")
    known = MoodPiece(music(20), 0, 0, "a/x", "a", split)
    write_moods(tmp_path / "known.npz", [known])
    out = tmp_path / "out.npz"
    run(tmp_path / "a", out, "--splits-of", tmp_path / "known.npz")
    assert [(clip.piece, clip.split) for clip in read_moods(out)] == [("a/x", split)]
    result = run(tmp_path / "b", tmp_path / "2.npz", "--splits-of", out)
    assert "none of these pieces" in str(result.exception)


def test_a_file_that_exists_is_replaced_when_asked(tmp_path):
    (tmp_path / "a").mkdir()
    music(20).to_midi(tmp_path / "a/x.mid")
    out = tmp_path / "out.npz"
    out.write_bytes(b"old")
    assert "give --overwrite" in str(run(tmp_path / "a", out).exception)
    assert out.read_bytes() == b"old"
    run(tmp_path / "a", out, "--overwrite")
    assert len(read_moods(out)) == 1


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    result = run(tmp_path / "a", tmp_path / "out.npz")
    assert "no piano music" in str(result.exception)
    assert not (tmp_path / "out.npz").exists()

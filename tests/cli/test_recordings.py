"""Which recordings a command line names, and what is written where."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mt3x.cli.recordings import choose_outputs, find_recordings


@pytest.fixture
def takes(tmp_path, monkeypatch):
    """takes/a.wav, takes/b/a.MP3, takes/b/c.flac and files that are not recordings."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b/a.MP3", "b/c.flac", "b/notes.txt", "b/.hidden.wav"):
        path = Path("takes", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Path("takes/a.transcribed.wav").touch()
    return Path("takes")


def test_folders_are_searched_and_their_structure_kept(takes):
    found = find_recordings(["takes"])
    expected = {"takes/a.wav": "a.wav", "takes/b/a.MP3": "b/a.MP3"}
    expected["takes/b/c.flac"] = "b/c.flac"
    assert found == {Path(k): Path(v) for k, v in expected.items()}


@pytest.mark.parametrize("pattern", ["takes/*/*.*", "takes/b*", "takes/**/[ac].[Mf]*"])
def test_patterns_keep_what_follows_their_fixed_part(takes, pattern):
    found = find_recordings([pattern])
    expected = {"takes/b/a.MP3": "b/a.MP3", "takes/b/c.flac": "b/c.flac"}
    assert found == {Path(k): Path(v) for k, v in expected.items()}


def test_a_named_file_is_taken_whatever_its_name_and_only_once(takes):
    found = find_recordings(["takes/b/notes.txt", "takes/b", "./takes/b/c.flac"])
    assert list(found) == [
        Path("takes/b/notes.txt"),
        Path("takes/b/a.MP3"),
        Path("takes/b/c.flac"),
    ]
    Path("odd[1].wav").touch()
    assert list(find_recordings(["odd[1].wav"])) == [Path("odd[1].wav")]
    assert list(find_recordings(["missing.wav"])) == [Path("missing.wav")]


def test_nothing_to_do_is_an_error(takes):
    Path("empty").mkdir()
    with pytest.raises(ValueError, match="empty: no sound files"):
        find_recordings(["empty"])
    with pytest.raises(ValueError, match=r"no sound files match takes/\*\.aac"):
        find_recordings(["takes/*.aac"])


def test_outputs_lie_beside_the_input_or_in_the_folder(takes):
    recordings = find_recordings(["takes/a.wav", "takes/b"])
    jobs = choose_outputs(recordings, ["midi", "sonify"], None, None)
    assert jobs[0].outputs == {
        "midi": Path("takes/a.mid"),
        "sonify": Path("takes/a.transcribed.wav"),
    }
    # takes/b/a.MP3 is a.MP3 below takes/b, and a.wav is a.wav.
    with pytest.raises(ValueError, match=r"takes/a\.wav and takes/b/a\.MP3 would both"):
        choose_outputs(recordings, None, None, Path("out"))
    jobs = choose_outputs(find_recordings(["takes"]), ["csv"], None, Path("out"))
    assert [job.outputs["csv"] for job in jobs] == [
        Path("out/a.csv"),
        Path("out/b/a.csv"),
        Path("out/b/c.csv"),
    ]


def test_an_output_file_chooses_the_format():
    recordings = {Path("a.wav"): Path("a.wav")}
    for name, form in (("x.MID", "midi"), ("x", "midi"), ("x.json", "json")):
        assert choose_outputs(recordings, None, name, None)[0].outputs == {
            form: Path(name)
        }
    assert choose_outputs(recordings, ["csv"], "x.mid", None)[0].outputs == {
        "csv": Path("x.mid")
    }
    assert choose_outputs(recordings, None, "-", None)[0].outputs == {"midi": None}
    with pytest.raises(ValueError, match=r"x\.docx: name it with one of \.mid"):
        choose_outputs(recordings, None, "x.docx", None)
    with pytest.raises(ValueError, match=r"-o x\.mid is one file"):
        choose_outputs(recordings, ["midi", "csv"], "x.mid", None)
    with pytest.raises(ValueError, match=r"-o x\.mid is one file, but 2 recordings"):
        choose_outputs(recordings | {Path("b.wav"): Path("b.wav")}, None, "x.mid", None)


def test_standard_input_goes_to_standard_output_or_the_folder():
    assert choose_outputs({None: Path("stdin")}, None, None, None)[0].outputs == {
        "midi": None
    }
    (job,) = choose_outputs({None: Path("stdin")}, ["csv", "midi"], None, Path("out"))
    assert job.outputs["csv"] == Path("out/stdin.csv")
    with pytest.raises(ValueError, match="one format"):
        choose_outputs({None: Path("stdin")}, ["csv", "midi"], None, None)


def test_an_input_is_never_overwritten(takes):
    with pytest.raises(ValueError, match=r"a\.wav would be overwritten"):
        choose_outputs(
            find_recordings(["takes/a.wav"]), ["sonify"], "takes/a.wav", None
        )


def outputs(*names):
    found = {Path(name): Path(name) for name in names}
    jobs = choose_outputs(found, ["midi", "sonify"], None, None)
    return [str(path) for job in jobs for path in job.outputs.values()]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Op. 10 No. 3", "Op. 10 No. 3"),
        ("Nr.3", "Nr.3"),
        ("Mr. Tambourine", "Mr. Tambourine"),
        ("2024-05-01 18.30.wav", "2024-05-01 18.30"),
        ("A.WAV", "A"),
        ("film.MOV", "film"),
        ("a.b.mp3", "a.b"),
        ("[bold] $x$ %s.wav", "[bold] $x$ %s"),
    ],
)
def test_outputs_drop_the_endings_of_sound_alone(name, stem):
    assert outputs(name) == [f"{stem}.mid", f"{stem}.transcribed.wav"]


def test_an_output_without_an_ending_is_midi():
    for name in ("Op. 10 No. 3", "Nr.3"):
        job = choose_outputs({Path("a.wav"): Path("a.wav")}, None, name, None)[0]
        assert job.outputs == {"midi": Path(name)}


def test_recordings_without_an_ending_are_told_by_what_is_in_them(tmp_path):
    for number in (3, 4):
        path = tmp_path / f"Op. 10 No. {number}"
        soundfile.write(path, np.zeros(100), 16000, format="WAV")
    (tmp_path / "README").write_text("no recording " * 100)
    (tmp_path / "empty").touch()
    soundfile.write(tmp_path / "a.bak", np.zeros(100), 16000, format="WAV")
    found = find_recordings([str(tmp_path)])
    assert [path.name for path in found] == ["Op. 10 No. 3", "Op. 10 No. 4"]


def test_names_are_found_in_every_form_of_unicode(tmp_path):
    composed, taken_apart = (
        unicodedata.normalize(form, "Étude.wav") for form in ("NFC", "NFD")
    )
    (tmp_path / taken_apart).touch()
    found = find_recordings([str(tmp_path / composed)])
    assert found == {tmp_path / taken_apart: Path(taken_apart)}


def test_linked_folders_keep_their_place(takes):
    Path("disk").mkdir()
    Path("disk/deep.wav").touch()
    Path("takes/sub").symlink_to("../disk")
    Path("takes/circle").symlink_to(".")
    found = find_recordings(["takes"])
    assert found[Path("takes/sub/deep.wav")] == Path("sub/deep.wav")
    assert len(found) == 4


@pytest.mark.parametrize("pattern", ["takes/**/*.*", "takes/**", "**/*.flac", "**/b"])
def test_patterns_do_not_run_in_circles(takes, pattern):
    for name in "12345":
        Path("takes/b", name).symlink_to("..")
    found = find_recordings([pattern])
    assert Path("takes/b/c.flac") in found
    assert len(found) == {"**/*.flac": 1, "**/b": 2}.get(pattern, 3)


def test_standard_input_has_two_names():
    assert find_recordings(["/dev/stdin"]) == find_recordings(["-"])


def test_folders_that_cannot_be_read_leave_the_others(takes, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    errors = []
    assert list(find_recordings(["takes"], errors.append)) == [Path("takes/a.wav")]
    assert list(find_recordings(["takes/b"], errors.append)) == []
    assert ["takes/b" in str(error) for error in errors] == [True, True]
    with pytest.raises(PermissionError, match="takes/b"):
        find_recordings(["takes"])

"""Which recordings a command line names, and what is written where."""

from pathlib import Path

import pytest

from mt3x.cli.recordings import choose_outputs, find_recordings


@pytest.fixture
def takes(tmp_path, monkeypatch):
    """takes/a.wav, takes/b/a.MP3, takes/b/c.flac and files that are no recordings."""
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
    with pytest.raises(ValueError, match=r"x\.pdf: name it with one of \.mid"):
        choose_outputs(recordings, None, "x.pdf", None)
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

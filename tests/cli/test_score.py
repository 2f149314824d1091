"""`mt3x score`: note files to scores."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mt3x.cli.main import main
from mt3x.music.notes import Notes
from mt3x.music.performance import Performance


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    onset_s = np.arange(16) * 0.5
    notes = Notes(onset_s, onset_s + 0.45, 60 + np.arange(16) % 8)
    notes.to_midi("a.mid")
    notes.to_csv("a.csv")
    Notes.empty().to_midi("none.mid")
    lines = (f"{n / 2} {n % 4 + 1}" for n in range(18))
    Path("beats.txt").write_text("# meter 4/4\n" + "\n".join(lines))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["mt3x", "score", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize("name", ["a.mid", "a.csv"])
def test_scores_are_written_beside_the_notes(run, name):
    code, err = run(name, "--beats", "beats.txt")
    assert (code, err) == (0, "a.musicxml: 4 bars in 4/4, C major\n")
    assert b"<work-title>a<" in Path("a.musicxml").read_bytes()


@pytest.mark.parametrize("name", ["a.mid", "a.json"])
def test_the_pedal_of_a_file_is_marked(run, name):
    played = Performance(Notes.from_csv("a.csv"), np.array([[0.1, 2.0], [2.1, 4.0]]))
    played.to_midi("a.mid", overwrite=True)
    Path("a.json").write_text(played.to_json())
    assert run(name, "--beats", "beats.txt")[0] == 0
    assert Path("a.musicxml").read_bytes().count(b"<pedal ") == 4


@pytest.mark.parametrize(("name", "begin"), [("b.svg", b"<?xml"), ("b.PDF", b"%PDF")])
def test_the_ending_chooses_the_format(run, name, begin):
    assert run("a.mid", "-o", name, "--beats", "beats.txt")[0] == 0
    assert Path(name).read_bytes().startswith(begin)


def test_even_beats_in_a_meter(run):
    code, err = run("a.mid", "--tempo", "120", "--meter", "3/4", "--title", "Waltz")
    assert code == 0 and "in 3/4" in err
    assert b"<work-title>Waltz<" in Path("a.musicxml").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.mid", "--beats", "beats.txt"), "error: none.mid: there are no notes"),
        (("a.mid", "-o", "a.png"), "error: a.png: name a score that ends in .musicxml"),
        (("beats.txt", "--beats", "beats.txt"), "error: beats.txt"),
        (("a.mid", "--tempo", "none"), "scores need beats"),
        (("a.mid", "--meter", "4/5"), "4/5"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message):
    code, err = run(*arguments)
    assert code != 0 and message in err
    assert "Traceback" not in err and not Path("a.musicxml").exists()


def test_scores_that_exist_are_kept(run):
    Path("a.musicxml").write_text("mine")
    code, err = run("a.mid", "--beats", "beats.txt")
    assert code == 1 and "a.musicxml" in err
    assert Path("a.musicxml").read_text() == "mine"
    assert run("a.mid", "--beats", "beats.txt", "--overwrite")[0] == 0

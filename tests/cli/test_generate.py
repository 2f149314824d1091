"""`mt3x generate`: outputs, prompts, bad input. The weights are small and random."""

import io
import json
import sys
from pathlib import Path

import mido
import pytest
import soundfile
from tiny_models import SMALL_MUSIC, save_small_weights

from mt3x.cli.main import main
from mt3x.inference.wish import Wish
from mt3x.music.midi_record import read_record
from mt3x.music.notes import Notes
from mt3x.music.sonify import sonify

TUNE = Notes([0.0, 0.5, 1.0], [0.4, 0.9, 1.5], [60, 62, 64])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "music.safetensors"
    return str(save_small_weights(path, SMALL_MUSIC))


@pytest.fixture
def run(weights, tmp_path, monkeypatch, capsysbinary):
    """Runs a command; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*args, stdin: bytes = b"", command: str = "generate"):
        if command == "generate":
            args = (*args, "--checkpoint", weights)
        monkeypatch.setattr(sys, "argv", ["mt3x", command, *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsysbinary.readouterr()
        return ended.value.code or 0, out, err.decode()

    return call


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_a_piece_and_what_it_was_made_with(run, weights):
    code, out, err = run(
        *("--valence", "0.8", "--arousal", "-0.4", "--seconds", "3", "--seed", "7"),
        *("--key", "Eb", "-o", "a.mid"),
    )
    assert (code, out) == (0, b"") and err.startswith("a.mid: ")
    assert err.endswith("notes, seed 7\n")
    notes = Notes.from_midi("a.mid")
    assert len(notes) and 2.9 < notes.offset_s.max() < 5.1
    assert any(m.type == "set_tempo" for m in mido.MidiFile("a.mid").tracks[0])
    record = read_record(Path("a.mid").read_bytes())
    assert record is not None and record["model"] == "generator"
    assert record["options"] == {
        "arousal": -0.4,
        "checkpoint": weights,
        "guidance": Wish.guidance,
        "key": "Eb",
        "seconds": 3.0,
        "seed": 7,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": Wish.top_p,
        "valence": 0.8,
    }


def test_several_pieces_in_several_formats(run):
    formats = "mid,csv,json,jsonl,wav"
    code, _, err = run("--seconds", "2", "-n", "2", "-o", "b.mid", "-f", formats)
    assert code == 0, err
    endings = ["csv", "json", "jsonl", "mid", "wav"]
    assert files() == [f"b-{n}.{ending}" for n in (1, 2) for ending in endings]
    for number in (1, 2):
        about = json.loads(Path(f"b-{number}.json").read_text())
        table = Notes.from_csv(f"b-{number}.csv")
        assert Notes.from_json(f"b-{number}.json").equals(table)
        end_s = about["duration_s"]
        assert soundfile.info(f"b-{number}.wav").duration == pytest.approx(
            end_s + 0.12, abs=0.01
        )
    seeds = [json.loads(Path(f"b-{n}.json").read_text())["options"] for n in (1, 2)]
    assert seeds[1]["seed"] == seeds[0]["seed"] + 1
    assert not Notes.from_csv("b-1.csv").equals(Notes.from_csv("b-2.csv"))


def test_pictures_and_scores(run):
    code, _, err = run("--seconds", "2", "-o", "b.mid", "-f", "png,musicxml")
    assert code == 0, err
    assert Path("b.png").read_bytes().startswith(b"\x89PNG")
    assert b"<work-title>b<" in Path("b.musicxml").read_bytes()


def test_without_a_name_the_seed_is_the_name(run):
    assert run("--seconds", "1", "--seed", "3")[0] == 0
    assert files() == ["generated-3.mid"]
    code, _, err = run("--seconds", "1", "--seed", "3")
    assert code == 1 and err.startswith("error: generated-3.mid exists already")


def test_moods_at_times(run):
    moods = ("--mood", "0:-0.5,0.5", "--mood", "0:02:0.5,-1")
    assert run("--seconds", "3", "--seed", "1", *moods, "-o", "a.json")[0] == 0
    options = json.loads(Path("a.json").read_text())["options"]
    assert options["moods"] == [[0.0, -0.5, 0.5], [2.0, 0.5, -1.0]]


@pytest.mark.parametrize("ending", ["mid", "csv", "json"])
def test_a_prompt_is_continued(run, ending):
    getattr(TUNE, {"mid": "to_midi"}.get(ending, f"to_{ending}"))(f"tune.{ending}")
    code, _, err = run("--seconds", "2", "--prompt", f"tune.{ending}", "-o", "a.csv")
    assert code == 0, err
    notes = Notes.from_csv("a.csv")
    assert notes[:3].pitch.tolist() == [60, 62, 64]
    assert len(notes) > 3 and 3.4 < notes.offset_s.max() < 5.6


def test_a_recording_is_continued_in_a_pipe(run):
    soundfile.write("a.wav", sonify(TUNE, 16000), 16000)
    code, midi, err = run("a.wav", "-o", "-", "-m", "piano", command="transcribe")
    assert code == 0, err
    code, out, err = run("--seconds", "2", "--prompt", "-", "-o", "-", stdin=midi)
    assert code == 0, err
    heard, notes = Notes.from_midi(midi), Notes.from_midi(out)
    assert 0 < len(heard) < len(notes)
    assert notes[: len(heard)].pitch.tolist() == heard.pitch.tolist()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--valence 3", "error: valence=3.0: give a number from -1 to 1"),
        ("--arousal nan", "error: arousal=nan: give"),
        ("--seconds 0", "error: seconds=0.0: give a number from 0.1 to 86400"),
        ("--seconds 100:00:00", "error: seconds=360000.0: give"),
        ("--key H", "error: key 'H': give one such as C, Eb"),
        ("-n 0", "error: 0 pieces: give 1 to 256"),
        ("-n 1000000", "error: 1000000 pieces: give 1 to 256"),
        ("--mood 0:0,0 --valence 0", "leave out one of them"),
        ("--mood 0:3,0", "error: mood 0.0, 3.0, 0.0: give seconds"),
        ("--mood 3", "'3' is not a mood at a time: give it as 30:-0.5,0.8"),
        ("--prompt drums.mid", "error: the prompt has drums alone: give notes"),
        ("--prompt none.mid", "error: the prompt has no notes: give notes"),
        ("--prompt gone.mid", "error: gone.mid: no such file"),
        ("--prompt a.wav", "error: a.wav is not a file of notes: give one"),
        ("--prompt text.mid", "error: text.mid: not a readable MIDI file"),
        ("--prompt -", "error: the prompt on standard input: MIDI data: not a"),
        ("-o mine.mid", "error: mine.mid exists already; give --overwrite"),
        ("-o gone/a.mid", "error: cannot write gone/a.mid: there is no folder"),
        ("-o a.xyz", "error: -o a.xyz: name it with one of .mid"),
        ("-o - -n 2", "error: standard output takes one piece in one format"),
        ("-f rolls", "'rolls' is not one of midi, csv"),
    ],
)
def test_bad_input_is_one_line(run, args, message):
    drums = Notes([0.0], [0.1], [36], is_drum=[True])
    drums.to_midi("drums.mid")
    Notes.empty().to_midi("none.mid")
    for name in ("mine.mid", "text.mid"):
        Path(name).write_text("mine")
    before = files()
    code, out, err = run("--seconds", "1", *args.split())
    assert code != 0 and out == b""
    assert message in err.splitlines()[-1] and "Traceback" not in err
    if err.startswith("error"):
        assert len(err.splitlines()) == 1
    assert files() == before and Path("mine.mid").read_text() == "mine"

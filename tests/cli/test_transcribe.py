"""`mt3x transcribe`: inputs, outputs, bad input. The weights are small and random."""

import dataclasses
import io
import itertools
import json
import os
import shutil
import sys
import threading
import warnings
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from tiny_models import (
    SMALL,
    SMALL_BAND,
    SMALL_PEDAL,
    SMALL_ROLLS,
    SMALL_TOKENS,
    random_params,
    save_small_weights,
)

from mt3x.cli.main import main
from mt3x.inference.transcriber import Transcriber
from mt3x.models import weights_file
from mt3x.models.hppnet import HPPNetConfig
from mt3x.models.weights_file import save_weights
from mt3x.music.instrument_assignment import AssignmentConfig
from mt3x.music.instrument_classes import CLASS_NAMES
from mt3x.music.note_files import read_notes, read_performance
from mt3x.music.notes import Notes
from mt3x.music.pedal_decoder import PedalDecodingConfig

RATE = 16000


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def pedal_weights(tmp_path_factory):
    """The pedal's roll lies about a half throughout, as all of random weights do."""
    path = tmp_path_factory.mktemp("weights") / "pedal.safetensors"
    decoding = PedalDecodingConfig(
        pedal_threshold=0.1, release_threshold=1.0, key_threshold=0.9
    )
    config = dataclasses.replace(SMALL_PEDAL, pedal_decoding=decoding)
    return save_small_weights(path, config)


@pytest.fixture(scope="module")
def token_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tokens.safetensors"
    return save_small_weights(path, SMALL_TOKENS)


@pytest.fixture(scope="module")
def heads_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "heads.safetensors"
    return save_small_weights(path, SMALL_ROLLS)


@pytest.fixture(scope="module")
def band_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "band.safetensors"
    # What random weights say of instruments is much the same everywhere.
    assignment = AssignmentConfig(evidence=1.0, same_timbre=1.0, min_share=0.0)
    config = dataclasses.replace(SMALL_BAND, assignment=assignment)
    return save_small_weights(path, config)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder with one second of sound, in a.wav."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", tone(), RATE)
    return tmp_path


@pytest.fixture
def run(weights, folder, monkeypatch, capsysbinary):
    """Runs the command; returns exit code, standard output and standard error."""

    def call(*args, stdin: bytes | None = b"", checkpoint=weights):
        argv = ["mt3x", "transcribe", *map(str, args)]
        if checkpoint is not None:
            argv += ["--checkpoint", str(checkpoint)]
        monkeypatch.setattr(sys, "argv", argv)
        given = None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin))
        monkeypatch.setattr(sys, "stdin", given)
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsysbinary.readouterr()
        return exit_.value.code or 0, out, err.decode()

    return call


def tone(seconds: float = 1.0) -> np.ndarray:
    time_S = np.arange(int(seconds * RATE)) / RATE
    return 0.3 * np.sin(2 * np.pi * 440 * time_S) * np.exp(-3 * (time_S % 0.25))


def files(folder: Path = Path()) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))


def test_midi_is_written_beside_the_input(run):
    code, out, err = run("a.wav")
    assert (code, out) == (0, b"")
    assert files() == ["a.mid", "a.wav"]
    assert "1 file, " in err and "1.0 s of audio" in err and "x realtime" in err
    assert any(m.type == "note_on" for m in mido.MidiFile("a.mid"))


def test_pedal_events_are_key_releases_and_controls(run, pedal_weights):
    options = ("-f", "midi,csv,json,musicxml", "--tempo", "120")
    for pedal in ("extend", "events"):
        args = ("a.wav", "-d", pedal, *options, "--pedal", pedal)
        code, _, err = run(*args, checkpoint=pedal_weights)
        assert code == 0, err
    heard = Notes.from_midi("extend/a.mid")
    played = read_performance("events/a.mid")
    # The pedal is down throughout, and no key is held for long.
    assert len(played.pedal_s) == 1 and len(heard) > 1
    np.testing.assert_allclose(played.keys.onset_s, heard.onset_s)
    assert (played.keys.offset_s <= heard.offset_s + 0.001).all()
    assert played.keys.offset_s.mean() < heard.offset_s.mean() - 0.01
    for name in ("csv", "json"):
        found = read_performance(f"events/a.{name}")
        for sustain_pedal in (False, True):
            # Ticks change the order of notes that begin nearly together.
            table_s, midi_s = (
                np.sort(read_notes(f"events/a.{ending}", sustain_pedal).offset_s)
                for ending in (name, "mid")
            )
            np.testing.assert_allclose(table_s, midi_s, atol=0.001)
    np.testing.assert_allclose(found.pedal_s, played.pedal_s, atol=0.001)
    assert b"<pedal" in Path("events/a.musicxml").read_bytes()
    assert b"<pedal" not in Path("extend/a.musicxml").read_bytes()
    assert json.loads(Path("events/a.json").read_text())["options"]["pedal"] == "events"


@pytest.mark.parametrize("model", ["weights", "band_weights", "token_weights"])
def test_pedal_events_need_a_model_that_hears_it(run, model, request):
    code, _, err = run(
        "a.wav", "--pedal", "events", checkpoint=request.getfixturevalue(model)
    )
    assert code == 1 and err.count("\n") == 1
    assert "--pedal events needs a piano model that hears the pedal" in err
    assert files() == ["a.wav"]


def test_pedal_is_one_of_two(run):
    code, _, err = run("a.wav", "--pedal", "half")
    assert code == 2 and "'extend', 'events'" in err and files() == ["a.wav"]


def test_all_formats_hold_the_same_notes(run):
    code, _, err = run(
        *("a.wav", "-d", "out", "-f"),
        "midi,csv,json,rolls,plot,svg-plot,sonify,musicxml,svg,pdf",
    )
    assert code == 0, err
    assert files(Path("out")) == [
        "a.csv",
        "a.json",
        "a.mid",
        "a.musicxml",
        "a.npz",
        "a.pdf",
        "a.plot.svg",
        "a.png",
        "a.svg",
        "a.transcribed.wav",
    ]
    assert b"<svg" in Path("out/a.plot.svg").read_bytes()
    assert b"<note" in Path("out/a.musicxml").read_bytes()
    assert b"Verovio" in Path("out/a.svg").read_bytes()
    assert Path("out/a.pdf").read_bytes()[:4] == b"%PDF"
    notes = Notes.from_csv("out/a.csv")
    assert len(notes) > 0 and Notes.from_json("out/a.json").equals(notes)
    assert Path("out/a.mid").read_bytes()[:4] == b"MThd"
    with np.load("out/a.npz") as rolls:
        assert rolls["onset"].shape == rolls["velocity"].shape == (50, 88)
        assert rolls["frame_rate_hz"] == 50 and rolls["lowest_pitch"] == 21
    assert Path("out/a.png").read_bytes()[:4] == b"\x89PNG"
    stereo, rate = soundfile.read("out/a.transcribed.wav")
    assert stereo.shape == (rate, 2) and np.abs(stereo).max(axis=0).min() > 0.01


def test_standard_input_and_output(run, folder):
    data = (folder / "a.wav").read_bytes()
    code, out, _ = run("-", stdin=data)
    assert code == 0 and out[:4] == b"MThd"
    code, out, _ = run("a.wav", "-o", "-", "-f", "json")
    assert code == 0 and json.loads(out)["notes"]
    again = json.loads(run("-", "-f", "json", "-o", "-", stdin=data)[1])
    assert again == json.loads(out) | {"file": "standard input"}
    code, out, _ = run("-", "-d", "out", "-f", "plot,sonify", stdin=data)
    assert code == 0 and files(Path("out")) == ["stdin.png", "stdin.transcribed.wav"]
    code, _, err = run("-", stdin=b"")
    assert code == 1 and "error: standard input" in err
    assert files() == ["a.wav", "out/stdin.png", "out/stdin.transcribed.wav"]


def test_existing_outputs_are_kept_unless_told(run):
    Path("a.mid").write_bytes(b"mine")
    code, _, err = run("a.wav")
    assert code == 0 and "kept a.mid" in err and "--overwrite" in err
    assert Path("a.mid").read_bytes() == b"mine"
    # Only the missing format is made.
    code, _, err = run("a.wav", "-f", "midi,csv")
    assert Path("a.mid").read_bytes() == b"mine" and Path("a.csv").exists()
    assert run("a.wav", "--overwrite")[0] == 0
    assert Path("a.mid").read_bytes()[:4] == b"MThd"


def test_kept_files_tell_of_other_options(run):
    run("a.wav", "-f", "midi,json,csv")
    for args, says in [
        ((), False),
        (("--device", "cpu"), False),
        (("--onset-threshold", "0.2"), True),
        (("--lowest", "C2"), True),
        (("--start", "0.5"), True),
        (("--tuning", "auto"), True),
    ]:
        err = run("a.wav", "-f", "midi,json,csv", *args)[2]
        kept = [line for line in err.splitlines() if line.startswith("kept a.")]
        # A table does not say what it was made with.
        told = [", made with other options" in line for line in kept]
        assert told == [says, says, False], args
        assert all(line.endswith("(--overwrite replaces it)") for line in kept)


def test_a_second_argument_with_an_ending_of_outputs_is_the_output(run):
    assert run("a.wav", "b.mid")[0] == 0 and files() == ["a.wav", "b.mid"]
    code, _, err = run("a.wav", "b.mid")
    assert code == 0 and "kept b.mid" in err
    assert run("a.wav", "b.csv")[0] == 0
    assert Path("b.csv").read_text().startswith("onset_s")
    # These may be recordings that are misspelt.
    code, _, err = run("a.wav", "c.wav", "--overwrite")
    assert code == 1 and "c.wav: no such file" in err
    code, _, err = run("a.wav", "b.mid", "a.wav", "--overwrite")
    assert code == 1 and "b.mid is a MIDI file" in err
    assert run("a.wav", "b.mid", "-d", "out")[0] == 2


def test_an_address_says_how_to_fetch_it(run):
    for address, tool in [
        ("https://example.com/watch?v=a&b", "yt-dlp -f bestaudio -o - 'https"),
        ("http://example.com/a.ogg", "curl -L http://example.com/a.ogg |"),
    ]:
        code, _, err = run(address)
        assert code == 1 and err.count("\n") == 1
        assert "links are not fetched" in err and tool in err
        assert "mt3x transcribe - -o out.mid" in err


def test_a_part_is_transcribed_as_if_it_were_the_recording(run):
    soundfile.write("long.wav", np.concatenate([np.zeros(RATE), tone(2)]), RATE)
    soundfile.write("part.wav", tone(2)[: RATE + RATE // 2], RATE)
    assert run("part.wav", "-f", "csv")[0] == 0
    args = (
        "long.wav",
        "--start",
        "1",
        "--end",
        "0:02.5",
        "-f",
        "csv,json,rolls,sonify",
    )
    code, _, err = run(*args)
    assert code == 0 and "1.5 s of audio" in err
    part, whole = Notes.from_csv("part.csv"), Notes.from_csv("long.csv")
    np.testing.assert_array_equal(whole.pitch, part.pitch)
    np.testing.assert_allclose(whole.onset_s, part.onset_s, atol=1e-3)
    found = json.loads(Path("long.json").read_text())
    assert found["duration_s"] == 1.5
    assert found["options"] == {"checkpoint": found["options"]["checkpoint"]} | {
        "start_s": 1.0,
        "end_s": 2.5,
    }
    assert abs(soundfile.info("long.transcribed.wav").duration - 1.5) < 0.5
    for args, message in [
        (("--start", "3.5"), "long.wav ends at 3.0 s, before the part"),
        (("--start", "2", "--end", "1"), "give an --end after the --start"),
        (("--start", "x"), "'x' is no time"),
    ]:
        code, _, err = run("long.wav", "--overwrite", *args)
        assert code in (1, 2) and message in err


def test_midi_has_the_beats_that_are_asked_for(run):
    def events(kind, *options):
        code, _, err = run("a.wav", "-o", "b.mid", "--overwrite", *options)
        assert code == 0, err
        return [
            event for event in mido.MidiFile("b.mid").tracks[0] if event.type == kind
        ]

    Path("beats.txt").write_text("0.0 1\n0.5 2\n0.8 3\n1.2 1\n")
    assert len(events("time_signature")) >= 1
    assert len(events("time_signature", "--tempo", "none")) == 0
    assert {e.tempo for e in events("set_tempo", "--tempo", "none")} == {500_000}
    *_, even = events("set_tempo", "--tempo", "100")
    assert even.tempo == pytest.approx(600_000, abs=2)
    given = [e.tempo for e in events("set_tempo", "--beats", "beats.txt")]
    assert given == [500_000, 300_000, 400_000]
    *_, bar = events("time_signature", "--meter", "3/4")
    assert (bar.numerator, bar.denominator) == (3, 4)


def test_beats_count_from_the_start_of_the_recording(run):
    Path("beats.txt").write_text("0.2 1\n0.5 2\n0.9 1\n")
    code, _, err = run("a.wav", "--beats", "beats.txt", "--start", "0.5")
    assert code == 0, err
    tempos = [
        e.tempo for e in mido.MidiFile("a.mid").tracks[0] if e.type == "set_tempo"
    ]
    assert tempos == [400_000]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tempo", "none", "--meter", "3/4"], "meter 3/4 needs beats"),
        (["--meter", "3"], "'3' is no meter"),
        (["--beats", "bad.txt"], "bad.txt, line 1: 'hello' is not a beat"),
        (["--beats", "bad.txt", "--tempo", "90"], "leave out one"),
    ],
)
def test_beats_that_cannot_be_stop_before_work_starts(run, options, message):
    Path("bad.txt").write_text("hello\n")
    code, _, err = run("a.wav", *options)
    assert code == 1 and message in err and err.count("\n") == 1
    assert files() == ["a.wav", "bad.txt"]


def test_notes_are_filtered(run):
    run("a.wav", "-f", "csv")
    notes = Notes.from_csv("a.csv")
    middle = int(np.median(notes.pitch))
    length_s = float(np.median(notes.offset_s - notes.onset_s))
    loud = int(np.median(notes.velocity))
    for args, kept in [
        (("--lowest", middle), notes.pitch >= middle),
        (("--highest", middle), notes.pitch <= middle),
        (
            ("--min-duration", length_s),
            notes.offset_s - notes.onset_s > length_s - 1e-6,
        ),
        (("--min-velocity", loud), notes.velocity >= loud),
    ]:
        assert run("a.wav", "-f", "csv", "--overwrite", *args)[0] == 0
        assert 0 < kept.sum() <= len(notes)
        assert Notes.from_csv("a.csv").equals(notes[kept])
    code, _, err = run("a.wav", "--lowest", "C5", "--highest", "C4")
    assert code == 1 and "the lowest pitch, 72, is above the highest, 60" in err


def test_json_and_csv_tell_how_sure_the_model_is(run):
    run("a.wav", "-f", "json,jsonl", "--onset-threshold", "0.45")
    found = json.loads(Path("a.json").read_text())
    assert found["model"] == "piano model" and found["file"] == "a.wav"
    assert found["duration_s"] == 1.0 and found["mt3x"]
    assert found["options"]["onset_threshold"] == 0.45
    sure = [note["confidence"] for note in found["notes"]]
    assert sure and all(0.45 < value <= 1 for value in sure)
    lines = Path("a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == found["notes"]


def test_messages_for_programs(run):
    Path("b.wav").write_bytes(b"MThd")
    code, _, err = run("a.wav", "b.wav", "nothing.wav", "--log", "json")
    events = [json.loads(line) for line in err.splitlines()]
    # Progress comes at times, which a slow machine may reach.
    events = [event for event in events if event["event"] != "progress"]
    names = [event["event"] for event in events]
    assert code == 1 and names == ["error", "error", "start", "done", "summary"]
    assert events[0]["file"] == "b.wav" and "MIDI file" in events[0]["message"]
    assert events[3]["outputs"] == ["a.mid"] and events[3]["notes"] > 0
    assert events[4]["files"] == 1 and events[4]["failed"] == 2
    (kept, _) = map(json.loads, run("a.wav", "--log", "json")[2].splitlines())
    assert kept["event"] == "kept" and kept["other_options"] is False
    code, _, err = run("https://example.com", "--log", "json")
    assert code == 1 and json.loads(err)["event"] == "error"


def test_own_defaults_yield_to_the_command_line(run, tmp_path, monkeypatch):
    path = tmp_path / "own.toml"
    path.write_text("[transcribe]\nformat = 'csv,json'\nout-dir = 'out'\n")
    monkeypatch.setenv("MT3X_CONFIG", str(path))
    assert run("a.wav")[0] == 0 and files(Path("out")) == ["a.csv", "a.json"]
    assert run("a.wav", "b.mid")[0] == 0 and Path("b.mid").exists()
    assert run("a.wav", "-f", "mid", "-d", "more")[0] == 0
    assert files(Path("more")) == ["a.mid"]
    path.write_text("[transcribe]\nformat = 'json'\nmodel = 'piano'\ntempo = 'none'\n")
    run("a.wav", "-d", "other")
    options = json.loads(Path("other/a.json").read_text())["options"]
    assert options.items() >= {"model": "piano", "tempo": "none"}.items()
    path.write_text("[transcribe]\nbeams = 'many'\n")
    code, _, err = run("a.wav")
    assert code == 1 and f"error: {path}, [transcribe]: beams: 'many'" in err


def test_a_watched_folder(run, monkeypatch):
    from mt3x.cli import watch

    Path("in").mkdir()
    shutil.copy("a.wav", "in/a.wav")
    Path("in/b.wav").write_bytes(b"no sound")
    times = [[Path("in/a.wav")], [Path("in/b.wav")], [Path("in/a.wav")]]
    monkeypatch.setattr(watch, "watch", lambda folder: iter(times))
    code, _, err = run("--watch", "in", "-d", "out")
    assert code == 1 and files(Path("out")) == ["a.mid"]
    assert "watching in; Ctrl-C ends it" in err and "kept out/a.mid" in err
    assert err.count("realtime") == 1 and "1 output kept, 1 failed" in err
    assert run("--watch", "in", "a.wav")[0] == run()[0] == 2


def test_a_device_that_is_not_there(run):
    code, _, err = run("a.wav", "--device", "cpu:99")
    assert code == 1 and "there is no device cpu:99: give cpu:0 to cpu:" in err
    assert run("a.wav", "--device", "cpu:0")[0] == 0


def test_folders_keep_their_structure(run):
    Path("in/sub").mkdir(parents=True)
    shutil.copy("a.wav", "in/sub/b.wav")
    shutil.copy("a.wav", "in/c.wav")
    code, _, err = run("in", "--out-dir", "out")
    assert code == 0 and files(Path("out")) == ["c.mid", "sub/b.mid"]
    assert "2 files" in err


def test_collisions_stop_before_work_starts(run):
    soundfile.write("a.flac", tone(), RATE)
    code, _, err = run("a.wav", "a.flac")
    assert code == 1 and err == (
        "error: a.wav and a.flac would both write a.mid: rename one, or transcribe "
        "them one at a time with different --out-dir\n"
    )
    assert files() == ["a.flac", "a.wav"]


def test_quiet_prints_nothing(run):
    assert run("a.wav", "-q") == (0, b"", "")
    assert run("a.wav", "-q") == (0, b"", "")


def test_options_take_effect(run):
    def count(*options):
        code, out, err = run("a.wav", "-o", "-", "-f", "json", *options)
        assert code == 0, err
        return len(json.loads(out)["notes"])

    assert count("--onset-threshold", "1") == 0
    assert count("--onset-threshold", "0.2", "--device", "cpu") >= count() > 0
    assert count("--precision", "bfloat16") > 0
    assert count("--decoder", "rolls") == count()
    assert run("a.wav", "--onset-threshold", "2")[0] == 2
    code, _, err = run("a.wav", "-f", "midi,docx")
    assert code == 2 and "'docx' is not one of midi, csv" in err
    code, _, err = run("a.wav", "--device", "tpu")
    assert code == 1 and err.startswith("error: JAX finds no tpu")


def noise(seconds: float, rate: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 0.1 * rng.standard_normal((int(seconds * rate), channels))


def write_good_or_silent(name: str) -> None:
    if name == "8bit.wav":
        soundfile.write(name, tone(), RATE, subtype="PCM_U8")
    elif name == "192k.flac":
        soundfile.write(name, noise(0.5, 192000, 2), 192000)
    elif name == "7channels.wav":
        soundfile.write(name, noise(0.5, 44100, 7), 44100)
    elif name == "silent.wav":
        soundfile.write(name, np.zeros(2 * RATE), RATE)
    elif name == "dither.wav":
        steps = np.random.default_rng(0).integers(-1, 2, RATE).astype(np.int16)
        soundfile.write(name, steps, RATE)
    elif name == "onesample.wav":
        soundfile.write(name, np.array([0.5]), RATE)


@pytest.mark.parametrize("name", ["8bit.wav", "192k.flac", "7channels.wav"])
def test_unusual_recordings_are_transcribed(run, name):
    write_good_or_silent(name)
    code, _, err = run(name, "-f", "csv")
    assert code == 0, err
    assert len(Notes.from_csv(Path(name).with_suffix(".csv"))) > 0


@pytest.mark.parametrize("name", ["silent.wav", "dither.wav"])
def test_silence_gives_an_empty_midi_file(run, name):
    write_good_or_silent(name)
    code, _, err = run(name, "-f", "midi,csv,plot,sonify,rolls,json")
    assert code == 0 and "0 notes" in err
    assert len(Notes.from_csv(Path(name).with_suffix(".csv"))) == 0
    messages = list(mido.MidiFile(Path(name).with_suffix(".mid")))
    assert not any(m.type == "note_on" for m in messages)


def test_one_sample_is_a_recording(run):
    write_good_or_silent("onesample.wav")
    code, _, err = run("onesample.wav", "-f", "midi,plot,sonify")
    assert code == 0, err


def break_input(name: str) -> None:
    path = Path(name)
    if name == "empty.wav":
        path.touch()
    elif name == "zerolength.wav":
        soundfile.write(name, np.zeros(0), RATE)
    elif name == "nan.wav":
        samples = tone()
        samples[5000] = np.nan
        soundfile.write(name, samples, RATE, subtype="FLOAT")
    elif name == "text.mp3":
        path.write_text("this is no recording\n" * 100)
    elif name == "truncated.flac":
        soundfile.write("whole.flac", noise(5, RATE, 1), RATE)
        path.write_bytes(Path("whole.flac").read_bytes()[:20000])
        Path("whole.flac").unlink()
    elif name == "folder.wav":
        path.mkdir()
    elif name == "header.wav":
        path.write_bytes(Path("a.wav").read_bytes()[:20])


BROKEN = {
    "empty.wav": "empty",
    "zerolength.wav": "has no samples",
    "nan.wav": "NaN",
    "text.mp3": "not a readable audio file",
    "header.wav": "header.wav",
    "missing.wav": "no such file",
}


@pytest.mark.parametrize("name", BROKEN)
def test_bad_input_is_one_line_and_the_others_are_done(run, name):
    break_input(name)
    shutil.copy("a.wav", "z.wav")
    code, out, err = run("a.wav", name, "z.wav", "-f", "midi,csv")
    assert (code, out) == (1, b"")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and name in errors[0] and BROKEN[name] in errors[0]
    assert "Traceback" not in err and "2 files" in err and "1 failed" in err
    left = {"a.wav", "a.mid", "a.csv", "z.wav", "z.mid", "z.csv"}
    assert set(files()) - {name} == left


def test_a_truncated_file_is_reported_and_read_as_far_as_it_goes(run):
    break_input("truncated.flac")
    code, _, err = run("truncated.flac", "-f", "midi,plot")
    lines = [line for line in err.splitlines() if "truncated.flac" in line]
    assert len(lines) == 1
    assert lines[0].startswith(("warning: ", "error: "))
    assert Path("truncated.mid").exists() == (code == 0)


class OldUse(UserWarning, DeprecationWarning):
    """As pyparsing has it."""


@pytest.mark.filterwarnings("default::UserWarning", "ignore::DeprecationWarning")
def test_warnings_of_other_libraries_are_not_about_the_recording(run, monkeypatch):
    def spectrogram(*_):
        for text, kind in (("old use", OldUse), ("odd use", UserWarning)):
            warnings.warn_explicit(text, kind, "other.py", 1, module="other")

    monkeypatch.setattr(Transcriber, "spectrogram", spectrogram)
    code, _, err = run("a.wav", "-f", "plot")
    assert (code, "old use" in err) == (0, False)
    assert err.splitlines()[0] == "warning: odd use"


def test_outputs_that_cannot_be_written(run):
    Path("file.txt").touch()
    Path("dir.mid").mkdir()
    code, _, err = run("a.wav", "-d", "file.txt/out")
    assert code in (1, 2) and "file.txt" in err and "Traceback" not in err
    code, _, err = run("a.wav", "-o", "dir.mid")
    assert code == 1 and "error: " in err and "dir.mid" in err
    if Path("/dev/full").exists():
        code, _, err = run("a.wav", "-o", "/dev/full", "-f", "midi")
        assert code == 1 and "error: a.wav: " in err and "space" in err
    if os.geteuid() != 0:
        Path("locked").mkdir(mode=0o500)
        code, _, err = run("a.wav", "-d", "locked")
        assert code == 1 and "locked" in err


def test_a_checkpoint_of_another_model(run, tmp_path):
    wider = dataclasses.replace(SMALL, model=HPPNetConfig(channels=6, stem_channels=4))
    save_weights("other.safetensors", random_params(), wider.to_dict())
    save_weights("strange.safetensors", random_params(), {"vocabulary": 5})
    Path("text.safetensors").write_text("no weights")
    for name in ("other", "strange", "text", "missing"):
        code, _, err = run("a.wav", checkpoint=f"{name}.safetensors")
        assert code == 1, err
        assert err.startswith("error: ") and f"{name}.safetensors" in err
        assert err.count("\n") == 1 and "Traceback" not in err
    assert "a.mid" not in files()


def test_token_models_write_all_but_rolls(run, token_weights):
    formats = "midi,csv,json,plot,sonify"
    options = ("--model", "mt3", "-i", "Drums,strings", "--beams", "2")
    code, _, err = run(
        "a.wav", "-f", formats, "-d", "out", *options, checkpoint=token_weights
    )
    assert (code, err.count("error")) == (0, 0), err
    assert len(files(Path("out"))) == 5
    for options in (["-f", "rolls"], ["-o", "a.npz"]):
        code, _, err = run("a.wav", *options, checkpoint=token_weights)
        assert code == 1 and "without rolls" in err and err.count("\n") == 1
    assert not Path("a.npz").exists()


def test_rolls_of_token_models(run, heads_weights):
    soundfile.write("b.wav", tone(1.5), RATE)

    def notes(*options):
        code, out, err = run(
            *("b.wav", "-o", "-", "-f", "csv", *options), checkpoint=heads_weights
        )
        assert code == 0, err
        return Notes.from_csv(io.StringIO(out.decode()))

    assert len(notes("--decoder", "rolls", "--onset-threshold", "0.2")) > 0
    assert len(notes("--decoder", "rolls", "--onset-threshold", "1")) == 0
    unmoved = notes("--decoder", "both", "--onset-threshold", "1")
    assert unmoved.equals(notes("--decoder", "tokens"))
    assert unmoved.equals(notes())
    for decoder in ("rolls", "both"):
        code, _, err = run(
            *("b.wav", "-f", "midi,rolls", "-d", decoder, "--decoder", decoder),
            checkpoint=heads_weights,
        )
        assert code == 0, err
        with np.load(f"{decoder}/b.npz") as rolls:
            assert rolls["onset"].shape == (188, 88) and rolls["frame_rate_hz"] == 125
    code, _, err = run("b.wav", "-f", "rolls", checkpoint=heads_weights)
    assert code == 1 and err.count("\n") == 1
    assert "give --decoder rolls or both" in err
    assert files() == [
        "a.wav",
        "b.wav",
        *(f"{d}/b.{x}" for d in ("both", "rolls") for x in ("mid", "npz")),
    ]


def test_a_band_model_writes_all_formats(run, band_weights):
    soundfile.write("b.wav", noise(2.0, RATE, 1), RATE)
    formats = "midi,csv,json,rolls,plot,sonify"
    code, _, err = run(
        "b.wav", "-f", formats, "-d", "out", "-m", "band", checkpoint=band_weights
    )
    assert code == 0, err
    assert len(files(Path("out"))) == 6
    notes = Notes.from_csv("out/b.csv")
    assert Notes.from_json("out/b.json").equals(notes)
    programs = sorted(set(notes.program[~notes.is_drum].tolist()))
    assert len(programs) > 1 and notes.is_drum.any()
    tracks = mido.MidiFile("out/b.mid").tracks[1:]
    assert [track.name for track in tracks] == [
        *(CLASS_NAMES[program] for program in programs),
        "Drums",
    ]
    channels = [{m.channel for m in track if m.type == "note_on"} for track in tracks]
    melodic = [{each} for each in range(16) if each != 9]
    assert channels == [*melodic[: len(programs)], {9}]
    with np.load("out/b.npz") as rolls:
        assert rolls["onset"].shape == rolls["velocity"].shape == (63, 88)
        assert rolls["classes"].shape == (63, 88, 24)
        assert rolls["timbre"].shape == (63, 88, 12)
        assert rolls["drums"].shape == rolls["drum_velocity"].shape == (252, 8)
        assert rolls["frame_rate_hz"] == 31.25 and rolls["drum_rate_hz"] == 125
    assert Path("out/b.png").read_bytes()[:4] == b"\x89PNG"
    stereo, rate = soundfile.read("out/b.transcribed.wav")
    assert stereo.shape == (2 * rate, 2) and np.abs(stereo).max(axis=0).min() > 0.01


def test_options_of_band_models(run, band_weights):
    def notes(*options):
        code, out, err = run(
            *("a.wav", "-o", "-", "-f", "csv", *options), checkpoint=band_weights
        )
        assert code == 0, err
        return Notes.from_csv(io.StringIO(out.decode()))

    plain = notes()
    assert notes("-m", "band").equals(plain) and plain.is_drum.any()
    assert not notes("--drum-threshold", "1").is_drum.any()
    assert set(notes("-i", "reed").program) <= set(range(64, 72))
    for args, message in [
        (["--beams", "2"], "beams is an option of token models"),
        (["--decoder", "both"], "has no tokens: leave out decoder 'both'"),
        (["--model", "piano"], "a band model, not piano"),
        (["--model", "auto"], "leave out --checkpoint"),
    ]:
        code, _, err = run("a.wav", *args, checkpoint=band_weights)
        assert code == 1 and message in err and err.count("\n") == 1


@pytest.fixture
def packaged(weights, band_weights, monkeypatch):
    """The package brings small weights of both models; names of what is loaded."""
    from mt3x.inference import transcriber

    monkeypatch.setitem(weights_file.WEIGHTS, "piano", weights)
    monkeypatch.setitem(weights_file.WEIGHTS, "band", band_weights)
    loaded, load = [], weights_file.load
    monkeypatch.setattr(
        transcriber.weights_file,
        "load",
        lambda path: loaded.append(Path(path).stem) or load(path),
    )
    return loaded


def test_auto_listens_to_each_recording(run, packaged, monkeypatch):
    for name in ("b", "c", "d"):
        shutil.copy("a.wav", f"{name}.wav")
    answers = itertools.cycle([True, False])
    monkeypatch.setattr(
        "mt3x.inference.model_choice.is_piano", lambda *_: next(answers)
    )
    code, _, err = run(*(f"{x}.wav" for x in "abcd"), "-f", "csv", checkpoint=None)
    assert code == 0, err
    assert err.splitlines()[:4] == [
        "a.wav: piano model",
        "b.wav: band model",
        "c.wav: piano model",
        "d.wav: band model",
    ]
    # Each once.
    assert packaged == ["band", "small"]
    # What cannot be written has its error alone.
    if Path("/dev/full").exists():
        code, _, err = run("a.wav", "-o", "/dev/full", "-f", "midi", checkpoint=None)
        assert code == 1 and "error: " in err and "model" not in err
    notes = {x: Notes.from_csv(f"{x}.csv") for x in "abcd"}
    assert notes["a"].equals(notes["c"]) and notes["b"].equals(notes["d"])
    assert not notes["a"].is_drum.any() and notes["b"].is_drum.any()
    code, _, err = run("a.wav", "-q", "--overwrite", "-m", "auto", checkpoint=None)
    assert (code, err) == (0, "")


def test_auto_is_the_piano_model_where_pedal_events_are_wanted(
    run, packaged, pedal_weights, monkeypatch
):
    monkeypatch.setitem(weights_file.WEIGHTS, "piano", pedal_weights)
    code, _, err = run("a.wav", "--pedal", "events", checkpoint=None)
    assert code == 0, err
    assert packaged == ["pedal"]


def test_auto_is_the_band_model_where_instruments_are_named(run, packaged):
    for option in (["-i", "piano,drums"], ["--drum-threshold", "0.5"]):
        code, _, err = run("a.wav", *option, "--overwrite", checkpoint=None)
        assert code == 0 and "model" not in err, err
        assert packaged == ["band"]
        packaged.clear()


def test_the_model_that_is_asked_for_alone_is_loaded(run, packaged):
    for model, stem in (("piano", "small"), ("band", "band")):
        code, _, err = run("a.wav", "-m", model, "--overwrite", checkpoint=None)
        assert code == 0 and packaged == [stem], err
        packaged.clear()


def test_without_weights_for_bands_piano_is_the_default(run, packaged, monkeypatch):
    monkeypatch.setitem(weights_file.WEIGHTS, "band", Path("gone.safetensors"))
    code, _, err = run("a.wav", checkpoint=None)
    assert code == 0 and packaged == ["small"], err
    for model in ("band", "auto"):
        code, _, err = run("a.wav", "-m", model, checkpoint=None)
        assert code == 0 and "kept a.mid" in err
        code, _, err = run("a.wav", "-m", model, "--overwrite", checkpoint=None)
        assert code == 1 and err.count("\n") == 1
        assert "gone.safetensors: this installation brings no weights of a band" in err


def test_what_is_of_the_other_kind_of_model(run, weights, token_weights):
    for args, checkpoint, message in [
        (["--model", "mt3"], weights, "a piano model, not mt3"),
        (["--model", "piano"], token_weights, "a token model, not piano"),
        (["-i", "drums"], weights, "instruments is an option of token models"),
        (["--onset-threshold", "0.5"], token_weights, "of piano models"),
        (["--decoder", "both"], weights, "has no tokens: leave out decoder 'both'"),
        (["--decoder", "tokens"], weights, "a piano model, which has no tokens"),
        (
            ["--decoder", "rolls"],
            token_weights,
            "train a model with TokensConfig.rolls",
        ),
    ]:
        code, _, err = run("a.wav", *args, checkpoint=checkpoint)
        assert code == 1 and message in err and err.count("\n") == 1
    code, _, err = run("a.wav", "-i", "piano,kazoo", checkpoint=token_weights)
    assert code == 2 and "'kazoo' is not an instrument" in err
    assert files() == ["a.wav"]


def test_pictures_without_matplotlib_fail_before_work_starts(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run("a.wav", "-f", "midi,plot")
    assert code == 1 and "mt3x[plot]" in err and files() == ["a.wav"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(os.fsdecode(b"caf\xe9.wav"), id="not UTF-8"),
        "two\nlines.wav",
        "[bold] $x$ %s {}.wav",
        "Op. 10 No. 3",
        "-a.wav",
        "A.WAV",
    ],
)
def test_any_name_is_transcribed_and_named(run, name):
    os.rename("a.wav", name)
    code, _, err = run("-f", "midi,plot,sonify,csv", f"./{name}")
    assert code == 0, err
    stem = name if name.startswith("Op") else name[:-4]
    outputs = [f"{stem}{x}" for x in (".csv", ".mid", ".png", ".transcribed.wav")]
    assert sorted(os.listdir()) == sorted([*outputs, name])
    Path(name).write_bytes(b"no recording")
    code, _, err = run("--overwrite", f"./{name}")
    lines = err.splitlines()
    assert code == 1 and len(lines) == 2 and lines[0].startswith("error: ")


def test_pipes_are_read_once(run):
    data = Path("a.wav").read_bytes()
    Path("a.wav").unlink()
    os.mkfifo("a.wav")
    writer = threading.Thread(target=lambda: Path("a.wav").write_bytes(data))
    writer.start()
    code, _, err = run("a.wav", "-f", "midi,plot,sonify")
    writer.join()
    assert code == 0, err
    assert files() == ["a.mid", "a.png", "a.transcribed.wav", "a.wav"]


def test_devices_without_end_are_refused(run):
    code, _, err = run("/dev/zero", "a.wav", "-d", "out")
    assert code == 1 and "error: /dev/zero is a device: name a sound file" in err
    assert files(Path("out")) == ["a.mid"]


def test_closed_streams_are_one_line(run, monkeypatch):
    code, _, err = run("-", "-o", "x.mid", stdin=None)
    assert code == 1 and err.splitlines()[0] == (
        "error: standard input is closed: name a sound file"
    )
    monkeypatch.setattr(sys, "stdout", None)
    code, _, err = run("a.wav", "-o", "-")
    assert code == 1 and "a.wav: standard output is closed: give -o" in err


@pytest.mark.parametrize("when", ["before the model reads", "while it is written"])
def test_what_another_process_wrote_meanwhile_is_kept(run, monkeypatch, when):
    from mt3x.cli import batch
    from mt3x.inference import transcriber

    def theirs():
        Path("a.mid").write_bytes(b"theirs")

    if when == "while it is written":
        form = batch.FORMATS["midi"]
        slow = form._replace(write=lambda file, found: theirs())
        monkeypatch.setattr(batch, "FORMATS", {"midi": slow})
    else:
        load = transcriber.weights_file.load
        monkeypatch.setattr(
            transcriber.weights_file, "load", lambda path: theirs() or load(path)
        )
    code, _, err = run("a.wav")
    assert code == 0 and "kept a.mid" in err and "1 output kept" in err, err
    assert Path("a.mid").read_bytes() == b"theirs"
    assert files() == ["a.mid", "a.wav"]


def test_a_folder_that_cannot_be_read_leaves_the_others(run, monkeypatch):
    Path("in/locked").mkdir(parents=True)
    shutil.copy("a.wav", "in/b.wav")
    scandir = os.scandir

    def refuse(path="."):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, _, err = run("in", "-d", "out")
    assert code == 1 and Path("out/b.mid").exists()
    assert "error: in/locked: the folder cannot be read (Permission denied)" in err
    code, _, err = run("in/locked", "-o", "x.mid")
    assert code == 1 and err.count("error") == 1 and "1 failed" in err


def test_a_link_that_leads_nowhere_is_reported(run):
    Path("in").mkdir()
    Path("in/gone.wav").symlink_to("nowhere.wav")
    Path("in/circle.wav").symlink_to("circle.wav")
    shutil.copy("a.wav", "in/b.wav")
    code, _, err = run("in")
    assert code == 1 and Path("in/b.mid").exists()
    assert "error: in/gone.wav: no such file" in err and "2 failed" in err

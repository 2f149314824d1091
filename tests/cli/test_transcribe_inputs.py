"""`mt3x transcribe` of unusual, bad and missing inputs, outputs and extras."""

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
from short_recordings import RATE, files, noise, tone

from mt3x.inference.transcriber import Transcriber
from mt3x.music.notes import Notes


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
        path.write_text("this is not a recording\n" * 100)
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

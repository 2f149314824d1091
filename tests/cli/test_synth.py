"""`mt3x synth` from songs and soundfonts to records that every reader reads."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from click.testing import CliRunner
from toy_songs import lead_tracks, write_groove, write_lead_sheet
from toy_soundfont import write_soundfont

from mt3x.cli.main import group
from mt3x.data.synthesis.render import attack_delays_s
from mt3x.music.notes import Notes

needs_synthesizer = pytest.mark.skipif(
    not shutil.which("fluidsynth") and not importlib.util.find_spec("midirenderer"),
    reason="no synthesiser: neither fluidsynth nor midirenderer is installed",
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    for index in range(6):
        tracks = lead_tracks(6, melody_step=index)
        write_lead_sheet(folder / "leads" / f"{index}" / f"{index}.mid", tracks)
    for index in range(3):
        name = f"{index}_rock_{110 + index}_beat_4-4.mid"
        write_groove(folder / "grooves" / name, num_bars=8 + index)
    for index, name in enumerate("abc"):
        write_soundfont(folder / f"{name}.sf2", overtone=0.1 * index)
    recipe = {
        **{"train": 4, "validation": 1, "test": 1, "seconds": 6},
        **{"sample_rate": 16000, "programs": ["drums=0", "bass=33", "chords=0,25"]},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


def arguments(sources, out, *more):
    return [
        *("synth", "--out", out, "--arrange", sources / "leads"),
        *("--grooves", sources / "grooves", "--recipe", sources / "recipe.json"),
        *("--programs", "drums=0", "--programs", "bass=33", "--programs", "chords=25"),
        *("--programs", "melody=40,73"),
        *("--soundfont", sources / "a.sf2", "--soundfont", sources / "b.sf2"),
        *("--test-soundfont", sources / "c.sf2", *more),
    ]


def run(*given):
    return CliRunner().invoke(group, [str(argument) for argument in given])


def contents(out):
    files = [path for path in out.glob("*/Track*/**/*") if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def made(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "set"
    done = run(*arguments(sources, out, "--workers", 1))
    assert done.exit_code == 0, (done.output, done.exception)
    assert "6 tracks (0.01 h)" in done.output
    return out


@needs_synthesizer
def test_labels_agree_with_the_sound(made):
    for folder in made.glob("*/Track*"):
        stems = yaml.safe_load((folder / "metadata.yaml").read_text())["stems"]
        for name, about in stems.items():
            if about["is_drum"]:
                continue
            labels = Notes.from_midi(folder / "MIDI" / f"{name}.mid")
            samples_S, rate_hz = soundfile.read(folder / "stems" / f"{name}.flac")
            assert rate_hz == 16000
            if about["program_num"] in (40, 73):  # one voice
                alone = labels.onset_s[1:] > labels.offset_s[:-1] + 0.04
                notes = labels[np.flatnonzero(alone) + 1]
                assert np.abs(attack_delays_s(samples_S, notes, rate_hz)).max() < 0.006
            for onset_s, pitch in zip(labels.onset_s, labels.pitch, strict=True):
                first = round(onset_s * rate_hz) + 160
                chunk_S = samples_S[first : first + 2048]
                if len(chunk_S) < 2048:
                    continue
                spectrum = np.abs(np.fft.rfft(chunk_S * np.hanning(2048), 16384))
                place = 440 * 2 ** ((pitch - 69) / 12) * 16384 / rate_hz
                near = spectrum[int(place * 0.98) : int(place * 1.02) + 3].max()
                assert near > 0.2 * spectrum.max()


@needs_synthesizer
def test_every_reader_of_slakh_reads_it(made, tmp_path):
    prepare = ["prepare", "slakh", "--raw", made, "--out", tmp_path, "--strict"]
    done = run(*prepare, "--submixes", 2)
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "slakh" / "manifest.json").read_text())
    pieces = {split: of["pieces"] for split, of in manifest["splits"].items()}
    assert pieces == {"train": 8, "validation": 1, "test": 1}


@needs_synthesizer
def test_cerberus4_reads_bands_of_its_four(sources, tmp_path):
    out = tmp_path / "set"
    four = ["--programs", "chords=0", "--programs", "melody=25"]
    counts = ["--validation", 0, "--test", 0, "--train", 2]
    done = run(*arguments(sources, out, *four, *counts, "--workers", 1))
    assert done.exit_code == 0, done.output
    done = run("prepare", "cerberus4", "--raw", out, "--out", tmp_path, "--strict")
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "cerberus4" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["pieces"] == 2


@needs_synthesizer
def test_a_killed_run_goes_on_to_the_same_bytes(made, sources, tmp_path):
    """And its workers end with it."""
    out = tmp_path / "set"
    command = [str(a) for a in arguments(sources, out, "--workers", 2)]
    running = subprocess.Popen(
        [sys.executable, "-m", "mt3x", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    children = []
    while not list(out.glob("*/Track*")):
        assert running.poll() is None
        time.sleep(0.02)
    if Path("/proc/self/task").is_dir():
        listed = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text()
        children = [int(child) for child in listed.split()]
    busy = run(*command)
    assert isinstance(busy.exception, BlockingIOError)
    running.send_signal(signal.SIGKILL)
    running.wait()
    until_s = time.monotonic() + 10
    while any(_is_alive(child) for child in children):
        assert time.monotonic() < until_s
        time.sleep(0.02)
    before = contents(out)
    done = run(*arguments(sources, out, "--workers", 1))
    assert done.exit_code == 0, done.output
    assert contents(out) == contents(made)
    assert before.items() <= contents(out).items()
    assert not list(out.glob("*/.Track*"))


def _is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@needs_synthesizer
def test_options_come_before_the_recipe_and_must_not_change(made, sources):
    record = json.loads((made / "synth.json").read_text())
    assert record["train"] == 4 and record["seconds"] == 6
    assert record["programs"]["chords"] == [25]
    done = run(*arguments(sources, made, "--seconds", 7))
    assert "was begun with seconds 6.0, not 7.0" in str(done.exception)
    done = run(*arguments(sources, made))
    assert "0 tracks (0.00 h)" in done.output and "6 were there" in done.output


@needs_synthesizer
def test_songs_that_can_not_be_used_are_named(sources, tmp_path):
    (tmp_path / "songs").mkdir()
    for index in range(2):
        (tmp_path / "songs" / f"{index}.mid").write_bytes(b"MThd" + bytes(index))
    done = run(
        *("synth", "--out", tmp_path / "set", "--midi", tmp_path / "songs"),
        *("--soundfont", sources / "a.sf2", "--train", 1, "--validation", 1),
        *("--test", 0, "--workers", 1),
    )
    assert "nothing was rendered: Track0000" in str(done.exception)
    assert "0.mid" in done.output and "1.mid" in done.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--soundfont", "none.sf2"], "none.sf2: no such soundfont"),
        (["--workers", 0], "--workers must be 1 or more"),
        (["--programs", "bass:33"], "such as bass=33,38"),
        (["--parts", "bass,chords"], "not one of --parts"),
        (["--parts", "drums,bass,chords,melody,voice"], "unknown part 'voice'"),
    ],
)
def test_errors_are_one_line(sources, tmp_path, more, message):
    done = run(*arguments(sources, tmp_path / "set", *more))
    assert done.exit_code != 0
    assert message in str(done.exception) and "\n" not in str(done.exception)
    assert not (tmp_path / "set").exists()


def test_songs_are_needed(sources, tmp_path):
    common = ["synth", "--out", tmp_path / "set"]
    done = run(*common, "--soundfont", sources / "a.sf2")
    assert "give a folder with --midi or --arrange" in str(done.exception)
    (tmp_path / "empty").mkdir()
    done = run(*common, "--midi", tmp_path / "empty")
    assert "no MIDI files" in str(done.exception)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"trian": 3}', "unknown option 'trian'; a recipe may have"),
        ("[1]", "a JSON object"),
        ("{", "not valid JSON"),
    ],
)
def test_recipes_are_checked(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    done = run("synth", "--out", "x", "--recipe", tmp_path / "r.json")
    assert message in str(done.exception)


def test_no_synthesiser(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = run(*arguments(sources, tmp_path / "set"))
    assert isinstance(done.exception, OSError)
    assert "apt install fluidsynth" in str(done.exception)
    assert not (tmp_path / "set").exists()


def test_help():
    done = run("synth", "--help")
    assert done.exit_code == 0 and "--test-soundfont" in done.output


def test_the_name_of_before_names_this_one():
    done = run("prepare", "synth", "--out", "x")
    assert done.exit_code == 2
    assert "Error: songs are rendered by `mt3x synth`" in done.output


def test_the_recipe_in_tasks_is_valid(sources, tmp_path):
    recipe = Path(__file__).parents[2] / "tasks" / "synth_band.json"
    done = run("synth", "--out", tmp_path / "set", "--recipe", recipe)
    assert "no songs" in str(done.exception)

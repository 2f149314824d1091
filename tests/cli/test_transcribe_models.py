"""`mt3x transcribe` with each kind of model. The weights are small and random."""

import dataclasses
import io
import itertools
import shutil
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from short_recordings import RATE, files, noise, tone
from tiny_models import (
    SMALL,
    random_params,
)

from mt3x.models import weights_file
from mt3x.models.hppnet import HPPNetConfig
from mt3x.models.weights_file import save_weights
from mt3x.music.instrument_classes import CLASS_NAMES
from mt3x.music.notes import Notes


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

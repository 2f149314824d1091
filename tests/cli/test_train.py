"""`mt3x train` and `mt3x export`: arguments, errors, exported files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_models import (
    SMALL,
    SMALL_BAND,
    SMALL_TOKENS,
    random_params,
    save_small_weights,
)
from toy_objective import ToyBatches, ToyObjective

from mt3x.cli import train as train_module
from mt3x.cli.export import command as export_command
from mt3x.cli.train import command as train_command
from mt3x.models import weights_file
from mt3x.models.objectives import PianoConfig
from mt3x.training.experiment import Experiment
from mt3x.training.train import Outcome, TrainConfig, train

GIN = "--gin_file=models/hppnet_tiny.gin"


def invoke(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_missing_extra_is_told_first(monkeypatch):
    find = train_module.importlib.util.find_spec
    monkeypatch.setattr(
        train_module.importlib.util,
        "find_spec",
        lambda x: find(x) if x != "gin" else None,
    )
    result = invoke(train_command)
    assert "training needs gin, which is not installed" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "holds no run yet"),
        (["--gin.train.TrainConfig.steps=3"], "needs a --gin_file"),
        ([GIN], "no corpora to train on"),
        ([GIN, "--gin.train.TrainConfig.nothing=3"], "nothing"),
        (["--gin_file=nowhere.gin"], r"nowhere\.gin"),
        (
            [
                GIN,
                "--gin.experiment.Experiment.data=@experiment.DataConfig()",
                "--gin.experiment.DataConfig.corpora=['nowhere']",
            ],
            "nowhere: not a finished corpus",
        ),
    ],
)
def test_bad_calls(arguments, message, tmp_path):
    result = invoke(train_command, *arguments, "--run-dir", tmp_path / "run")
    assert isinstance(result.exception, ValueError | OSError)
    assert "\n" not in str(result.exception)
    with pytest.raises(type(result.exception), match=message):
        raise result.exception
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("argument", ["--steps=3", "extra", "--gin.train.TrainConfig"])
def test_unknown_arguments(argument, tmp_path):
    result = invoke(train_command, GIN, argument, "--run-dir", tmp_path)
    assert result.exit_code == 2
    assert argument in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a --gin_file to start a run, or the --run-dir of one"),
        ([GIN], "MODEL_DIR is not set"),
        ([GIN, "--gin.MODEL_DIR=a/b"], r"text needs quotes: --gin.MODEL_DIR=.'a/b'"),
        ([GIN, "--gin.MODEL_DIR='gs://a/b'"], "gs:/a/b is not a folder"),
        ([GIN, "--gin.MODEL_DIR='a'", "--run-dir=b"], "b and MODEL_DIR a differ"),
        ([GIN, "--gin_search_paths=none", "--run-dir=b"], "none: no such folder"),
    ],
)
def test_run_folder_is_needed(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(train_command, *arguments)
    with pytest.raises((ValueError, OSError), match=message) as error:
        raise result.exception
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_what_is_run(tmp_path, monkeypatch):
    calls = []

    def run(experiment, *arguments):
        calls.append((experiment, *arguments))
        return Outcome(3, "steps", None, None)

    monkeypatch.setattr(Experiment, "run", run)
    (tmp_path / "a.gin").write_text("include 'models/hppnet_tiny.gin'\n")
    arguments = [
        f"--gin_search_paths=,{tmp_path}",
        "--gin_file=a.gin",
        "--gin.train.TrainConfig.steps=3",
        "--profile=trace",
    ]
    model_dir = tmp_path / "m"
    result = invoke(train_command, *arguments, f"--gin.MODEL_DIR='{model_dir}'")
    assert result.exit_code == 0, result.output
    assert f"{model_dir}: steps at step 3" in result.output
    ((experiment, run_dir, trace_dir, gin_text),) = calls
    assert experiment.train.steps == 3
    assert (run_dir, trace_dir) == (model_dir, Path("trace"))
    assert f"MODEL_DIR = '{model_dir}'" in gin_text


def test_the_gin_file_of_a_run_stays_with_it(tmp_path):
    def start(steps, **changes):
        config = TrainConfig(steps=steps, **changes)
        text = f"# {steps} {changes}\n"
        train(config, ToyObjective(), ToyBatches(), tmp_path, gin_text=text)

    start(1)
    start(2)
    file = tmp_path / "operative_config.gin"
    assert file.read_text() == "# 2 {}\n"
    with pytest.raises(ValueError, match="run with another config"):
        start(2, seed=1)
    assert file.read_text() == "# 2 {}\n"


def test_errors_are_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mt3x", "train", "--run-dir", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    scores = iter([0.7, 0.4])
    train(
        TrainConfig(steps=2, eval_interval=1),
        ToyObjective(),
        ToyBatches(),
        folder,
        lambda params: {"note_f1": next(scores)},
    )
    return folder


def test_export(run_dir, tmp_path):
    out = tmp_path / "w.safetensors"
    result = invoke(export_command, run_dir, out, "--note", "licence=CC0=yes")
    assert result.exit_code == 0, result.output
    weights = weights_file.load(out)
    assert weights.metadata == {"step": "1", "licence": "CC0=yes"}
    assert (
        weights.config == json.loads((run_dir / "config.json").read_text())["objective"]
    )
    best = weights_file.load(run_dir / "checkpoints" / "1").params
    np.testing.assert_array_equal(
        weights.params["out"]["kernel"], best["out"]["kernel"]
    )
    newest = tmp_path / "newest.safetensors"
    assert not invoke(export_command, run_dir / "checkpoints" / "2", newest).exit_code
    assert weights_file.load(newest).metadata["step"] == "2"


def test_export_keeps_what_is_there(run_dir, tmp_path):
    out = tmp_path / "w.safetensors"
    out.write_bytes(b"mine")
    result = invoke(export_command, run_dir, out)
    assert isinstance(result.exception, FileExistsError)
    assert out.read_bytes() == b"mine"
    assert invoke(export_command, run_dir, out, "--overwrite").exit_code == 0
    assert weights_file.load(out).config == {"width": 16}
    assert invoke(export_command, run_dir, tmp_path / "v", "--note", "x").exit_code == 2
    assert not (tmp_path / "v").exists()


def test_export_with_decoding_chosen_after_training(tmp_path):
    trained = save_small_weights(tmp_path / "small.safetensors")
    out = tmp_path / "w.safetensors"
    change = ("--decoding", "onset_threshold=0.5", "--decoding", "refine_offsets=false")
    assert invoke(export_command, trained, out, *change).exit_code == 0
    before, after = weights_file.load(trained).config, weights_file.load(out).config
    assert after["decoding"].pop("onset_threshold") == 0.5 != 0.4
    assert after["decoding"].pop("refine_offsets") is False
    for name in ("onset_threshold", "refine_offsets"):
        del before["decoding"][name]
    assert after == before
    for wrong in ("onset_thresold=0.5", "onset_threshold=2", "refine_offsets=No"):
        result = invoke(export_command, trained, tmp_path / "v", "--decoding", wrong)
        assert isinstance(result.exception, ValueError)
    tokens = save_small_weights(tmp_path / "tokens.safetensors", SMALL_TOKENS)
    result = invoke(export_command, tokens, tmp_path / "v", *change)
    assert isinstance(result.exception, ValueError)
    assert "piano models" in str(result.exception)
    assert not (tmp_path / "v").exists()


def test_export_with_a_band_models_decoding(tmp_path):
    trained = save_small_weights(tmp_path / "small.safetensors", SMALL_BAND)
    out = tmp_path / "w.safetensors"
    changes = ("onset_threshold=0.3", "drum_onset_threshold=0.4")
    changes += ("assignment_same_timbre=1",)
    options = [text for change in changes for text in ("--decoding", change)]
    assert invoke(export_command, trained, out, *options).exit_code == 0
    config = weights_file.load(out).config
    assert config["decoding"]["onset_threshold"] == 0.3
    assert config["drum_decoding"]["onset_threshold"] == 0.4
    assert config["assignment"]["same_timbre"] == 1
    piano = save_small_weights(tmp_path / "piano.safetensors")
    result = invoke(export_command, piano, tmp_path / "v", *options[:4])
    assert isinstance(result.exception, ValueError)
    assert "drum_onset_threshold: for band models" in str(result.exception)


def test_export_switches_the_postprocessing_of_older_weights_off(tmp_path):
    """Two switches stood for it: they must not come back."""
    old = SMALL.to_dict()
    del old["decoding"]["postprocessing"]
    old["decoding"] |= {"gather": True, "even_keys": True}
    weights_file.save_weights(tmp_path / "old", random_params(), old)
    off = ("--decoding", "postprocessing=null")
    result = invoke(export_command, tmp_path / "old", tmp_path / "new", *off)
    assert result.exit_code == 0, result.output
    config = weights_file.load(tmp_path / "new").config
    assert PianoConfig.from_dict(config) == SMALL

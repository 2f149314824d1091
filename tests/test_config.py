"""Every gin file parses, builds, takes effect and binds nothing unused."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gin
import jax
import pytest

from mt3x import config
from mt3x.experiment import Experiment
from mt3x.objectives import PianoObjective

ROOT = Path(__file__).parent.parent
FILES = sorted(
    str(path.relative_to(config.gin_dir())) for path in config.gin_dir().rglob("*.gin")
)
# How to call a file that describes only a part.
WITH = {"train.gin": ["models/hppnet_tiny.gin"]}


def dataclass_values(value):
    """(class name, field, value) of a dataclass and all inside it."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            yield type(value).__name__, field.name, inner
            yield from dataclass_values(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from dataclass_values(inner)


def test_there_are_gin_files():
    assert {"train.gin", "models/hppnet_sp.gin"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_gin_file_builds_and_takes_effect(file):
    experiment = config.load([*WITH.get(file, []), file])
    assert type(experiment) is Experiment
    found = [(c, f, repr(v)) for c, f, v in dataclass_values(experiment)]
    gin.clear_config()
    gin.add_config_file_search_path(str(config.gin_dir()))
    gin.parse_config_file(str(config.gin_dir() / file))
    bound = [
        (selector.split(".")[-1], name, value)
        for (_, selector), values in gin.config._CONFIG.items()
        for name, value in values.items()
    ]
    gin.clear_config()
    assert bound
    for class_name, name, value in bound:
        if "@" in repr(value):
            continue  # a reference; what it builds is bound below it
        assert (class_name, name, repr(value)) in found


@pytest.mark.parametrize("file", FILES)
def test_gin_file_has_a_header(file):
    text = (config.gin_dir() / file).read_text(encoding="utf-8")
    assert text.startswith("# ")
    if file.startswith("experiments/"):
        header = text.split("from __gin__")[0]
        assert f"--gin_file={file}" in header
        for word in ("mt3x train", "Hardware", "Time", "result"):
            assert word in header, word


@pytest.mark.parametrize(
    ("size", "thousands"), [("tiny", 151), ("base", 820), ("sp", 1240)]
)
def test_models_have_their_size(size, thousands):
    experiment = config.load([f"models/hppnet_{size}.gin"])
    shapes = jax.eval_shape(
        PianoObjective(experiment.objective).init, jax.random.key(0)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == pytest.approx(1000 * thousands, rel=0.01)


def test_bindings_win_and_need_no_import():
    experiment = config.load(
        ["models/hppnet_tiny.gin", "train.gin"],
        [
            "train.TrainConfig.steps=7",
            "hppnet.HPPNetConfig.channels=16",
            "objectives.PianoConfig.decoding=@rolls.RollDecodingConfig()",
            "rolls.RollDecodingConfig.onset_threshold=0.25",
        ],
    )
    assert experiment.train.steps == 7
    assert experiment.objective.model.channels == 16
    assert experiment.objective.decoding.onset_threshold == 0.25


def test_files_are_found_here_first(tmp_path, monkeypatch):
    (tmp_path / "own.gin").write_text(
        "from __gin__ import dynamic_registration\n"
        "from mt3x import optimizers\n"
        "include 'train.gin'\n"
        "optimizers.OptimizerConfig.learning_rate = 0.5\n"
    )
    monkeypatch.chdir(tmp_path)
    assert config.load(["own.gin"]).train.optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("train.TrainConfig.step=1", "parameter named 'step'"),
        ("train.Trainer.steps=1", "has no attribute Trainer"),
        ("train.TrainConfig.steps=", "Unable to parse"),
        ("train.TrainConfig.steps=-3", "steps=-3 must be at least 1"),
        ("optimizers.OptimizerConfig.schedule='linear'", "none of constant"),
        ("rolls.RollLabelConfig.onset_radius_frames=2", "without effect"),
        ("x/train.TrainConfig.steps=1", "without effect: x/"),
    ],
)
def test_bad_bindings(binding, message):
    with pytest.raises(ValueError, match=message) as error:
        config.load(["models/hppnet_tiny.gin", "train.gin"], [binding])
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.gin"):
        config.load(["nowhere.gin"])
    bad = tmp_path / "bad.gin"
    bad.write_text("train.TrainConfig.steps = [\n")
    with pytest.raises(ValueError, match=r"bad\.gin"):
        config.load([bad])
    bad.write_text("from __gin__ import dynamic_registration\nimport mt3x.nothing\n")
    with pytest.raises(ValueError, match=r"bad\.gin.*mt3x\.nothing"):
        config.load([bad])
    bad.write_text("include 'nowhere.gin'\n")
    with pytest.raises(OSError, match=r"nowhere\.gin"):
        config.load([bad])


def test_nothing_is_left_behind():
    config.load(["models/hppnet_tiny.gin"], ["hppnet.HPPNetConfig.channels=16"])
    assert gin.config_str().strip() == ""
    assert config.load(["models/hppnet_tiny.gin"]).objective.model.channels == 48


LOAD = """
from mt3x import config
print(config.gin_dir())
print(config.load(["models/hppnet_base.gin"]).objective.model.channels)
"""


@pytest.mark.parametrize("kind", ["checkout", "built"])
def test_gin_files_are_found(kind, tmp_path):
    """From the checkout, and from an installation's layout in another folder."""
    source = ROOT
    if kind == "built":
        source = tmp_path / "source"
        source.mkdir()
        for name in ("setup.py", "pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, source)
        for name in ("mt3x", "gin", "tasks"):
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        # What goes into a wheel, without the wheel's zip file.
        subprocess.run(
            [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"],
            cwd=source,
            check=True,
            capture_output=True,
        )
        source = source / "built"
        assert (source / "mt3x" / "py.typed").is_file()
    folder = source / ("mt3x/gin" if kind == "built" else "gin")
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOAD],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(folder), "128"]

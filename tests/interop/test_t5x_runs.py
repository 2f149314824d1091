"""Gin files for T5X, and its commands run with them: train, eval, infer.

Most of it is skipped where T5X is not installed (docs/how_to/t5x.md).
"""

import ast
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import toy_band
from click.testing import CliRunner
from gin import config_parser
from tiny_models import SMALL, assert_params_equal, random_params

from mt3x import config
from mt3x.cli import import_
from mt3x.interop.t5x_checkpoints import read_t5x, write_t5x
from mt3x.models import batch_norm, orbax_items, weights_file
from mt3x.models.features import LogMelConfig
from mt3x.models.objectives import TokensConfig, config_from_dict
from mt3x.models.seq2seq import Seq2SeqConfig
from mt3x.models.stem import StemConfig
from mt3x.models.tokens_config import RollsConfig
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig

TESTS = Path(__file__).parents[1]
T5X_FILES = sorted(path.name for path in (config.gin_dir() / "t5x").glob("*.gin"))


class Syntax(config_parser.ParserDelegate):
    """Reads references and macros as text, so that nothing is imported."""

    def configurable_reference(self, scoped_name, evaluate):
        return f"@{scoped_name}"

    def macro(self, name):
        return f"%{name}"


@pytest.mark.parametrize("file", T5X_FILES)
def test_gin_files(file):
    """Their syntax, what they include and what they name of mt3x, without T5X."""
    text = (config.gin_dir() / "t5x" / file).read_text(encoding="utf-8")
    assert text.startswith("# ")
    programs = {"pretrain": "train", "eval": "eval", "infer": "infer", "score": "infer"}
    program = programs.get(file[:-4])
    if program:
        header = text.split("from __gin__")[0]
        assert f"python -m t5x.{program} --gin_search_paths" in header
        assert f"--gin_file=t5x/{file}" in header
    modules, bound = set(), []
    for statement in config_parser.ConfigParser(text, Syntax()):
        if isinstance(statement, config_parser.ImportStatement):
            modules.add(statement.module)
        elif isinstance(statement, config_parser.IncludeStatement):
            assert (config.gin_dir() / statement.filename).is_file()
        elif isinstance(statement, config_parser.BindingStatement):
            bound.append((statement.selector, statement.arg_name))
    sources = {
        module.rsplit(".", 1)[-1]: (
            TESTS.parent / module.replace(".", "/")
        ).with_suffix(".py")
        for module in modules
        if module.startswith("mt3x")
    }
    for selector, argument in bound:
        module, _, name = selector.rpartition(".")
        if module in sources:
            source = sources[module].read_text(encoding="utf-8")
            (found,) = (
                node
                for node in ast.parse(source).body
                if isinstance(node, ast.ClassDef | ast.FunctionDef)
                and node.name == name
            )
            names = {a.arg for a in ast.walk(found) if isinstance(a, ast.arg)}
            assert argument in names, f"{selector}.{argument}"


TINY = """
from __gin__ import dynamic_registration
from mt3x.music import vocabulary
from mt3x.models import features
from mt3x.models import objectives
from mt3x.models import hppnet
from mt3x.models import seq2seq
from mt3x.models import stem

MIXTURE_OR_TASK_MODULE = 'toy_band_tasks'
EVAL_TASK_SUFFIX = 'songs'
TASK_SUFFIX = 'songs'
EVAL_STEPS = 2
CHECKPOINT_PERIOD = 2
"""
TINY_TOKENS = """
TASK_PREFIX = 'band_notes_ties'
TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 48}
BATCH_SIZE = 4
TRAIN_STEPS = 20
EVAL_PERIOD = 20
vocabulary.VocabConfig.max_shift_steps = 100
seq2seq.Seq2SeqConfig.emb_dim = 32
seq2seq.Seq2SeqConfig.num_heads = 2
seq2seq.Seq2SeqConfig.head_dim = 16
seq2seq.Seq2SeqConfig.num_encoder_layers = 1
seq2seq.Seq2SeqConfig.num_decoder_layers = 1
seq2seq.Seq2SeqConfig.mlp_dim = 64
seq2seq.Seq2SeqConfig.input_depth = 96
objectives.TokensConfig.features = @features.LogMelConfig()
features.LogMelConfig.num_bins = 96
features.LogMelConfig.fft_samples = 1024
"""
# A stem with batch norm, an end marker and heads for rolls.
TINY_STEM = """
seq2seq.Seq2SeqConfig.stem = @stem.StemConfig()
seq2seq.Seq2SeqConfig.end_marker = True
stem.StemConfig.mode = 'before'
stem.StemConfig.channels = (2, 3, 4)
objectives.TokensConfig.rolls = @objectives.RollsConfig()
objectives.RollsConfig.channels = 4
"""
TINY_ROLLS = """
TASK_PREFIX = 'band_rolls'
TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 32}
BATCH_SIZE = 2
TRAIN_STEPS = 4
EVAL_PERIOD = 4
hppnet.HPPNetConfig.channels = 4
hppnet.HPPNetConfig.stem_channels = 4
"""
# The same in Python.
TINY_CONFIGS = {
    "rolls": SMALL,
    "tokens": TokensConfig(
        model=Seq2SeqConfig(
            vocab_size=640,
            emb_dim=32,
            num_heads=2,
            head_dim=16,
            num_encoder_layers=1,
            num_decoder_layers=1,
            mlp_dim=64,
            input_depth=96,
        ),
        features=LogMelConfig(num_bins=96, fft_samples=1024),
        tokens=TokenizerConfig(VocabConfig(max_shift_steps=100)),
        num_frames=32,
        max_tokens=48,
    ),
}
TINY_CONFIGS["stem"] = dataclasses.replace(
    TINY_CONFIGS["tokens"],
    model=dataclasses.replace(
        TINY_CONFIGS["tokens"].model,
        stem=StemConfig("before", channels=(2, 3, 4)),
        end_marker=True,
    ),
    rolls=RollsConfig(channels=4),
)


class Runs:
    """T5X's commands on the band's songs."""

    def __init__(self, folder):
        self.folder = folder
        toy_band.write_records(folder / "records" / "band", range(2))
        (folder / "tokens.gin").write_text(TINY + TINY_TOKENS)
        (folder / "stem.gin").write_text(TINY + TINY_TOKENS + TINY_STEM)
        (folder / "rolls.gin").write_text(TINY + TINY_ROLLS)

    def start(self, command, *bindings, kind="tokens", file=None):
        """The process, whose output goes to a file: a pipe would fill and stop it."""
        known = "pretrain" if command == "train" else command
        files = [file or f"t5x/{known}.gin"]
        if kind == "rolls":
            files += ["t5x/rolls.gin", "models/hppnet_tiny.gin"]
        options = [f"--gin_file={name}" for name in [*files, f"{kind}.gin"]]
        options += [f"--gin.{binding}" for binding in bindings]
        paths = f"--gin_search_paths={config.gin_dir()},{self.folder}"
        python_path = os.pathsep.join(
            [str(TESTS / "fixtures"), os.environ.get("PYTHONPATH", "")]
        )
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"t5x.{command}", paths, *options],
                env={
                    **os.environ,
                    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
                    "MT3X_DATA_DIR": str(self.folder / "records"),
                    "PYTHONPATH": python_path,
                },
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, *args, **options):
        status = self.start(*args, **options).wait()
        output = (self.folder / "log").read_text()
        assert status == 0, output[-3000:]
        return output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    pytest.importorskip("t5x", reason="T5X is not installed: see docs/how_to/t5x.md")
    return Runs(tmp_path_factory.mktemp("runs"))


def state_of(checkpoint):
    """All of it: parameters, running statistics, Adafactor's averages and the step."""
    return weights_file.flatten(orbax_items.restore_arrays(checkpoint / "state"))


def test_killed_and_resumed(runs):
    """The state is that of a run that was not killed.

    Both begin with an MT3 without the stem and the heads, which are drawn.
    """
    folder = runs.folder
    given = random_params(TINY_CONFIGS["tokens"])
    path = write_t5x(folder / "mt3", given, TINY_CONFIGS["tokens"].to_dict())
    start = f"INITIAL_CHECKPOINT_PATH='{path}'"
    runs.run("train", f"MODEL_DIR='{folder / 'whole'}'", start, kind="stem")
    first = read_t5x(folder / "whole" / "checkpoint_0")[0]
    assert_params_equal(batch_norm.updated(first, given), first)
    drawn = random_params(TINY_CONFIGS["stem"])
    assert weights_file.flatten(drawn).keys() == weights_file.flatten(first).keys()
    assert first["encoder"]["stem"]["block_1"]["norm"]["var"].tolist() == [1, 1, 1]
    killed = runs.start("train", f"MODEL_DIR='{folder / 'killed'}'", start, kind="stem")
    while not (folder / "killed" / "checkpoint_4").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not (folder / "killed" / "checkpoint_20").exists()
    output = runs.run("train", f"MODEL_DIR='{folder / 'killed'}'", start, kind="stem")
    assert "Initializing parameters from specific T5X checkpoint" in output
    expected = state_of(folder / "whole" / "checkpoint_20")
    statistics = expected["flax_mutables/batch_stats/encoder/stem/block_1/norm/var"]
    assert min(abs(statistics - 1)) > 1e-3
    found = state_of(folder / "killed" / "checkpoint_20")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("kind", ["tokens", "rolls", "stem"])
def test_train_evaluate_infer_import(runs, kind):
    """With weights from mt3x, which `mt3x import` brings back."""
    folder = runs.folder / kind
    described = TINY_CONFIGS[kind]
    params = random_params(described)
    given = write_t5x(folder / "given", params, described.to_dict())
    steps = ["TRAIN_STEPS=2", "EVAL_PERIOD=2", f"INITIAL_CHECKPOINT_PATH='{given}'"]
    runs.run("train", f"MODEL_DIR='{folder / 'run'}'", *steps, kind=kind)
    assert_params_equal(read_t5x(folder / "run" / "checkpoint_0")[0], params)
    trained, step = read_t5x(folder / "run")
    assert step == 2
    checkpoint = f"CHECKPOINT_PATH='{folder / 'run' / 'checkpoint_2'}'"
    runs.run("eval", checkpoint, f"EVAL_OUTPUT_DIR='{folder / 'eval'}'", kind=kind)
    (scores,) = (folder / "eval").glob("inference_eval/*-metrics.jsonl")
    name = "note_f1" if kind == "rolls" else "Onset F1"
    assert 0 <= json.loads(scores.read_text())[name] <= 1
    runs.run("infer", checkpoint, f"INFER_OUTPUT_DIR='{folder / 'midi'}'", kind=kind)
    names = sorted(path.name for path in folder.glob("midi/band*_songs/*.mid"))
    assert names == ["00000_song0.mid", "00001_song1.mid"]
    if kind == "tokens":
        out = f"INFER_OUTPUT_DIR='{folder / 'scores'}'"
        runs.run("infer", checkpoint, out, file="t5x/score.gin")
        (written,) = folder.glob("scores/*-00000-of-00001")
        rows = [json.loads(line) for line in written.read_text().splitlines()]
        assert rows and all(row["score"] < 0 for row in rows)
    args = ["t5x", str(folder / "run"), str(folder / "weights.safetensors")]
    CliRunner().invoke(import_.command, args, catch_exceptions=False)
    weights = weights_file.load(folder / "weights.safetensors")
    assert config_from_dict(weights.config) == described
    assert_params_equal(weights.params, trained)

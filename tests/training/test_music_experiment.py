"""Experiments with a generator: likelihood, then a GAN; resume, samples, export."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from mt3x.cli.export import command as export
from mt3x.data.mood_batches import MoodDataConfig
from mt3x.data.mood_pieces import MoodPiece, write_moods
from mt3x.models import weights_file
from mt3x.models.adversarial_objective import AdversarialConfig, MusicConfig
from mt3x.models.discriminator import DiscriminatorConfig
from mt3x.models.generator import GeneratorConfig
from mt3x.music.notes import Notes
from mt3x.training.experiment import (
    DataConfig,
    Experiment,
    TaskConfig,
    ValidationConfig,
)
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.run_log import read_curve
from mt3x.training.train import TrainConfig

LIKELIHOOD = MusicConfig(
    GeneratorConfig(
        num_layers=1,
        width=8,
        half_lives=(4.0, 0.0),
        mlp_width=8,
        mood_width=4,
        chunk=8,
        dropout=0.1,
    )
)
GAN = dataclasses.replace(
    LIKELIHOOD,
    adversarial=AdversarialConfig(
        DiscriminatorConfig(
            patch=4, num_layers=1, width=8, num_heads=2, mlp_width=8, mood_width=4
        ),
        prime_tokens=4,
        fake_tokens=8,
    ),
)


@pytest.fixture(scope="module")
def moods(tmp_path_factory):
    onset_s = 0.25 * np.arange(30)
    notes = Notes(onset_s, onset_s + 0.2, 40 + (7 * np.arange(30)) % 30)
    path = tmp_path_factory.mktemp("moods") / "moods.npz"
    clips = [
        MoodPiece(notes, 0.1 * n, -0.1 * n, f"piece {n}", "a", split)
        for n, split in enumerate(["train"] * 4 + ["validation"] * 2)
    ]
    write_moods(path, clips)
    return str(path)


def experiment(moods, objective, steps=2, **options):
    return Experiment(
        objective=objective,
        data=MoodDataConfig((moods,), batch_size=2, num_tokens=16, anneal_steps=4),
        train=TrainConfig(steps=steps, log_interval=1, score="accuracy", **options),
        validation=ValidationConfig(loss_batches=1),
    )


@pytest.fixture(scope="module")
def run(moods, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mle"
    return folder, experiment(moods, LIKELIHOOD).run(folder)


def test_a_run_trains_validates_and_shows_music(run):
    folder, outcome = run
    assert (outcome.step, outcome.reason, outcome.best_step) == (2, "steps", 2)
    curve = read_curve(folder / "learning_curve.csv")
    assert {"cross_entropy", "accuracy", "valid/cross_entropy"} <= curve[-1].keys()
    events = b"".join(f.read_bytes() for f in (folder / "tensorboard").iterdir())
    assert b"valid/music" in events
    assert b"valid/sound" in events


def gan(moods, run, steps):
    optimizer = OptimizerConfig(network_rates={"discriminator": 3.0})
    options = {"init_weights": str(run[0]), "init_partial": True}
    return experiment(moods, GAN, steps, optimizer=optimizer, ema_decay=0.9, **options)


@pytest.mark.slow
@pytest.mark.by_hand
def test_a_gan_begins_with_likelihood_and_resumes_exactly(moods, run, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    gan(moods, run, 2).run(whole)
    assert "drawn: discriminator" in (whole / "init_report.txt").read_text()
    gan(moods, run, 1).run(parts)
    gan(moods, run, 2).run(parts)
    one, other = (weights_file.load(f / "checkpoints" / "2") for f in (whole, parts))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    curves = [read_curve(folder / "learning_curve.csv") for folder in (whole, parts)]
    for name in ("loss", "deceit", "penalty"):
        assert curves[0][-1][name] == curves[1][-1][name]
    out = tmp_path / "music.safetensors"
    result = CliRunner().invoke(export, [str(whole), str(out)])
    assert result.exit_code == 0, result.output
    exported = weights_file.load(out)
    assert exported.params.keys() == {"generator"}
    assert MusicConfig.from_dict(exported.config) == LIKELIHOOD


@pytest.mark.parametrize("form", ["onnx", "t5x"])
def test_other_forms_of_export_are_refused(run, tmp_path, form):
    arguments = [str(run[0]), str(tmp_path / "a"), "--format", form]
    result = CliRunner().invoke(export, arguments)
    assert isinstance(result.exception, ValueError)
    assert "generator" in str(result.exception)


def test_settings_survive_json(moods):
    for objective in (LIKELIHOOD, GAN):
        given = experiment(moods, objective)
        assert Experiment.from_dict(json.loads(json.dumps(given.to_dict()))) == given


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataConfig(("a",)), r"on corpora \(DataConfig\): give it clips with moods"),
        (TaskConfig("a"), r"on SeqIO tasks \(TaskConfig\): give it clips with moods"),
    ],
)
def test_other_data_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        Experiment(objective=LIKELIHOOD, data=data)

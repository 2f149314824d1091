"""A piano model on a SeqIO task: its run, its batches, and what stops it early."""

import dataclasses
import functools
import json
import types

import jax
import numpy as np
import pytest
import toy_band

from mt3x.models.hppnet import HPPNetConfig
from mt3x.models.objectives import PianoConfig, TokensConfig
from mt3x.music.rolls import RollLabelConfig, notes_to_rolls
from mt3x.training import experiment
from mt3x.training.experiment import (
    DataConfig,
    Experiment,
    TaskConfig,
    ValidationConfig,
)
from mt3x.training.step import init_state, train_step
from mt3x.training.train import TrainConfig
from mt3x.training.validation import RollValidation

EXPERIMENT = Experiment(
    objective=PianoConfig(
        model=HPPNetConfig(channels=4, stem_channels=4),
        labels=RollLabelConfig(onset_radius_frames=2.0),
    ),
    data=TaskConfig(
        task="band_rolls_train",
        module="toy_band_tasks",
        batch_size=4,
        clip_frames=32,
        shuffle_buffer=4,
    ),
    train=TrainConfig(steps=2, log_interval=1),
    validation=ValidationConfig(task="band_rolls_songs", module="toy_band_tasks"),
)


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rolls")
    toy_band.write_records(folder / "band", range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MT3X_DATA_DIR", str(folder))
        yield folder


def test_a_run_has_batches_that_its_step_takes(tmp_path, monkeypatch):
    """Traced alone: tests/test_experiment.py trains such a model."""
    calls = []
    monkeypatch.setattr(experiment, "train", lambda *a, **k: calls.append((a, k)))
    EXPERIMENT.run(tmp_path / "run")
    (((config, objective, batches, run_dir, _, data, *_), options),) = calls
    assert config == EXPERIMENT.train and run_dir == tmp_path / "run"
    (validation,) = EXPERIMENT.validations(objective)
    assert isinstance(validation, RollValidation) and len(validation._clips) == 2
    state = jax.eval_shape(lambda: init_state(config, objective))
    step = functools.partial(train_step, config, objective)
    assert jax.eval_shape(step, state, batches.batch(0))[1]["loss"].shape == ()
    described = json.loads(json.dumps({**EXPERIMENT.to_dict(), "data": data}))
    assert Experiment.from_dict(described) == EXPERIMENT
    # A run that was begun before there were these settings resumes with their defaults.
    del described["train"]["init_partial"]
    del described["data"]["validation"]["loss_batches"]
    assert options["read_config"](described) == EXPERIMENT.to_dict()


def test_batches_are_the_clips_and_the_labels_of_their_ids():
    batches = EXPERIMENT.data.make_batches(EXPERIMENT.objective)
    batch = batches.batch(1)
    for row, id in enumerate(batches.ids(1)):
        data_set, name, _, start_s, _ = id.split()
        assert data_set == "band"
        song = toy_band.song(int(name.removeprefix("song")))
        first = round(float(start_s) * 16000)
        whole_S = np.clip(toy_band.play(song), -1, 1)
        clip_S = np.zeros(32 * 320, np.float32)
        clip_S[: len(whole_S) - first] = whole_S[first : first + len(clip_S)]
        np.testing.assert_allclose(batch["samples"][row], clip_S, atol=1e-4)
        labels = EXPERIMENT.objective.labels
        rolls = notes_to_rolls(song, 32, labels, first / 16000)
        for roll in ("onset", "frame", "offset", "velocity"):
            expected_TxP = getattr(rolls, f"{roll}_TxP")
            np.testing.assert_array_equal(batch[roll][row], expected_TxP)


def change(**data):
    return dataclasses.replace(
        EXPERIMENT, data=dataclasses.replace(EXPERIMENT.data, **data)
    )


def test_what_does_not_fit_is_refused_before_any_work(tmp_path, monkeypatch):
    for wrong, message in [
        (change(task="band_notes_ties_ms1vb1_train"), "writes tokens, but piano"),
        (change(max_examples_per_mix=2), "max_examples_per_mix=2 is for token models"),
        (change(task="band_rolls"), "no task 'band_rolls' in toy_band_tasks"),
        (
            dataclasses.replace(EXPERIMENT, objective=TokensConfig()),
            "band_rolls_train writes rolls, not",
        ),
        (
            dataclasses.replace(EXPERIMENT, train=TrainConfig(microbatches=3, steps=2)),
            "4 does not divide into 3 microbatches over the 1 devices .* of 3",
        ),
        (
            change(task="odd_rolls_train"),
            r"odd_rolls_train has .*160.*, but the model is made for .*320",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong.run(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"not cached: looked in .*/none"):
        change(use_cached=True, cache_dir=str(tmp_path / "none")).run(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"corpora \(DataConfig\): give it SeqIO tasks"
    ):
        Experiment(objective=TokensConfig(), data=DataConfig())
    mesh = types.SimpleNamespace(shape={"data": 8, "model": 1})
    monkeypatch.setattr(experiment.partitioning, "make_mesh", lambda config: mesh)
    with pytest.raises(ValueError, match=r"4 does not divide .* the 8 devices"):
        EXPERIMENT.run(tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""An experiment with the real model: learning, resuming, exporting, transcribing."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.data.batches import BatchConfig
from mt3x.data.clips import corpus_clips
from mt3x.data.corpus import CorpusWriter
from mt3x.models import weights_file
from mt3x.models.hppnet import HPPNetConfig
from mt3x.models.objectives import PianoConfig, PianoObjective
from mt3x.music.notes import Notes
from mt3x.music.rolls import RollLabelConfig, notes_to_rolls
from mt3x.music.sonify import sonify
from mt3x.training.experiment import DataConfig, Experiment, ValidationConfig
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.run_log import read_curve
from mt3x.training.step import init_state, train_step
from mt3x.training.train import TrainConfig
from mt3x.training.validation import RollValidation

CLIP_FRAMES = 44
CLIP_SAMPLES = 320 * CLIP_FRAMES
NOTES = Notes(
    [0.1, 0.1, 0.3, 0.5, 0.5],
    [0.3, 0.4, 0.5, 0.7, 0.75],
    [60, 67, 64, 48, 72],
    [40, 60, 80, 100, 70],
)
MODEL = HPPNetConfig(channels=8, stem_channels=2)


@pytest.fixture
def corpus(tmp_path):
    samples_S = sonify(NOTES, 16000)[:CLIP_SAMPLES]
    samples_S = np.pad(samples_S, (0, CLIP_SAMPLES - len(samples_S)))
    with CorpusWriter(tmp_path / "corpus") as writer:
        writer.add("clip", samples_S.astype(np.float32), NOTES)
    return str(tmp_path / "corpus")


def make_experiment(corpus, **train):
    return Experiment(
        objective=PianoConfig(
            model=MODEL, labels=RollLabelConfig(onset_radius_frames=2.0)
        ),
        data=DataConfig(
            corpora=(corpus,),
            batches=BatchConfig(
                batch_size=1,
                clip_samples=CLIP_SAMPLES,
                augment=None,
                detune_prob=0.0,
                noise_only_prob=0.0,
            ),
        ),
        train=TrainConfig(**train),
        validation=ValidationConfig(corpus=corpus),
    )


@pytest.mark.by_hand
def test_a_tiny_model_learns_a_clip_by_heart(corpus, tmp_path):
    """The whole path: corpus, batches, training, validation, the best checkpoint."""
    # Learned after 100 updates with most seeds; some need more.
    for steps in (160, 320, 480, 640):
        experiment = make_experiment(
            corpus,
            steps=steps,
            optimizer=OptimizerConfig(
                name="muon", learning_rate=3e-2, schedule="constant"
            ),
            log_interval=40,
            eval_interval=160,
        )
        data = dataclasses.replace(experiment.data, workers=1)
        outcome = dataclasses.replace(experiment, data=data).run(tmp_path / "run")
        if outcome.best_score == 1.0:
            break
    assert outcome.best_score == 1.0
    # Who makes the batches does not belong to what a run is.
    assert experiment.run(tmp_path / "run").step == steps
    curve = read_curve(tmp_path / "run" / "learning_curve.csv")
    assert [row["step"] for row in curve] == list(range(40, steps + 1, 40))
    assert curve[-1]["loss"] < 0.1 * curve[0]["loss"]

    weights = weights_file.load(tmp_path / "run")
    config = PianoConfig.from_dict(weights.config)
    assert config == experiment.objective
    objective = PianoObjective(config)
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    weights_file.check_params(weights.params, shapes, "run")
    clips = corpus_clips(corpus, 16000, 60.0)
    scores = RollValidation(objective, clips)(weights.params)
    assert scores["note_f1"] == scores["note_offset_f1"] == 1.0


def test_bfloat16_is_for_arithmetic_alone():
    """Traced alone: arithmetic follows the config and parameters stay float32."""
    config = TrainConfig(dtype="bfloat16")
    objective = PianoObjective(PianoConfig(model=MODEL), config.dtype)
    rolls = notes_to_rolls(NOTES, CLIP_FRAMES, RollLabelConfig())
    batch = {
        name: jnp.asarray(getattr(rolls, f"{name}_TxP"))[None]
        for name in ("onset", "frame", "offset", "velocity")
    }
    batch["samples"] = jnp.zeros((1, CLIP_SAMPLES))
    state = jax.eval_shape(lambda: init_state(config, objective))
    traced = jax.make_jaxpr(lambda s, b: train_step(config, objective, s, b))
    jaxpr = traced(state, batch)
    assert "bf16" in str(jaxpr)
    weights = jax.eval_shape(
        lambda s, b: train_step(config, objective, s, b), state, batch
    )[0]["weights"]
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(weights)} == {"float32"}
    exact = dataclasses.replace(config, dtype="float32")
    objective = PianoObjective(PianoConfig(model=MODEL), exact.dtype)
    jaxpr = jax.make_jaxpr(lambda s, b: train_step(exact, objective, s, b))
    assert "bf16" not in str(jaxpr(state, batch))


def test_json_is_an_experiment(corpus):
    experiment = make_experiment(corpus, steps=5, ema_decay=0.9)
    again = Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))
    assert again == experiment
    # Labels and hop of the batches are the objective's.
    assert again.data.batches.labels.onset_radius_frames == 2.0
    default = Experiment()
    assert default.data.batches.augment is not None
    assert Experiment.from_dict(json.loads(json.dumps(default.to_dict()))) == default


def test_what_does_not_fit_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="2 weights for 1 corpora"):
        DataConfig(corpora=("a",), weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="workers=-1"):
        DataConfig(corpora=("a",), workers=-1)
    with pytest.raises(ValueError, match="no corpora"):
        Experiment().run(tmp_path)
    experiment = make_experiment(corpus)
    missing = dataclasses.replace(
        experiment, validation=ValidationConfig(corpus=str(tmp_path / "none"))
    )
    with pytest.raises(FileNotFoundError, match="none"):
        missing.run(tmp_path / "run")

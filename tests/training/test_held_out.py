"""The loss on held-out batches: the mean over all examples, by any division."""

import dataclasses

import jax
import numpy as np
import pytest
import toy_band
from tiny_models import SMALL_TOKENS, random_params
from toy_objective import ToyBatches, ToyObjective

from mt3x.models.tokens_objective import RollsConfig, TokensObjective
from mt3x.music.rolls import RollLabelConfig
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig
from mt3x.training import processes
from mt3x.training.experiment import Experiment, TaskConfig, ValidationConfig
from mt3x.training.held_out import HeldOutLoss
from mt3x.training.train import TrainConfig

ROLLS = RollsConfig(channels=4, labels=RollLabelConfig(frame_rate_hz=125.0))
MODEL = dataclasses.replace(
    SMALL_TOKENS,
    tokens=TokenizerConfig(VocabConfig(max_shift_steps=100)),
    max_tokens=128,
    rolls=ROLLS,
)
TASK = TaskConfig(
    task="band_notes_ties_ms1vb1_train",
    module="toy_band_tasks",
    batch_size=4,
    max_examples_per_mix=2,
    shuffle_buffer=4,
    seed=3,
)


def test_means_over_all_batches():
    """One batch of twelve is three of four; parts have weights of their own."""
    objective = ToyObjective()
    params = objective.init(jax.random.key(0))
    three = [ToyBatches(4).batch(step) for step in range(3)]
    whole = {name: np.concatenate([b[name] for b in three]) for name in three[0]}
    total, weight, parts, _ = objective.loss(params, whole)
    batches = ToyBatches(4)
    held_out = HeldOutLoss(objective, batches, 3)
    for _ in range(2):
        losses = held_out(params)
    assert losses["loss"] == pytest.approx(float(total / weight), rel=1e-5)
    peak, count = parts["peak"]
    assert losses["peak"] == pytest.approx(float(peak / count), rel=1e-5)
    assert batches.asked == [0, 1, 2]


def test_processes_share_the_batches(monkeypatch):
    """Each has its part; their sums are those of one."""
    batches = ToyBatches(4)
    objective = ToyObjective()
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes.jax, "process_index", lambda: 1)
    HeldOutLoss(objective, batches, 3)
    assert batches.asked == [1]


@pytest.fixture
def records(tmp_path, monkeypatch):
    toy_band.write_records(tmp_path / "band", range(2))
    monkeypatch.setenv("MT3X_DATA_DIR", str(tmp_path))


def test_batches_are_of_validation_pieces_with_rolls(records):
    """Unmixed and the same whatever the run's seed; losses of tokens and heads."""
    batch = TASK.held_out(MODEL).batch(0)
    other = dataclasses.replace(TASK, seed=4, max_examples_per_mix=None)
    for name, array in other.held_out(MODEL).batch(0).items():
        np.testing.assert_array_equal(array, batch[name])
    assert batch["onset"].shape == (4, MODEL.num_frames, 88) and batch["onset"].any()
    assert "onset" in TASK.make_batches(MODEL).batch(0)
    plain = dataclasses.replace(MODEL, rolls=None)
    assert "onset" not in TASK.make_batches(plain).batch(0)
    losses = HeldOutLoss(TokensObjective(MODEL), TASK.held_out(MODEL), 2)(
        random_params(MODEL)
    )
    names = {"loss", "cross_entropy", "z_loss", "accuracy"}
    assert set(losses) == names | {"onset", "frame", "offset", "velocity"}
    assert all(np.isfinite(value) for value in losses.values())


def test_what_can_not_be_is_refused():
    with pytest.raises(ValueError, match="loss_batches=-1 must not be negative"):
        ValidationConfig(loss_batches=-1)
    with pytest.raises(ValueError, match="loss_batches=1: corpora"):
        Experiment(validation=ValidationConfig(loss_batches=1))
    with pytest.raises(ValueError, match="score='loss': the best step has the highest"):
        Experiment(MODEL, TASK, TrainConfig(score="loss"))


def test_a_run_logs_them(records, tmp_path):
    train = TrainConfig(steps=1, score="accuracy")
    plain = dataclasses.replace(MODEL, rolls=None)
    experiment = Experiment(plain, TASK, train, ValidationConfig(loss_batches=1))
    outcome = experiment.run(tmp_path / "run")
    assert outcome.best_score is not None
    header = (tmp_path / "run" / "learning_curve.csv").read_text().splitlines()[0]
    for name in ("loss", "cross_entropy", "accuracy"):
        assert f"valid/{name}" in header

"""The beat network: what it sees, and its loss."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models.beat_objective import BeatConfig, BeatNetConfig, BeatObjective
from mt3x.models.objectives import config_from_dict
from mt3x.music.beat_frames import NUM_INPUTS, NUM_SLOT_INPUTS, NUM_SLOTS

SMALL = BeatConfig(BeatNetConfig(stem_width=4, width=6, num_blocks=2, kernel=3))


@pytest.fixture(scope="module")
def objective():
    return BeatObjective(SMALL)


@pytest.fixture(scope="module")
def params(objective):
    return objective.init(jax.random.key(0))


def batch(num_frames=32):
    rng = np.random.default_rng(0)
    frames = rng.random((2, num_frames, NUM_INPUTS), np.float32)
    targets = rng.choice([0, 0.5, 1], (2, num_frames, 3)).astype(np.float32)
    targets[..., 2] = 1
    downbeats = rng.choice([0, 1], (2, 5, 4)).astype(np.float32)
    downbeats[..., 0, :] = 1
    slots = rng.random((2, 5, NUM_SLOTS, NUM_SLOT_INPUTS), np.float32)
    arrays = {
        "frames": frames,
        "targets": targets,
        "slots": slots,
        "downbeats": downbeats,
    }
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def test_outputs_depend_on_frames_within_reach_alone(objective, params):
    reach, num = SMALL.model.reach_frames, 64

    def middle(frames_BxTxF):
        return objective.predict(params, frames_BxTxF)[0, num // 2].sum()

    frames = jax.random.normal(jax.random.key(1), (1, num, NUM_INPUTS))
    seen_T = np.abs(jax.grad(middle)(frames)[0]).sum(axis=1) > 0
    at = np.flatnonzero(seen_T)
    assert at[0] >= num // 2 - reach
    assert at[-1] <= num // 2 + reach
    assert at[0] < num // 2 - reach // 2


def test_probabilities_have_one_row_a_frame(objective, params):
    found = objective.predict(params, batch()["frames"])
    assert found.shape == (2, 32, 2)
    assert ((found > 0) & (found < 1)).all()


def test_beats_have_a_probability_each(objective, params):
    found = objective.predict_bars(params, batch()["slots"])
    assert found.shape == (2, 5, 2)
    assert ((found > 0) & (found < 1)).all()


def test_perfect_predictions_cost_nothing(params):
    given = batch()

    def answering(targets):
        p = jnp.clip(targets, 1e-6, 1 - 1e-6)
        return SimpleNamespace(apply=lambda *_, **__: jnp.log(p / (1 - p)))

    certain = BeatObjective(SMALL)
    certain.model = answering(given["targets"][..., :2])
    certain.bar_model = answering(given["downbeats"][..., :1])
    certain.level_model = answering(given["downbeats"][..., :3:2])
    total, weight, parts, _ = certain.loss(params, given)
    assert float(total / weight) == pytest.approx(0, abs=1e-3)
    assert set(parts) == {"beat", "downbeat", "bar", "level", "beat_f1", "bar_f1"}
    right, all_downbeats = parts["bar_f1"]
    assert float(right / all_downbeats) == 1


@pytest.mark.parametrize(
    ("name", "known", "values"),
    [("targets", 2, (0, 1)), ("downbeats", 1, (0,)), ("downbeats", 3, (2,))],
)
def test_what_is_not_known_does_not_count(objective, params, name, known, values):
    given = batch()
    unknown = given[name].at[:, 2:, known].set(0)
    changed = unknown.at[:, 2:, jnp.array(values)].set(1)
    first, second = (
        objective.loss(params, given | {name: array}).total
        for array in (unknown, changed)
    )
    assert first == second


def test_configurations_survive_json():
    assert config_from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(ValueError, match="kernel=4 must be odd"):
        BeatNetConfig(kernel=4)

"""Running statistics in the parameters: gradient, update, averages, resume."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_objective import ToyBatches, ToyConfig

from mt3x.models import batch_norm, orbax_items
from mt3x.models.losses import LossSums
from mt3x.models.stem import CNN
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.run_log import read_curve
from mt3x.training.step import init_state, train_step
from mt3x.training.train import TrainConfig, train

OPTIMIZER = OptimizerConfig(
    name="adamw", learning_rate=1e-2, schedule="constant", weight_decay=0.5
)
CONFIG = TrainConfig(
    steps=4, optimizer=OPTIMIZER, log_interval=1, checkpoint_interval=2, ema_decay=0.9
)


class StemToy:
    """The acoustic stem learns the toy's pairs, two frames of four bins each."""

    config = ToyConfig()
    cnn = CNN((2, 2, 3), 4, jnp.float32)

    def init(self, rng):
        return batch_norm.join(self.cnn.init(rng, jnp.zeros((1, 2, 4)), True))

    def loss(self, params, batch, rng=None):
        feats_BxTxF = batch["samples"].reshape(-1, 2, 4)
        out, new = self.cnn.apply(
            batch_norm.variables(params),
            feats_BxTxF,
            rng is None,
            mutable=[] if rng is None else ["batch_stats"],
        )
        error = out - batch["target"].reshape(-1, 2, 4)
        total, weight = jnp.sum(jnp.square(error)), jnp.float32(error.size)
        return LossSums(total, weight, {}, new.get("batch_stats", {}))


def statistics(params):
    return batch_norm.variables(params)["batch_stats"]


def batch():
    return jax.tree.map(jnp.asarray, ToyBatches().batch(0))


def equal(a, b, rtol=0.0):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol), a, b)


@pytest.fixture(scope="module")
def state():
    return init_state(CONFIG, StemToy())


def test_variables_and_join_are_inverse():
    norm = {"scale": 1, "mean": 2, "var": 3}
    params = {"a": {"norm": norm, "kernel": 4}, "b": {"bias": 5}}
    parts = batch_norm.variables(params)
    assert parts["batch_stats"] == {"a": {"norm": {"mean": 2, "var": 3}}}
    assert parts["params"] == {
        "a": {"norm": {"scale": 1}, "kernel": 4},
        "b": {"bias": 5},
    }
    assert batch_norm.join(parts) == params
    assert batch_norm.variables({"b": {"bias": 5}}) == {"params": {"b": {"bias": 5}}}
    assert batch_norm.updated(params, {"b": {"bias": 6}})["b"] == {"bias": 6}
    assert params["b"] == {"bias": 5}


@pytest.mark.parametrize("microbatches", [1, 2])
def test_update_replaces_statistics_by_the_mean_over_microbatches(state, microbatches):
    """No gradient, no weight decay; the averaged parameters follow."""
    config = dataclasses.replace(CONFIG, microbatches=microbatches)
    data, params = batch(), state["weights"]["params"]
    loss = jax.jit(StemToy().loss)
    parts = [
        jax.tree.map(lambda x, n=n: x[n::microbatches], data)
        for n in range(microbatches)
    ]
    each = [loss(params, part, jax.random.key(0)).statistics for part in parts]
    want = jax.tree.map(lambda *leaves: sum(leaves) / microbatches, *each)
    new, _ = jax.jit(lambda state, data: train_step(config, StemToy(), state, data))(
        state, data
    )
    equal(statistics(new["weights"]["params"]), want, rtol=1e-5)
    old = statistics(params)
    # Step 0: min(0.9, 1 / 10).
    mean = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, old, want)
    equal(statistics(new["weights"]["ema"]), mean, rtol=1e-5)
    kernel = new["weights"]["params"]["block_0"]["kernel"]
    assert np.any(kernel != params["block_0"]["kernel"])


def test_statistics_have_no_gradient(state):
    params = state["weights"]["params"]
    key = jax.random.key(0)
    grad = jax.jit(jax.grad(lambda p: StemToy().loss(p, batch(), key).total))(params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(statistics(grad)))
    assert not StemToy().loss(params, batch()).statistics


def test_resumed_run_has_the_same_losses_and_statistics(tmp_path):
    train(CONFIG, StemToy(), ToyBatches(), tmp_path / "whole")
    half = dataclasses.replace(CONFIG, steps=2)
    train(half, StemToy(), ToyBatches(), tmp_path / "parts")
    train(CONFIG, StemToy(), ToyBatches(), tmp_path / "parts")
    whole, parts = (
        (
            [row["loss"] for row in read_curve(folder / "learning_curve.csv")],
            orbax_items.restore_arrays(folder / "checkpoints" / "4" / "weights"),
        )
        for folder in (tmp_path / "whole", tmp_path / "parts")
    )
    assert whole[0] == parts[0] and len(whole[0]) == 4
    for name in ("params", "ema"):
        equal(whole[1][name], parts[1][name])
    assert np.any(whole[1]["params"]["block_0"]["norm"]["mean"] != 0)

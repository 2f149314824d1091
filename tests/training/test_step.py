"""One update: mean gradient over microbatches, clipping, averages, random draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL_PEDAL, SMALL_REVISING, random_params
from toy_objective import ToyBatches, ToyObjective

from mt3x.models.objectives import make_objective
from mt3x.models.weights_file import flatten
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.step import StepConfig, init_state, train_step

OPTIMIZER = OptimizerConfig(learning_rate=1e-2, schedule="constant")
CONFIG = StepConfig(steps=6, optimizer=OPTIMIZER)


def one_step(config, batch=None, objective=None):
    objective = objective or ToyObjective()
    state = init_state(config, objective)
    batch = ToyBatches().batch(0) if batch is None else batch
    batch = jax.tree.map(jnp.asarray, batch)
    return state, *train_step(config, objective, state, batch)


def test_update_is_adam_on_the_clipped_mean_gradient():
    """The first step by hand: Adam's first update is lr * sign(g) for any scale."""
    optimizer = dataclasses.replace(OPTIMIZER, gradient_clip_norm=1e-7)
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    objective = ToyObjective()
    batch = jax.tree.map(jnp.asarray, ToyBatches().batch(0))
    state, new, scalars = one_step(config)

    def mean_loss(params):
        total, weight, _, _ = objective.loss(params, batch)
        return total / weight

    params = state["weights"]["params"]
    grads = jax.grad(mean_loss)(params)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    np.testing.assert_allclose(scalars["gradient_norm"], norm, rtol=1e-5)
    np.testing.assert_allclose(scalars["loss"], mean_loss(params), rtol=1e-6)
    # Adam's epsilon is 1e-8: after clipping it is no longer small beside g, so the
    # update shows whether the clipping came first.
    for p, g, q in zip(
        jax.tree.leaves(params),
        jax.tree.leaves(grads),
        jax.tree.leaves(new["weights"]["params"]),
        strict=True,
    ):
        clipped = np.asarray(g) * 1e-7 / norm
        step = optimizer.learning_rate * clipped / (np.abs(clipped) + 1e-8)
        np.testing.assert_allclose(np.asarray(p) - np.asarray(q), step, atol=2e-6)
        assert np.max(np.abs(step)) < 0.95 * optimizer.learning_rate


def test_the_pedals_heads_are_trained_alone():
    """What they read stays the same to the last bit, in the average as well."""
    config = dataclasses.replace(SMALL_PEDAL, pedal_alone=True)
    rng = np.random.default_rng(0)
    batch = {
        name: rng.random(spec.shape, np.float32)
        for name, spec in config.batch_spec(2, 12).items()
    }
    optimizer = OptimizerConfig("muon", learning_rate=1e-2, schedule="constant")
    train = StepConfig(steps=6, optimizer=optimizer, ema_decay=0.9)
    objective = make_objective(config)
    start = state = init_state(train, objective, random_params(config))
    update = jax.jit(lambda state: train_step(train, objective, state, batch))
    for _ in range(3):
        state, scalars = update(state)
    assert {"key", "pedal", "key_f1", "pedal_f1"} < scalars.keys()
    assert "onset" not in scalars
    before = flatten(start["weights"]["params"])
    for kind in ("params", "ema"):
        for name, array in flatten(state["weights"][kind]).items():
            is_same = np.array_equal(array, before[name])
            assert is_same == ("pedal_heads" not in name), name


@pytest.mark.parametrize("name", ["adam", "adamw", "adafactor", "muon"])
def test_what_is_not_to_learn_stays_as_it_is(name):
    objective = ToyObjective()
    paths = sorted(flatten(objective.init(jax.random.key(0))))
    optimizer = OptimizerConfig(
        name=name, learning_rate=1e-2, weight_decay=0.1, only=[paths[0]]
    )
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    before, after, scalars = one_step(config)
    for path in paths:
        was, now = (flatten(s["weights"]["params"])[path] for s in (before, after))
        assert np.array_equal(was, now) == (path != paths[0])
    everything = dataclasses.replace(optimizer, only=None)
    _, _, whole = one_step(dataclasses.replace(CONFIG, optimizer=everything))
    assert 0 < scalars["gradient_norm"] < whole["gradient_norm"]


def test_a_path_of_no_parameter_is_refused():
    with pytest.raises(ValueError, match="lets nothing learn"):
        OptimizerConfig(only=())
    optimizer = dataclasses.replace(OPTIMIZER, only=("nowhere",))
    with pytest.raises(ValueError, match="only='nowhere' is the beginning of no"):
        one_step(dataclasses.replace(CONFIG, optimizer=optimizer))


@pytest.mark.parametrize("microbatches", [1, 2])
def test_a_band_model_before_the_tokens_does_not_learn(microbatches):
    """Nor does weight decay move it, in the average as well."""
    config = SMALL_REVISING
    rng = np.random.default_rng(0)
    batch = {
        name: rng.integers(1, 9, spec.shape)
        if np.issubdtype(spec.dtype, np.integer)
        else rng.random(spec.shape, np.float32)
        for name, spec in config.batch_spec(2).items()
    }
    optimizer = OptimizerConfig("adamw", weight_decay=0.1, schedule="constant")
    train = StepConfig(
        steps=4, optimizer=optimizer, ema_decay=0.9, microbatches=microbatches
    )
    start = init_state(train, make_objective(config), random_params(config))
    state, _ = jax.jit(
        lambda state: train_step(train, make_objective(config), state, batch)
    )(start)
    before = flatten(start["weights"]["params"])
    for kind in ("params", "ema"):
        for name, array in flatten(state["weights"][kind]).items():
            if name.startswith("band/"):
                np.testing.assert_array_equal(array, before[name], err_msg=name)
            elif name.endswith("kernel"):
                assert np.any(array != before[name]), name


class Dropping(ToyObjective):
    """Its loss is a random number: that of the key it was given."""

    def loss(self, params, batch, rng):
        drawn = jax.random.uniform(rng)
        sums = super().loss(params, batch)
        return sums._replace(parts={"drawn": (drawn, jnp.float32(1))})


@pytest.mark.parametrize("microbatches", [1, 2])
def test_each_step_and_microbatch_draws_anew(microbatches):
    config = dataclasses.replace(CONFIG, microbatches=microbatches)
    objective = Dropping()
    state = init_state(config, objective)
    batch = jax.tree.map(jnp.asarray, ToyBatches().batch(0))
    drawn = []
    for _ in range(3):
        state, scalars = train_step(config, objective, state, batch)
        drawn.append(float(scalars["drawn"]))
    assert len(set(drawn)) == 3
    _, scalars = train_step(config, objective, init_state(config, objective), batch)
    assert float(scalars["drawn"]) == drawn[0]
    if microbatches == 2:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 0), 2)
        want = np.mean([jax.random.uniform(key) for key in keys])
        assert drawn[0] == pytest.approx(want)


def test_microbatches_change_nothing():
    _, whole, whole_scalars = one_step(CONFIG)
    _, parts, parts_scalars = one_step(dataclasses.replace(CONFIG, microbatches=4))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-7)
    for name, value in whole_scalars.items():
        np.testing.assert_allclose(value, parts_scalars[name], rtol=1e-5)


def test_average_of_parameters():
    config = dataclasses.replace(CONFIG, ema_decay=0.9)
    state, new, _ = one_step(config)
    old = state["weights"]["params"]["out"]["kernel"]
    params = new["weights"]["params"]["out"]["kernel"]
    # Step 0: min(0.9, 1 / 10).
    np.testing.assert_allclose(
        new["weights"]["ema"]["out"]["kernel"], 0.1 * old + 0.9 * params, rtol=1e-6
    )


def test_the_steps_before_rsqrt_falls_may_be_more_than_there_are():
    optimizer = OptimizerConfig(schedule="rsqrt", warmup_steps=100)
    assert StepConfig(steps=10, optimizer=optimizer).steps == 10
    with pytest.raises(ValueError, match="warmup_steps=100 must be below steps=10"):
        StepConfig(steps=10, optimizer=OptimizerConfig(warmup_steps=100))

"""Optimizers and learning rates; Adafactor against T5X's."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import adafactor_inputs as inputs
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from mt3x.models.objectives import TokensConfig, TokensObjective
from mt3x.models.seq2seq import Seq2SeqConfig
from mt3x.training import partitioning
from mt3x.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from mt3x.training.partitioning import MeshConfig

GOLDEN = Path(__file__).parents[1] / "golden"
ADAFACTOR = OptimizerConfig(
    name="adafactor",
    learning_rate=inputs.LEARNING_RATE,
    schedule="rsqrt",
    warmup_steps=inputs.WARMUP_STEPS,
    gradient_clip_norm=None,
)


def mt3_shapes():
    """MT3's parameters, of the golden file's size."""
    objective = TokensObjective(TokensConfig(model=Seq2SeqConfig(**inputs.NETWORK)))
    return jax.eval_shape(objective.init, jax.random.key(0))


def updated(config, params, gradients):
    optimizer = make_optimizer(config, steps=10)
    with jax.numpy_dtype_promotion("standard"):

        @jax.jit
        def update(params, state, gradient):
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        state = optimizer.init(params)
        for gradient in gradients:
            params, state = update(params, state, gradient)
    return params


def adafactor_params():
    shapes = mt3_shapes()
    gradients = [inputs.arrays(shapes, seed=1 + n) for n in range(inputs.STEPS)]
    return updated(ADAFACTOR, inputs.arrays(shapes, seed=0), gradients)


def check_adafactor(golden):
    ours = inputs.some(adafactor_params())
    assert set(ours) == {name for name in golden if not name.startswith("rate/")}
    begin = inputs.some(inputs.arrays(mt3_shapes(), seed=0))
    for name, value in ours.items():
        assert not np.allclose(value, begin[name], rtol=1e-2), name
        np.testing.assert_allclose(value, golden[name], rtol=1e-4, atol=1e-7)


def test_adafactor_is_t5x_s():
    with np.load(GOLDEN / "adafactor.npz") as golden:
        check_adafactor(dict(golden))


def test_adafactor_is_that_of_the_installed_t5x(tmp_path):
    if not all(map(importlib.util.find_spec, ("t5x", "mt3"))):
        pytest.skip("t5x and mt3 are not installed")
    file = tmp_path / "adafactor.npz"
    # In a process of its own: they warn when imported, and mix dtypes.
    environment = {**os.environ, "JAX_NUMPY_DTYPE_PROMOTION": "standard"}
    code = (
        f"import sys, numpy; sys.path.insert(0, {str(GOLDEN)!r}); "
        f"import make_adafactor; numpy.savez({str(file)!r}, **make_adafactor.make())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    with np.load(file) as golden:
        check_adafactor(dict(golden))


@pytest.mark.parametrize("name", inputs.SCHEDULES)
def test_rates_are_t5x_s(name):
    config = OptimizerConfig(
        learning_rate=inputs.LEARNING_RATE,
        schedule="rsqrt" if name == "rsqrt" else "constant",
        warmup_steps=0 if name == "constant" else inputs.WARMUP_STEPS,
    )
    with np.load(GOLDEN / "adafactor.npz") as golden:
        expected = golden[f"rate/{name}"]
    with jax.numpy_dtype_promotion("standard"):
        schedule = make_schedule(config, 1_000)
        rates = [schedule(jnp.asarray(step)) for step in inputs.SCHEDULE_STEPS]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_adafactor_of_arrays_without_names():
    """The kernel of a convolution, over its two largest axes if they are large."""
    params = {"large": jnp.ones((3, 1, 128, 160)), "small": jnp.ones((7, 7, 16, 200))}
    state = jax.eval_shape(make_optimizer(ADAFACTOR, steps=10).init, params)[0]
    assert state.v_row["large"].shape == (3, 1, 128)
    assert state.v_col["large"].shape == (3, 1, 160)
    assert state.v["small"].shape == (7, 7, 16, 200)


def test_adafactor_lies_as_its_parameters():
    """What is not factored is split; rows and columns are whole on each device."""
    shapes = mt3_shapes()
    state = jax.eval_shape(make_optimizer(ADAFACTOR, steps=10).init, shapes)
    mesh = AbstractMesh((4, 2), ("data", "model"))
    config = MeshConfig(model=2, fully_sharded=True)
    found = partitioning.state_shardings(mesh, config, {"opt_state": state})
    expected = partitioning.state_shardings(mesh, config, {"params": shapes})
    squares = found["opt_state"][0]
    kernel = squares.v["decoder"]["layers_0"]["mlp"]["wo"]["kernel"]
    assert kernel.spec == PartitionSpec("model", "data")
    same = expected["params"]["decoder"]["layers_0"]["mlp"]["wo"]["kernel"]
    assert kernel.spec == same.spec
    for part in (squares.v_row, squares.v_col):
        assert all(not any(leaf.spec) for leaf in jax.tree.leaves(part))


def test_muon_moves_matrices_along_all_directions_alike():
    """Singular values of an update are alike, however those of the gradient.

    0.2 sqrt(larger axis) each: the RMS of the update is 0.2 (Liu et al. 2025, 2.2).
    """
    config = OptimizerConfig(
        name="muon", learning_rate=1.0, schedule="constant", gradient_clip_norm=None
    )
    rng = np.random.default_rng(0)
    shapes = {
        "kernel": (3, 5, 8, 12),  # of a convolution: 120 x 12
        "input_kernel": (2, 3, 16, 10),  # of six LSTMs: 16 x 10 each
        "bias": (12,),
        "embedding": (20, 10),
    }
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    gradients = {
        name: jnp.asarray(rng.normal(size=shape) * np.geomspace(1, 30, shape[-1]))
        for name, shape in shapes.items()
    }
    optimizer = make_optimizer(config, steps=10)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    for name, matrices in (
        ("kernel", updates["kernel"].reshape(1, 120, 12)),
        ("input_kernel", updates["input_kernel"].reshape(6, 16, 10)),
    ):
        values = np.linalg.svd(matrices, compute_uv=False)
        whole = 0.2 * np.sqrt(max(matrices.shape[1:]))
        assert values.min() > 0.6 * whole and values.max() < 1.3 * whole, name
    # The first step of Adam is as large for all, with Nesterov's momentum.
    for name in ("bias", "embedding"):
        step = 1.4737 * -np.sign(gradients[name])
        np.testing.assert_allclose(updates[name], step, rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_weight_decay_spares_biases(name):
    config = OptimizerConfig(
        name=name, learning_rate=1e-2, schedule="constant", weight_decay=0.5
    )
    params = {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.ones(3)}
    optimizer = make_optimizer(config, steps=10)
    # No gradient: only decay moves parameters.
    zero = jax.tree.map(jnp.zeros_like, params)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -1e-2 * 0.5 * 2.0)
    np.testing.assert_array_equal(updates["bias"], 0.0)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (OptimizerConfig(schedule="constant"), {0: 6e-4, 99_999: 6e-4}),
        (
            OptimizerConfig(),
            {0: 6e-4, 9_999: 6e-4, 10_000: 6e-4 * 0.98, 25_000: 6e-4 * 0.98**2},
        ),
        (
            OptimizerConfig(schedule="cosine", warmup_steps=100),
            {0: 0.0, 50: 3e-4, 100: 6e-4, 600: 3e-4, 1_100: 0.0},
        ),
    ],
)
def test_schedules(config, expected):
    with jax.numpy_dtype_promotion("standard"):
        for step, rate in expected.items():
            value = make_schedule(config, 1_100)(jnp.asarray(step))
            np.testing.assert_allclose(value, rate, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "linear"}, "none of constant"),
        ({"schedule": "rsqrt"}, "warmup_steps=0 does not fit"),
        ({"name": "sgd"}, "none of adam"),
        ({"decay_steps": 0}, "decay_steps=0"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**fields)


def test_networks_have_their_own_rates_and_clips():
    params = {"a": {"kernel": jnp.zeros(4)}, "b": {"kernel": jnp.zeros(4)}}
    gradient = {"a": {"kernel": jnp.full(4, 1e-9)}, "b": {"kernel": jnp.full(4, 1e3)}}
    config = OptimizerConfig(
        learning_rate=0.1,
        schedule="constant",
        gradient_clip_norm=1e-8,
        network_rates={"b": 3.0},
    )
    found = updated(config, params, [gradient])
    # Adam's epsilon is 1e-8: after clipping it is no longer small beside the gradient.
    for name, clipped, rate in (("a", 1e-9, 0.1), ("b", 0.5e-8, 0.3)):
        want = -rate * clipped / (clipped + 1e-8)
        np.testing.assert_allclose(found[name]["kernel"], want, rtol=1e-4)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"c": 1.0}, "names c, but the model's networks are a"),
        ({"a": -1.0}, "negative"),
    ],
)
def test_rates_of_no_network_are_refused(rates, message):
    with pytest.raises(ValueError, match=message):
        updated(
            OptimizerConfig(network_rates=rates),
            {"a": jnp.zeros(2)},
            [{"a": jnp.ones(2)}],
        )

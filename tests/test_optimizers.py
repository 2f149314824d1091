"""Optimizers and learning rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.optimizers import OptimizerConfig, make_optimizer, make_schedule


def test_weight_decay_spares_biases():
    config = OptimizerConfig(
        name="adamw", learning_rate=1e-2, schedule="constant", weight_decay=0.5
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
        ({"name": "sgd"}, "none of adam"),
        ({"decay_steps": 0}, "decay_steps=0"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**fields)

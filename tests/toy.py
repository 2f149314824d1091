"""A small objective and its data, for tests of the trainer."""

import dataclasses
import types
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.losses import LossSums


@dataclass(frozen=True)
class ToyConfig:
    width: int = 16
    features = types.SimpleNamespace(sample_rate_hz=100)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class ToyObjective:
    """A network of two layers that learns sin(x) from pairs."""

    def __init__(self, config: ToyConfig = ToyConfig()) -> None:
        self.config = config

    def init(self, rng):
        first, second = jax.random.split(rng)
        width = self.config.width
        return {
            "hidden": {
                "kernel": jax.random.normal(first, (8, width)) / 3,
                "bias": jnp.zeros(width),
            },
            "out": {"kernel": jax.random.normal(second, (width, 8)) / 4},
        }

    def loss(self, params, batch, rng=None):
        del rng
        x_BxS = batch["samples"].astype(params["out"]["kernel"].dtype)
        y_BxW = jax.nn.tanh(
            x_BxS @ params["hidden"]["kernel"] + params["hidden"]["bias"]
        )
        error_BxS = (y_BxW @ params["out"]["kernel"]).astype(jnp.float32) - batch[
            "target"
        ]
        weight = jnp.float32(error_BxS.size)
        total = jnp.sum(jnp.square(error_BxS))
        largest = jnp.sum(jnp.max(jnp.abs(error_BxS), axis=1))
        parts = {"peak": (largest, jnp.float32(len(error_BxS)))}
        return LossSums(total, weight, parts)


class ToyBatches:
    """Random pairs; `bad_step` holds a NaN."""

    def __init__(self, batch_size=8, bad_step=None):
        self.batch_size = batch_size
        self.bad_step = bad_step
        self.asked = []

    def batch(self, step):
        self.asked.append(step)
        x_BxS = np.random.default_rng(step).normal(size=(self.batch_size, 8))
        x_BxS = x_BxS.astype(np.float32)
        target_BxS = np.sin(x_BxS)
        if step == self.bad_step:
            target_BxS[0, 0] = np.nan
        return {"samples": x_BxS, "target": target_BxS}

    def ids(self, step):
        return [f"toy {step}.{row}" for row in range(self.batch_size)]

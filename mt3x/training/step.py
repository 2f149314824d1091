"""One update of the parameters: a pure function of the state and a batch.

It meets a model as an objective and data as arrays; where the arrays lie is decided by
whoever compiles it (`mt3x.training.partitioning`, `mt3x.training.train`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from mt3x.models import batch_norm
from mt3x.models.losses import LossSums
from mt3x.training.optimizers import OptimizerConfig, make_optimizer, make_schedule


class Objective(Protocol):
    """Where a model meets its data; `mt3x.models.objectives` has the real ones."""

    @property
    def config(self) -> Any:
        """A dataclass with `to_dict()`: all that the weights depend on.

        `features.sample_rate_hz`, where it has that, is the rate of `samples`.
        """
        ...

    def init(self, rng: jax.Array) -> Any:
        """New parameters."""
        ...

    def loss(
        self, params: Any, batch: Mapping[str, jax.Array], rng: jax.Array
    ) -> LossSums:
        """The losses of a batch; `rng` is for dropout and the like, one each call."""
        ...


@dataclass(frozen=True)
class StepConfig:
    """All that the result of an update depends on, but the objective and the batch."""

    # Updates in total, those before a resume included.
    steps: int = 100_000
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    # Decay of the average of the parameters that is validated and exported; None: no
    # average. It starts low and rises as (1 + step) / (10 + step).
    ema_decay: float | None = None
    # Arithmetic of forward and backward pass: float32 or bfloat16. An experiment makes
    # its objective with it; parameters and updates stay float32.
    dtype: str = "float32"
    # Parts of a batch whose gradients are summed, to train in less memory.
    microbatches: int = 1
    # Seed of the initial parameters and of what the objective draws.
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype={self.dtype!r} is none of float32, bfloat16")
        for name in ("steps", "microbatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        rises = self.optimizer.schedule != "rsqrt"  # that one may begin at any step
        if rises and self.optimizer.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps={self.optimizer.warmup_steps} must be below "
                f"steps={self.steps}"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay} must lie between 0 and 1")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def init_state(
    config: StepConfig, objective: Objective, params: Any = None
) -> dict[str, Any]:
    """Training state of step 0: `weights` (params, ema) and `optimizer`.

    Args:
      config: how updates are made.
      objective: draws the parameters.
      params: parameters to start from instead.
    """
    if params is None:
        params = objective.init(jax.random.key(config.seed))
    weights = {"params": params}
    if config.ema_decay is not None:
        weights["ema"] = jax.tree.map(jnp.copy, params)
    optimizer = {
        "step": jnp.zeros((), jnp.int32),
        "opt_state": make_optimizer(config.optimizer, config.steps).init(params),
    }
    return {"weights": weights, "optimizer": optimizer}


def train_step(
    config: StepConfig, objective: Objective, state: Any, batch: Any
) -> tuple[Any, dict[str, jax.Array]]:
    """One update; pure. The loss is a sum over the batch, divided once by its weight.

    Returns:
      The new state, and scalars: loss, its parts, learning_rate, gradient_norm.
    """
    params = state["weights"]["params"]
    step = state["optimizer"]["step"]
    rng = jax.random.fold_in(jax.random.key(config.seed), step)
    grad_sum, (loss_sum, weight, parts, statistics) = _gradient_sum(
        config, objective, params, batch, rng
    )
    grad = jax.tree.map(lambda g: g / weight, grad_sum)
    # optax mixes integer counts with floats, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        learning_rate = make_schedule(config.optimizer, config.steps)(step)
        optimizer = make_optimizer(config.optimizer, config.steps)
        updates, opt_state = optimizer.update(
            grad, state["optimizer"]["opt_state"], params
        )
    params: Any = optax.apply_updates(params, updates)
    mean = jax.tree.map(lambda total: total / config.microbatches, statistics)
    params = batch_norm.updated(params, mean)
    weights = {"params": params}
    if config.ema_decay is not None:
        count = step.astype(jnp.float32)
        decay = jnp.minimum(config.ema_decay, (1.0 + count) / (10.0 + count))
        weights["ema"] = jax.tree.map(
            lambda mean, new: decay * mean + (1.0 - decay) * new,
            state["weights"]["ema"],
            params,
        )
    scalars = {"loss": loss_sum / weight}
    scalars |= {name: total / count for name, (total, count) in parts.items()}
    scalars["learning_rate"] = jnp.asarray(learning_rate, jnp.float32)
    squares = [jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grad)]
    scalars["gradient_norm"] = jnp.sqrt(sum(squares, start=jnp.zeros(())))
    state = {
        "weights": weights,
        "optimizer": {"step": step + 1, "opt_state": opt_state},
    }
    return state, scalars


def _gradient_sum(
    config: StepConfig, objective: Objective, params: Any, batch: Any, rng: jax.Array
) -> tuple[Any, Any]:
    """Gradient of the loss's sum and its LossSums, over all microbatches."""

    def loss_fn(params: Any, part: Any, rng: jax.Array) -> tuple[jax.Array, LossSums]:
        sums = objective.loss(params, part, rng)
        return sums.total, sums

    gradient = jax.grad(loss_fn, has_aux=True)
    count = config.microbatches
    if count == 1:
        return gradient(params, batch, rng)

    def split(x: jax.Array) -> jax.Array:
        # Strided, so that a part takes its share from each device of the batch.
        return x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)

    def add_part(total: Any, part_and_rng: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(params, *part_and_rng)), None

    parts = jax.tree.map(split, dict(batch)), jax.random.split(rng, count)
    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(gradient, params, *first)
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add_part, zero, parts)[0]

"""One update of the parameters: `train_step`, and the same compiled for a mesh.

`train_step` is a pure function of the state and a batch. It meets a model as an
objective and data as arrays. `make_sharded_step` says where these lie.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from mt3x.models import batch_norm
from mt3x.models.losses import LossSums
from mt3x.training import partitioning
from mt3x.training.optimizers import (
    OptimizerConfig,
    held,
    make_optimizer,
    make_schedule,
)
from mt3x.training.partitioning import MeshConfig


class Objective(Protocol):
    """A model and its loss; `mt3x.models.objectives` has the real ones.

    One whose examples do not see each other, and for which all draw the same, may have
    `separate_examples = True`: devices then take the gradients of their own examples.
    """

    @property
    def config(self) -> Any:
        """The configuration: a dataclass with `to_dict()`, all that weights depend on.

        `features.sample_rate_hz`, where it has that, is the rate of `samples`.
        """
        ...

    def init(self, rng: jax.Array) -> Any:
        """Draw the parameters."""
        ...

    def loss(
        self, params: Any, batch: Mapping[str, Any], rng: jax.Array | None
    ) -> LossSums:
        """Return the losses of a batch.

        `rng` is for dropout and the like, a new one for each call. Without it nothing
        is drawn, and batch norm takes its running statistics.
        """
        ...


class Batches(Protocol):
    """Data as a pure function of the step."""

    def batch(self, step: int) -> Mapping[str, np.ndarray]:
        """Return arrays with a leading batch axis: this process's part of the batch."""
        ...

    def ids(self, step: int) -> Sequence[str]:
        """Return what the examples of `batch(step)` are, to explain a failure."""
        ...


@dataclass(frozen=True)
class StepConfig:
    """All that an update depends on, except for the objective and the batch."""

    # Updates in total, those before a resume included.
    steps: int = 100_000
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    # Decay of the average of the parameters that is validated and exported; None: no
    # average. It starts low and rises as (1 + step) / (10 + step).
    ema_decay: float | None = None
    # Arithmetic of forward and backward pass: float32 or bfloat16. An experiment makes
    # its objective with it; parameters and updates stay float32.
    dtype: str = "float32"
    # Parts of a batch; their gradients are summed, to train in less memory.
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
    """Return the training state of step 0: `weights` (params, ema) and `optimizer`.

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
    config: StepConfig,
    objective: Objective,
    state: Any,
    batch: Any,
    mesh: Mesh | None = None,
) -> tuple[Any, dict[str, jax.Array]]:
    """Update the state once; pure.

    The loss is a sum over the batch, divided once by its weight.

    Args:
      config: how updates are made.
      objective: the model and its loss.
      state: as from `init_state`.
      batch: arrays with a leading batch axis.
      mesh: each device of its data axis takes the gradient of its own examples, and
        one sum joins them; of objectives with `separate_examples`.

    Returns:
      The new state, and scalars: loss, its parts, learning_rate, gradient_norm.
    """
    params = state["weights"]["params"]
    step = state["optimizer"]["step"]
    rng = jax.random.fold_in(jax.random.key(config.seed), step)
    gradient_sum = functools.partial(_gradient_sum, config, objective)
    if mesh is not None:
        gradient_sum = _on_each_device(gradient_sum, mesh)
    grad_sum, (loss_sum, weight, parts, statistics) = gradient_sum(params, batch, rng)
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
            # What does not change stays the same to the last bit.
            lambda mean, new: new + decay * (mean - new),
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
    """Return the gradient of the loss's sum and its LossSums, over all microbatches."""

    def loss_fn(params: Any, part: Any, rng: jax.Array) -> tuple[jax.Array, LossSums]:
        sums = objective.loss(held(config.optimizer, params), part, rng)
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


def _on_each_device(
    gradient_sum: Callable[[Any, Any, jax.Array], Any], mesh: Mesh
) -> Callable[[Any, Any, jax.Array], Any]:
    """Let devices sum the gradients of their own examples, and add up these sums.

    Left to XLA, each iteration of a layer's loop over frames may exchange data.
    """

    def local(params: Any, batch: Any, rng: jax.Array) -> Any:
        total, unravel = ravel_pytree(gradient_sum(params, batch, rng))
        return unravel(jax.lax.psum(total, "data"))

    whole, split = (
        partitioning.sharding(mesh, *axes).spec for axes in ((), ("batch",))
    )
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(whole, split, whole),
        out_specs=whole,
        check_vma=False,
    )


class ShardedStep(NamedTuple):
    """The jitted functions of one run."""

    # ShapeDtypeStructs with shardings: what a checkpoint is restored into.
    state: Any
    # Parameters, some of them (the rest is drawn), or None -> the state of step 0, of
    # which each device makes its part.
    init: Callable[[Any], Any]
    # State (donated), batch, a flag for each device -> state, scalars; the scalar
    # `asked_to_stop` tells all processes whether a flag was set.
    update: Callable[[Any, Any, Any], tuple[Any, dict[str, jax.Array]]]


class _Placed:
    """An objective with inputs placed where its loss is to be computed.

    Each device computes its part of the batch with whole parameters, or with its part
    of the `model` axis. XLA left alone splits products of a fully sharded step over the
    parameters' parts, and sends activations and the whole batch around for it.
    """

    def __init__(self, objective: Objective, mesh: Mesh, model: int) -> None:
        self.config = objective.config
        self.init = objective.init
        self._objective = objective
        self._mesh = mesh
        self._used = MeshConfig(model=model)

    def loss(self, params: Any, batch: Mapping[str, Any], rng: jax.Array | None) -> Any:
        params = jax.lax.with_sharding_constraint(
            params, partitioning.state_shardings(self._mesh, self._used, params)
        )
        batch = jax.lax.with_sharding_constraint(
            dict(batch), partitioning.sharding(self._mesh, "batch")
        )
        with jax.sharding.use_abstract_mesh(self._mesh.abstract_mesh):
            return self._objective.loss(params, batch, rng)


def make_sharded_step(
    config: StepConfig, mesh_config: MeshConfig, objective: Objective, mesh: Mesh
) -> ShardedStep:
    """Jit the step for a mesh; nothing is compiled or allocated yet."""

    def init(given: Any = None) -> Any:
        if given is None:
            return init_state(config, objective)
        drawn = objective.init(jax.random.key(config.seed))
        return init_state(config, objective, batch_norm.updated(drawn, given))

    shapes = jax.eval_shape(init)
    placed = partitioning.state_shardings(mesh, mesh_config, shapes)
    state = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=where
        ),
        shapes,
        placed,
    )

    separate = getattr(objective, "separate_examples", False) and mesh.size > 1
    on_mesh = objective if separate else _Placed(objective, mesh, mesh_config.model)

    def update(state: Any, batch: Any, flags: jax.Array) -> Any:
        state, scalars = train_step(
            config, on_mesh, state, batch, mesh if separate else None
        )
        return state, scalars | {"asked_to_stop": jnp.any(flags)}

    return ShardedStep(
        state=state,
        # An output of jit owns its buffers, which donation needs.
        init=jax.jit(init, out_shardings=placed),
        update=jax.jit(
            update,
            in_shardings=(
                placed,
                partitioning.sharding(mesh, "batch"),
                partitioning.per_device(mesh),
            ),
            out_shardings=(placed, partitioning.sharding(mesh)),
            donate_argnums=0,
        ),
    )

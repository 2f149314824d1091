"""The training step compiled for a mesh: what is computed, and where it lies."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mt3x.models import batch_norm
from mt3x.training import partitioning
from mt3x.training.partitioning import MeshConfig
from mt3x.training.step import Objective, StepConfig, init_state, train_step


class ShardedStep(NamedTuple):
    """Jitted functions of one run."""

    # ShapeDtypeStructs with shardings: what a checkpoint is restored into.
    state: Any
    # Parameters, some of them (the rest is drawn), or None -> the state of step 0, of
    # which each device makes its part.
    init: Callable[[Any], Any]
    # State (donated), batch, a flag for each device -> state, scalars; the scalar
    # `asked_to_stop` tells all processes whether a flag was set.
    update: Callable[[Any, Any, Any], tuple[Any, dict[str, jax.Array]]]


class _Placed:
    """An objective whose inputs lie where the loss is to be computed.

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

    def loss(self, params: Any, batch: Mapping[str, jax.Array], rng: jax.Array) -> Any:
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

    on_mesh = _Placed(objective, mesh, mesh_config.model)

    def update(state: Any, batch: Any, flags: jax.Array) -> Any:
        state, scalars = train_step(config, on_mesh, state, batch)
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

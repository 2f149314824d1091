"""Where arrays live: one device mesh and two tables of logical axes.

The mesh has the axes `data` (copies of the model, each with its part of the batch) and
`model` (parts of one copy). `PARAM_AXES` names the logical axes of parameters, and
`AXIS_RULES` says which mesh axis, if any, each is split over:

    MeshConfig()                            data parallel: whole parameters everywhere
    MeshConfig(fully_sharded=True)          ZeRO-3: parameters, averages and optimizer
                                            over `data`
    MeshConfig(model=4)                     tensor parallel: heads, mlp and vocab over
                                            `model`
    MeshConfig(model=4, fully_sharded=True) both

What is computed is the same in all of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "model")

# Logical axis -> mesh axis; None: every device holds the whole axis.
AXIS_RULES: Mapping[str, str | None] = {
    "batch": "data",
    "embed": None,
    "bins": None,
    "heads": "model",
    "mlp": "model",
    "vocab": "model",
}

# End of a parameter's path (a regular expression) -> its logical axes. Others, those of
# HPPNet and of stems among them, have none and are split by `fully_sharded` alone.
PARAM_AXES: Mapping[str, tuple[str | None, ...]] = {
    r"attention/(query|key|value)/kernel": ("embed", "heads"),
    r"attention/out/kernel": ("heads", "embed"),
    r"mlp/wi(_\d+)?/kernel": ("embed", "mlp"),
    r"mlp/wo/kernel": ("mlp", "embed"),
    r"conv/(value|gate)/kernel": ("embed", "mlp"),
    r"conv/kernel": (None, "mlp"),
    r"conv/out/kernel": ("mlp", "embed"),
    r"token_embedder/embedding": ("vocab", "embed"),
    r"logits_dense/kernel": ("embed", "vocab"),
    r"(continuous_inputs|stem)_projection/kernel": ("bins", "embed"),
    r"norm/scale": ("embed",),
}


@dataclass(frozen=True)
class MeshConfig:
    """Options of the device mesh, which has all devices."""

    # Parts that one copy of the model is split into (tensor parallelism).
    model: int = 1
    # Split parameters, their averages and the optimizer's state over `data` too; the
    # step gathers the parameters it computes with (ZeRO-3, Rajbhandari et al. 2020).
    fully_sharded: bool = False

    def __post_init__(self) -> None:
        if self.model < 1:
            raise ValueError(f"model={self.model} must be at least 1")


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Arrange the devices as (data, model).

    Raises:
      ValueError: `config.model` does not divide their number.
    """
    devices = jax.devices() if devices is None else devices
    if len(devices) % config.model:
        raise ValueError(
            f"model={config.model} does not divide the {len(devices)} devices; choose "
            "a divisor"
        )
    return Mesh(np.asarray(devices).reshape(-1, config.model), MESH_AXES)


def sharding(mesh: Mesh, *logical_axes: str | None) -> NamedSharding:
    """Return the sharding of an array; without axes a copy on each device.

    Axes that are left out at the end are whole. An unknown name raises ValueError.
    """
    for axis in logical_axes:
        if axis is not None and axis not in AXIS_RULES:
            raise ValueError(f"unknown logical axis {axis!r}, not in AXIS_RULES")
    spec = [None if axis is None else AXIS_RULES[axis] for axis in logical_axes]
    return NamedSharding(mesh, PartitionSpec(*spec))


def param_axes(path: str, ndim: int) -> tuple[str | None, ...]:
    """Return the logical axes of the parameter at `a/b/kernel`; None has no name."""
    for pattern, axes in PARAM_AXES.items():
        if re.search(rf"{pattern}$", path) and len(axes) == ndim:
            return axes
    return (None,) * ndim


def state_shardings(mesh: Mesh, config: MeshConfig, state: Any) -> Any:
    """Return a sharding for each array of a training state.

    Averages and moments end in the path of their parameter and lie as it does. An axis
    that does not divide stays whole.

    Args:
      mesh: from `make_mesh`.
      config: says what is split.
      state: tree of arrays or ShapeDtypeStructs.
    """

    def place(path: Any, leaf: Any) -> NamedSharding:
        axes = param_axes(
            jax.tree_util.keystr(path, simple=True, separator="/"), leaf.ndim
        )
        return NamedSharding(mesh, _spec(mesh, config, axes, leaf.shape))

    return jax.tree_util.tree_map_with_path(place, state)


def _spec(
    mesh: Mesh, config: MeshConfig, axes: Sequence[str | None], shape: Sequence[int]
) -> PartitionSpec:
    spec: list[str | None] = []
    for axis, size in zip(axes, shape, strict=True):
        split = AXIS_RULES[axis] if axis is not None else None
        fits = split is not None and size % mesh.shape[split] == 0
        spec.append(split if fits else None)
    # Vectors are not worth gathering.
    if config.fully_sharded and len(shape) > 1:
        free = [n for n, used in enumerate(spec) if used is None]
        fit = [n for n in free if shape[n] % mesh.shape["data"] == 0]
        if fit:
            spec[max(fit, key=lambda n: shape[n])] = "data"
    return PartitionSpec(*spec)


def per_device(mesh: Mesh) -> NamedSharding:
    """Return the sharding of a vector with one value for each device."""
    return NamedSharding(mesh, PartitionSpec(MESH_AXES))


def on_each_device(mesh: Mesh, flag: bool) -> jax.Array:
    """Return a vector of the flag of each device's process."""
    values = np.full(mesh.local_mesh.size, flag)
    return jax.make_array_from_process_local_data(per_device(mesh), values)


def data_shard(mesh: Mesh) -> tuple[int, int]:
    """Return this process's part of the batch, as (number, of how many).

    Processes that hold the same rows of the mesh, as when a copy of the model spans
    them, read the same part.
    """
    rows_of: dict[int, set[int]] = {}
    for (row, _), device in np.ndenumerate(mesh.devices):
        rows_of.setdefault(device.process_index, set()).add(row)
    parts = sorted({tuple(sorted(rows)) for rows in rows_of.values()})
    if sum(map(len, parts)) != mesh.shape["data"]:
        raise ValueError(
            f"the processes share parts of rows of the mesh {dict(mesh.shape)}; "
            "choose a model axis that divides a process's devices or is a multiple"
        )
    mine = tuple(sorted(rows_of[jax.process_index()]))
    return parts.index(mine), len(parts)


def check_batch(mesh: Mesh, batch_size: int, microbatches: int) -> None:
    """Raise ValueError where a batch does not split over microbatches and devices."""
    rows = mesh.shape["data"] * microbatches
    if batch_size % rows:
        raise ValueError(
            f"batch_size={batch_size} does not divide into {microbatches} microbatches "
            f"over the {mesh.shape['data']} devices of the mesh's data axis; make it a "
            f"multiple of {rows}"
        )


def shard_batch(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Put host arrays with a leading batch axis on the mesh, split over `data`.

    With several processes each gives its own part (`data_shard`).
    """
    parts = mesh.local_mesh.shape["data"]
    for name, array in batch.items():
        if np.ndim(array) < 1 or len(array) % parts:
            raise ValueError(
                f"batch array {name!r} of shape {np.shape(array)} does not split over "
                f"{parts} devices; make the batch size a multiple of {parts}"
            )
    split = sharding(mesh, "batch")
    if jax.process_count() == 1:
        # One call for the whole batch: the copies to the devices overlap.
        return jax.device_put(dict(batch), split)
    return {
        name: jax.make_array_from_process_local_data(split, np.asarray(array))
        for name, array in batch.items()
    }

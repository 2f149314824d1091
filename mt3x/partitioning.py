"""Where arrays live: one device mesh and one table of logical axes.

The mesh has the axes `data` (copies of the model, each with its part of the batch) and
`model` (parts of one copy). Code names the logical axes of an array, and the table
says which mesh axis, if any, each is split over.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "model")

# Logical axis -> mesh axis; None: every device holds the whole axis.
AXIS_RULES: Mapping[str, str | None] = {
    "batch": "data",
    "time": None,
    "embed": None,
    "heads": "model",
    "mlp": "model",
    "vocab": "model",
}


def make_mesh(model_parts: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """Arrange the devices as (data, model); the default is data parallel alone."""
    devices = jax.devices() if devices is None else devices
    if model_parts < 1 or len(devices) % model_parts:
        raise ValueError(
            f"model_parts={model_parts} does not divide the {len(devices)} devices"
        )
    return Mesh(np.asarray(devices).reshape(-1, model_parts), MESH_AXES)


def sharding(mesh: Mesh, *logical_axes: str | None) -> NamedSharding:
    """The sharding of an array with these logical axes; none: a copy on each device.

    Axes that are left out at the end are whole. An unknown name raises ValueError.
    """
    for axis in logical_axes:
        if axis is not None and axis not in AXIS_RULES:
            raise ValueError(f"unknown logical axis {axis!r}, not in AXIS_RULES")
    spec = [None if axis is None else AXIS_RULES[axis] for axis in logical_axes]
    return NamedSharding(mesh, PartitionSpec(*spec))


def shard_batch(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Put host arrays with a leading batch axis on the mesh, split over `data`."""
    parts = mesh.shape["data"]
    for name, array in batch.items():
        if np.ndim(array) < 1 or len(array) % parts:
            raise ValueError(
                f"batch array {name!r} of shape {np.shape(array)} does not split over "
                f"{parts} devices; make the batch size a multiple of {parts}"
            )
    # One call for the whole batch: the copies to the devices overlap.
    return jax.device_put(dict(batch), sharding(mesh, "batch"))


def shard_state(mesh: Mesh, state: Any) -> Any:
    """Put a tree of arrays on the mesh, a whole copy on each device."""
    return jax.device_put(state, sharding(mesh))

"""The mesh and the table of axes; many devices are tested through the trainer."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from mt3x.training import partitioning
from mt3x.training.partitioning import MeshConfig


def test_mesh_has_both_axes():
    mesh = partitioning.make_mesh(MeshConfig(), jax.devices()[:1])
    assert dict(mesh.shape) == {"data": 1, "model": 1}


def test_model_parts_must_divide():
    with pytest.raises(ValueError, match="model=3"):
        partitioning.make_mesh(MeshConfig(model=3), jax.devices()[:1])


def test_sharding_follows_the_table():
    mesh = partitioning.make_mesh(MeshConfig(), jax.devices()[:1])
    spec = partitioning.sharding(mesh, "batch", None, "heads").spec
    assert spec == PartitionSpec("data", None, "model")
    assert partitioning.sharding(mesh).spec == PartitionSpec()
    with pytest.raises(ValueError, match="'bach'"):
        partitioning.sharding(mesh, "bach")


def test_batch_and_state_keep_their_values():
    mesh = partitioning.make_mesh(MeshConfig(), jax.devices()[:1])
    batch = {"samples": np.arange(6, dtype=np.int16).reshape(2, 3)}
    placed = partitioning.shard_batch(mesh, batch)
    np.testing.assert_array_equal(placed["samples"], batch["samples"])
    assert placed["samples"].dtype == np.int16
    assert placed["samples"].sharding.spec == PartitionSpec("data")
    with pytest.raises(ValueError, match="'gain' of shape"):
        partitioning.shard_batch(mesh, {"gain": np.float32(1)})

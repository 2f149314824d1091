"""The memory and FLOPs that a training step needs on machines that are not there.

The step is compiled ahead of time for a described TPU topology (libtpu compiles without
a TPU) or for as many CPU devices, and read: nothing is run.
"""

import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mt3x.models.objectives import ModelConfig, make_objective
from mt3x.models.orbax_items import first_line
from mt3x.training import partitioning
from mt3x.training.step import make_sharded_step
from mt3x.training.throughput import matmul_flops, peak_flops
from mt3x.training.train import TrainConfig


@dataclass(frozen=True)
class Chip:
    """A TPU, by the published figures; its peak FLOP/s are in `PEAK_TFLOPS`."""

    # What JAX calls its devices.
    kind: str
    # Devices of JAX on a chip: cores of v2 and v3, and the chip from v4 on.
    devices: int
    # High-bandwidth memory of a chip.
    hbm_gib: float


# Jouppi et al. 2020, "A domain-specific supercomputer for training deep neural
# networks", table 3 (v2, v3); cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}.
CHIPS: Mapping[str, Chip] = {
    "v2": Chip("TPU v2", 2, 16),
    "v3": Chip("TPU v3", 2, 32),
    "v4": Chip("TPU v4", 1, 32),
    "v5e": Chip("TPU v5e", 1, 16),
    "v5p": Chip("TPU v5", 1, 95),
    "v6e": Chip("TPU v6e", 1, 32),
}


@dataclass(frozen=True)
class Plan:
    """A compiled step; bytes are of one device."""

    devices: int
    # None: CPUs.
    chip: Chip | None
    # State and batch, and what the step holds in between. The new state takes the
    # place of the old one.
    arguments: int
    temporaries: int
    # Of the matrix products of one step, all devices together, without recomputation.
    flops: float
    dtype: str

    @property
    def memory(self) -> int:
        """The bytes that a device must have."""
        return self.arguments + self.temporaries

    def compute_s(self, utilization: float) -> float | None:
        """Return the seconds of a step from its FLOPs, at this part of the peak."""
        if self.chip is None:
            return None
        peak = peak_flops([self.chip.kind] * self.devices, self.dtype)
        return None if peak is None else self.flops / (utilization * peak)


def tpu_devices(topology: str) -> tuple[Chip, list[Any]]:
    """Return the devices of a topology: `v3-32` (32 cores), or `v4:2x2x4` (chips).

    Raises:
      ValueError: it is unknown, or libtpu is not installed.
    """
    generation, _, size = topology.replace(":", "-").partition("-")
    if generation not in CHIPS or not re.fullmatch(r"\d+(x\d+)*", size):
        raise ValueError(
            f"topology {topology!r} is not one such as v3-32 or v4:2x2x4, of "
            f"{', '.join(CHIPS)}"
        )
    chip = CHIPS[generation]
    if "x" not in size:
        size = _grid(topology, int(size), chip)
    from jax.experimental import topologies

    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{generation}:{size}"
        )
    except Exception as error:  # JAX and libtpu raise all kinds
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"topology {generation}:{size} cannot be described ({reason}); it needs "
            "libtpu (pip install libtpu), or plan for host devices"
        ) from error
    return chip, list(found.devices)


def _grid(topology: str, devices: int, chip: Chip) -> str:
    """Return the chips of a flat topology in a rectangle, as square as can be."""
    chips = devices // chip.devices
    power = chips.bit_length() - 1
    if chips < 1 or chips != 2**power or chips * chip.devices != devices:
        raise ValueError(f"topology {topology!r}: no such number of devices")
    if chip.kind in ("TPU v4", "TPU v5"):
        raise ValueError(f"topology {topology!r} has three axes: name it as v4:2x2x4")
    sides = f"{2 ** (power // 2)}x{2 ** (power - power // 2)}"
    return sides + ("x1" if chip.devices == 2 else "")


def plan_step(
    objective: ModelConfig,
    train: TrainConfig,
    batch_size: int,
    devices: Sequence[Any],
    chip: Chip | None = None,
    num_frames: int = 1024,
) -> Plan:
    """Compile a training step and read what it needs.

    Args:
      objective: the model.
      train: optimizer, mesh, microbatches and arithmetic.
      batch_size: of the whole batch.
      devices: from `tpu_devices`, or `jax.devices()`.
      chip: what they are; None for CPUs.
      num_frames: of a clip of a piano model; token models know theirs.

    Raises:
      ValueError: batch, microbatches and mesh do not fit together.
      MemoryError: the compiler refuses the step, as it does not fit.
    """
    mesh = partitioning.make_mesh(train.mesh, devices)
    partitioning.check_batch(mesh, batch_size, train.microbatches)
    step = make_sharded_step(
        train, train.mesh, make_objective(objective, train.dtype), mesh
    )
    batch = objective.batch_spec(batch_size, num_frames)
    flags = jax.ShapeDtypeStruct((mesh.size,), jnp.bool_)
    flops = matmul_flops(step.update, step.state, batch, flags)
    lowered = step.update.lower(step.state, batch, flags)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise MemoryError(
            f"the compiler refuses the step ({first_line(error)})"
        ) from error
    memory = compiled.memory_analysis()
    assert memory is not None
    return Plan(
        devices=mesh.size,
        chip=chip,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        flops=flops,
        dtype=train.dtype,
    )


def fewest_microbatches(
    objective: ModelConfig,
    train: TrainConfig,
    batch_size: int,
    devices: Sequence[Any],
    chip: Chip,
    num_frames: int = 1024,
) -> tuple[TrainConfig, Plan]:
    """Find the largest microbatch that fits the chip: 1, 2, 4... of them are tried.

    Raises:
      MemoryError: one example a device does not fit.
    """
    rows = len(devices) // train.mesh.model
    for power in range(int(math.log2(max(batch_size // rows, 1))) + 1):
        tried = dataclasses.replace(train, microbatches=2**power)
        with contextlib.suppress(MemoryError):
            made = plan_step(objective, tried, batch_size, devices, chip, num_frames)
            if made.memory <= chip.hbm_gib / chip.devices * 2**30:
                return tried, made
    raise MemoryError(
        "one example a device does not fit; set remat, fully_sharded or a model axis"
    )

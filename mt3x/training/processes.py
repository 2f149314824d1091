"""One training job in several processes: start it, and what they do together.

`start` names the processes by hand, or finds them where a launcher describes them:
`srun`, a Cloud TPU pod, `mpirun`. Afterwards `jax.devices()` are those of all
processes, and on CPUs they talk by Gloo.

A job runs the same program in each process. The first one writes what people read. All
must take the same turns, so the functions here tell all of them what only one knows (a
signal, a failure). With one process they do nothing.
"""

import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def is_first() -> bool:
    """Return whether this process is the one that writes and talks."""
    return jax.process_index() == 0


def on_first(action: Callable[[], Any]) -> None:
    """Let the first process do something while the others wait.

    Raises:
      Exception: in the first process what `action` raised; in the others a ValueError.
    """
    error = None
    if is_first():
        try:
            action()
        except Exception as raised:
            error = raised
    failed = any_of(error is not None)
    if error is not None:
        raise error
    if failed:
        raise ValueError("stopped, because process 0 was; its message says why")


def any_of(flag: bool) -> bool:
    """Return whether the flag is set in some process."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def fetch(tree: Any) -> Any:
    """Return a tree of global arrays; from several devices as NumPy arrays."""
    if jax.device_count() == 1:
        return tree
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def share(items: Sequence[Any]) -> Sequence[Any]:
    """Return this process's part of some items, at least one: all take turns."""
    count = jax.process_count()
    return items[jax.process_index() % len(items) :: count]


def mean(rows: Sequence[Mapping[str, float]], total: int) -> dict[str, float]:
    """Return means by name over the rows of all processes.

    Args:
      rows: what this process found for its `share`, with the same names everywhere.
      total: how many items were shared.
    """
    names = list(rows[0])
    # Where there are more processes than items, some of them did what others did.
    mine = rows if jax.process_index() < total else []
    table = np.array([[row[name] for name in names] for row in mine])
    sums = table.reshape(len(mine), len(names)).sum(axis=0)
    if jax.process_count() > 1:
        gathered = multihost_utils.process_allgather(sums.astype(np.float32))
        sums = np.asarray(gathered, np.float64).sum(axis=0)
    return {name: float(value) / total for name, value in zip(names, sums, strict=True)}


# How long JAX itself waits longer than we do: it would end the process with a trace.
_LONGER_S = 3600


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    connect_timeout_s: int = 300,
    heartbeat_timeout_s: int = 100,
) -> None:
    """Join the job's other processes; call it before anything computes.

    Give all three of the first arguments, or none to have them found (Slurm, Open MPI,
    Cloud TPU). Where there is one process, nothing happens, nor where none are given
    and JAX has computed already. Afterwards a process ends when its peer dies: at once
    where it waits for that peer's data on a CPU, otherwise when the peer's heartbeat
    stays away.

    Args:
      coordinator: HOST:PORT of process 0, as the others see it; the port must be free.
      processes: how many there are.
      process_id: the number of this one, from 0.
      connect_timeout_s: how long to wait for all of them.
      heartbeat_timeout_s: silence after which a process counts as dead.

    Raises:
      ValueError: some of the arguments are missing or out of range, or JAX was used
        before.
      OSError: not all processes came in time, or the port is taken.
    """
    given: dict[str, Any] = {
        "coordinator": coordinator,
        "processes": processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(
            "coordinator, processes and process_id go together; "
            f"{' and '.join(missing)} missing"
        )
    options: dict[str, Any] = {}
    if coordinator is not None and processes is not None and process_id is not None:
        _check(coordinator, processes, process_id)
        if processes == 1:
            return
        options = {
            "coordinator_address": coordinator,
            "num_processes": processes,
            "process_id": process_id,
            "cluster_detection_method": "deactivate",
        }
    elif os.environ.get("SLURM_NTASKS") == "1":
        return
    else:
        options = {"local_device_ids": slurm_devices(os.environ)}
    _initialize(
        options | {"heartbeat_timeout_seconds": heartbeat_timeout_s}, connect_timeout_s
    )


def slurm_devices(environment: Mapping[str, str]) -> list[int] | None:
    """Return the devices that a process takes on Slurm; None leaves it to JAX.

    JAX gives each task the one GPU of its number on the node. Where a node runs one
    task, that task takes them all.
    """
    nodes, gpus = (
        environment.get(name) for name in ("SLURM_STEP_NUM_NODES", "SLURM_GPUS_ON_NODE")
    )
    if nodes is None or gpus is None or nodes != environment.get("SLURM_NTASKS"):
        return None
    return list(range(int(gpus)))


def _check(coordinator: str, processes: int, process_id: int) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"coordinator {coordinator!r} is not HOST:PORT")
    if not 0 <= process_id < processes:
        raise ValueError(
            f"process_id={process_id} is not one of 0 to {processes - 1}, the numbers "
            f"of processes={processes}"
        )
    if process_id == 0 and processes > 1:
        # JAX's message would not name the port.
        socket.create_server(("", int(port))).close()


def _initialize(options: Mapping[str, Any], timeout_s: int) -> None:
    """Call `jax.distributed.initialize`, and raise where it waits in vain."""
    errors: list[Exception] = []
    named = "coordinator_address" in options or "JAX_COORDINATOR_ADDRESS" in os.environ

    def connect() -> None:
        try:
            jax.distributed.initialize(
                **options, initialization_timeout=timeout_s + _LONGER_S
            )
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        where = options.get("coordinator_address", "the coordinator")
        raise TimeoutError(
            f"not all processes of the job came together at {where} within "
            f"{timeout_s} s; start each of them, with one address that all can reach"
        )
    if not errors:
        return
    (error,) = errors
    # JAX raises plain RuntimeErrors where it has computed already, ValueErrors where
    # no launcher tells of a job, and others where a job does not come together.
    if not named and type(error) in (RuntimeError, ValueError):
        return
    if type(error) is RuntimeError:
        raise ValueError(
            "processes.start must be called before JAX computes anything"
        ) from error
    raise error

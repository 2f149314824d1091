"""What the processes of one job do together; with one process, nothing.

A job runs the same program in each process. The first one writes what people read; all
of them must take the same turns, so what only one of them knows (a signal, a failure)
is made known to all here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def is_first() -> bool:
    """Whether this process is the one that writes and talks."""
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
    """Whether the flag is set in some process."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def fetch(tree: Any) -> Any:
    """A tree of global arrays: as it is on one device, from several as NumPy arrays."""
    if jax.device_count() == 1:
        return tree
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def share(items: Sequence[Any]) -> Sequence[Any]:
    """This process's part of some items; at least one, so that every one has a turn."""
    count = jax.process_count()
    return items[jax.process_index() % len(items) :: count]


def mean(rows: Sequence[Mapping[str, float]], total: int) -> dict[str, float]:
    """Means by name over the rows of all processes.

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

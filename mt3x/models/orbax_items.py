"""What Orbax saved, read back as NumPy arrays and JSON objects.

Damaged files make Orbax and TensorStore raise all kinds of exceptions, print from their
threads, and ask for any amount of memory.
"""

import functools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Arrays may be larger than this and than so many times their files only with zeros.
_UNPACKED_BYTES, _UNPACKED_RATIO = 2**28, 50


def first_line(error: Exception) -> str:
    """Return an exception in few words: those of Orbax and TensorStore run to pages."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds; raise ValueError that names the file.

    Raises:
      OSError: the file cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, not JSON ({first_line(error)})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: not a JSON object but {str(found)[:40]}")
    return found


def restore_json(folder: Path) -> Mapping[str, Any]:
    """Restore an Orbax item of JSON; damaged files raise all kinds of exceptions."""
    import orbax.checkpoint as ocp
    from etils import epath

    return ocp.JsonCheckpointHandler().restore(epath.Path(folder.absolute()))


def restore_arrays(
    folder: Path, part: Callable[[Any], Any] = lambda tree: tree
) -> dict[str, Any]:
    """Restore an Orbax item as NumPy arrays, whatever devices it was saved from.

    Args:
      folder: of the item.
      part: picks what is wanted of the item's tree.

    Raises:
      ValueError: the arrays are far larger than the files.
      Exception: of any other kind, where files are damaged.
    """
    import jax
    import orbax.checkpoint as ocp
    from etils import epath

    hush_closed_loops()
    handler = ocp.PyTreeCheckpointHandler()
    item = epath.Path(folder.absolute())
    wanted = part(handler.metadata(item).tree)
    check_unpacked(
        sum(num_bytes(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(wanted)),
        folder,
    )
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    args = ocp.args.PyTreeRestore(
        item=wanted, restore_args=as_numpy, partial_restore=True
    )
    return handler.restore(item, args=args)


@functools.cache
def hush_closed_loops() -> None:
    """Keep TensorStore's threads silent about reads that nobody waits for any more.

    Orbax gives up a damaged item at the first array that fails, and closes its event
    loop: each of the other reads would print a traceback when it is done.
    """
    before = sys.unraisablehook

    def hook(report: Any) -> None:
        error = report.exc_value
        if not (isinstance(error, RuntimeError) and "loop is closed" in str(error)):
            before(report)

    sys.unraisablehook = hook


def check_unpacked(num_bytes: int, folder: Path) -> None:
    """Raise ValueError where files would unpack to far more than weights do.

    Args:
      num_bytes: of the arrays.
      folder: that has their files.
    """
    if num_bytes <= _UNPACKED_BYTES:
        return
    packed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if num_bytes > _UNPACKED_RATIO * packed:
        raise ValueError(
            f"its arrays would take {num_bytes / 1e9:.3g} GB, {packed / 1e6:.3g} MB of "
            "files cannot hold them"
        )


def num_bytes(shape: Sequence[int], dtype: Any) -> int:
    """Return the size of an array; no product overflows."""
    return math.prod(shape) * np.dtype(dtype).itemsize

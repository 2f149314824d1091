"""The devices that a network is computed on, and the cache of compiled programs."""

import atexit
import hashlib
import json
import math
import os
import random
import warnings
from contextlib import suppress
from pathlib import Path

import jax

from mt3x.files import write_whole

_LIST_NAME = "mt3x-programs.json"
"""What is in the cache, as it was found whole: size, time and digest of each file."""


def platform() -> str:
    """Return `cpu`, `gpu` or `tpu`: of the mesh in use, else JAX's default device.

    Layers choose their form by it. The devices of a mesh may be described ones, as in
    ahead-of-time compilation.
    """
    device = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    if device is None:
        return jax.default_backend()
    # Older versions of JAX tell only the kind: `cpu`, `TPU v4`, or a GPU's name.
    kind = device.device_kind.lower().split()[0]
    return getattr(device, "platform", kind if kind in ("cpu", "tpu") else "gpu")


def use_threads(number: int) -> None:
    """Compute on so many of the CPUs; before JAX starts.

    Where a process cannot be bound to CPUs (macOS, Windows), JAX alone has so many
    threads in each of its pools.
    """
    os.environ["NPROC"] = str(number)  # which XLA reads
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        # Any, so that several such processes do not share them.
        chosen = random.sample(allowed, min(number, len(allowed)))
        os.sched_setaffinity(0, chosen)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that later starts are fast.

    `MT3X_CACHE` names another folder, or is `off`. A folder that JAX was given already
    stays. A user without a home folder has no cache, and in a folder that cannot be
    written nothing new is kept. Damaged programs are removed.
    """
    choice = os.environ.get("MT3X_CACHE", "")
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore
    if choice == "off" or given is not None:
        return
    folder = Path(choice) if choice else user_cache()
    if folder is None:
        return
    folder = str(folder if choice else folder / "jax")
    try:
        os.makedirs(folder, exist_ok=True)
        _remove_damaged(Path(folder))
    except OSError as error:
        if choice:
            warnings.warn(
                f"programs are compiled anew: MT3X_CACHE={choice} cannot be used "
                f"({error.strerror}); name another folder, or off",
                stacklevel=2,
            )
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    # Store everything: a start compiles a few small programs besides the model.
    least_s = 0.0 if os.access(folder, os.W_OK | os.X_OK) else math.inf
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least_s)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    atexit.register(_list_programs, Path(folder))


def _list_programs(folder: Path) -> None:
    with suppress(OSError):
        _remove_damaged(folder)


def _remove_damaged(folder: Path) -> None:
    """Remove programs that were written in part or have changed since.

    JAX writes them in place, so that a kill or a full disk leaves half of one, warns of
    it at each start and never replaces it. Each is looked at once, and again when its
    size or time has changed.

    Raises:
      OSError: one cannot be read or removed.
    """
    list_path = folder / _LIST_NAME
    try:
        known = json.loads(list_path.read_text(encoding="utf-8"))
        known = {name: tuple(about) for name, about in known.items() if len(about) == 3}
    except (OSError, ValueError, AttributeError, TypeError):
        known = {}
    found = {}
    for path in folder.glob("*-cache"):
        with suppress(FileNotFoundError):  # another process removed it
            about = path.stat()
            *stamp, digest = known.get(path.name, (None, None, None))
            if stamp != [about.st_size, about.st_mtime_ns]:
                data = path.read_bytes()
                now = hashlib.blake2b(data).hexdigest()
                if now != (digest or now) or not _is_whole(data):
                    path.unlink()
                    continue
                digest = now
            found[path.name] = (about.st_size, about.st_mtime_ns, digest)
    if found != known and os.access(folder, os.W_OK):
        with (
            suppress(OSError),
            write_whole(list_path, overwrite=True, text=True) as file,
        ):
            json.dump(found, file)


def _is_whole(data: bytes) -> bool:
    """Return whether a program can be unpacked, as JAX would, if that can be told."""
    try:  # which is JAX's own, and may go
        from jax._src.compilation_cache import decompress_executable
    except ImportError:
        return True

    # Each of the libraries that may pack them has an exception of its own.
    try:
        return bool(decompress_executable(data))
    except Exception:
        return False


def user_cache() -> Path | None:
    """Return the user's folder for what can be had again; None without a home."""
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("mt3x", appauthor=False)
    except RuntimeError:
        return None
    # Older versions of platformdirs leave the path as it is.
    return None if str(folder).startswith("~") else folder

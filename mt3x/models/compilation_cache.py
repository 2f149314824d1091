"""Compiled programs on disk, so that a second start is quick."""

import os
from pathlib import Path

import jax


def use() -> None:
    """Keep compiled programs in the user's cache folder.

    `MT3X_CACHE` names another folder, or is `off`. A folder that JAX was given already
    stays.
    """
    choice = os.environ.get("MT3X_CACHE", "")
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore
    if choice == "off" or given is not None:
        return
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(choice or Path(home) / "mt3x" / "jax")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Store everything: a start compiles a few small programs besides the model.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

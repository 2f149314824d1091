"""The devices that a network is computed on, and the cache of compiled programs."""

import os

import jax


def platform() -> str:
    """Return `cpu`, `gpu` or `tpu`: of the mesh in use, else JAX's default device.

    Layers choose their form by it. The devices of a mesh may be described ones, as in
    ahead-of-time compilation.
    """
    device = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    return jax.default_backend() if device is None else device.platform


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that later starts are fast.

    `MT3X_CACHE` names another folder, or is `off`. A folder that JAX was given already
    stays. A user without a home folder has no cache.
    """
    choice = os.environ.get("MT3X_CACHE", "")
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore
    if choice == "off" or given is not None:
        return
    folder = choice or _user_folder()
    if folder is None:
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    # Store everything: a start compiles a few small programs besides the model.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _user_folder() -> str | None:
    """Return the folder of the user's programs; None where there is no home."""
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("mt3x", appauthor=False) / "jax"
    except RuntimeError:
        return None
    # Older versions of platformdirs leave the path as it is.
    return None if str(folder).startswith("~") else str(folder)

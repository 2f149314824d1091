"""All tests run on the CPU, with JAX's strict rules for mixed dtypes."""

import os

from hypothesis import settings

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["MT3X_CACHE"] = "off"
# Tests compile much and compute little: without LLVM's optimization they take half the
# time. Flags that are given win.
FAST = "--xla_backend_optimization_level=0"
if FAST not in (flags := os.environ.get("XLA_FLAGS", "")):
    os.environ["XLA_FLAGS"] = f"{FAST} {flags}".strip()

# However slow the machine is.
settings.register_profile("mt3x", deadline=None)
settings.load_profile("mt3x")


def pytest_configure(config):
    """Keep compiled programs for other tests, workers, processes and runs."""
    if hasattr(config, "cache"):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("jax"))
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

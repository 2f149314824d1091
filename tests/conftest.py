"""All tests run on the CPU, with JAX's strict rules for mixed dtypes."""

import os
import subprocess
import sys

from hypothesis import settings

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["MT3X_CACHE"] = "off"
# Tests compile much and compute little: without LLVM's optimization, and with XLA's
# older and simpler code for fused operations where it still has it, they take a third
# of the time. Flags that are given win.
FAST = "--xla_backend_optimization_level=0"
SIMPLE = "--xla_cpu_use_fusion_emitters=false"
if FAST not in (given := os.environ.get("XLA_FLAGS", "")):
    os.environ["XLA_FLAGS"] = f"{FAST} {SIMPLE} {given}".strip()
    # A flag that it does not know ends the process.
    start = [sys.executable, "-c", "import jax; jax.devices()"]
    if subprocess.run(start, capture_output=True).returncode:
        os.environ["XLA_FLAGS"] = f"{FAST} {given}".strip()
# However slow the machine is.
settings.register_profile("mt3x", deadline=None)
settings.load_profile("mt3x")


def pytest_configure(config):
    """Keep compiled programs for other tests, workers, processes and runs."""
    if hasattr(config, "cache"):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("jax"))
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

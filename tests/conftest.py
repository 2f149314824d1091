"""All tests run on the CPU, with JAX's strict rules for mixed dtypes."""

import functools
import gc
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import settings
from programs import find_program

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["MT3X_CACHE"] = os.environ["MT3X_CONFIG"] = "off"
# As of the command: else garbage is looked for after every 700 new objects, and JAX's
# traces, of many that live on, take a tenth longer.
gc.set_threshold(50_000)
# Tests compile much and compute little: without LLVM's optimization, with XLA's older
# and simpler code for fused operations where it still has it, and with programs in one
# part, not many for as many threads, they take a third of the time. Flags that are
# given win.
FAST = "--xla_backend_optimization_level=0"
SIMPLE = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if FAST not in (given := os.environ.get("XLA_FLAGS", "")):
    os.environ["XLA_FLAGS"] = f"{FAST} {SIMPLE} {given}".strip()
    # A flag that it does not know ends the process.
    start = [sys.executable, "-c", "import jax; jax.devices()"]
    if subprocess.run(start, capture_output=True).returncode:
        os.environ["XLA_FLAGS"] = f"{FAST} {given}".strip()
# Under `nohup` or in the background of a script some signals are ignored, also by the
# processes that tests start and send them to; those do not inherit a handler.
for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
# However slow the machine is.
settings.register_profile("mt3x", deadline=None)
settings.load_profile("mt3x")


def pytest_configure(config):
    """Keep compiled programs for the next run; each worker has its own folder.

    JAX's cache stands no two writers, and of programs that several devices run it gives
    back ones that wait for ever: processes that tests start have none.
    """
    import jax

    if hasattr(config, "cache"):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        folder = config.cache.mkdir(f"jax-{worker}")
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def launch_chromium():
    """Starts browsers; one Playwright serves all tests of a process."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = find_program("Chromium")
    with playwright.sync_playwright() as started:
        yield functools.partial(started.chromium.launch, executable_path=path)

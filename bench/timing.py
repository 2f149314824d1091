"""Timing for the benchmarks: two CPU threads, medians, alternating runs, processes."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

THREADS = 2


def limit_threads() -> None:
    """Keep this process on two CPUs; call before JAX or PyTorch is imported."""
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cpus[:THREADS])


def median_times(
    calls: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, float]:
    """Return the median seconds of each call, after one call to warm up.

    The calls take turns, so that another load on the machine slows all alike.
    """
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start_s = time.perf_counter()
            call()
            times_s[name].append(time.perf_counter() - start_s)
    return {name: sorted(values)[len(values) // 2] for name, values in times_s.items()}


def report(title: str, times_s: Mapping[str, float], ours: str, other: str) -> None:
    """Print one line: both times and how many times faster ours is."""
    ratio = times_s[other] / times_s[ours]
    print(
        f"{title:34s} {ours} {1e3 * times_s[ours]:9.1f} ms   "
        f"{other} {1e3 * times_s[other]:9.1f} ms   ratio {ratio:5.2f}",
        flush=True,
    )


class Usage(NamedTuple):
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run_process(command: Sequence[str | Path], **env: str) -> Usage:
    """Run a command, with these variables in its environment, until it ends well."""
    start_s = time.monotonic()
    with tempfile.TemporaryFile(mode="w+", errors="replace") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **env}
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - start_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            output.seek(0)
            raise SystemExit(f"{command[0]} failed: {output.read().strip()[-800:]}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Usage(wall_s, cpu_s, usage.ru_maxrss / 1024)

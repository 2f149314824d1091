"""Timing for the benchmarks: two CPU threads, medians, alternating runs."""

import os
import time
from collections.abc import Callable, Mapping

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

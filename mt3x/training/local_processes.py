"""A command run in several processes on one machine, each on its own cores.

On CPUs such a job trains faster than one process whose operations are split over the
cores: a loop over frames keeps one core busy only.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any


def run(processes: int, patience_s: float = 30.0) -> int:
    """Run this process's own command in several processes, and wait for them.

    They find each other by the environment (see `mt3x.training.processes`). Each is
    kept on its part of the cores where the system can do that. SIGINT and SIGTERM are
    left to them.

    Args:
      processes: how many.
      patience_s: how long the others may take to end once one has failed.

    Returns:
      The exit code: 0, or that of the first process that failed.

    Raises:
      ValueError: there are fewer cores than processes.
    """
    cores = sorted(available_cores())
    if len(cores) < processes:
        raise ValueError(
            f"{processes} processes on {len(cores)} cores: give at most {len(cores)}"
        )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    job = {
        "MT3X_COORDINATOR": f"127.0.0.1:{port}",
        "MT3X_PROCESSES": str(processes),
    }
    started: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: Any) -> None:
        # A terminal sends SIGINT to all of them itself.
        if number != signal.SIGINT:
            for process in started:
                process.send_signal(number)

    before = {n: signal.signal(n, forward) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        for n in range(processes):
            first, end = (len(cores) * k // processes for k in (n, n + 1))
            started.append(_start(job | {"MT3X_PROCESS_ID": str(n)}, cores[first:end]))
        return _wait(started, patience_s)
    finally:
        for process in started:
            process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def available_cores() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _start(job: Mapping[str, str], cores: list[int]) -> "subprocess.Popen[bytes]":
    """Start this process's command; a new process takes over the cores of this one."""
    command = [sys.executable, *sys.orig_argv[1:]]
    if not hasattr(os, "sched_setaffinity"):
        return subprocess.Popen(command, env=os.environ | job)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return subprocess.Popen(command, env=os.environ | job)
    finally:
        os.sched_setaffinity(0, before)


def _wait(started: "list[subprocess.Popen[bytes]]", patience_s: float) -> int:
    """Wait until all have ended; after a failure, end those that do not."""
    deadline_s = None
    while None in (codes := [process.poll() for process in started]):
        if any(codes) and deadline_s is None:
            deadline_s = time.monotonic() + patience_s
        if deadline_s is not None and time.monotonic() > deadline_s:
            break
        time.sleep(0.1)
    code = next((c for c in codes if c), 0)
    return 128 - code if code < 0 else code

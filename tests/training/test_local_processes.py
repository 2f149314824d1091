"""A command that starts itself again in several processes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mt3x.training import local_processes

PARENT = """
import json, os, sys, time
from mt3x.training import local_processes
if "MT3X_PROCESS_ID" not in os.environ:
    sys.exit(local_processes.run(2))
{child}
"""


def start(child, *arguments):
    command = [sys.executable, "-c", PARENT.format(child=child), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


needs_two_cores = pytest.mark.skipif(
    len(local_processes.available_cores()) < 2, reason="one core"
)


@needs_two_cores
def test_processes_share_the_cores(tmp_path):
    child = """
cores = sorted(local_processes.available_cores())
names = "MT3X_COORDINATOR", "MT3X_PROCESSES"
number = os.environ["MT3X_PROCESS_ID"]
with open(os.path.join(sys.argv[1], number), "w") as file:
    json.dump([cores, [os.environ[name] for name in names]], file)
"""
    with start(child, tmp_path) as parent:
        assert parent.wait() == 0
    (cores_0, job_0), (cores_1, job_1) = (
        json.loads((tmp_path / str(n)).read_text()) for n in range(2)
    )
    assert job_0 == job_1 and job_0[1] == "2"
    if hasattr(os, "sched_setaffinity"):
        assert sorted(cores_0 + cores_1) == sorted(local_processes.available_cores())
        assert abs(len(cores_0) - len(cores_1)) <= 1


@needs_two_cores
def test_a_failure_ends_the_job():
    """The exit code is that of the one that failed, though the other was killed."""
    begin_s = time.monotonic()
    child = """
if os.environ["MT3X_PROCESS_ID"] == "1":
    sys.exit(3)
time.sleep(600)
"""
    parent = PARENT.replace("run(2)", "run(2, patience_s=0.5)").format(child=child)
    assert subprocess.run([sys.executable, "-c", parent]).returncode == 3
    assert time.monotonic() - begin_s < 60


@needs_two_cores
def test_a_signal_reaches_all():
    child = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
os.write(1, (os.environ["MT3X_PROCESS_ID"] + "\\n").encode())  # at once
time.sleep(60)
"""
    with start(child) as parent:
        lines = [parent.stdout.readline() for _ in range(2)]
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(60) == 0
    assert sorted(lines) == ["0\n", "1\n"]


def test_more_processes_than_cores():
    count = len(local_processes.available_cores()) + 1
    with pytest.raises(ValueError, match=f"give at most {count - 1}"):
        local_processes.run(count)

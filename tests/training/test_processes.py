"""Jobs of several processes on this machine: losses, a kill, a signal, launchers."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_objective import ToyBatches, ToyObjective

from mt3x.training import processes
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.partitioning import MeshConfig
from mt3x.training.run_log import read_curve
from mt3x.training.train import TrainConfig, train

FIXTURES = Path(__file__).parents[1] / "fixtures"

CONFIG = TrainConfig(
    steps=8,
    optimizer=OptimizerConfig(learning_rate=1e-2, schedule="constant"),
    mesh=MeshConfig(fully_sharded=True),
    log_interval=1,
    checkpoint_interval=2,
    eval_interval=100,
)

PROCESS = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {fixtures!r})
from mt3x.training import processes
processes.start(heartbeat_timeout_s=10, connect_timeout_s=60, **{job!r})
import jax
from toy_objective import ToyBatches, ToyObjective
from mt3x.files import from_json
from mt3x.training.train import TrainConfig, train

class PartBatches(ToyBatches):
    # This process's rows of the batch; in `step` it sends itself a signal, once.
    def batch(self, step):
        if step == {at!r}:
            while not (Path({run_dir!r}) / "checkpoints" / "2").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), {number!r})
        batch, n = super().batch(step), self.batch_size // jax.process_count()
        first = jax.process_index() * n
        return {{name: rows[first : first + n] for name, rows in batch.items()}}

config = from_json(TrainConfig, {config!r})
try:
    outcome = train(config, ToyObjective(), PartBatches(), {run_dir!r})
except Exception as error:
    print("error:", str(error)[:500], file=sys.stderr)
    os._exit(1)  # a job that lost a process has nobody to say goodbye to
shared = [{{"score": float(item)}} for item in processes.share([1, 2, 4])]
mean = processes.mean(shared, 3)["score"]
print(
    jax.process_count(), len(jax.local_devices()), mean, outcome.step, outcome.reason
)
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def run_job(run_dir, processes, devices=1, signals=None):
    """Train in some processes; `signals`: process -> (step, number). Their results."""
    coordinator = f"127.0.0.1:{free_port()}"
    more = f"--xla_force_host_platform_device_count={devices}"
    flags = f"{os.environ['XLA_FLAGS']} {more}"
    started = []
    for n in range(processes):
        at, number = (signals or {}).get(n, (None, 0))
        script = PROCESS.format(
            fixtures=str(FIXTURES),
            job={
                "coordinator": coordinator,
                "processes": processes,
                "process_id": n,
            },
            at=at,
            number=int(number),
            config=CONFIG.to_dict(),
            run_dir=str(run_dir),
        )
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", script],
                env={**os.environ, "XLA_FLAGS": flags},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        outputs = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        (process.returncode, *output)
        for process, output in zip(started, outputs, strict=True)
    ]


def losses(run_dir):
    return [row["loss"] for row in read_curve(run_dir / "learning_curve.csv")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Losses of the same training in this process, on one device."""
    run_dir = tmp_path_factory.mktemp("alone")
    train(CONFIG, ToyObjective(), ToyBatches(), run_dir)
    return losses(run_dir)


@pytest.mark.by_hand
def test_job_killed_stopped_and_finished(tmp_path, expected):
    """Two processes, one killed; four, one asked to stop; this one to the end.

    The parameters lie on 4 devices, then on 4 others, then on 1.
    """
    begin_s = time.monotonic()
    other, killed = run_job(tmp_path, 2, devices=2, signals={1: (4, signal.SIGKILL)})
    assert time.monotonic() - begin_s < 300
    assert killed[0] == -signal.SIGKILL
    assert other[0] not in (0, -signal.SIGKILL), other
    assert 2 <= len(losses(tmp_path)) < 8
    steps = set()
    for code, out, err in run_job(tmp_path, 4, signals={1: (4, signal.SIGTERM)}):
        assert code == 0, err
        processes, devices, mean, step, reason = out.split()[-5:]  # Gloo talks before
        assert (processes, devices, reason) == ("4", "1", "signal")
        assert float(mean) == pytest.approx(7 / 3)  # one has what another has too
        steps.add(int(step))
    (step,) = steps
    assert 2 < step < 8 and (tmp_path / "checkpoints" / str(step)).is_dir()
    assert train(CONFIG, ToyObjective(), ToyBatches(), tmp_path).step == 8
    np.testing.assert_allclose(losses(tmp_path), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"coordinator": "a:1"}, "processes and process_id missing"),
        ({"coordinator": "a", "processes": 2, "process_id": 1}, "'a' is not HOST:PORT"),
        ({"coordinator": "a:1", "processes": 2, "process_id": 2}, "one of 0 to 1"),
        ({"coordinator": "a:1", "processes": 2, "process_id": 1}, "before JAX"),
    ],
)
def test_bad_jobs(job, message, expected):
    del expected  # JAX has computed
    with pytest.raises(ValueError, match=message):
        processes.start(**job)


def test_a_taken_port_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match=f"{port}"):
            processes.start(f"127.0.0.1:{port}", 2, 0)


def test_one_process_needs_nothing(monkeypatch):
    processes.start("127.0.0.1:1", 1, 0)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    processes.start()


ALONE = """
import sys
from mt3x.training import processes
try:
    processes.start("127.0.0.1:{port}", 2, 1, connect_timeout_s=1)
except OSError as error:
    sys.exit(str(error))
"""


def test_an_absent_coordinator_is_one_line():
    script = ALONE.format(port=free_port())
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "not all processes of the job came together at 127.0.0.1" in done.stderr
    assert done.stderr.count("\n") == 1


SLURM = """
import jax
from mt3x.training import processes
processes.start(connect_timeout_s=60)
print(jax.process_index(), jax.process_count())
"""


def test_slurm_names_the_job():
    variables = {
        "SLURM_JOB_ID": str(free_port()),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_LOCALID": "0",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SLURM],
            env={**os.environ, **variables, "SLURM_PROCID": str(n)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    assert [p.communicate(timeout=300)[0] for p in started] == ["0 2\n", "1 2\n"]


def test_one_task_of_a_node_takes_its_gpus():
    node = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "4"}
    assert processes.slurm_devices(node) == [0, 1, 2, 3]
    assert processes.slurm_devices(node | {"SLURM_NTASKS": "8"}) is None
    assert processes.slurm_devices({}) is None

"""The trainer on a toy objective: arithmetic, resume, stops, refusals."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from toy_objective import ToyBatches, ToyConfig, ToyObjective

from mt3x.models import orbax_items, weights_file
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.run_log import RunLog, read_curve
from mt3x.training.train import TrainConfig, train

FIXTURES = Path(__file__).parents[1] / "fixtures"

OPTIMIZER = OptimizerConfig(learning_rate=1e-2, schedule="constant")
CONFIG = TrainConfig(
    steps=6,
    optimizer=OPTIMIZER,
    log_interval=1,
    checkpoint_interval=3,
    eval_interval=100,
)


def losses(run_dir):
    return [row["loss"] for row in read_curve(run_dir / "learning_curve.csv")]


def test_loss_falls_and_folder_is_complete(tmp_path):
    config = dataclasses.replace(
        CONFIG, steps=150, log_interval=10, checkpoint_interval=100
    )
    outcome = train(config, ToyObjective(), ToyBatches(), tmp_path)
    assert (outcome.step, outcome.reason) == (150, "steps")
    curve = losses(tmp_path)
    assert len(curve) == 15
    assert curve[-1] < 0.5 * curve[0]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "100",
        "150",
    ]
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert json.loads((tmp_path / "config.json").read_text())["objective"] == {
        "width": 16
    }


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {fixtures!r})
from toy_objective import ToyBatches, ToyObjective
from mt3x.files import from_json
from mt3x.training.train import TrainConfig, train

run_dir = Path({run_dir!r})

def die(params):
    while not (run_dir / "checkpoints" / "3").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

train(from_json(TrainConfig, {config!r}), ToyObjective(), ToyBatches(), run_dir, die)
"""


def test_resume_after_a_kill_is_exact(tmp_path):
    """6 steps at once, or killed in step 5 and resumed from 3: the same bits."""
    config = dataclasses.replace(CONFIG, ema_decay=0.99, eval_interval=5)
    train(config, ToyObjective(), ToyBatches(), tmp_path / "whole")
    script = KILLED.format(
        fixtures=str(FIXTURES),
        run_dir=str(tmp_path / "killed"),
        config=config.to_dict(),
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(losses(tmp_path / "killed")) == 5
    batches = ToyBatches()
    train(config, ToyObjective(), batches, tmp_path / "killed")
    assert batches.asked == [3, 4, 5]
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    for name in ("params", "ema"):
        whole, killed = (
            weights_file.flatten(
                orbax_items.restore_arrays(
                    tmp_path / run / "checkpoints" / "6" / "weights"
                )[name]
            )
            for run in ("whole", "killed")
        )
        assert whole.keys() == killed.keys()
        for key in whole:
            np.testing.assert_array_equal(whole[key], killed[key])


def test_running_means_survive_a_resume(tmp_path):
    """A row that spans the resume is the mean of both sides."""
    config = dataclasses.replace(CONFIG, log_interval=4, steps=8)
    train(config, ToyObjective(), ToyBatches(), tmp_path / "whole")
    train(
        dataclasses.replace(config, steps=3),
        ToyObjective(),
        ToyBatches(),
        tmp_path / "parts",
    )
    train(config, ToyObjective(), ToyBatches(), tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    each = dataclasses.replace(config, log_interval=1)
    train(each, ToyObjective(), ToyBatches(), tmp_path / "each")
    by_step = losses(tmp_path / "each")
    np.testing.assert_allclose(
        losses(tmp_path / "parts"),
        [np.mean(by_step[:4]), np.mean(by_step[4:])],
        rtol=1e-6,
    )


def test_sigterm_saves_and_ends(tmp_path):
    def evaluate(params):
        del params
        os.kill(os.getpid(), signal.SIGTERM)
        return {"note_f1": 0.5}

    config = dataclasses.replace(CONFIG, eval_interval=4)
    handler = signal.getsignal(signal.SIGTERM)
    outcome = train(config, ToyObjective(), ToyBatches(), tmp_path, evaluate)
    assert (outcome.step, outcome.reason) == (4, "signal")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert (tmp_path / "checkpoints" / "4").is_dir()
    outcome = train(config, ToyObjective(), ToyBatches(), tmp_path)
    assert (outcome.step, outcome.reason) == (6, "steps")


def test_nan_stops_with_its_step(tmp_path):
    with pytest.raises(
        ValueError, match=r"loss is nan at step 5;.*toy 4.0, .*of step 3"
    ):
        train(CONFIG, ToyObjective(), ToyBatches(bad_step=4), tmp_path)
    assert (tmp_path / "checkpoints" / "3").is_dir()
    assert not (tmp_path / "checkpoints" / "5").exists()


def test_nan_in_the_step_before_a_checkpoint_is_not_saved(tmp_path):
    config = dataclasses.replace(CONFIG, log_interval=100)
    with pytest.raises(ValueError, match="loss is nan at step 3"):
        train(config, ToyObjective(), ToyBatches(bad_step=2), tmp_path)
    assert not (tmp_path / "checkpoints" / "3").exists()


def test_early_stop_keeps_the_best(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    config = dataclasses.replace(
        CONFIG,
        steps=100,
        eval_interval=2,
        checkpoint_interval=100,
        early_stop_patience=3,
        keep=1,
    )
    outcome = train(
        config,
        ToyObjective(),
        ToyBatches(),
        tmp_path,
        lambda params: {"note_f1": next(scores)},
    )
    assert outcome.reason == "early stop"
    assert (outcome.step, outcome.best_step, outcome.best_score) == (10, 4, 0.5)
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert kept == [4, 10]
    assert weights_file.load(tmp_path).metadata == {"step": "4"}
    rows = read_curve(tmp_path / "learning_curve.csv")
    assert [r["step"] for r in rows if "valid/note_f1" in r] == [2, 4, 6, 8, 10]


def test_pictures_and_sounds_reach_tensorboard(tmp_path):
    picture = np.zeros((4, 6, 3), np.uint8)
    sound = np.zeros((50, 2), np.float32)
    config = dataclasses.replace(CONFIG, steps=1)
    train(
        config,
        ToyObjective(),
        ToyBatches(),
        tmp_path,
        lambda params: {"note_f1": 1.0, "rolls": picture, "sound": sound},
    )
    (events,) = (tmp_path / "tensorboard").glob("events*")
    data = events.read_bytes()
    for name in (b"valid/rolls", b"valid/sound", b"valid/note_f1"):
        assert name in data


@pytest.mark.parametrize("steps", [7, 12])
def test_trace_of_some_steps(tmp_path, capfd, steps):
    """Also of a run that ends meanwhile."""
    config = dataclasses.replace(CONFIG, steps=steps, checkpoint_interval=100)
    folder = tmp_path / "trace"
    train(config, ToyObjective(), ToyBatches(), tmp_path / "run", trace_dir=folder)
    assert list(folder.rglob("*.xplane.pb"))
    assert ("trace of 5 steps" in capfd.readouterr().err) == (steps == 12)


def test_another_config_is_refused(tmp_path):
    train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)
    optimizer = dataclasses.replace(OPTIMIZER, learning_rate=1.0)
    other = dataclasses.replace(CONFIG, optimizer=optimizer)
    with pytest.raises(ValueError, match=r"train.optimizer.learning_rate 0.01 -> 1.0"):
        train(other, ToyObjective(), ToyBatches(), tmp_path)
    with pytest.raises(ValueError, match=r"objective.width 16 -> 4"):
        train(CONFIG, ToyObjective(ToyConfig(width=4)), ToyBatches(), tmp_path)
    with pytest.raises(ValueError, match=r"data.corpus None -> 'a'"):
        train(
            CONFIG, ToyObjective(), ToyBatches(), tmp_path, data_config={"corpus": "a"}
        )
    longer = dataclasses.replace(CONFIG, steps=7, log_interval=7)
    assert train(longer, ToyObjective(), ToyBatches(), tmp_path).step == 7


def test_a_folder_serves_one_run_at_a_time(tmp_path):
    def evaluate(params):
        with pytest.raises(OSError, match=f"in use.*{os.getpid()}"):
            train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)
        return {"note_f1": 0.0}

    assert train(CONFIG, ToyObjective(), ToyBatches(), tmp_path, evaluate).step == 6


# A failed read leaves TensorStore's other reads without their event loop.
def test_damaged_checkpoint_is_set_aside(tmp_path, capfd):
    train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)
    before = losses(tmp_path)
    newest = tmp_path / "checkpoints" / "6"
    largest = max(newest.rglob("weights/**/d/*"), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:50])
    capfd.readouterr()
    outcome = train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)
    text = capfd.readouterr().err
    assert "step 6 is damaged" in text and "resuming from step 3" in text
    assert outcome.step == 6 and losses(tmp_path) == before
    assert newest.is_dir() and (tmp_path / "damaged").is_dir()


@pytest.mark.parametrize("has_checksums", [True, False])
def test_a_run_whose_every_step_is_damaged_never_starts_anew(tmp_path, has_checksums):
    train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)
    for step in ("3", "6"):
        folder = tmp_path / "checkpoints" / step
        (folder / "progress" / "metadata").write_text("{}")
        if not has_checksums:
            (folder / "checksums.json").unlink()
    before = sorted(tmp_path.rglob("checkpoints/**/*"))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no checkpoint could be read: .*step 3"):
            train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)
        assert sorted(tmp_path.rglob("checkpoints/**/*")) == before
    # As earlier versions left it.
    (tmp_path / "checkpoints").rename(tmp_path / "damaged")
    with pytest.raises(ValueError, match="no checkpoint could be read; start in a new"):
        train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)


def test_a_flipped_bit_is_noticed(tmp_path, capfd):
    train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)
    newest = tmp_path / "checkpoints" / "6" / "optimizer"
    largest = max(newest.rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    capfd.readouterr()
    train(CONFIG, ToyObjective(), ToyBatches(), tmp_path)
    text = capfd.readouterr().err
    assert f"{largest.name} is not as it was saved" in text
    assert "resuming from step 3" in text


def test_errors_of_closing_do_not_hide_what_ended_the_run(tmp_path, monkeypatch):
    close = RunLog.close

    def full(log):
        close(log)
        raise OSError("no space left")

    monkeypatch.setattr(RunLog, "close", full)
    with pytest.raises(ValueError, match="loss is nan"):
        train(CONFIG, ToyObjective(), ToyBatches(bad_step=4), tmp_path / "a")
    with pytest.raises(OSError, match="no space left"):
        train(CONFIG, ToyObjective(), ToyBatches(), tmp_path / "b")


FULL = """
import resource, sys
sys.path.insert(0, {fixtures!r})
from toy_objective import ToyBatches, ToyConfig, ToyObjective
from mt3x.training.train import TrainConfig, train

class Batches(ToyBatches):
    def batch(self, step):
        if step == 4:  # from here on no file can grow beyond 2 KB
            while not __import__("pathlib").Path({run_dir!r}, "checkpoints/2").exists():
                pass
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        return super().batch(step)

config = TrainConfig(steps=6, log_interval=100, checkpoint_interval=2, prefetch=1)
try:
    train(config, ToyObjective(ToyConfig(width=1024)), Batches(), {run_dir!r})
except OSError as error:
    print(error)
"""


def test_full_disk_is_told_in_one_line(tmp_path):
    script = FULL.format(fixtures=str(FIXTURES), run_dir=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "could not be written" in done.stdout and "step 2 is whole" in done.stdout
    assert done.stdout.count("\n") == 1
    assert weights_file.load(tmp_path).metadata["step"] == "2"


def test_start_from_weights(tmp_path):
    params = jax.tree.map(lambda x: x + 1, ToyObjective().init(jax.random.key(1)))
    file = tmp_path / "w.safetensors"
    weights_file.save_weights(file, params, {})
    optimizer = dataclasses.replace(OPTIMIZER, learning_rate=0.0)
    config = dataclasses.replace(
        CONFIG, steps=1, init_weights=str(file), optimizer=optimizer
    )
    train(config, ToyObjective(), ToyBatches(), tmp_path / "run")
    np.testing.assert_array_equal(
        weights_file.load(tmp_path / "run").params["out"]["kernel"],
        params["out"]["kernel"],
    )
    with pytest.raises(ValueError, match="another model"):
        train(config, ToyObjective(ToyConfig(width=4)), ToyBatches(), tmp_path / "new")


def test_batches_are_made_ahead_and_their_errors_come_out(tmp_path):
    class Broken(ToyBatches):
        def batch(self, step):
            if step == 2:
                raise OSError("corpus/audio.npy: disk on fire")
            return super().batch(step)

    with pytest.raises(OSError, match="disk on fire"):
        train(CONFIG, ToyObjective(), Broken(), tmp_path)

    class Slow(ToyBatches):
        def batch(self, step):
            time.sleep(0.2)
            return super().batch(step)

    asked = Slow()
    seen = []
    config = dataclasses.replace(CONFIG, prefetch=3, eval_interval=1)

    def evaluate(params):
        time.sleep(0.5)
        seen.append(len(asked.asked))
        return {"note_f1": 0.0}

    train(config, ToyObjective(), asked, tmp_path / "slow", evaluate)
    assert seen[0] >= 3  # made while the first evaluation went on


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "float16"},
        {"steps": 0},
        {"steps": 100, "optimizer": OptimizerConfig(warmup_steps=100)},
        {"ema_decay": 1.0},
    ],
)
def test_bad_settings(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        TrainConfig(**fields)


BARE = """
import sys
import flax.linen  # brings rich, which flax needs for tables of layers
for name in "rich tensorboardX gin mir_eval soundfile soxr mido scipy.signal".split():
    sys.modules[name] = None
sys.path.insert(0, {fixtures!r})
from toy_objective import ToyBatches, ToyObjective
from mt3x.training.train import TrainConfig, train
from mt3x.training.validation import RollValidation
print(train(TrainConfig(steps=2), ToyObjective(), ToyBatches(), {run_dir!r}).step)
"""


def test_jax_flax_optax_orbax_and_numpy_are_enough(tmp_path):
    script = BARE.format(fixtures=str(FIXTURES), run_dir=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n"
    assert "no TensorBoard files" in done.stderr
    assert not (tmp_path / "tensorboard").exists()

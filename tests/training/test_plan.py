"""Plans: topologies by name, what is read from a compiled step, `mt3x plan`."""

import dataclasses
import importlib.util
import subprocess
import sys

import jax
import pytest
from click.testing import CliRunner
from tiny_models import SMALL_TOKENS

from mt3x.cli.plan import command
from mt3x.models.objectives import RollsConfig, TokensObjective
from mt3x.training import plan as plans
from mt3x.training.partitioning import MeshConfig
from mt3x.training.train import TrainConfig

PLAN = plans.Plan(
    devices=32,
    chip=plans.CHIPS["v3"],
    arguments=2**30,
    temporaries=3 * 2**30,
    flops=32 * 61.5e12,
    dtype="bfloat16",
)


def test_times_of_a_plan():
    """61.5 TFLOP/s for each core of a v3."""
    assert PLAN.memory == 4 * 2**30
    assert PLAN.compute_s(0.5) == pytest.approx(2.0)
    cpu = dataclasses.replace(PLAN, chip=None)
    assert cpu.compute_s(0.5) is None


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v3", "not one such as v3-32"),
        ("h100-8", "not one such as v3-32"),
        ("v3-12", "no such number of devices"),
        ("v3-1", "no such number of devices"),
        ("v4-8", "three axes"),
    ],
)
def test_unknown_topologies(topology, message):
    with pytest.raises(ValueError, match=message):
        plans.tpu_devices(topology)


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed"
)
def test_libtpu_is_missing():
    with pytest.raises(ValueError, match=r"v3:4x4x1 .*pip install libtpu") as caught:
        plans.tpu_devices("v3-32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "devices", "grid"),
    [("v3", 8, "2x2x1"), ("v3", 32, "4x4x1"), ("v2", 256, "8x16x1"), ("v5e", 8, "2x4")],
)
def test_flat_topologies_are_rectangles(name, devices, grid):
    assert plans._grid(f"{name}-{devices}", devices, plans.CHIPS[name]) == grid


def test_batch_must_divide():
    train = TrainConfig(microbatches=3)
    with pytest.raises(ValueError, match=r"batch_size=8 .* multiple of 3"):
        plans.plan_step(SMALL_TOKENS, train, 8, [0])


def test_fewest_microbatches_that_fit(monkeypatch):
    tried = []

    def plan(objective, train, batch_size, *rest):
        tried.append(train.microbatches)
        if train.microbatches == 1:
            raise MemoryError("the step does not fit: 20G of 16G")
        return dataclasses.replace(PLAN, temporaries=2**36 // 2**train.microbatches)

    monkeypatch.setattr(plans, "plan_step", plan)
    job = (SMALL_TOKENS, TrainConfig(mesh=MeshConfig(model=2)), 64, range(8), PLAN.chip)
    train, made = plans.fewest_microbatches(*job)
    assert tried == [1, 2, 4] and train.microbatches == 4
    assert made.memory <= 16 * 2**30
    with pytest.raises(MemoryError, match="one example a device"):
        plans.fewest_microbatches(*job[:2], 4, *job[3:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --topology or --devices"),
        (["--topology=v3-8", "--devices=8"], "either --topology or --devices"),
        (["--devices=8", "--fit"], "--fit needs a --topology"),
    ],
)
def test_bad_calls(arguments, message):
    gin = "--gin_file=models/mt3_small.gin"
    result = CliRunner().invoke(command, [gin, "--batch-size=8", *arguments])
    with pytest.raises(ValueError, match=message):
        raise result.exception


@pytest.mark.parametrize("rolls", [None, RollsConfig(channels=4)])
def test_batches_have_what_the_loss_reads(rolls):
    config = dataclasses.replace(SMALL_TOKENS, rolls=rolls)
    objective = TokensObjective(config)
    params = jax.eval_shape(objective.init, jax.random.key(0))
    batch = config.batch_spec(batch_size=3)
    read = set()

    class Reading(dict):
        def __getitem__(self, name):
            read.add(name)
            return super().__getitem__(name)

    def loss(params, batch):
        return objective.loss(params, Reading(batch), jax.random.key(0))

    sums = jax.eval_shape(loss, params, batch)
    assert read == batch.keys() and len(sums.parts) == (7 if rolls else 3)


def test_plan_for_cpus():
    """A small model by the command: what it prints is what was compiled."""
    sizes = {
        "emb_dim": 16,
        "num_heads": 2,
        "head_dim": 8,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "mlp_dim": 16,
        "dropout_rate": 0.0,
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mt3x", "plan", "--gin_file=models/mt3_small.gin"),
            *("--batch-size=4", "--devices=2"),
            *(f"--gin.seq2seq.Seq2SeqConfig.{k}={v}" for k, v in sizes.items()),
            "--gin.objectives.TokensConfig.max_tokens=8",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["devices"] == "2"
    assert lines["temporaries"].endswith("MiB a device")
    # 2 devices share the products of a step.
    whole, share = (float(n.split()[0]) for n in lines["FLOPs"].split(", "))
    assert whole == pytest.approx(2 * share, rel=0.01)

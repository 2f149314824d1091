"""One model and one batch on meshes of 8 devices: the same update, in less memory.

`python tests/eight_devices.py all` does the same for all meshes and both models.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import collectives
import numpy as np
import pytest
from eight_devices import BATCH
from toy_objective import ToyBatches, ToyObjective

from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.run_log import read_curve
from mt3x.training.train import TrainConfig, train

SCRIPT = Path(__file__).parents[1] / "fixtures" / "eight_devices.py"
TOKENS = ("tokens:1", "tokens:2:sharded")
PIANO, BAND = "piano:1", "band:1"
STEMS = ("stem:1", "conformer:2:sharded")


def run(*arguments, devices=8):
    more = f"--xla_force_host_platform_device_count={devices}"
    flags = f"{os.environ['XLA_FLAGS']} {more}"
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def measured():
    return json.loads(run(*TOKENS, PIANO, BAND))


@pytest.fixture(scope="module")
def measured_stems():
    return json.loads(run(*STEMS))


@pytest.mark.parametrize("case", [*TOKENS, PIANO, BAND])
def test_update_is_that_of_one_device(measured, case):
    check_update(measured[case], case)


@pytest.mark.by_hand
@pytest.mark.parametrize("case", STEMS)
def test_update_of_stems_is_that_of_one_device(measured_stems, case):
    check_update(measured_stems[case], case)


def check_update(found, case):
    assert abs(found["loss"]) < 1e-6
    assert abs(found["gradient_norm"]) < 1e-5
    # Of HPPNet's pools and ReLUs, rounding decides some.
    assert found["gradient"] < (1e-3 if case in (PIANO, BAND) else 1e-5)
    assert found["params"] < 1e-3  # of the learning rate
    assert found["firm"] > (50_000 if case.startswith("tokens") else 500)
    # Batch norm's are those of the batch on all devices.
    assert len(found["statistics"]) == (6 if case.startswith("stem") else 0)
    assert max(found["statistics"], default=0) < 1e-5


@pytest.mark.by_hand
@pytest.mark.parametrize("case", STEMS)
def test_stems_send_no_activations_over_data(measured_stems, case):
    """Batch norm sums a mean, a mean square and their gradients; of each channel."""
    parts = 8 if case.endswith(":1") else 4
    entries = [
        entry
        for kind in ("all-gather", "all-reduce")
        for entry in measured_stems[case][kind]
        if entry[1] >= parts
    ]
    rows = BATCH // 2 // parts
    sent = [shape for shape, *_ in entries if shape[:2] in ([rows, 8], [8, 8])]
    assert entries and not sent
    if case == "stem:1":
        assert set(measured_stems[case]["kinds"]) == {"all-reduce"}
        of_norms = [count for shape, _, count in entries if shape == [8]]
        # Twice for two microbatches: mean, mean square, their gradients, scale, bias.
        assert 4 <= len(of_norms) <= 6 and set(of_norms) == {2}


def test_each_device_makes_its_part(measured):
    """Of 4 x 2 devices: the model axis by the table, the data axis on what is left."""
    assert measured["created"] == {
        "embedding": [1536 // 2, 32 // 4],
        "logits": [32 // 4, 1536 // 2],
        "query": [32 // 4, 32 // 2],
        "wo": [64 // 2, 32 // 4],
        "norm": [32],
    }


def test_state_takes_an_eighth(measured):
    """Parameters and Adam's two moments; norms and counts are whole everywhere."""
    whole = 3 * measured["params_bytes"]["tokens"]
    assert whole < measured["tokens:1"]["state_bytes"] < 1.01 * whole
    sharded = measured["tokens:2:sharded"]["state_bytes"]
    assert whole / 8 < sharded < 1.2 * whole / 8


def test_data_parallel_sums_gradients_and_nothing_else(measured):
    found = measured["tokens:1"]
    assert set(found["kinds"]) == {"all-reduce"}
    sizes = [np.prod(shape) * count for shape, _, count in found["all-reduce"]]
    # Two microbatches, and a few scalars for each.
    params = measured["params_bytes"]["tokens"] / 4
    assert 2 * params <= sum(sizes) < 2 * params + 100


@pytest.mark.parametrize("case", [PIANO, BAND])
def test_rolls_sum_gradients_once(measured, case):
    """Not in each iteration of loops over frames, nor for each microbatch."""
    found = measured[case]
    assert set(found["kinds"]) == {"all-reduce"}
    sizes = [np.prod(shape) * count for shape, _, count in found["all-reduce"]]
    params = measured["params_bytes"][case.split(":")[0]] / 4
    assert params <= sum(sizes) < params + 100


def test_fully_sharded_gathers_parameters_and_no_activations(measured):
    found = measured["tokens:2:sharded"]
    assert set(found["kinds"]) == {"all-reduce", "all-gather"}
    over_data = [entry for entry in found["all-gather"] if entry[1] == 4]
    # Once for both microbatches; a device holds its half of the model axis.
    gathered = sum(np.prod(shape) * count for shape, _, count in over_data)
    assert all(len(shape) == 2 and count == 1 for shape, _, count in over_data)
    assert gathered < 1.1 * measured["params_bytes"]["tokens"] / 4 / 2 + 512 * 32
    # Over the model axis go activations: those of a device's own two rows.
    over_model = [entry for entry in found["all-reduce"] if entry[1] == 2]
    activations = [shape for shape, _, _ in over_model if len(shape) == 3]
    assert activations and all(shape[0] == 2 for shape in activations)


def test_checkpoint_of_eight_devices_goes_on_with_two_and_one(tmp_path):
    def config(steps):
        optimizer = OptimizerConfig(learning_rate=1e-2, schedule="constant")
        return TrainConfig(steps=steps, optimizer=optimizer, log_interval=1)

    run("train", tmp_path / "run", 2, 2)
    run("train", tmp_path / "run", 4, 1, devices=2)
    train(config(6), ToyObjective(), ToyBatches(), tmp_path / "run")
    train(config(6), ToyObjective(), ToyBatches(), tmp_path / "whole")
    losses, expected = (
        [row["loss"] for row in read_curve(tmp_path / name / "learning_curve.csv")]
        for name in ("run", "whole")
    )
    assert len(losses) == 6
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


# ruff: noqa: E501
HLO = """HloModule step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %c = f32[] add(%a, %b)
}

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %sum = (f32[8,4]{1,0}, bf16[2]{0}) all-reduce(%x, %y), replica_groups={{0,1},{2,3}}, to_apply=%add
}

ENTRY %main (p: f32[2,4]) -> f32[8,4] {
  %all = (f32[2,4]{1,0}, f32[8,4]{1,0}) all-gather-start(%p), replica_groups=[1,4]<=[4], dimensions={0}
  %done = f32[8,4]{1,0} all-gather-done(%all)
  %part = f32[2,4]{1,0} reduce-scatter(%done), replica_groups=mesh['a'=2,'b'=2] {'b'}, to_apply=%add
  %loop = (s32[], f32[8,4]{1,0}) while(%t), condition=%add, body=%body, backend_config={"known_trip_count":{"n":"3"}}
}
"""


def test_collectives_of_a_program():
    found = {c.kind: c for c in collectives.collectives(HLO)}
    gather = found["all-gather"]
    assert (gather.shapes, gather.size) == (((8, 4),), 128)
    assert (gather.group, gather.count, gather.sent) == (4, 1, 96)
    scatter = found["reduce-scatter"]
    assert (scatter.size, scatter.group, scatter.sent) == (32, 2, 32)
    total = found["all-reduce"]
    assert (total.size, total.group, total.count) == (132, 2, 3)
    assert total.sent == 3 * 132
    assert collectives.by_kind(list(found.values()))["all-reduce"] == (3, 396)
    with pytest.raises(ValueError, match="loop of unknown length"):
        collectives.collectives(HLO.replace("known_trip_count", "trips"))

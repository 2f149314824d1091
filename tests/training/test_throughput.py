"""Rates by a clock that the test sets, and FLOPs against counts by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL_TOKENS

from mt3x.models.objectives import TokensObjective
from mt3x.training import throughput
from mt3x.training.step import StepConfig, init_state, train_step
from mt3x.training.throughput import Throughput, matmul_flops, peak_flops

FLOAT = jnp.float32


def shape(*sizes, dtype=FLOAT):
    return jax.ShapeDtypeStruct(sizes, dtype)


class Clock:
    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr(throughput.time, "perf_counter", lambda: self.now_s)


def test_rates(monkeypatch):
    clock = Clock(monkeypatch)
    throughput = Throughput(flops_per_step=6e9, peak_flops=1e10, sample_rate_hz=16000)
    tokens_BxL = np.array([[5, 6, 1, 0], [7, 1, 0, 0]])
    batch = {
        "encoder_input_tokens": np.zeros((2, 10, 128)),
        "decoder_target_tokens": tokens_BxL,
    }
    assert throughput.read() == {}
    clock.now_s += 50  # compiles
    throughput.count(batch)
    assert throughput.read() == {}
    clock.now_s += 1
    throughput.count(batch)
    throughput.waited(0.5)
    clock.now_s += 4
    throughput.count(batch)
    throughput.paused(2.0)
    rates = throughput.read()
    assert rates == pytest.approx(
        {
            "step_s": 1.5,
            "data_wait_s": 0.25,
            "examples_per_s": 4 / 3,
            "tokens_per_s": 10 / 3,
            "audio_s_per_s": 4 * 1280 / 16000 / 3,
            "flops_utilization": 0.4,
        }
    )
    # From the reading on, and of another kind of batch.
    clock.now_s += 0.5
    throughput.count({"samples": np.zeros((3, 8000))})
    assert throughput.read() == pytest.approx(
        {
            "step_s": 0.5,
            "data_wait_s": 0.0,
            "examples_per_s": 6.0,
            "audio_s_per_s": 3.0,
            "flops_utilization": 1.2,
        }
    )


def test_waiting_is_counted_where_batches_are_watched(monkeypatch):
    clock = Clock(monkeypatch)
    throughput = Throughput()

    def slow_batches():
        for _ in range(3):
            clock.now_s += 2
            yield {"samples": np.zeros((1, 8))}

    for batch in throughput.watch(slow_batches()):
        clock.now_s += 3
        throughput.count(batch)
    # The first batch only starts the clock.
    assert throughput.read() == pytest.approx(
        {"step_s": 5.0, "data_wait_s": 2.0, "examples_per_s": 0.2}
    )


def test_peaks():
    assert peak_flops(["TPU v3"] * 8, "bfloat16") == pytest.approx(492e12)
    assert peak_flops(["TPU v5 lite"], "float32") == 197e12
    assert peak_flops(["TPU v5"], "bfloat16") == 459e12
    assert peak_flops(["NVIDIA A100-SXM4-80GB"], "float32") == 156e12
    assert peak_flops(["NVIDIA H100 80GB HBM3"], "bfloat16") == 989.5e12
    assert peak_flops(["NVIDIA H100 PCIe"], "bfloat16") == 756.5e12
    assert peak_flops(["NVIDIA L40"], "bfloat16") is None
    assert peak_flops(["cpu"], "float32") is None
    assert peak_flops(["TPU v4", "cpu"], "float32") is None


class FromFeatures(TokensObjective):
    """Trains on features, whose own computation is another matter."""

    def features(self, frames_BxTxW, num_frames_B):
        return frames_BxTxW


def tokens_step(batch_size, microbatches=1, **model):
    config = dataclasses.replace(
        SMALL_TOKENS, model=dataclasses.replace(SMALL_TOKENS.model, **model)
    )
    objective = FromFeatures(config)
    step_config = StepConfig(microbatches=microbatches)
    tokens = shape(batch_size, config.max_tokens, dtype=jnp.int32)
    batch = {
        "encoder_input_tokens": shape(batch_size, config.num_frames, 512),
        "encoder_num_frames": shape(batch_size, dtype=jnp.int32),
        "decoder_input_tokens": tokens,
        "decoder_target_tokens": tokens,
        "decoder_loss_weights": tokens,
    }
    state = jax.eval_shape(lambda: init_state(step_config, objective))
    flops = matmul_flops(
        lambda state, batch: train_step(step_config, objective, state, batch),
        *(state, batch),
    )
    return config, flops


def by_hand(config, batch_size):
    """Each product of T5's step, its two gradients included."""
    model, T, L = config.model, config.num_frames, config.max_tokens
    D, F, J = model.emb_dim, model.mlp_dim, model.num_heads * model.head_dim

    def attention(queries, keys):
        project = 2 * queries * D * J + 2 * keys * D * J
        return project + 2 * queries * keys * J

    def mlp(length):
        return len(model.mlp_activations) * length * D * F + length * F * D

    trained = model.num_encoder_layers * (attention(T, T) + mlp(T))
    trained += model.num_decoder_layers * (attention(L, L) + attention(L, T) + mlp(L))
    trained += L * D * model.vocab_size
    # What comes first needs no gradient of its input.
    first = T * model.input_depth * D
    return 2 * batch_size * (3 * trained + 2 * first)


def test_flops_of_a_training_step_are_those_by_hand():
    config, flops = tokens_step(batch_size=3, num_decoder_layers=2)
    assert flops == by_hand(config, batch_size=3)


def test_flops_do_not_depend_on_how_the_step_is_computed():
    how = {"remat": "full", "scan_layers": True}
    config, flops = tokens_step(4, microbatches=2, num_encoder_layers=2, **how)
    assert flops == by_hand(config, batch_size=4)


def convolution(x, kernel, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=numbers, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (2, 1), "padding": "VALID", "rhs_dilation": (1, 3)},
        {"window_strides": (1, 1), "padding": [(2, 1), (0, 3)], "lhs_dilation": (2, 3)},
        {"window_strides": (1, 2), "padding": "SAME", "feature_group_count": 2},
    ],
)
def test_flops_of_convolutions_are_xla_s(options):
    groups = options.get("feature_group_count", 1)
    inputs = shape(2, 12, 9, 4), shape(3, 2, 4 // groups, 6)

    def loss(x, kernel):
        return jnp.sum(convolution(x, kernel, **options) * 1.0)

    forward = jax.jit(lambda x, kernel: convolution(x, kernel, **options))
    assert (
        matmul_flops(forward, *inputs)
        == forward.lower(*inputs).cost_analysis()["flops"]
    )
    # Each product has one of the kernel's gradient and one of the input's.
    both = matmul_flops(jax.grad(loss, argnums=(0, 1)), *inputs)
    assert both == 3 * matmul_flops(loss, *inputs)


def test_flops_of_branches_and_loops():
    x = shape(4, 4)
    one = 2 * 4**3

    def scan(x):
        return jax.lax.scan(lambda carry, _: (carry @ x, None), x, length=5)[0]

    assert matmul_flops(scan, x) == 5 * one

    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert matmul_flops(branch, x) == 2 * one

    def loop(x):
        return jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="write it as a scan"):
        matmul_flops(loop, x)

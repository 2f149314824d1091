"""Training on an accelerator: time of steps, losses beside the CPU's, largest costs."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from accelerator_scale import (
    Clock,
    Scale,
    emit,
    explained,
    explanation,
    is_out_of_memory,
    median_s,
    random_like,
)
from profiles import costs
from synthetic import OPTIMIZERS, random_batch

from mt3x.models.objectives import ModelConfig, TokensConfig, make_objective
from mt3x.training import partitioning
from mt3x.training.partitioning import MeshConfig
from mt3x.training.step import ShardedStep, StepConfig, make_sharded_step
from mt3x.training.throughput import matmul_flops


class Training(NamedTuple):
    """A model's update on one device."""

    step: ShardedStep
    objective: Any
    mesh: Any

    @classmethod
    def of(cls, config: ModelConfig, dtype: str, device: Any) -> "Training":
        mesh = partitioning.make_mesh(MeshConfig(), [device])
        optimizer = OPTIMIZERS["rolls" if config.tokens is None else "tokens"]
        objective = make_objective(config, dtype)
        step_config = StepConfig(optimizer=optimizer, dtype=dtype)
        step = make_sharded_step(step_config, MeshConfig(), objective, mesh)
        return cls(step, objective, mesh)

    def lowered(self, batch: int, frames: int) -> tuple[Any, float]:
        """The program as JAX hands it to XLA, and its FLOPs; nothing is allocated."""
        spec = self.objective.config.batch_spec(batch, frames)
        flags = jax.ShapeDtypeStruct((1,), jnp.bool_)
        inputs = (self.step.state, spec, flags)
        return self.step.update.lower(*inputs), matmul_flops(self.step.update, *inputs)

    def inputs(self, batch: int, frames: int) -> tuple[Any, Any]:
        """A batch on the device, and the flags of `update`."""
        arrays = random_batch(self.objective.config, batch, frames)
        flags = partitioning.on_each_device(self.mesh, False)
        return partitioning.shard_batch(self.mesh, arrays), flags

    def random_state(self) -> Any:
        """A state that trains, drawn without compiling what draws it."""
        shapes = self.step.state
        optimizer = random_like(shapes["optimizer"], deviation=0.0)
        return {"weights": random_like(shapes["weights"]), "optimizer": optimizer}


class Runner:
    """A compiled update that is run on one batch again and again."""

    def __init__(self, training: Training, compiled: Any, batch: int, frames: int):
        self._update = compiled
        self._state = training.random_state()
        self._inputs = training.inputs(batch, frames)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._state, _ = self._update(self._state, *self._inputs)
        jax.block_until_ready(self._state)

    def step_s(self, turn_s: float) -> float:
        """Median seconds of a step, over three turns of many."""
        self.run(2)
        begin_s = time.perf_counter()
        self.run(1)
        once_s = time.perf_counter() - begin_s
        steps = min(max(round(turn_s / once_s), 1), 50)
        return median_s(lambda: self.run(steps)) / steps


def measure_training(scale: Scale, clock: Clock) -> None:
    """Steps of all models at several batches, in rounds that are compiled together."""
    device = jax.devices()[0]
    too_large: dict[tuple[str, str], int] = {}
    rounds = max(len(scale.piano_batches), len(scale.token_batches))
    for n in clock.cases(range(rounds)):
        cases = [
            (name, dtype, batches[n])
            for dtype in scale.dtypes
            for name, config in scale.models.items()
            for batches in [_batches(scale, config)]
            if n < len(batches)
        ]

        def compile_case(case: tuple[str, str, int]) -> Any:
            name, dtype, batch = case
            if batch >= too_large.get((name, dtype), math.inf):
                return MemoryError()
            try:
                training = Training.of(scale.models[name], dtype, device)
                lowered, flops = training.lowered(batch, scale.clip_frames)
                begin_s = time.perf_counter()
                compiled = lowered.compile()
                return training, compiled, flops, time.perf_counter() - begin_s
            except Exception as error:
                return error

        # Compiling takes most of the time, and one core a program.
        with ThreadPoolExecutor(max_workers=len(cases)) as pool:
            compiled = list(pool.map(compile_case, cases))
        for case, result in zip(cases, compiled, strict=True):
            name, dtype, batch = case
            label = {"model": name, "dtype": dtype, "batch": batch}
            try:
                if isinstance(result, Exception):
                    raise result
                _time_case(scale, label, *result)
            except Exception as error:
                emit("training", **label, note=explanation(error))
                if is_out_of_memory(error):
                    too_large[name, dtype] = batch


def _batches(scale: Scale, config: ModelConfig) -> Sequence[int]:
    return scale.piano_batches if config.tokens is None else scale.token_batches


def _time_case(
    scale: Scale,
    label: dict[str, Any],
    training: Training,
    compiled: Any,
    flops: float,
    compile_s: float,
) -> None:
    runner = Runner(training, compiled, label["batch"], scale.clip_frames)
    step_s = runner.step_s(scale.turn_s)
    config = training.objective.config
    memory = compiled.memory_analysis()
    held_gib = None
    if memory is not None:
        held_gib = (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30
    emit(
        "training",
        **label,
        step_ms=1e3 * step_s,
        audio_h_per_h=_audio_s(config, label["batch"], scale.clip_frames) / step_s,
        gflop=flops / 1e9,
        tflops=flops / step_s / 1e12,
        memory_gib=held_gib,
        compile_s=compile_s,
    )


def _audio_s(config: ModelConfig, batch: int, clip_frames: int) -> float:
    frames, _ = config.example_lengths(clip_frames)
    return batch * frames / config.features.frame_rate_hz


def measure_losses(scale: Scale, clock: Clock) -> None:
    """Loss and gradient of a small batch here and on the CPU, from equal parameters.

    Once with products in full float32, where only the order of sums differs, and once
    as training computes them.
    """
    del clock  # all is compiled at once
    try:
        cpu = jax.devices("cpu")[0]
    except RuntimeError as error:
        emit("notes", note=f"no CPU to compare losses with: {error}")
        return
    device = jax.devices()[0]
    with ThreadPoolExecutor() as pool:
        running = {}
        for name, config in scale.models.items():
            if isinstance(config, TokensConfig):
                config = dataclasses.replace(config, max_tokens=scale.loss_tokens)
            inputs = (config, _drawn(config, cpu), scale.loss_frames)
            running[name] = [
                pool.submit(_loss, *inputs, cpu, "highest"),
                pool.submit(_loss, *inputs, device, "highest"),
                pool.submit(_loss, *inputs, device, None),
            ]
        for name, futures in running.items():
            with explained("losses", model=name):
                expected, exact, usual = (future.result() for future in futures)
                emit(
                    "losses",
                    model=name,
                    cpu_loss=expected[0],
                    device_loss=exact[0],
                    loss_difference=_relative(exact[0], expected[0]),
                    gradient_norm_difference=_relative(exact[1], expected[1]),
                    as_trained_loss_difference=_relative(usual[0], expected[0]),
                    as_trained_gradient_norm_difference=_relative(
                        usual[1], expected[1]
                    ),
                )


def _drawn(config: ModelConfig, cpu: Any) -> Any:
    with jax.default_device(cpu):
        params = jax.jit(make_objective(config).init)(jax.random.key(0))
        return jax.device_get(params)


def _loss(
    config: ModelConfig, params: Any, frames: int, device: Any, precision: str | None
) -> tuple[float, float]:
    """Loss and norm of the gradient in the first update."""
    training = Training.of(config, "float32", device)
    with jax.default_matmul_precision(precision):
        state = training.step.init(params)
        _, scalars = training.step.update(state, *training.inputs(1, frames))
    return float(scalars["loss"]), float(scalars["gradient_norm"])


def _relative(value: float, expected: float) -> float:
    return abs(value - expected) / abs(expected)


def measure_costs(scale: Scale, clock: Clock) -> None:
    """The three largest costs of an update, from a trace."""
    device, steps = jax.devices()[0], 3
    for name, config in clock.cases(list(scale.models.items())):
        batch = _batches(scale, config)[0]
        label = {"model": name, "dtype": scale.dtypes[0], "batch": batch}
        with explained("costs", **label):
            training = Training.of(config, scale.dtypes[0], device)
            compiled = training.lowered(batch, scale.clip_frames)[0].compile()
            runner = Runner(training, compiled, batch, scale.clip_frames)
            step_s = runner.step_s(scale.turn_s)
            with tempfile.TemporaryDirectory() as folder:
                program = compiled.as_text()
                seconds = costs(lambda r=runner: r.run(steps), program, Path(folder))
            total_s = sum(seconds.values())
            for cost, value in seconds.most_common(3):
                emit(
                    "costs",
                    **label,
                    cost=" ".join(cost.split()),
                    share_percent=100 * value / total_s,
                    ms_per_step=1e3 * value / steps,
                    busy_percent=100 * total_s / steps / step_s,
                )

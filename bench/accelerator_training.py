"""Training on an accelerator: time of steps, losses beside the CPU's, largest costs."""

import dataclasses
import itertools
import math
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from accelerator_scale import (
    DOES_NOT_FIT,
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


class Case(NamedTuple):
    """A training step to be measured."""

    model: str
    dtype: str
    batch: int


class Compiled(NamedTuple):
    """A training step that can run."""

    training: Training
    update: Any
    flops: float
    compile_s: float


def compiled(scale: Scale, case: Case) -> Compiled:
    training = Training.of(scale.models[case.model], case.dtype, jax.devices()[0])
    lowered, flops = training.lowered(case.batch, scale.clip_frames)
    begin_s = time.perf_counter()
    update = lowered.compile()
    return Compiled(training, update, flops, time.perf_counter() - begin_s)


def all_compiled(scale: Scale, cases: Sequence[Case]) -> list[Future[Compiled]]:
    """Compile side by side: it takes most of the time, and one core a program."""
    with ThreadPoolExecutor(max_workers=max(len(cases), 1)) as pool:
        return [pool.submit(compiled, scale, case) for case in cases]


class Runner:
    """A compiled update that is run on one batch again and again."""

    def __init__(self, done: Compiled, batch: int, frames: int) -> None:
        self._update = done.update
        self._state = done.training.random_state()
        self._inputs = done.training.inputs(batch, frames)

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
    too_large: dict[tuple[str, str], int] = {}
    # The first batches one type after the other, to have some results early.
    last = max(len(scale.piano_batches), len(scale.token_batches))
    rounds = [((0, dtype),) for dtype in scale.dtypes]
    rounds += [tuple((n, dtype) for dtype in scale.dtypes) for n in range(1, last)]
    for chosen in clock.cases(rounds):
        cases = []
        for (n, dtype), name in itertools.product(chosen, scale.models):
            for batch in _batches(scale, scale.models[name])[n : n + 1]:
                case = Case(name, dtype, batch)
                if batch < too_large.get((name, dtype), math.inf):
                    cases.append(case)
                else:
                    emit("training", **case._asdict(), note=DOES_NOT_FIT)
        for case, future in zip(cases, all_compiled(scale, cases), strict=True):
            try:
                _time_case(scale, case, future.result())
            except Exception as error:
                emit("training", **case._asdict(), note=explanation(error))
                if is_out_of_memory(error):
                    too_large[case.model, case.dtype] = case.batch


def _batches(scale: Scale, config: ModelConfig) -> Sequence[int]:
    return scale.piano_batches if config.tokens is None else scale.token_batches


def _time_case(scale: Scale, case: Case, done: Compiled) -> None:
    runner = Runner(done, case.batch, scale.clip_frames)
    step_s = runner.step_s(scale.turn_s)
    config = done.training.objective.config
    memory = done.update.memory_analysis()
    held_gib = None
    if memory is not None:
        held_gib = (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30
    emit(
        "training",
        **case._asdict(),
        step_ms=1e3 * step_s,
        audio_h_per_h=_audio_s(config, case.batch, scale.clip_frames) / step_s,
        gflop=done.flops / 1e9,
        tflops=done.flops / step_s / 1e12,
        memory_gib=held_gib,
        compile_s=done.compile_s,
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
        configs = {
            name: dataclasses.replace(config, max_tokens=scale.loss_tokens)
            if isinstance(config, TokensConfig)
            else config
            for name, config in scale.models.items()
        }
        drawn = pool.map(lambda config: _drawn(config, cpu), configs.values())
        for (name, config), params in zip(configs.items(), drawn, strict=True):
            inputs = (config, params, scale.loss_frames)
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
    cases = [
        Case(name, scale.dtypes[0], _batches(scale, config)[0])
        for name, config in scale.models.items()
    ]
    steps = 3
    done = zip(cases, all_compiled(scale, cases), strict=True)
    for case, future in clock.cases(list(done)):
        with explained("costs", **case._asdict()):
            program = future.result().update.as_text()
            runner = Runner(future.result(), case.batch, scale.clip_frames)
            step_s = runner.step_s(scale.turn_s)
            with tempfile.TemporaryDirectory() as folder:
                seconds = costs(partial(runner.run, steps), program, Path(folder))
            total_s = sum(seconds.values())
            for cost, value in seconds.most_common(3):
                emit(
                    "costs",
                    **case._asdict(),
                    cost=" ".join(cost.split()),
                    share_percent=100 * value / total_s,
                    ms_per_step=1e3 * value / steps,
                    busy_percent=100 * total_s / steps / step_s,
                )

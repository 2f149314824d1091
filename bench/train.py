"""The trainer's step: time, rates, FLOPs, memory, and its largest costs.

    python bench/train.py --size small --batch 4 [--records FOLDER]
    python bench/train.py --model hppnet --size base --batch 2 [--corpus FOLDER]
    python bench/train.py --batch 256 --dtype bfloat16 --microbatches 4 --remat minimal
    python bench/train.py ... --profile DIR

A batch held in memory is trained on again and again. With `--records` (written by `mt3x
prepare` or `bench/pipeline.py write`) or `--corpus` (by `mt3x corpus`) this takes turns
with training from the real input pipeline, which should cost nothing: its `wait` is how
long a step stood still for data. On a CPU both share the cores; there the difference is
the pipeline's own work.

FLOPs are those of matrix products and convolutions, once each
(`mt3x.training.throughput`), and utilisation is against the peak of the devices, where
it is known. `--profile` writes a trace for TensorBoard or xprof and sums up the time of
the compiled operations in it by the part of the model that they belong to (a fusion
counts as its last operation).
"""

import argparse
import dataclasses
import functools
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from profiles import costs
from synthetic import OPTIMIZERS, random_batch

from mt3x.data.batches import BatchConfig
from mt3x.models import hppnet, seq2seq
from mt3x.models.memory import keep_memory
from mt3x.models.objectives import (
    PianoConfig,
    PianoObjective,
    TokensConfig,
    TokensObjective,
)
from mt3x.training import partitioning
from mt3x.training.experiment import DataConfig, TaskConfig
from mt3x.training.partitioning import MeshConfig
from mt3x.training.prefetch import prefetched
from mt3x.training.step import make_sharded_step
from mt3x.training.throughput import Throughput, matmul_flops, peak_flops
from mt3x.training.train import TrainConfig

KINDS = {"mt3": "tokens", "hppnet": "rolls"}
TASKS = {"mt3": "slakh_notes_ties_vb1_train", "hppnet": "maestrov3_rolls_train"}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time of a training step.")
    parser.add_argument("--model", choices=TASKS, default="mt3")
    parser.add_argument("--size", help="small, base; of hppnet tiny, base, sp")
    parser.add_argument("--layers", type=int, help="of mt3's encoder and decoder each")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, help="256; of hppnet 1024")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--microbatches", type=int, default=1)
    parser.add_argument("--remat", choices=seq2seq.REMAT_POLICIES, default="none")
    parser.add_argument("--scan-layers", action="store_true")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--model-parallel", type=int, default=1)
    parser.add_argument("--fully-sharded", action="store_true")
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--records", help="folder of records to train from")
    parser.add_argument("--task", help=f"of the records; {TASKS}")
    parser.add_argument("--corpus", help="folder of a corpus, for hppnet")
    parser.add_argument("--profile", type=Path, help="folder for a trace")
    args = parser.parse_args()
    args.size = args.size or {"mt3": "small", "hppnet": "base"}[args.model]
    args.frames = args.frames or {"mt3": 256, "hppnet": 1024}[args.model]
    return args


def make_objective(args: argparse.Namespace) -> PianoObjective | TokensObjective:
    if args.model == "hppnet":
        return PianoObjective(PianoConfig(model=hppnet.SIZES[args.size]), args.dtype)
    size = seq2seq.SIZES[args.size]
    size = dataclasses.replace(
        size,
        num_encoder_layers=args.layers or size.num_encoder_layers,
        num_decoder_layers=args.layers or size.num_decoder_layers,
        remat=args.remat,
        scan_layers=args.scan_layers,
    )
    config = TokensConfig(model=size, num_frames=args.frames, max_tokens=args.tokens)
    return TokensObjective(config, args.dtype)


def real_batches(args: argparse.Namespace, config: PianoConfig | TokensConfig) -> Any:
    """The pipeline that training would have, or None where there are no data."""
    if args.corpus:
        samples = args.frames * config.features.hop_samples
        batches = BatchConfig(batch_size=args.batch, clip_samples=samples)
        data = DataConfig(corpora=(args.corpus,), batches=batches)
        return data.make_batches(config)
    if args.records:
        os.environ["MT3X_DATA_DIR"] = args.records
        data = TaskConfig(
            args.task or TASKS[args.model],
            batch_size=args.batch,
            clip_frames=args.frames,
            shuffle_buffer=64,
        )
        return data.make_batches(config)
    return None


class Job:
    """A step compiled for its mesh, and the state that it has come to."""

    def __init__(self, args: argparse.Namespace) -> None:
        mesh_config = MeshConfig(args.model_parallel, args.fully_sharded)
        self.config = TrainConfig(
            optimizer=OPTIMIZERS[KINDS[args.model]],
            microbatches=args.microbatches,
            dtype=args.dtype,
            mesh=mesh_config,
        )
        self.mesh = partitioning.make_mesh(mesh_config)
        objective = make_objective(args)
        self.batches = real_batches(args, objective.config)
        self.next_step = 0
        batch = random_batch(objective.config, args.batch, args.frames)
        if self.batches is not None:
            batch = self.batches.batch(self.next_step)
            self.next_step += 1
        self.batch = partitioning.shard_batch(self.mesh, batch)
        self.flags = partitioning.on_each_device(self.mesh, False)
        step = make_sharded_step(self.config, mesh_config, objective, self.mesh)
        self.state = step.init(None)
        kinds = [device.device_kind for device in self.mesh.devices.flat]
        inputs = (self.state, self.batch, self.flags)
        self.new_throughput = functools.partial(
            Throughput,
            flops_per_step=matmul_flops(step.update, *inputs),
            peak_flops=peak_flops(kinds, args.dtype),
            sample_rate_hz=objective.config.features.sample_rate_hz,
        )
        begin_s = time.perf_counter()
        self.update = step.update.lower(*inputs).compile()
        self.compile_s = time.perf_counter() - begin_s

    def describe(self) -> None:
        throughput = self.new_throughput()
        flops, known = throughput.flops_per_step or 0.0, throughput.peak_flops
        params = jax.tree.leaves(self.state["weights"]["params"])
        devices = self.mesh.devices
        print(
            f"{sum(p.size for p in params) / 1e6:.2f}M parameters; {devices.size} x "
            f"{devices.flat[0].device_kind}, mesh {dict(self.mesh.shape)}; compiled in "
            f"{self.compile_s:.1f} s"
        )
        peak = f"{known / 1e12:.0f} TFLOP/s" if known else "unknown, no utilisation"
        print(f"{flops / 1e9:.1f} GFLOP a step; peak {peak}")
        if (memory := self.update.memory_analysis()) is not None:
            held = memory.argument_size_in_bytes / 2**30
            print(
                f"memory of a device: {held:.2f} GiB of state and batch, "
                f"{memory.temp_size_in_bytes / 2**30:.2f} GiB of intermediates"
            )

    def run(self, stream) -> dict[str, float]:
        """Train on these batches; rates from the second on."""
        throughput = self.new_throughput()
        for batch in throughput.watch(stream):
            self.state, _ = self.update(self.state, batch, self.flags)
            throughput.count(batch)
        jax.block_until_ready(self.state)
        return throughput.read()

    def held(self, steps: int) -> dict[str, float]:
        return self.run([self.batch] * (steps + 1))

    def piped(self, steps: int) -> dict[str, float]:
        first, self.next_step = self.next_step, self.next_step + steps + 1
        with prefetched(
            lambda step: partitioning.shard_batch(self.mesh, self.batches.batch(step)),
            range(first, self.next_step),
            self.config.prefetch,
        ) as stream:
            return self.run(stream)


def print_rates(title: str, rates: list[dict[str, float]]) -> None:
    """Medians over the turns."""
    median = {name: float(np.median([r[name] for r in rates])) for name in rates[0]}
    line = (
        f"{title:12s}{median['step_s']:.3f} s a step (wait {median['data_wait_s']:.3f})"
        f", {median['examples_per_s']:.2f} examples/s"
    )
    if "tokens_per_s" in median:
        line += f", {median['tokens_per_s']:.0f} tokens/s"
    line += f", {median['audio_s_per_s']:.1f} hours of audio an hour"
    if "flops_utilization" in median:
        line += f", utilisation {100 * median['flops_utilization']:.1f} %"
    print(line, flush=True)


def profile(job: Job, folder: Path, steps: int) -> None:
    """Trace some steps and print what the device's time went to."""
    seconds = costs(lambda: job.held(steps - 1), job.update.as_text(), folder)
    total = sum(seconds.values())
    print(f"trace in {folder}; of {total / steps:.3f} s of operations a step")
    for name, value in seconds.most_common(8):
        print(f"  {100 * value / total:5.1f} %  {name}")


def main() -> None:
    args = options()
    keep_memory()
    job = Job(args)
    job.describe()
    calls = {"in memory": job.held}
    if job.batches is not None:
        calls["pipeline"] = job.piped
    rates = {name: [] for name in calls}
    for _ in range(args.turns):
        for name, call in calls.items():
            rates[name].append(call(args.steps))
    for name in calls:
        print_rates(name, rates[name])
    if args.profile:
        profile(job, args.profile, args.steps)


if __name__ == "__main__":
    main()

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
import collections
import dataclasses
import functools
import os
import re
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mt3x.data.batches import BatchConfig
from mt3x.models import hppnet, seq2seq
from mt3x.models.objectives import (
    PianoConfig,
    PianoObjective,
    TokensConfig,
    TokensObjective,
)
from mt3x.music.rolls import ROLL_NAMES
from mt3x.training import partitioning
from mt3x.training.experiment import DataConfig, TaskConfig
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.partitioning import MeshConfig
from mt3x.training.prefetch import prefetched
from mt3x.training.step import make_sharded_step
from mt3x.training.throughput import Throughput, matmul_flops, peak_flops
from mt3x.training.train import TrainConfig

TASKS = {"mt3": "slakh_notes_ties_vb1_train", "hppnet": "maestrov3_rolls_train"}
OPTIMIZERS = {
    "mt3": OptimizerConfig(
        name="adafactor",
        learning_rate=1e-3,
        schedule="constant",
        gradient_clip_norm=None,
    ),
    "hppnet": OptimizerConfig(),
}


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


def random_batch(args: argparse.Namespace, config: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (args.batch, args.frames, config.features.hop_samples)
    audio_BxTxW = rng.normal(0.0, 0.1, shape).astype(np.float32)
    if args.model == "hppnet":
        rolls = {
            name: (rng.random((args.batch, args.frames, 88)) < 0.03).astype(np.float32)
            for name in ROLL_NAMES
        }
        return {"samples": audio_BxTxW.reshape(args.batch, -1), **rolls}
    tokens_BxL = rng.integers(3, 1300, (args.batch, args.tokens), dtype=np.int32)
    return {
        "encoder_input_tokens": audio_BxTxW,
        "encoder_num_frames": np.full(args.batch, args.frames, np.int32),
        "decoder_input_tokens": tokens_BxL,
        "decoder_target_tokens": tokens_BxL,
        "decoder_loss_weights": np.ones_like(tokens_BxL),
    }


class Job:
    """A step compiled for its mesh, and the state that it has come to."""

    def __init__(self, args: argparse.Namespace) -> None:
        mesh_config = MeshConfig(args.model_parallel, args.fully_sharded)
        self.config = TrainConfig(
            optimizer=OPTIMIZERS[args.model],
            microbatches=args.microbatches,
            dtype=args.dtype,
            mesh=mesh_config,
        )
        self.mesh = partitioning.make_mesh(mesh_config)
        objective = make_objective(args)
        self.batches = real_batches(args, objective.config)
        self.next_step = 0
        batch = random_batch(args, objective.config)
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
    with jax.profiler.trace(str(folder)):
        job.held(steps)
    files = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
    trace = jax.profiler.ProfileData.from_file(str(files[-1]))
    parts = parts_of_model(job.update.as_text())
    seconds: collections.Counter[str] = collections.Counter()
    for plane in trace.planes:
        for line in plane.lines:
            for event in line.events:
                name = event.name.split(" = ")[0].lstrip("%")
                name = dict(event.stats).get("hlo_op", name)
                if name in parts:
                    seconds[parts[name]] += event.duration_ns / 1e9 / (steps + 1)
    total = sum(seconds.values())
    print(f"trace in {folder}; of {total:.3f} s of operations a step")
    for name, value in seconds.most_common(8):
        print(f"  {100 * value / total:5.1f} %  {name}")


def parts_of_model(program: str) -> dict[str, str]:
    """Operation of a compiled program -> the part of the model that it computes.

    Loops and calls, whose time is that of operations inside them, are left out.
    """
    parts = {}
    for line in program.splitlines():
        found = re.match(r"\s+(?:ROOT )?%?([\w.-]+) = .*? ([\w-]+)\(", line)
        if not found or found[2] in ("while", "call", "conditional"):
            continue
        path = re.search(r'op_name="([^"]*)"', line)
        parts[found[1]] = part(path[1]) if path else f"{found[2]} of no named part"
    return parts


def part(path: str) -> str:
    """jit(update)/transpose(jvp(Net))/decoder/layers_3/mlp/wo/dot -> decoder/layers/mlp

    with the pass in front; operations outside of modules keep their own name.
    """
    if "rematted_computation" in path:
        kind = "again"
    elif "transpose(" in path:
        kind = "backward"
    else:
        kind = "forward" if "jvp(" in path else "update"
    *modules, operation = [
        re.sub(r"_\d+$", "", name)
        for name in path.split("/")
        if "(" not in name and name not in ("checkpoint", "rematted_computation")
    ] or [path]
    return f"{kind:9s}" + ("/".join(modules[:3]) or operation)


def main() -> None:
    args = options()
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

"""The trainer: one jitted step over a mesh, exact resume, validation, early stop.

It meets data as arrays and a model as an objective, so it imports neither a data
library nor a model, and runs where JAX, Flax, optax, Orbax and NumPy are installed.

Exact resume: a batch is a function of the step (`batches.batch(step)`), and all else
that a step reads is in the checkpoint; a run that was killed and started again gives
the losses of a run that was not, bit for bit on the same machine.
"""

import collections
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mt3x.models.platform import use_compilation_cache
from mt3x.music.sonify import SAMPLE_RATE_HZ
from mt3x.training import initial_weights, partitioning, processes
from mt3x.training.initial_weights import REPORT_FILE
from mt3x.training.partitioning import MeshConfig
from mt3x.training.prefetch import prefetched
from mt3x.training.run_folder import RunFolder
from mt3x.training.run_log import RunLog
from mt3x.training.step import Batches, Objective, StepConfig, make_sharded_step
from mt3x.training.throughput import Throughput, matmul_flops, peak_flops

# A change of these does not change what a step computes, so a run may resume with it.
FREE_SETTINGS = (
    "train/mesh/model",
    "train/mesh/fully_sharded",
    "train/log_interval",
    "train/checkpoint_interval",
    "train/eval_interval",
    "train/keep",
    "train/early_stop_patience",
    "train/prefetch",
    "data/workers",
)


@dataclass(frozen=True)
class TrainConfig(StepConfig):
    """Options of a training run; what to train is the objective's config."""

    # Devices as data x model, and how parameters lie on them.
    mesh: MeshConfig = field(default_factory=MeshConfig)
    # Weights file or run folder to start from instead of random parameters; "piano" and
    # "band" are the package's ("./band" is a folder).
    init_weights: str | None = None
    # Take of them what fits by name, shape and dtype, and draw the rest; the run folder
    # gets a report (init_report.txt). Without it, all must fit.
    init_partial: bool = False
    # With init_partial, the part of the model that they are of: "encoder/stem".
    init_under: str = ""
    log_interval: int = 50
    checkpoint_interval: int = 1_000
    eval_interval: int = 1_000
    # Newest checkpoints to keep, besides the best.
    keep: int = 2
    # The validation score that names the best step.
    score: str = "note_f1"
    # Evaluations without a better score after which to stop; None: never.
    early_stop_patience: int | None = None
    # Batches made ahead.
    prefetch: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "log_interval",
            "keep",
            "checkpoint_interval",
            "eval_interval",
            "prefetch",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.init_partial and self.init_weights is None:
            raise ValueError("init_partial=True needs init_weights: name a file or run")
        if self.init_under and not self.init_partial:
            raise ValueError("init_under is for init_partial=True")


@dataclass(frozen=True)
class Outcome:
    """The end of a run."""

    step: int
    # "steps", "early stop" or "signal".
    reason: str
    best_step: int | None
    best_score: float | None


def train(
    config: TrainConfig,
    objective: Objective,
    batches: Batches,
    run_dir: str | Path,
    evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
    data_config: Mapping[str, Any] | None = None,
    trace_dir: str | Path | None = None,
    gin_text: str | None = None,
    read_config: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> Outcome:
    """Train in a run folder, from its newest checkpoint where it has one.

    SIGTERM and SIGINT (once) end the run after the current step, with a checkpoint.

    Args:
      config: how to train.
      objective: the model and its loss.
      batches: training data by step.
      run_dir: folder for `config.json`, `checkpoints/`, `learning_curve.csv` and
        `tensorboard/`; made when missing.
      evaluate: takes parameters and returns scores by name; values that are arrays
        are for TensorBoard: pictures HxWx3 (uint8), stereo sounds Sx2 (-1..1).
      data_config: what `batches` were made from, as JSON; recorded and compared.
      trace_dir: folder for a profiler's trace of five early steps (TensorBoard and
        Perfetto show it).
      gin_text: the gin file that gives this run, kept as `operative_config.gin`.
      read_config: gives the `config.json` of an older version the settings that it
        lacks, before it is compared (see `mt3x.training.run_folder.write_config`).

    Raises:
      ValueError: the folder's run has another config, the loss or the gradient is not
        finite (the message names the step), or the batch does not fit the devices.
      OSError: another run uses the folder, or it cannot be written.
    """
    use_compilation_cache()
    folder = RunFolder(run_dir)
    # A cosine ends where the run ends; the other schedules have no end.
    free = FREE_SETTINGS
    if config.optimizer.schedule != "cosine":
        free += ("train/steps",)
    contents = {
        "objective": objective.config.to_dict(),
        "train": config.to_dict(),
        "data": dict(data_config or {}),
    }
    with ExitStack() as stack:
        claimed = folder.claimed(contents, free, read_config, gin_text)
        processes.on_first(lambda: stack.enter_context(claimed))
        signals = stack.enter_context(_signals())
        trace = None if trace_dir is None else Path(trace_dir)
        run = _Run(config, objective, batches, folder, evaluate, trace, stack)
        return run.loop(signals)


class _Run:
    """The loop around the step: prefetching, recording, saving, validating."""

    def __init__(
        self,
        config: TrainConfig,
        objective: Objective,
        batches: Batches,
        folder: RunFolder,
        evaluate: Callable[[Any], Mapping[str, Any]] | None,
        trace_dir: Path | None,
        stack: ExitStack,
    ) -> None:
        self.config = config
        self.batches = batches
        self.evaluate = evaluate
        self.mesh = partitioning.make_mesh(config.mesh)
        step = make_sharded_step(config, config.mesh, objective, self.mesh)
        self.update = step.update
        self.step = 0
        # What must survive a kill besides the state; JSON.
        self.progress: dict[str, Any] = {
            "best_step": None,
            "best_score": None,
            "evaluations_since_best": 0,
            "sums": {},  # scalars added up since the last row of the learning curve
            "count": 0,
        }
        self.saver = stack.enter_context(_closing(folder.checkpoints(config.keep)))
        self.saved_step = -1
        self.asked_to_stop = False
        self.flags = [partitioning.on_each_device(self.mesh, f) for f in (False, True)]
        notes: list[str] = []
        found = self.saver.restore(
            step.state["weights"], step.state["optimizer"], notes.append
        )
        if found is not None:
            self.step, weights, optimizer, progress = found
            self.progress |= progress
            self.state = {"weights": weights, "optimizer": optimizer}
            self.saved_step = self.step
            notes.append(f"resuming from step {self.step}")
        else:
            given = None
            if config.init_weights is not None:
                given, report = initial_weights.load(
                    config.init_weights,
                    objective.init,
                    config.init_partial,
                    config.init_under,
                )
                if report is not None:
                    notes += report.lines()
                    text = report.text()
                    processes.on_first(lambda: folder.write(REPORT_FILE, text))
            self.state = step.init(given)
        first = processes.is_first()
        log = folder.log(self.step, config.steps) if first else RunLog()
        self.log = stack.enter_context(_closing(log))
        for line in notes:
            self.log.say(line)
        kinds = [device.device_kind for device in self.mesh.devices.flat]
        features = getattr(objective.config, "features", None)
        self.throughput = Throughput(
            peak_flops=peak_flops(kinds, config.dtype),
            sample_rate_hz=getattr(features, "sample_rate_hz", None),
        )
        self.unread: collections.deque[tuple[int, Any]] = collections.deque()
        self.trace_dir = trace_dir
        self.traced_steps = range(self.step + 5, self.step + 10)
        self.tracing = False
        stack.callback(self._stop_trace)

    def loop(self, signals: list[int]) -> Outcome:
        config = self.config
        with prefetched(
            lambda step: partitioning.shard_batch(self.mesh, self.batches.batch(step)),
            range(self.step, config.steps),
            config.prefetch,
        ) as stream:
            for batch in self.throughput.watch(stream):
                self._advance(batch, asked_to_stop=bool(signals))
                stopping = self._all_asked_to_stop(signals)
                last = self.step == config.steps or stopping
                if last or self.step % config.log_interval == 0:
                    self._read_all()
                if self.evaluate is not None and (
                    self.step == config.steps or self.step % config.eval_interval == 0
                ):
                    self._validate(self.evaluate)
                    self._save()
                    stopping = self._all_asked_to_stop(signals)  # in the meantime
                elif last or self.step % config.checkpoint_interval == 0:
                    self._save()
                if stopping:
                    self.log.say(
                        f"stopped by a signal at step {self.step}; the same command "
                        "resumes here"
                    )
                    return self._outcome("signal")
                patience = config.early_stop_patience
                if patience and self.progress["evaluations_since_best"] >= patience:
                    self.log.say(
                        f"stopped at step {self.step}: no better {config.score} since "
                        f"step {self.progress['best_step']}"
                    )
                    return self._outcome("early stop")
        return self._outcome("steps")

    def _advance(self, batch: Mapping[str, jax.Array], asked_to_stop: bool) -> None:
        """Start a step, and read the scalars of the one before."""
        flags = self.flags[asked_to_stop]
        if self.throughput.peak_flops and self.throughput.flops_per_step is None:
            self.throughput.flops_per_step = matmul_flops(
                self.update, self.state, batch, flags
            )
        self._trace()
        with jax.profiler.StepTraceAnnotation("train", step_num=self.step):
            self.state, scalars = self.update(self.state, batch, flags)
        self.step += 1
        self.throughput.count(batch)
        # Read a step late: the device works while the host waits.
        self.unread.append((self.step, scalars))
        if len(self.unread) > 1:
            self._record(*self.unread.popleft())
        self.log.advance(self.step)

    def _trace(self) -> None:
        """Begin or end the trace of some steps, where one is asked for."""
        if self.trace_dir is None:
            return
        if self.step == self.traced_steps.start:
            jax.profiler.start_trace(str(self.trace_dir))
            self.tracing = True
        elif self.step == self.traced_steps.stop:
            jax.block_until_ready(self.state)
            jax.profiler.stop_trace()
            self.tracing = False
            self.log.say(f"trace of {len(self.traced_steps)} steps: {self.trace_dir}")

    def _all_asked_to_stop(self, signals: list[int]) -> bool:
        """Return whether to stop here: the same answer in all processes.

        A process alone knows it at once. Of several, one may have been asked; the flag
        comes to all with the scalars, a step late.
        """
        return bool(signals) if jax.process_count() == 1 else self.asked_to_stop

    def _outcome(self, reason: str) -> Outcome:
        self.saver.wait()
        return Outcome(
            self.step, reason, self.progress["best_step"], self.progress["best_score"]
        )

    def _stop_trace(self) -> None:
        if self.tracing:
            jax.profiler.stop_trace()

    def _record(self, step: int, scalars: Mapping[str, jax.Array]) -> None:
        """Check a step's scalars and add them up; write a row at the log interval."""
        values = {name: float(value) for name, value in scalars.items()}
        self.asked_to_stop |= bool(values.pop("asked_to_stop"))
        for name in ("loss", "gradient_norm"):
            if not np.isfinite(values[name]):
                raise ValueError(
                    f"{name} is {values[name]} at step {step}; lower learning_rate or "
                    "gradient_clip_norm, or look at that step's examples: "
                    f"{', '.join(self.batches.ids(step - 1))} (the last checkpoint is "
                    f"of step {self.saved_step})"
                )
        sums = self.progress["sums"]
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
        self.progress["count"] += 1
        if step % self.config.log_interval:
            return
        row = {"loss": 0.0} | {k: v / self.progress["count"] for k, v in sums.items()}
        row["learning_rate"] = values["learning_rate"]
        self.progress |= {"sums": {}, "count": 0}
        self.log.add(step, row | self.throughput.read())

    def _read_all(self) -> None:
        while self.unread:
            self._record(*self.unread.popleft())

    def _save(self) -> None:
        self._read_all()  # nothing that is not finite gets into a checkpoint
        if self.step != self.saved_step:
            self.saver.save(
                self.step,
                self.state["weights"],
                self.state["optimizer"],
                self.progress,
            )
            self.saved_step = self.step

    def _validate(self, evaluate: Callable[[Any], Mapping[str, Any]]) -> None:
        self._read_all()
        begin_s = time.perf_counter()
        weights = self.state["weights"]
        results = evaluate(processes.fetch(weights.get("ema", weights["params"])))
        scores = {k: float(v) for k, v in results.items() if np.ndim(v) == 0}
        if self.config.score not in scores:
            raise ValueError(
                f"score={self.config.score!r} is none of the validation scores "
                f"{', '.join(scores)}"
            )
        score, best = scores[self.config.score], self.progress["best_score"]
        if best is None or score > best:
            self.progress |= {"best_step": self.step, "best_score": score}
            self.progress["evaluations_since_best"] = 0
        else:
            self.progress["evaluations_since_best"] += 1
        self.log.add(self.step, {f"valid/{k}": v for k, v in scores.items()})
        for name, value in results.items():
            if np.ndim(value) == 3:
                self.log.add_picture(self.step, f"valid/{name}", value)
            elif np.ndim(value) == 2:
                rate_hz = self.throughput.sample_rate_hz or SAMPLE_RATE_HZ
                self.log.add_sound(self.step, f"valid/{name}", value, int(rate_hz))
        self.throughput.paused(time.perf_counter() - begin_s)


@contextmanager
def _closing(part: Any) -> Iterator[Any]:
    """Close a part of the run in the end.

    What closing raises does not take the place of an error that is on its way: it is of
    the same kind (a full disk), and tells less.
    """
    try:
        yield part
    except BaseException:
        with suppress(Exception):
            part.close()
        raise
    part.close()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield a list that fills when the process is asked to end; twice ends it."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {}

    def note(number: int, frame: Any) -> None:
        del frame
        received.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

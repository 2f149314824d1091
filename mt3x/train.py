"""The trainer: one jitted step over a mesh, exact resume, validation, early stop.

It meets data as arrays and a model as an objective, so it imports neither a data
library nor a model, and runs where JAX, Flax, optax, Orbax and NumPy are installed.

Exact resume: a batch is a function of the step (`batches.batch(step)`), and all else
that a step reads is in the checkpoint; a run that was killed and started again gives
the losses of a run that was not, bit for bit on the same machine.
"""

import collections
import dataclasses
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mt3x import checkpoints, partitioning, run_folder
from mt3x.journal import Journal
from mt3x.prefetch import prefetched
from mt3x.run_checkpoints import RunCheckpoints

# A change of these does not change what a step computes, so a run may go on with it.
FREE_FIELDS = (
    "log_interval",
    "checkpoint_interval",
    "eval_interval",
    "keep",
    "early_stop_patience",
    "prefetch",
)


class Objective(Protocol):
    """Where a model meets its data; `mt3x.objectives` has the real ones."""

    @property
    def config(self) -> Any:
        """A dataclass with `to_dict()`: all that the weights depend on.

        `features.sample_rate_hz`, where it has that, is the rate of `samples`.
        """
        ...

    def init(self, rng: jax.Array) -> Any:
        """New parameters."""
        ...

    def loss(
        self, params: Any, batch: Mapping[str, jax.Array], rng: jax.Array
    ) -> tuple[jax.Array, jax.Array, dict[str, tuple[jax.Array, jax.Array]]]:
        """Sum of losses, its weight, and parts as name -> (sum, weight).

        `rng` is for dropout and the like, and another one for each call.
        """
        ...


class Batches(Protocol):
    """Training data as a pure function of the step."""

    def batch(self, step: int) -> Mapping[str, np.ndarray]:
        """Arrays with a leading batch axis."""
        ...


@dataclass(frozen=True)
class TrainConfig:
    """How to train; what to train is the objective's config."""

    # Updates in total, those before a resume included.
    steps: int = 100_000
    learning_rate: float = 6e-4
    # constant; exponential: x decay_rate every decay_steps, in stairs; cosine: to 0.
    schedule: str = "exponential"
    decay_rate: float = 0.98
    decay_steps: int = 10_000
    # Linear rise of the learning rate from 0, in front of the schedule.
    warmup_steps: int = 0
    # adam, or adamw: decoupled weight decay on arrays of two axes and more.
    optimizer: str = "adam"
    weight_decay: float = 0.01
    # Clips the gradient's global norm before the update; None: not at all.
    gradient_clip_norm: float | None = 3.0
    # Decay of the average of the parameters that is validated and exported; None: no
    # average. It starts low and rises as (1 + step) / (10 + step).
    ema_decay: float | None = None
    # Arithmetic of forward and backward pass: float32 or bfloat16. An experiment makes
    # its objective with it; parameters and updates stay float32.
    dtype: str = "float32"
    # Parts of a batch whose gradients are summed, to train in less memory.
    microbatches: int = 1
    # Seed of the initial parameters.
    seed: int = 0
    # Weights file or run folder to start from instead of random parameters.
    init_weights: str | None = None
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
        allowed = {
            "schedule": ("constant", "exponential", "cosine"),
            "optimizer": ("adam", "adamw"),
            "dtype": ("float32", "bfloat16"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is none of {', '.join(values)}"
                )
        for name in (
            *("steps", "decay_steps", "microbatches", "log_interval", "keep"),
            *("checkpoint_interval", "eval_interval", "prefetch"),
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} must lie in 0..steps={self.steps}"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay} must lie between 0 and 1")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    # "steps", "early stop" or "signal".
    reason: str
    best_step: int | None
    best_score: float | None


def make_schedule(config: TrainConfig) -> optax.Schedule:
    """Learning rate of the update that follows `step` updates."""
    rate = config.learning_rate
    if config.schedule == "constant":
        schedule = optax.constant_schedule(rate)
    elif config.schedule == "exponential":
        schedule = optax.exponential_decay(
            init_value=rate,
            transition_steps=config.decay_steps,
            decay_rate=config.decay_rate,
            staircase=True,
        )
    else:
        schedule = optax.cosine_decay_schedule(
            init_value=rate, decay_steps=config.steps - config.warmup_steps
        )
    if not config.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(
        init_value=0.0, end_value=rate, transition_steps=config.warmup_steps
    )
    return optax.join_schedules([warmup, schedule], boundaries=[config.warmup_steps])


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Clip first, then update: the clipped gradient is what the optimizer sees."""
    schedule = make_schedule(config)
    if config.optimizer == "adam":
        update = optax.adam(learning_rate=schedule)
    else:
        update = optax.adamw(
            learning_rate=schedule,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        )
    if config.gradient_clip_norm is None:
        return update
    return optax.chain(optax.clip_by_global_norm(config.gradient_clip_norm), update)


def init_state(config: TrainConfig, objective: Objective) -> dict[str, Any]:
    """Training state of step 0: `weights` (params, ema) and `optimizer`."""
    params = objective.init(jax.random.key(config.seed))
    if config.init_weights is not None:
        given = checkpoints.load(config.init_weights).params
        checkpoints.check_params(given, params, config.init_weights)
        params = jax.tree.map(jnp.asarray, given)
    weights = {"params": params}
    if config.ema_decay is not None:
        weights["ema"] = jax.tree.map(jnp.copy, params)
    optimizer = {
        "step": jnp.zeros((), jnp.int32),
        "opt_state": make_optimizer(config).init(params),
    }
    return {"weights": weights, "optimizer": optimizer}


def train_step(
    config: TrainConfig, objective: Objective, state: Any, batch: Any
) -> tuple[Any, dict[str, jax.Array]]:
    """One update; pure. The loss is a sum over the batch, divided once by its weight.

    Returns:
      The new state, and scalars: loss, its parts, learning_rate, gradient_norm.
    """
    params = state["weights"]["params"]
    step = state["optimizer"]["step"]
    rng = jax.random.fold_in(jax.random.key(config.seed), step)
    grad_sum, (loss_sum, weight, parts) = _gradient_sum(
        config, objective, params, batch, rng
    )
    grad = jax.tree.map(lambda g: g / weight, grad_sum)
    # optax mixes integer counts with floats, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        learning_rate = make_schedule(config)(step)
        updates, opt_state = make_optimizer(config).update(
            grad, state["optimizer"]["opt_state"], params
        )
    params = optax.apply_updates(params, updates)
    weights = {"params": params}
    if config.ema_decay is not None:
        count = step.astype(jnp.float32)
        decay = jnp.minimum(config.ema_decay, (1.0 + count) / (10.0 + count))
        weights["ema"] = jax.tree.map(
            lambda mean, new: decay * mean + (1.0 - decay) * new,
            state["weights"]["ema"],
            params,
        )
    scalars = {"loss": loss_sum / weight}
    scalars |= {name: total / count for name, (total, count) in parts.items()}
    scalars["learning_rate"] = jnp.asarray(learning_rate, jnp.float32)
    squares = [jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grad)]
    scalars["gradient_norm"] = jnp.sqrt(sum(squares, start=jnp.zeros(())))
    optimizer = {"step": step + 1, "opt_state": opt_state}
    return {"weights": weights, "optimizer": optimizer}, scalars


def _gradient_sum(
    config: TrainConfig, objective: Objective, params: Any, batch: Any, rng: jax.Array
) -> tuple[Any, Any]:
    """Gradient of the loss's sum and (sum, weight, parts), over all microbatches."""

    def loss_fn(params: Any, part: Any, rng: jax.Array) -> tuple[jax.Array, Any]:
        loss_sum, weight, parts = objective.loss(params, part, rng)
        return loss_sum, (loss_sum, weight, parts)

    gradient = jax.grad(loss_fn, has_aux=True)
    count = config.microbatches
    if count == 1:
        return gradient(params, batch, rng)

    def split(x: jax.Array) -> jax.Array:
        # Strided, so that a part takes its share from each device of the batch.
        return x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)

    def add_part(total: Any, part_and_rng: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(params, *part_and_rng)), None

    parts = jax.tree.map(split, dict(batch)), jax.random.split(rng, count)
    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(gradient, params, *first)
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add_part, zero, parts)[0]


def train(
    config: TrainConfig,
    objective: Objective,
    batches: Batches,
    run_dir: str | Path,
    evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
    data_config: Mapping[str, Any] | None = None,
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
        HxWx3 (uint8) are pictures for TensorBoard.
      data_config: what `batches` were made from, as JSON; recorded and compared.

    Raises:
      ValueError: the folder's run has another config, the loss or the gradient is not
        finite (the message names the step), or the batch does not fit the devices.
      OSError: another run uses the folder, or it can not be written.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    with run_folder.locked(run_dir), _signals() as signals:
        # A cosine ends where the run ends; the other schedules know no end.
        free = FREE_FIELDS + (() if config.schedule == "cosine" else ("steps",))
        run_folder.write_config(
            run_dir,
            {
                "objective": objective.config.to_dict(),
                "train": config.to_dict(),
                "data": dict(data_config or {}),
            },
            free=[f"train/{name}" for name in free],
        )
        run = _Run(config, objective, run_dir, evaluate)
        try:
            return run.loop(batches, signals)
        finally:
            run.close()


class _Run:
    """The loop around the step: prefetching, recording, saving, validating."""

    def __init__(
        self,
        config: TrainConfig,
        objective: Objective,
        run_dir: Path,
        evaluate: Callable[[Any], Mapping[str, Any]] | None,
    ) -> None:
        self.config = config
        self.evaluate = evaluate
        self.mesh = partitioning.make_mesh()
        features = getattr(objective.config, "features", None)
        self.sample_rate_hz = getattr(features, "sample_rate_hz", None)
        whole = partitioning.sharding(self.mesh)
        self.update = jax.jit(
            functools.partial(train_step, config, objective),
            in_shardings=(whole, partitioning.sharding(self.mesh, "batch")),
            out_shardings=(whole, whole),
            donate_argnums=0,
        )
        # An output of jit owns its buffers, which donation needs.
        self.state = jax.jit(lambda s: s, out_shardings=whole)(
            init_state(config, objective)
        )
        self.step = 0
        # What must survive a kill besides the state; JSON.
        self.progress: dict[str, Any] = {
            "best_step": None,
            "best_score": None,
            "evaluations_since_best": 0,
            "sums": {},  # scalars added up since the last row of the learning curve
            "count": 0,
        }
        self.saver = RunCheckpoints(run_dir, config.keep)
        self.saved_step = -1
        notes: list[str] = []
        found = self.saver.restore(
            self.state["weights"], self.state["optimizer"], notes.append
        )
        if found is not None:
            self.step, weights, optimizer, self.progress = found
            self.state = {"weights": weights, "optimizer": optimizer}
            self.saved_step = self.step
            notes.append(f"going on from step {self.step}")
        self.journal = Journal(run_dir, self.step, config.steps)
        for line in notes:
            self.journal.say(line)
        self.unread: collections.deque[tuple[int, Any]] = collections.deque()
        self._clock_s = time.perf_counter()
        self._examples, self._audio_s = 0, 0.0

    def loop(self, batches: Batches, signals: list[int]) -> Outcome:
        config = self.config
        reason = "steps"
        with prefetched(
            lambda step: partitioning.shard_batch(self.mesh, batches.batch(step)),
            range(self.step, config.steps),
            config.prefetch,
        ) as stream:
            for batch in stream:
                self.state, scalars = self.update(self.state, batch)
                self.step += 1
                self._count(batch)
                # Read a step late: the device works while the host waits.
                self.unread.append((self.step, scalars))
                if len(self.unread) > 1:
                    self._record(*self.unread.popleft())
                self.journal.advance(self.step)
                last = self.step == config.steps or bool(signals)
                if last or self.step % config.log_interval == 0:
                    self._read_all()
                if self.evaluate is not None and (
                    self.step == config.steps or self.step % config.eval_interval == 0
                ):
                    self._validate(self.evaluate)
                    self._save()
                elif last or self.step % config.checkpoint_interval == 0:
                    self._save()
                if signals:
                    reason = "signal"
                    self.journal.say(
                        f"stopped by signal {signals[0]} at step {self.step}; the same "
                        "command goes on from here"
                    )
                    break
                patience = config.early_stop_patience
                if patience and self.progress["evaluations_since_best"] >= patience:
                    reason = "early stop"
                    self.journal.say(
                        f"stopped at step {self.step}: no better {config.score} since "
                        f"step {self.progress['best_step']}"
                    )
                    break
        self.saver.wait()
        return Outcome(
            self.step, reason, self.progress["best_step"], self.progress["best_score"]
        )

    def close(self) -> None:
        self.saver.close()
        self.journal.close()

    def _count(self, batch: Mapping[str, jax.Array]) -> None:
        examples = len(next(iter(batch.values())))
        self._examples += examples
        for name in ("samples", "encoder_input_tokens"):
            if self.sample_rate_hz and name in batch:
                self._audio_s += batch[name].size / self.sample_rate_hz

    def _record(self, step: int, scalars: Mapping[str, jax.Array]) -> None:
        """Check a step's scalars and add them up; write a row at the log interval."""
        values = {name: float(value) for name, value in scalars.items()}
        for name in ("loss", "gradient_norm"):
            if not np.isfinite(values[name]):
                raise ValueError(
                    f"{name} is {values[name]} at step {step}; lower learning_rate or "
                    "gradient_clip_norm, or look at that step's batch (the last "
                    f"checkpoint is of step {self.saved_step})"
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
        now_s = time.perf_counter()
        elapsed_s = max(now_s - self._clock_s, 1e-9)
        row["examples_per_s"] = self._examples / elapsed_s
        if self._audio_s:
            row["audio_s_per_s"] = self._audio_s / elapsed_s
        self._clock_s, self._examples, self._audio_s = now_s, 0, 0.0
        self.journal.add(step, row)

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
        results = evaluate(weights.get("ema", weights["params"]))
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
        self.journal.add(self.step, {f"valid/{k}": v for k, v in scores.items()})
        for name, value in results.items():
            if np.ndim(value) == 3:
                self.journal.add_picture(self.step, f"valid/{name}", value)
        # Validation is no part of the training rate.
        self._clock_s += time.perf_counter() - begin_s


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that fills when the process is asked to end; asked twice, it ends."""
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

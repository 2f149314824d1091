"""The checkpoints of a training run, saved in the background.

Each step saved is a folder `checkpoints/STEP/` of the run folder, with three Orbax
items: `weights` (what inference uses: `params`, and `ema` when there is an average),
`optimizer` (the rest of the training state) and `progress` (JSON: best step and score,
early stopping, running sums), and their checksums.
"""

import contextlib
import copy
import dataclasses
import gc
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mt3x.files import from_json
from mt3x.models import checksums
from mt3x.models.orbax_items import first_line, hush_closed_loops
from mt3x.models.weights_file import Source
from mt3x.training import processes


@dataclasses.dataclass(frozen=True)
class _Progress:
    """What `progress` holds."""

    best_step: int | None
    best_score: float | None = None
    evaluations_since_best: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    count: int = 0


class RunCheckpoints:
    """The checkpoints of one run: asynchronous saving, retention, restoring.

    Saving copies the state to the host and writes in the background; a step folder
    appears under its name only when it is complete. Kept are the newest `keep` steps
    and the best one.
    """

    def __init__(self, run_dir: Source, keep: int) -> None:
        import orbax.checkpoint as ocp

        # Failures in Orbax's threads are raised by `save` and `wait`; the logs repeat
        # each of them a dozen times.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._ocp = ocp
        self._run_dir = Path(run_dir).absolute()
        self._policy = _NewestAndBest(keep)
        self._saving = 0
        self._manager = ocp.CheckpointManager(
            self._run_dir / "checkpoints",
            options=ocp.CheckpointManagerOptions(
                # Duck-typed: orbax asks for a class of this one method.
                preservation_policy=self._policy,  # pyright: ignore
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(
                    post_finalization_callback=self._write_checksums
                ),
            ),
        )

    def save(
        self,
        step: int,
        weights: Mapping[str, Any],
        optimizer: Any,
        progress: Mapping[str, Any],
    ) -> None:
        """Start saving; `progress["best_step"]` (or None) is the step to keep.

        The caller may go on changing `progress` and donate the arrays.

        Raises:
          OSError: this checkpoint or the one before could not be written.
        """
        self._policy.best_step = progress["best_step"]
        args = self._ocp.args
        items = args.Composite(
            weights=args.StandardSave(dict(weights)),
            optimizer=args.StandardSave(optimizer),
            # Written in the background, while the caller counts on.
            progress=args.JsonSave(copy.deepcopy(dict(progress))),
        )
        # An earlier step's failure to write comes out here.
        with self._explained():
            self._manager.wait_until_finished()
            self._saving = step
            self._manager.save(step, args=items)

    def restore(
        self, weights: Any, optimizer: Any, report: Callable[[str], None]
    ) -> tuple[int, Any, Any, dict[str, Any]] | None:
        """Return the newest checkpoint that is whole, or None where there are none.

        Damaged steps are reported, and moved to `damaged/` when one before is whole.

        Args:
          weights: tree of arrays or ShapeDtypeStructs with shardings to restore into.
          optimizer: likewise.
          report: takes a line for the user.

        Returns:
          Step, weights, optimizer state and progress.

        Raises:
          ValueError: there are checkpoints, but all are damaged.
        """
        damaged: list[int] = []
        faults = ""
        for step in sorted(self._manager.all_steps(), reverse=True):
            folder = self._run_dir / "checkpoints" / str(step)
            found: Any = None
            try:
                if processes.is_first():
                    checksums.check(folder)
                found = self._restore_step(step, weights, optimizer)
            # Orbax and TensorStore raise all kinds of exceptions on damaged files.
            except Exception as error:
                faults = f"checkpoint of step {step} is damaged ({first_line(error)})"
                report(faults)
            if processes.any_of(found is None):
                damaged.append(step)
                continue
            if damaged:
                processes.on_first(lambda: self._set_aside(damaged))
                self._manager.reload()
            self._policy.best_step = found[-1]["best_step"]
            return step, *found
        if damaged or (self._run_dir / "damaged").exists():
            raise ValueError(
                f"{self._run_dir}: no checkpoint could be read"
                f"{faults and ': ' + faults}; start in a new folder"
            )
        return None

    def _restore_step(
        self, step: int, weights: Any, optimizer: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        hush_closed_loops()
        args = self._ocp.args
        found: Any = self._manager.restore(
            step,
            args=args.Composite(
                weights=args.StandardRestore(_abstract(weights)),
                optimizer=args.StandardRestore(_abstract(optimizer)),
                progress=args.JsonRestore(),
            ),
        )
        from_json(_Progress, found.progress, ("best_step",))  # raises, if damaged
        return found.weights, found.optimizer, found.progress

    def wait(self) -> None:
        """Wait until everything is written, or raise OSError as `save` does."""
        with self._explained():
            self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise failures to write as one line."""
        try:
            yield
        # Orbax and TensorStore raise all kinds of exceptions on full disks.
        except Exception as error:
            folder = self._run_dir / "checkpoints"
            steps = [int(p.name) for p in folder.iterdir() if p.name.isdigit()]
            kept = f"that of step {max(steps)} is whole" if steps else "there is none"
            gc.collect()  # else Orbax's open coroutines complain at exit
            free_gb = shutil.disk_usage(folder).free / 1e9
            raise OSError(
                f"{folder}: a checkpoint could not be written ({first_line(error)}); "
                f"{kept}; {free_gb:.1f} GB are free there: make room and start again"
            ) from error

    def _write_checksums(self) -> None:
        """Write those of the step that was saved, before it gets its name."""
        if processes.is_first():
            folder = self._run_dir / "checkpoints"
            unfinished = folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
            checksums.write(next(unfinished, folder / str(self._saving)))

    def _set_aside(self, steps: Sequence[int]) -> None:
        damaged = self._run_dir / "damaged"
        damaged.mkdir(exist_ok=True)
        taken = len(list(damaged.iterdir()))
        for number, step in enumerate(steps, start=taken):
            folder = self._run_dir / "checkpoints" / str(step)
            folder.rename(damaged / f"{step}-{number}")


@dataclasses.dataclass
class _NewestAndBest:
    """Orbax's preservation policy: the newest `keep` steps and the best one."""

    keep: int
    best_step: int | None = None

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any
    ) -> list[bool]:
        newest = sorted(info.step for info in checkpoints)[-self.keep :]
        return [i.step in newest or i.step == self.best_step for i in checkpoints]


def _abstract(tree: Any) -> Any:
    import jax

    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
    )

"""The checkpoints of a training run, saved in the background.

Each step saved is a folder `checkpoints/STEP/` of the run folder, with three Orbax
items: `weights` (what inference uses: `params`, and `ema` when there is an average),
`optimizer` (the rest of the training state) and `progress` (JSON: best step and score,
early stopping, running sums).
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

from mt3x.models.weights_file import Source, first_line
from mt3x.training import processes


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
        self._manager = ocp.CheckpointManager(
            self._run_dir / "checkpoints",
            options=ocp.CheckpointManagerOptions(
                # Duck-typed: orbax asks for a class of this one method.
                preservation_policy=self._policy,  # pyright: ignore
                cleanup_tmp_directories=True,
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
            self._manager.save(step, args=items)

    def restore(
        self, weights: Any, optimizer: Any, report: Callable[[str], None]
    ) -> tuple[int, Any, Any, dict[str, Any]] | None:
        """Return the newest complete checkpoint, or None where there is none yet.

        A damaged step is reported, moved to `damaged/`, and the one before is tried.

        Args:
          weights: tree of arrays or ShapeDtypeStructs with shardings to restore into.
          optimizer: likewise.
          report: takes a line for the user.

        Returns:
          Step, weights, optimizer state and progress.
        """
        args = self._ocp.args
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                found: Any = self._manager.restore(
                    step,
                    args=args.Composite(
                        weights=args.StandardRestore(_abstract(weights)),
                        optimizer=args.StandardRestore(_abstract(optimizer)),
                        progress=args.JsonRestore(),
                    ),
                )
            # Orbax and TensorStore raise all kinds of exceptions on damaged files.
            except Exception as error:
                report(f"checkpoint of step {step} is damaged ({first_line(error)})")
                found = None
            if processes.any_of(found is None):
                processes.on_first(lambda step=step: self._set_aside(step))
                self._manager.reload()
                continue
            self._policy.best_step = found.progress["best_step"]
            return step, found.weights, found.optimizer, found.progress
        if steps:
            raise ValueError(
                f"{self._run_dir}: no checkpoint could be read; start in a new folder"
            )
        return None

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

    def _set_aside(self, step: int) -> None:
        damaged = self._run_dir / "damaged"
        damaged.mkdir(exist_ok=True)
        taken = len(list(damaged.iterdir()))
        folder = self._run_dir / "checkpoints" / str(step)
        folder.rename(damaged / f"{step}-{taken}")


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

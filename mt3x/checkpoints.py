"""Weights in one file, and the checkpoints of a training run.

A weights file is a `.safetensors` file: the parameter tree flattened with `/` in the
names, and in its header the model's whole config as JSON (`config`) with free text
entries (`metadata`). It is all that transcription needs, and reading it loads neither
Orbax nor TensorStore.

A run folder holds, for each step saved, `checkpoints/STEP/` with three Orbax items:
`weights` (what inference uses: `params`, and `ema` when there is an average),
`optimizer` (the rest of the training state) and `progress` (JSON: best step and score,
early stopping, running sums). The run's config lies beside, in `config.json`.
"""

import copy
import dataclasses
import json
import os
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mt3x.files import write_whole

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "hppnet_tiny.safetensors"
FORMAT = "mt3x-weights-1"
Source = str | os.PathLike[str]


class Weights(NamedTuple):
    """What a weights file holds."""

    params: dict[str, Any]  # nested dict of NumPy arrays
    config: dict[str, Any]  # the objective's config, as its to_dict() gave it
    metadata: dict[str, str]  # free text: step, scores, licence of the data, ...


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as one dict with `/` between the names."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, prefix=f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    params: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return params


def save_weights(
    path: Source,
    params: Mapping[str, Any],
    config: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a weights file, whole or not at all.

    Args:
      path: file to write, by custom `NAME.safetensors`.
      params: nested dict of arrays; bfloat16 is stored as float32.
      config: what the weights depend on; must survive JSON.
      metadata: free text entries for people.
      overwrite: replace an existing file.

    Raises:
      ValueError: a parameter is not finite.
      OSError: the file exists already or can not be written.
    """
    from safetensors.numpy import save

    arrays = {}
    for name, value in flatten(params).items():
        array = np.ascontiguousarray(value)
        if array.dtype.kind not in "iufb":  # bfloat16 is NumPy's kind V
            array = array.astype(np.float32)
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{path}: parameter {name} is not finite; not saved")
        arrays[name] = array
    header = {
        "format": FORMAT,
        "config": json.dumps(config, sort_keys=True),
        "metadata": json.dumps(dict(metadata or {}), sort_keys=True),
    }
    data = save(arrays, metadata=header)
    with write_whole(Path(path), overwrite=overwrite) as file:
        file.write(data)


def load_weights(path: Source) -> Weights:
    """Read a weights file.

    Raises:
      ValueError: the file is truncated, or no weights file of mt3x.
      OSError: there is no such file, or it can not be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = Path(path).read_bytes()
    remedy = "give a .safetensors file written by `mt3x export` or `mt3x import`"
    try:
        flat = load(data)
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, struct.error, ValueError) as error:
        raise ValueError(f"{path}: no safetensors file ({error}); {remedy}") from error
    if header.get("format") != FORMAT:
        raise ValueError(f"{path}: has no config of mt3x in its header; {remedy}")
    return Weights(
        unflatten(flat), json.loads(header["config"]), json.loads(header["metadata"])
    )


def load(path: Source | None = None) -> Weights:
    """Read weights from a file, a run folder, one of its steps, or the package.

    Args:
      path: a `.safetensors` file; a run folder (its best step, or the newest where
        nothing was scored); a folder `RUN/checkpoints/STEP`; None for the weights
        that the package brings.

    Raises:
      ValueError: there are no weights at `path`, or they are damaged.
      OSError: `path` does not exist.
    """
    if path is None:
        if not DEFAULT_WEIGHTS.is_file():
            raise FileNotFoundError(
                f"{DEFAULT_WEIGHTS}: this installation brings no weights; name a file"
            )
        return load_weights(DEFAULT_WEIGHTS)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such weights file or run folder")
    return _load_run(path) if path.is_dir() else load_weights(path)


def check_params(params: Any, expected: Any, source: Source) -> None:
    """Compare a parameter tree with a model's by names, shapes and dtypes.

    Args:
      params: nested dict of arrays.
      expected: the model's tree of arrays or ShapeDtypeStructs, for instance
        `jax.eval_shape(objective.init, jax.random.key(0))`.
      source: where `params` come from, for the message.

    Raises:
      ValueError: one line that says what differs.
    """
    have = {k: (v.shape, str(v.dtype)) for k, v in flatten(params).items()}
    want = {k: (v.shape, str(v.dtype)) for k, v in flatten(expected).items()}
    faults = [f"{name} is missing" for name in sorted(want.keys() - have.keys())]
    faults += [f"{name} is unknown" for name in sorted(have.keys() - want.keys())]
    for name in sorted(have.keys() & want.keys()):
        if have[name] != want[name]:
            faults.append(
                f"{name} is {have[name][1]}{list(have[name][0])}, "
                f"not {want[name][1]}{list(want[name][0])}"
            )
    if faults:
        rest = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(
            f"{source}: a checkpoint of another model: " + "; ".join(faults[:3]) + rest
        )


class RunCheckpoints:
    """The checkpoints of one run: asynchronous saving, retention, restoring.

    Saving copies the state to the host and writes in the background; a step folder
    appears under its name only when it is complete. Kept are the newest `keep` steps
    and the best one.
    """

    def __init__(self, run_dir: Source, keep: int) -> None:
        import orbax.checkpoint as ocp

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
        """
        self._policy.best_step = progress["best_step"]
        args = self._ocp.args
        self._manager.save(
            step,
            args=args.Composite(
                weights=args.StandardSave(dict(weights)),
                optimizer=args.StandardSave(optimizer),
                # Written in the background, while the caller counts on.
                progress=args.JsonSave(copy.deepcopy(dict(progress))),
            ),
        )

    def restore(
        self, weights: Any, optimizer: Any, report: Callable[[str], None]
    ) -> tuple[int, Any, Any, dict[str, Any]] | None:
        """The newest complete checkpoint, or None where there is none yet.

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
                report(f"checkpoint of step {step} is damaged ({_first_line(error)})")
                self._set_aside(step)
                continue
            self._policy.best_step = found.progress["best_step"]
            return step, found.weights, found.optimizer, found.progress
        if steps:
            raise ValueError(
                f"{self._run_dir}: no checkpoint could be read; start in a new folder"
            )
        return None

    def wait(self) -> None:
        """Return when everything is written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()

    def _set_aside(self, step: int) -> None:
        damaged = self._run_dir / "damaged"
        damaged.mkdir(exist_ok=True)
        taken = len(list(damaged.iterdir()))
        folder = self._run_dir / "checkpoints" / str(step)
        folder.rename(damaged / f"{step}-{taken}")
        self._manager.reload()


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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _load_run(path: Path) -> Weights:
    """Weights of a run folder or a step folder, averaged ones where there are any."""
    if path.parent.name == "checkpoints":
        run_dir, steps, best = path.parent.parent, [path], None
    else:
        run_dir = path
        folders = [p for p in path.glob("checkpoints/*") if p.name.isdigit()]
        steps = sorted(folders, key=lambda p: int(p.name), reverse=True)
        best = next(iter(_best_step(p) for p in steps), None)
    config_file = run_dir / "config.json"
    if not steps or not config_file.is_file():
        raise ValueError(
            f"{path}: no run folder with a checkpoint; give a run folder of "
            "`mt3x train`, one of its step folders, or a .safetensors file"
        )
    config = json.loads(config_file.read_text(encoding="utf-8"))["objective"]
    # The best step first, then the newest that can be read.
    steps.sort(key=lambda p: p.name != str(best))
    for number, step in enumerate(steps):
        try:
            weights = _restore_numpy(step / "weights")
        # As in RunCheckpoints.restore: anything can come out of damaged files.
        except Exception as error:
            if number == len(steps) - 1:
                raise ValueError(
                    f"{step}: damaged checkpoint ({_first_line(error)})"
                ) from error
            warnings.warn(f"{step}: damaged checkpoint, skipped", stacklevel=3)
            continue
        params = weights.get("ema") or weights["params"]
        return Weights(params, config, {"step": step.name})
    raise AssertionError("unreachable")


def _best_step(step: Path) -> int | None:
    import orbax.checkpoint as ocp
    from etils import epath

    progress = ocp.JsonCheckpointHandler().restore(epath.Path(step / "progress"))
    return progress["best_step"]


def _restore_numpy(folder: Path) -> dict[str, Any]:
    """An Orbax item as NumPy arrays, whatever devices it was saved from."""
    import jax
    import orbax.checkpoint as ocp
    from etils import epath

    handler = ocp.PyTreeCheckpointHandler()
    item = epath.Path(folder.absolute())
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(item).tree
    )
    return handler.restore(item, args=ocp.args.PyTreeRestore(restore_args=as_numpy))

"""Weights in one file or one folder, and those of a training run.

A weights file is a `.safetensors` file: the parameter tree flattened with `/` in the
names, and in its header the model's whole config as JSON (`config`) with free text
entries (`metadata`). It is all that transcription needs, and reading it loads neither
Orbax nor TensorStore.

A checkpoint folder holds the same as two Orbax items: `weights` (`params`) and `config`
(JSON: format, the model's config, metadata).

A run folder holds `checkpoints/STEP/` for each step saved
(`mt3x.training.run_checkpoints`), and the run's config in `config.json`.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mt3x.files import write_whole

_FOLDER = Path(__file__).parents[1] / "weights"
WEIGHTS = {
    "piano": _FOLDER / "hppnet_tiny.safetensors",
    "band": _FOLDER / "band.safetensors",
}
"""The weights that the package brings, by the name of their model."""
DEFAULT_WEIGHTS = WEIGHTS["piano"]
FORMAT = "mt3x-weights-1"
FOLDER_FORMAT = "mt3x-checkpoint-1"
Source = str | os.PathLike[str]


class Weights(NamedTuple):
    """The contents of a weights file."""

    params: dict[str, Any]  # nested dict of NumPy arrays
    config: dict[str, Any]  # the objective's config, as its to_dict() gave it
    metadata: dict[str, str]  # free text: step, scores, licence of the data, ...


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested dict as one dict with `/` between the names."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, prefix=f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `flatten`."""
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
      OSError: the file exists already or cannot be written.
    """
    from safetensors.numpy import save

    arrays = storable(params, path)
    header = {
        "format": FORMAT,
        "config": json.dumps(config, sort_keys=True),
        "metadata": json.dumps(dict(metadata or {}), sort_keys=True),
    }
    data = save(arrays, metadata=header)
    with write_whole(Path(path), overwrite=overwrite) as file:
        file.write(data)


def storable(params: Mapping[str, Any], path: Source) -> dict[str, np.ndarray]:
    """Return flat parameters as they are stored; refuse what no model can use."""
    arrays = {}
    for name, value in flatten(params).items():
        array = np.ascontiguousarray(value)
        if array.dtype.kind not in "iufb":  # bfloat16 is NumPy's kind V
            array = array.astype(np.float32)
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{path}: parameter {name} is not finite; not saved")
        arrays[name] = array
    return arrays


def save_checkpoint(
    path: Source,
    params: Mapping[str, Any],
    config: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a checkpoint folder, whole or not at all.

    Args:
      path: the folder to make; its parent must exist.
      params, config, metadata: as for `save_weights`.
      overwrite: replace an existing checkpoint folder, but no other folder.

    Raises:
      ValueError: a parameter is not finite.
      OSError: there is something at `path` already, or it cannot be written.
    """
    import orbax.checkpoint as ocp

    target = Path(path).absolute()
    check_replaceable(target, overwrite)
    contents = {
        "format": FOLDER_FORMAT,
        "config": dict(config),
        "metadata": dict(metadata or {}),
    }
    items = ocp.args.Composite(
        weights=ocp.args.StandardSave({"params": unflatten(storable(params, path))}),
        config=ocp.args.JsonSave(contents),
    )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as temporary:
        # Orbax gives a folder its name when it is complete.
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as saver:
            saver.save(Path(temporary) / "new", args=items)
        if target.exists():
            target.rename(Path(temporary) / "old")
        (Path(temporary) / "new").rename(target)


def check_replaceable(path: Source, overwrite: bool = False) -> None:
    """Raise early, before long work, where `save_checkpoint` would."""
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: there is no folder {path.parent}; create it first"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already; give --overwrite to replace it, or another name"
        )
    if path.exists() and not _is_checkpoint_folder(path):
        raise FileExistsError(
            f"{path} is not a checkpoint of mt3x and is not replaced; give another name"
        )


def _is_checkpoint_folder(path: Path) -> bool:
    return (path / "config").is_dir() and (path / "weights").is_dir()


def _load_checkpoint(path: Path) -> Weights:
    try:
        contents = _restore_json(path / "config")
        params = restore_arrays(path / "weights")["params"]
    # Orbax and TensorStore raise all kinds of exceptions on damaged files.
    except Exception as error:
        raise ValueError(f"{path}: damaged checkpoint ({first_line(error)})") from error
    if contents.get("format") != FOLDER_FORMAT:
        raise ValueError(f"{path}: has no config of mt3x inside; import it again")
    return Weights(params, contents["config"], contents["metadata"])


def load_weights(path: Source) -> Weights:
    """Read a weights file.

    Raises:
      ValueError: the file is truncated, or not a weights file of mt3x.
      OSError: there is no such file, or it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    remedy = "give a .safetensors file written by `mt3x export` or `mt3x import`"
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a safetensors file ({error}); {remedy}"
        ) from error
    if header.get("format") != FORMAT:
        raise ValueError(f"{path}: has no config of mt3x in its header; {remedy}")
    return Weights(
        unflatten(flat), json.loads(header["config"]), json.loads(header["metadata"])
    )


def load(path: Source | None = None) -> Weights:
    """Read weights from a file, a checkpoint, a run, one of its steps, or the package.

    Args:
      path: a `.safetensors` file; a checkpoint folder; a run folder (its best step, or
        the newest where nothing was scored); a folder `RUN/checkpoints/STEP`; None for
        the package's piano model.

    Raises:
      ValueError: there are no weights at `path`, or they are damaged.
      OSError: `path` does not exist.
    """
    path = packaged("piano") if path is None else Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such weights file or run folder")
    if _is_checkpoint_folder(path):
        return _load_checkpoint(path)
    return _load_run(path) if path.is_dir() else load_weights(path)


def packaged(model: str) -> Path:
    """Return the file of the weights that the package brings for a model.

    Args:
      model: one of `WEIGHTS`.

    Raises:
      ValueError: there is no such model.
      FileNotFoundError: this installation lacks its weights.
    """
    if model not in WEIGHTS:
        raise ValueError(f"model is {model!r}: give one of {', '.join(WEIGHTS)}")
    if not WEIGHTS[model].is_file():
        raise FileNotFoundError(
            f"{WEIGHTS[model]}: this installation brings no weights of a {model} "
            "model; name a file"
        )
    return WEIGHTS[model]


def check_params(params: Any, expected: Any, source: Source, remedy: str = "") -> None:
    """Compare a parameter tree with a model's by names, shapes and dtypes.

    Args:
      params: nested dict of arrays.
      expected: the model's tree of arrays or ShapeDtypeStructs, for instance
        `jax.eval_shape(objective.init, jax.random.key(0))`.
      source: where `params` come from, for the message.
      remedy: what else can be done with them, for the message.

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
            f"{source}: a checkpoint of another model: "
            + "; ".join(faults[:3])
            + rest
            + (f"; {remedy}" if remedy else "")
        )


def first_line(error: Exception) -> str:
    """Return an exception in few words: those of Orbax and TensorStore run to pages."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _load_run(path: Path) -> Weights:
    """Read weights of a run or step folder, averaged ones where there are any."""
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
            f"{path}: not a run folder with a checkpoint; give a run folder of "
            "`mt3x train`, one of its step folders, or a .safetensors file"
        )
    config = json.loads(config_file.read_text(encoding="utf-8"))["objective"]
    # The best step first, then the newest that can be read.
    steps.sort(key=lambda p: p.name != str(best))
    for number, step in enumerate(steps):
        try:
            weights = restore_arrays(step / "weights")
        # Orbax and TensorStore raise all kinds of exceptions on damaged files.
        except Exception as error:
            if number == len(steps) - 1:
                raise ValueError(
                    f"{step}: damaged checkpoint ({first_line(error)})"
                ) from error
            warnings.warn(f"{step}: damaged checkpoint, skipped", stacklevel=3)
            continue
        params = weights.get("ema") or weights["params"]
        return Weights(params, config, {"step": step.name})
    raise AssertionError("unreachable")


def _best_step(step: Path) -> int | None:
    return _restore_json(step / "progress")["best_step"]


def _restore_json(folder: Path) -> Mapping[str, Any]:
    import orbax.checkpoint as ocp
    from etils import epath

    return ocp.JsonCheckpointHandler().restore(epath.Path(folder.absolute()))


def restore_arrays(
    folder: Path, part: Callable[[Any], Any] = lambda tree: tree
) -> dict[str, Any]:
    """Restore an Orbax item as NumPy arrays, whatever devices it was saved from.

    Args:
      folder: of the item.
      part: picks what is wanted of the item's tree.
    """
    import jax
    import orbax.checkpoint as ocp
    from etils import epath

    handler = ocp.PyTreeCheckpointHandler()
    item = epath.Path(folder.absolute())
    wanted = part(handler.metadata(item).tree)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    args = ocp.args.PyTreeRestore(
        item=wanted, restore_args=as_numpy, partial_restore=True
    )
    return handler.restore(item, args=args)

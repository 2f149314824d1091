"""Weights in one file or one folder, and those of a training run.

A weights file is a `.safetensors` file: the parameter tree flattened with `/` in the
names, and in its header the model's whole config as JSON (`config`) with free text
entries (`metadata`). It is all that transcription needs, and reading it loads neither
Orbax nor TensorStore.

A checkpoint folder holds the same as two Orbax items: `weights` (`params`) and `config`
(JSON: format, the model's config, metadata).

A run folder holds `checkpoints/STEP/` for each step saved
(`mt3x.training.run_checkpoints`), and the run's config in `config.json`.

All of them carry checksums, which are compared where there are any: those of older
versions have none.
"""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mt3x.files import write_whole
from mt3x.models import checksums
from mt3x.models.orbax_items import (
    first_line,
    read_object,
    restore_arrays,
    restore_json,
)

_FOLDER = Path(__file__).parents[1] / "weights"
WEIGHTS = {
    "piano": _FOLDER / "hppnet_tiny.safetensors",
    "band": _FOLDER / "band.safetensors",
    "beats": _FOLDER / "beats.safetensors",
    "generator": _FOLDER / "generator.safetensors",
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
    """Undo `flatten`; raise ValueError where a value has the name of a folder."""
    params: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        node: Any = params
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{path} lies in {parent}, which is an array")
        if name in node:
            raise ValueError(f"{path} is an array, and has arrays in it")
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
        "sha256": _checksum(arrays),
    }
    data = save(arrays, metadata=header)
    with write_whole(Path(path), overwrite=overwrite) as file:
        file.write(data)


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays with their names, dtypes and shapes."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


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
        checksums.write(Path(temporary) / "new")
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
        checksums.check(path)
        contents = restore_json(path / "config")
        params = restore_arrays(path / "weights")["params"]
        check_finite(params)
    # Orbax and TensorStore raise all kinds of exceptions on damaged files.
    except Exception as error:
        raise ValueError(f"{path}: damaged checkpoint ({first_line(error)})") from error
    if contents.get("format") != FOLDER_FORMAT:
        raise ValueError(f"{path}: has no config of mt3x inside; import it again")
    try:
        return _weights(params, contents.get("config"), contents.get("metadata"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; import it again") from error


def load_weights(path: Source) -> Weights:
    """Read a weights file.

    Raises:
      ValueError: the file is damaged, not a weights file of mt3x, or a parameter is not
        finite.
      OSError: there is no such file, or it cannot be read.
    """
    from safetensors import safe_open

    remedy = "give a .safetensors file written by `mt3x export` or `mt3x import`"
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()}
    except OSError:
        raise
    # Also of dtypes that NumPy lacks, each in its own way.
    except Exception as error:
        raise ValueError(
            f"{path}: not a safetensors file ({first_line(error)}); {remedy}"
        ) from error
    if header.get("format") != FORMAT:
        raise ValueError(f"{path}: has no config of mt3x in its header; {remedy}")
    if header.get("sha256", (found := _checksum(flat))) != found:
        raise ValueError(
            f"{path}: damaged, its parameters are not as they were saved; copy it again"
        )
    try:
        config, metadata = (_parsed(header, name) for name in ("config", "metadata"))
        check_finite(flat)
        return _weights(unflatten(flat), config, metadata)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {remedy}") from error


def _parsed(header: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(header[name])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} in its header is missing or damaged") from error


def _weights(params: dict[str, Any], config: Any, metadata: Any) -> Weights:
    """Return weights whose config and metadata are of the right types, if no more."""
    if not isinstance(config, dict):
        raise ValueError("its config is not a JSON object")
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) for text in metadata.values()
    ):
        raise ValueError("its metadata are not a JSON object of texts")
    return Weights(params, config, metadata)


def check_finite(params: Mapping[str, Any]) -> None:
    """Raise ValueError where an array holds no numbers, or some that are not finite."""
    for name, array in flatten(params).items():
        if array.dtype.kind not in "iufb":
            raise ValueError(f"parameter {name} holds no numbers")
        if not np.isfinite(array).all():
            raise ValueError(f"parameter {name} is not finite")


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


def without(params: Mapping[str, Any], *parts: str) -> dict[str, Any]:
    """Return nested parameters without all that is under names among `parts`."""
    return unflatten(
        {
            name: array
            for name, array in flatten(params).items()
            if not {*parts} & {*name.split("/")}
        }
    )


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


def _load_run(path: Path) -> Weights:
    """Read weights of a run or step folder, averaged ones where there are any."""
    if path.parent.name == "checkpoints":
        run_dir, steps = path.parent.parent, [path]
    else:
        run_dir = path
        folders = [p for p in path.glob("checkpoints/*") if p.name.isdecimal()]
        steps = sorted(folders, key=lambda p: int(p.name), reverse=True)
    config_file = run_dir / "config.json"
    if not steps or not config_file.is_file():
        raise ValueError(
            f"{path}: not a run folder with a checkpoint; give a run folder of "
            "`mt3x train`, one of its step folders, or a .safetensors file"
        )
    config = read_object(config_file).get("objective")
    if not isinstance(config, dict):
        raise ValueError(f"{config_file}: has no config of a model (`objective`)")
    if len(steps) > 1:
        # The best step first, then the newest that can be read.
        best = _best_step(steps)
        steps.sort(key=lambda p: p.name != str(best))
    for number, step in enumerate(steps, start=1):
        try:
            checksums.check(step, "weights")
            weights = restore_arrays(step / "weights")
            params = weights.get("ema") or weights["params"]
            check_finite(params)
        # Orbax and TensorStore raise all kinds of exceptions on damaged files.
        except Exception as error:
            line = f"{step}: damaged checkpoint ({first_line(error)})"
            if number == len(steps):
                raise ValueError(line) from error
            warnings.warn(f"{line}, skipped", stacklevel=3)
            continue
        return Weights(params, config, {"step": step.name})
    raise AssertionError("unreachable")


def _best_step(steps: Sequence[Path]) -> int | None:
    """Return the best step by the progress of the first of these that can be read."""
    for step in steps:
        try:
            checksums.check(step, "progress")
            return restore_json(step / "progress")["best_step"]
        # As above; None is no progress.
        except Exception as error:
            warnings.warn(
                f"{step / 'progress'}: damaged ({first_line(error)}), skipped",
                stacklevel=4,
            )
    return None

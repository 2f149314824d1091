"""Checkpoints in T5X's forms: read them, and write parameters for T5X to begin with.

A checkpoint is a folder (`checkpoint_STEP` in a training run, or the published
gs://mt3/checkpoints/mt3 and gs://mt3/checkpoints/ismir2021). The older form has a
msgpack file `checkpoint`, which holds the tree of the training state, and a zarr array
in its own folder for each array that the tree does not hold itself. T5X's main branch
writes an Orbax item `state` instead. Only the parameters (`target`) are read, and what
T5X keeps beside them: batch norm's running statistics (`flax_mutables`), which lie
among ours (`mt3x.models.batch_norm`). T5X is not needed.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mt3x.files import write_whole
from mt3x.models import batch_norm
from mt3x.models.objectives import TokensConfig
from mt3x.models.orbax_items import (
    check_unpacked,
    num_bytes,
    read_object,
    restore_arrays,
)
from mt3x.models.seq2seq import Seq2SeqConfig
from mt3x.models.weights_file import (
    check_finite,
    flatten,
    storable,
    unflatten,
)
from mt3x.music.vocabulary import Codec, TokenizerConfig, VocabConfig

# What MT3's gin files of these names say.
MODELS = {
    "mt3": TokensConfig(),
    "ismir2021": TokensConfig(
        model=Seq2SeqConfig(vocab_size=1664),
        tokens=TokenizerConfig(
            vocab=VocabConfig(num_velocity_bins=127),
            use_ties=False,
            program_granularity="flat",
        ),
        num_frames=512,
    ),
}
PUBLISHED = "gs://mt3/checkpoints/mt3 or gs://mt3/checkpoints/ismir2021"
# What T5X's main branch calls the training state, and we a run's config.
ORBAX_ITEM, CONFIG_NAME = "state", "config.json"
# Of names in names.
_MAX_DEPTH = 64
# A first failure is final after some seconds, not minutes.
_CONTEXT = {"gcs_request_retries": {"max_retries": 3, "max_delay": "2s"}}


def read_t5x(source: str | os.PathLike[str]) -> tuple[dict[str, Any], int]:
    """Read the parameters of a checkpoint.

    Args:
      source: a checkpoint's folder, on disk or as gs://BUCKET/FOLDER (of the older
        form); on disk also a training run's folder, for its newest checkpoint.

    Returns:
      The parameters with running statistics, a nested dict of NumPy arrays (bfloat16
      and float16 become float32), and the training step.

    Raises:
      ValueError: there is no checkpoint of T5X, it is damaged, or a parameter is not
        finite.
      OSError: there is nothing at `source`, or it cannot be reached.
    """
    import tensorstore as ts

    folder = store_spec(source)
    if folder["driver"] == "file" and (Path(folder["path"]) / ORBAX_ITEM).is_dir():
        return _read_orbax(Path(folder["path"]))
    context = ts.Context(_CONTEXT)
    try:
        store = ts.KvStore.open(folder, context=context).result()
        found = store.read("checkpoint").result()
    except ValueError as error:
        raise OSError(f"{source}: cannot be read: {_reason(error)}") from error
    if found.state != "value":
        raise FileNotFoundError(
            f"{source}: no checkpoint of T5X, there is neither a file `checkpoint` nor "
            f"a folder `{ORBAX_ITEM}`; give what holds one, for instance {PUBLISHED}"
        )
    try:
        state = _training_state(found.value)
        arrays = _leaves(_with_statistics(state))
        stored = {
            name: _open_array(value, folder, context, name)
            for name, value in arrays.items()
            if isinstance(value, Mapping)
        }
        if folder["driver"] == "file":
            total = sum(
                num_bytes(a.shape, a.dtype.numpy_dtype) for a in stored.values()
            )
            check_unpacked(total, Path(folder["path"]))
        reads = {name: array.read() for name, array in stored.items()}
        for name, read in reads.items():
            try:
                arrays[name] = read.result()
            except ValueError as error:
                raise ValueError(
                    f"{name} is damaged or incomplete ({_reason(error)}); copy the "
                    "checkpoint again"
                ) from error
        return _params_and_step(arrays, state)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def write_t5x(
    folder: str | os.PathLike[str],
    params: Mapping[str, Any],
    config: Mapping[str, Any],
    step: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write parameters for T5X, in the older form and without an optimizer's state.

    Running statistics among them go where T5X keeps them.

    Args:
      folder: gets `checkpoint_STEP`, which T5X's CHECKPOINT_PATH names; made when
        missing.
      params: nested dict of arrays.
      config: the objective's, as its to_dict() gave it; written beside them.
      step: part of the name.
      overwrite: replace what is there of that step.

    Returns:
      The checkpoint's folder.

    Raises:
      ValueError: a parameter is not finite.
      OSError: there is a checkpoint already, or it cannot be written.
    """
    from flax import serialization

    arrays = storable(params, folder)
    there = Path(folder) / CONFIG_NAME
    if (
        there.exists()
        and not overwrite
        and read_config(folder) != json.loads(json.dumps(config))
    ):
        raise FileExistsError(
            f"{there} is of another model and is not replaced; give another folder"
        )
    collections = batch_norm.variables(unflatten(arrays))
    state = {"target": collections.pop("params"), "state": {"step": np.int32(step)}}
    if collections:
        state["flax_mutables"] = collections
    data = serialization.msgpack_serialize({"version": 3, "optimizer": state})
    path = Path(folder) / f"checkpoint_{step}"
    path.mkdir(parents=True, exist_ok=True)
    with write_whole(path / "checkpoint", overwrite=overwrite) as file:
        file.write(data)
    write_config(folder, config)
    return path


def write_config(folder: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
    """Write the objective's config, beside a run's checkpoints."""
    text = json.dumps({"objective": config}, indent=2) + "\n"
    with write_whole(Path(folder) / CONFIG_NAME, overwrite=True, text=True) as file:
        file.write(text)


def read_config(source: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return what `write_config` wrote, or None; `source` is as for `read_t5x`.

    Raises:
      ValueError: the file is damaged.
    """
    if os.fspath(source).startswith("gs://"):
        return None
    for folder in (Path(source), Path(source).absolute().parent):
        path = folder / CONFIG_NAME
        if path.is_file():
            config = read_object(path).get("objective")
            if config is not None and not isinstance(config, dict):
                raise ValueError(f"{path}: its `objective` is not a config of a model")
            return config
    return None


def _read_orbax(folder: Path) -> tuple[dict[str, Any], int]:
    def wanted(tree: Any) -> Any:
        kept = {"target": tree["target"], "state": {"step": tree["state"]["step"]}}
        if "flax_mutables" in tree:
            kept["flax_mutables"] = tree["flax_mutables"]
        return kept

    try:
        found = restore_arrays(folder / ORBAX_ITEM, wanted)
        return _params_and_step(flatten(_with_statistics(found)), found)
    # Orbax and TensorStore raise all kinds of exceptions on damaged files.
    except Exception as error:
        raise ValueError(
            f"{folder}: damaged, or not a checkpoint of T5X ({_reason(error)}); copy "
            "the checkpoint again"
        ) from error


def _with_statistics(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of T5X's state, batch norm's statistics among them."""
    mutables = state.get("flax_mutables", {})
    try:
        return batch_norm.join({"params": state["target"], **mutables})
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            "its `flax_mutables` are not statistics of its parameters"
        ) from error


def _params_and_step(
    arrays: Mapping[str, Any], state: Mapping[str, Any]
) -> tuple[dict[str, Any], int]:
    """Return the parameters, if they are finite numbers, and the step of T5X's state.

    Half precision becomes float32.
    """
    params = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        half = array.dtype.name in ("bfloat16", "float16")
        params[name] = array.astype(np.float32) if half else array
    check_finite(params)
    counts = state.get("state", {})
    step = counts.get("step", 0) if isinstance(counts, Mapping) else None
    number = np.asarray(step)
    if number.dtype.kind not in "iu" or number.size != 1 or number.item() < 0:
        raise ValueError(f"its step is {str(step)[:40]}, no whole number")
    return unflatten(params), number.item()


def store_spec(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Return TensorStore's name for the folder of a checkpoint.

    Raises:
      ValueError: a gs:// path without a bucket or folder.
    """
    text = os.fspath(source)
    if text.startswith("gs://"):
        match = re.fullmatch(r"gs://([^/]+)/(.*[^/])/*", text)
        if match is None:
            raise ValueError(f"{text}: give gs://BUCKET/FOLDER, such as {PUBLISHED}")
        bucket, path = match.groups()
        return {"driver": "gcs", "bucket": bucket, "path": path + "/"}
    path = Path(text).absolute()
    if path.is_dir() and not (path / "checkpoint").exists():
        steps = [
            (int(folder.name.removeprefix("checkpoint_")), folder)
            for folder in path.glob("checkpoint_*")
            if folder.name.removeprefix("checkpoint_").isdecimal()
        ]
        path = max(steps)[1] if steps else path
    return {"driver": "file", "path": f"{path}/"}


def guess_config(params: Mapping[str, Any], head_dim: int = 64) -> Seq2SeqConfig:
    """Return the sizes of MT3's network for these parameters.

    Args:
      params: as from `read_t5x`.
      head_dim: channels of a head, which the parameters do not tell; 64 in all
        published sizes.

    Raises:
      ValueError: these are not the parameters of MT3's network.
    """
    shapes = {name: array.shape for name, array in flatten(params).items()}
    for name in shapes:
        if re.match(r"encoder/(stem|end$|layers_\d+/conv)|roll_heads", name):
            raise ValueError(
                f"there is {name} among its parameters, which MT3's network has not: "
                f"put the {CONFIG_NAME} of its run beside the checkpoint"
            )

    def size(name: str, axis: int) -> int:
        if len(shapes.get(name, ())) != 2:
            raise ValueError(
                f"not MT3's network: there is no matrix {name} among its "
                f"{len(shapes)} parameters"
            )
        return shapes[name][axis]

    def num_layers(part: str) -> int:
        return len({n.split("/")[1] for n in shapes if n.startswith(f"{part}/layers_")})

    joined = size("encoder/layers_0/attention/query/kernel", 1)
    if joined % head_dim:
        raise ValueError(f"{joined} channels are not made of heads of {head_dim}")
    return Seq2SeqConfig(
        vocab_size=size("decoder/token_embedder/embedding", 0),
        emb_dim=size("decoder/token_embedder/embedding", 1),
        num_heads=joined // head_dim,
        head_dim=head_dim,
        num_encoder_layers=num_layers("encoder"),
        num_decoder_layers=num_layers("decoder"),
        mlp_dim=size("encoder/layers_0/mlp/wi_0/kernel", 1),
        input_depth=size("encoder/continuous_inputs_projection/kernel", 0),
    )


def tokens_config(model: Seq2SeqConfig, name: str | None = None) -> TokensConfig:
    """Return what the tokens of a published model mean, as a configuration.

    Args:
      model: its network.
      name: a key of `MODELS`; by default the one with a vocabulary of this size.

    Raises:
      ValueError: no model, or not the named one, has a vocabulary of this size.
    """
    sizes = {
        key: Codec(config.tokens.vocab).num_embeddings for key, config in MODELS.items()
    }
    known = ", ".join(f"{key} has {size}" for key, size in sizes.items())
    fits = [key for key, size in sizes.items() if size == model.vocab_size]
    if not fits:
        raise ValueError(
            f"its vocabulary of {model.vocab_size} is that of no published model: "
            + known
        )
    if name not in (None, *fits):
        raise ValueError(
            f"its vocabulary of {model.vocab_size} is not that of {name}: {known}"
        )
    return dataclasses.replace(MODELS[name or fits[0]], model=model)


def _training_state(data: bytes) -> dict[str, Any]:
    from flax import serialization

    try:
        tree = serialization.msgpack_restore(data)
    # msgpack raises all kinds of exceptions on foreign data.
    except Exception as error:
        raise ValueError(
            f"the file `checkpoint` is not a msgpack file of T5X ({_reason(error)})"
        ) from error
    state = tree.get("optimizer", tree) if isinstance(tree, Mapping) else {}
    if not isinstance(state, Mapping) or not isinstance(state.get("target"), Mapping):
        raise ValueError(
            "the file `checkpoint` holds no parameters (`target`): it is not a "
            "checkpoint of T5X"
        )
    return dict(state)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return arrays and descriptions of arrays (dicts with `driver`) by their paths."""
    leaves: dict[str, Any] = {}
    if prefix.count("/") > _MAX_DEPTH:
        raise ValueError(f"its parameters are nested in more than {_MAX_DEPTH} levels")
    for name, value in tree.items():
        if not isinstance(name, str):
            raise ValueError(f"{prefix}{str(name)[:40]} does not name an array")
        if isinstance(value, Mapping) and "driver" not in value:
            leaves |= _leaves(value, f"{prefix}{name}/")
        else:
            leaves[prefix + name] = value
    return leaves


def _open_array(
    described: Mapping[str, Any], folder: Mapping[str, Any], context: Any, name: str
) -> Any:
    """Open an array, and check it against its description."""
    import tensorstore as ts

    try:
        # Written by older versions of TensorStore, the path lies beside the store.
        path: Any = described["kvstore"].get("path") or described.get("path")
        shape = list(described["metadata"]["shape"])
        want = str(described["dtype"]), shape
        parts = path.split("/")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{name} is described in a way that T5X has not") from error
    # T5X writes zarr; others of TensorStore's drivers read other stores, or compute.
    if described["driver"] != "zarr":
        raise ValueError(
            f"{name} is stored by {str(described['driver'])[:40]}, not zarr"
        )
    if path.startswith("/") or ".." in parts or not path.strip("/"):
        raise ValueError(f"{name} lies outside of the checkpoint: {path[:100]!r}")
    spec = {
        "driver": "zarr",
        "kvstore": {**folder, "path": f"{folder['path']}{path}"},
        # Without this a lost file would read as zeros.
        "fill_missing_data_reads": False,
    }
    try:
        array = ts.open(spec, context=context, read=True).result()
    except ValueError as error:
        raise ValueError(
            f"{name} is missing or damaged ({_reason(error)}); copy the checkpoint "
            "again"
        ) from error
    have = (array.dtype.name, list(array.shape))
    if have != want:
        raise ValueError(
            f"{name} is {have[0]}{have[1]}, its description says {want[0]}{want[1]}: "
            "files of different checkpoints are mixed"
        )
    return array


def _reason(error: Exception) -> str:
    """Return an exception as one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__

"""Import weights of the authors' HPPNet (github WX-Wei/HPPNet, MIT) from `.pt` files.

The authors save whole pickled models, which PyTorch loads by running code from the
file. `read_torch_file` needs neither PyTorch nor the authors' code and runs nothing:
it reads the archive's tensors as NumPy arrays and takes every other object for an
inert placeholder. `import_hppnet` then maps the names onto mt3x's parameters.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mt3x.models.hppnet import SIZES, HPPNetConfig

MAX_PICKLE_BYTES = 64 * 2**20
MAX_DEPTH = 64

_STORAGE_DTYPES: Mapping[str, str] = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Return the named tensors of a file written by `torch.save`.

    The file may hold a state dict, a dict with one inside (`state_dict`, `model`, ...)
    or a whole model; its tensors get the names `state_dict()` would give them.
    Nothing in the file is executed. bfloat16 becomes float32.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is not such a file, or holds no named tensors.
    """
    path = Path(path)
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(
                f"{path}: not a zip archive as torch.save writes it; files of PyTorch "
                "before 1.6 must be loaded and saved again by a newer PyTorch"
            )
        try:
            with zipfile.ZipFile(file) as archive:
                content = _TensorUnpickler.load_archive(archive)
        except _MALFORMED as error:
            raise ValueError(
                f"{path}: damaged or not of torch.save: {error}"
            ) from error
    tensors = _named_tensors(content)
    if not tensors:
        raise ValueError(
            f"{path}: holds no named tensors; pass a saved model or state dict"
        )
    return tensors


def state_shapes(config: HPPNetConfig) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the authors' state dict for a model."""
    channels, hidden = config.channels, config.channels // 2
    trunk: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, shape: tuple[int, ...]) -> None:
        trunk[f"{name}.weight"] = shape
        trunk[f"{name}.bias"] = shape[:1]

    for name, c_in in (("block_1", 1), ("block_2", 16), ("block_2_5", 16)):
        convolution(f"trunk.{name}.0", (16, c_in, 7, 7))
    for k in range(1, 9):
        convolution(f"trunk.conv_3.conv_{k}", (channels, 16, 1, 3))
    for name, kernel in (("4", (1, 3)), ("5", (1, 3)), *((c, (5, 1)) for c in "678")):
        convolution(f"trunk.block_{name}.0", (channels, channels, *kernel))
    shapes = {}
    for subnet, heads in _subnet_heads(config).items():
        shapes |= {f"{subnet}.{name}": shape for name, shape in trunk.items()}
        for head in heads:
            prefix = f"{subnet}.heads.{head}.head"
            for suffix in ("", "_reverse"):
                lstm = f"{prefix}.lstm.rnn"
                shapes[f"{lstm}.weight_ih_l0{suffix}"] = (4 * hidden, channels)
                shapes[f"{lstm}.weight_hh_l0{suffix}"] = (4 * hidden, hidden)
                shapes[f"{lstm}.bias_ih_l0{suffix}"] = (4 * hidden,)
                shapes[f"{lstm}.bias_hh_l0{suffix}"] = (4 * hidden,)
            shapes[f"{prefix}.linear.weight"] = (1, channels)
            shapes[f"{prefix}.linear.bias"] = (1,)
    return shapes


def import_hppnet(
    state: Mapping[str, np.ndarray],
) -> tuple[HPPNetConfig, dict[str, Any]]:
    """Return the model and parameters that a state dict of the authors' HPPNet holds.

    Args:
      state: the authors' names and arrays, as `read_torch_file` returns them.

    Raises:
      ValueError: if names or shapes are not those of an HPPNet.
    """
    state = {name.removeprefix("module."): array for name, array in state.items()}
    config = _config_of(state)
    expected = state_shapes(config)
    odd = sorted(expected.keys() ^ state.keys())
    if odd:
        kind = "lacks" if odd[0] in expected else "has the unknown"
        raise ValueError(f"the state dict is not of an HPPNet: it {kind} {odd[0]!r}")
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise ValueError(
                f"{name} has the shape {state[name].shape}, an HPPNet of "
                f"{config.channels} channels has {shape}"
            )
    arrays = {name: array.astype(np.float32) for name, array in state.items()}
    if bad := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise ValueError(f"{bad[0]} holds numbers that are not finite")
    params = {}
    for n, (subnet, heads) in enumerate(_subnet_heads(config).items()):
        params[f"subnet_{n}"] = {
            "trunk": _trunk(arrays, f"{subnet}.trunk"),
            "heads": _heads(arrays, [f"{subnet}.heads.{head}.head" for head in heads]),
        }
    return config, params


# --- reading ------------------------------------------------------------------------


class _Inert:
    """Stands for any object of the file that is not a tensor; it only keeps state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and state and isinstance(state[0], dict):
            state = state[0]
        self.state = state if isinstance(state, dict) else {}

    def __setitem__(self, key: Any, value: Any) -> None:
        self.state[key] = value

    def append(self, item: Any) -> None:
        """Accept an item of a list of an unknown class."""

    def add(self, item: Any) -> None:
        """Accept an item of a set of an unknown class."""


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and plain containers; no other class or function is found."""

    def __init__(self, file: BinaryIO, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file, encoding="utf-8")
        self._archive = archive
        self._root = root
        self._storages: dict[str, np.ndarray] = {}

    @classmethod
    def load_archive(cls, archive: zipfile.ZipFile) -> Any:
        """Return the object of `ROOT/data.pkl` with tensors from `ROOT/data/KEY`."""
        names = [n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise ValueError("no data.pkl inside")
        root = names[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist():
            if archive.read(f"{root}byteorder") != b"little":
                raise ValueError("big-endian tensors are not supported")
        if archive.getinfo(names[0]).file_size > MAX_PICKLE_BYTES:
            raise ValueError(f"data.pkl is over {MAX_PICKLE_BYTES} bytes")
        with archive.open(names[0]) as file:
            return cls(file, archive, root).load()  # type: ignore[arg-type]

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == "collections" and global_name == "OrderedDict":
            return OrderedDict
        if module_name == "torch._utils":
            if global_name == "_rebuild_tensor_v2":
                return _rebuild_tensor
            if global_name == "_rebuild_parameter":
                return _rebuild_parameter
        if module_name == "torch" and global_name in _STORAGE_DTYPES:
            return _Storage(_STORAGE_DTYPES[global_name])
        return _Inert

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, storage, key, _location, count = pid
        if kind != "storage" or not isinstance(storage, _Storage):
            raise pickle.UnpicklingError(f"unknown kind of storage {pid[:2]}")
        if key not in self._storages:
            name = f"{self._root}data/{key}"
            raw = self._archive.read(name)
            self._storages[key] = storage.to_array(raw, count)
        return self._storages[key]


class _Storage:
    """The class of a storage, known by the type of its numbers."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def to_array(self, raw: bytes, count: int) -> np.ndarray:
        bfloat16 = self.dtype == "bf16"
        dtype = np.dtype("u2" if bfloat16 else self.dtype).newbyteorder("<")
        if len(raw) != count * dtype.itemsize:
            raise ValueError(f"a storage of {count} numbers has {len(raw)} bytes")
        array = np.frombuffer(raw, dtype=dtype)
        if bfloat16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array


def _rebuild_tensor(
    storage: np.ndarray, offset: int, size: Any, stride: Any, *_rest: Any
) -> np.ndarray:
    """Return a tensor as an array of its own; views outside the storage fail."""
    size, stride = tuple(size), tuple(stride)
    numbers = (offset, *size, *stride)
    if any(not isinstance(n, int) or n < 0 for n in numbers):
        raise ValueError(f"a tensor has the impossible size {size}, stride {stride}")
    if len(size) != len(stride) or math.prod(size) > storage.size:
        raise ValueError(f"a tensor of size {size} exceeds its storage")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= storage.size:
        raise ValueError(f"a tensor of size {size} exceeds its storage")
    if not math.prod(size):
        return np.zeros(size, storage.dtype)
    strides = [step * storage.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, strides)
    return np.array(view)


def _rebuild_parameter(data: Any, *_rest: Any) -> Any:
    return data


_MALFORMED = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def _named_tensors(content: Any) -> dict[str, np.ndarray]:
    """Return the tensors of a whole model, of a state dict or of a dict around one."""
    if isinstance(content, _Inert):
        return dict(_module_tensors(content.state, "", MAX_DEPTH))
    if not isinstance(content, dict):
        return {}
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, np.ndarray)
    }
    if tensors:
        return tensors
    found = [
        _named_tensors(value) for value in content.values() if value is not content
    ]
    return max(found, key=len, default={})


def _module_tensors(
    state: Mapping[Any, Any], prefix: str, depth: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a pickled module's parameters, buffers and those of its submodules."""
    if depth == 0:
        return
    for group in ("_parameters", "_buffers"):
        for name, value in dict(state.get(group) or {}).items():
            if isinstance(value, np.ndarray):
                yield f"{prefix}{name}", value
    for name, module in dict(state.get("_modules") or {}).items():
        if isinstance(module, _Inert):
            yield from _module_tensors(module.state, f"{prefix}{name}.", depth - 1)


# --- mapping ------------------------------------------------------------------------


def _config_of(state: Mapping[str, np.ndarray]) -> HPPNetConfig:
    """Return the size that the harmonic convolution and the subnets tell."""
    kernel = state.get("subnet_onset.trunk.conv_3.conv_1.weight")
    if kernel is None or kernel.ndim != 4:
        some = ", ".join(sorted(state)[:3])
        raise ValueError(
            "no HPPNet: subnet_onset.trunk.conv_3.conv_1.weight is missing; "
            f"found {len(state)} tensors ({some}, ...)"
        )
    two = any(name.startswith("subnet_frame.") for name in state)
    subnets = SIZES["sp" if two else "base"].subnets
    return HPPNetConfig(channels=kernel.shape[0], subnets=subnets)


def _subnet_heads(config: HPPNetConfig) -> dict[str, tuple[str, ...]]:
    """Return the heads of each subnet, by the authors' names of the subnets."""
    names = ("subnet_onset", "subnet_frame")[: len(config.subnets)]
    pairs = zip(names, config.subnets, strict=True)
    return {name: subnet.heads for name, subnet in pairs}


def _trunk(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
    """Return the parameters of one trunk."""

    def convolution(name: str) -> dict[str, np.ndarray]:
        weight_DxCxHxW = arrays[f"{prefix}.{name}.0.weight"]
        return {
            "kernel": weight_DxCxHxW.transpose(2, 3, 1, 0),
            "bias": arrays[f"{prefix}.{name}.0.bias"],
        }

    names = [f"{prefix}.conv_3.conv_{k}" for k in range(1, 9)]
    kernels_Nx3xCxD = [
        arrays[f"{name}.weight"][:, :, 0].transpose(2, 1, 0) for name in names
    ]
    return {
        "stem_0": convolution("block_1"),
        "stem_1": convolution("block_2"),
        "stem_2": convolution("block_2_5"),
        "harmonic": {
            "kernel": np.stack(kernels_Nx3xCxD),
            "bias": np.stack([arrays[f"{name}.bias"] for name in names]),
        },
        "octave": convolution("block_4"),
        "semitone": convolution("block_5"),
        "time_0": convolution("block_6"),
        "time_1": convolution("block_7"),
        "time_2": convolution("block_8"),
    }


def _heads(arrays: Mapping[str, np.ndarray], prefixes: list[str]) -> dict[str, Any]:
    """Return the parameters of a subnet's heads: D directions, G heads stacked."""

    def stack(name: str) -> np.ndarray:
        return np.stack(
            [
                [arrays[f"{prefix}.lstm.rnn.{name}{suffix}"] for prefix in prefixes]
                for suffix in ("_l0", "_l0_reverse")
            ]
        )

    dense_GxDxH = np.stack(
        [arrays[f"{prefix}.linear.weight"].reshape(2, -1) for prefix in prefixes]
    )
    biases = [arrays[f"{prefix}.linear.bias"] for prefix in prefixes]
    return {
        "input_kernel": stack("weight_ih"),
        "recurrent_kernel": stack("weight_hh"),
        "input_bias": stack("bias_ih"),
        "recurrent_bias": stack("bias_hh"),
        "dense_kernel": dense_GxDxH.swapaxes(0, 1),
        "dense_bias": np.concatenate(biases),
    }

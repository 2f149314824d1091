"""Import weights of the authors' HPPNet (github WX-Wei/HPPNet, MIT) from `.pt` files.

The authors save whole pickled models, which PyTorch loads by running code from the
file. `read_torch_file` needs neither PyTorch nor the authors' code and runs nothing:
it reads the archive's tensors as NumPy arrays and takes every other object for an
inert placeholder. `import_hppnet` then maps the names onto mt3x's parameters.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mt3x.models.hppnet import SIZES, HPPNetConfig
from mt3x.models.orbax_items import first_line

# Far above what a model of HPPNet's kind and its optimizer need: files of strangers are
# to be refused before they take memory or time.
MAX_PICKLE_BYTES = 2 * 2**20
MAX_TENSOR_BYTES = 256 * 2**20
MAX_TUPLES = 20_000
MAX_MODULES = 10_000

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
                tensors = _read_archive(archive)
        # zipfile and pickle raise all kinds of exceptions on damaged files.
        except Exception as error:
            raise ValueError(
                f"{path}: damaged or not of torch.save: {first_line(error)}"
            ) from error
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
        raise ValueError(
            f"the state dict is not of an HPPNet: it {kind} {odd[0]!r:.100}"
        )
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise ValueError(
                f"{name} has the shape {state[name].shape}, an HPPNet of "
                f"{config.channels} channels has {shape}"
            )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
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


class _Sealed:
    """What a pickle may name and call, but not change."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a class of PyTorch is given a state")


class _Storage(_Sealed):
    """A stored part of the archive: numbers of one type, read when they are wanted."""

    def __init__(self, dtype: str, key: str, count: int) -> None:
        self.dtype, self.key, self.count = dtype, key, count

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bf16" else np.dtype(self.dtype).itemsize


class _StorageType(_Sealed):
    """The class of a storage, known by the type of its numbers."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class _Tensor(_Sealed):
    """A view of a storage. Views that reach outside of it, or of a tensor, fail."""

    def __init__(
        self, storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any
    ) -> None:
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor is not made from a storage")
        self.storage, self.offset = storage, offset
        self.size, self.stride = tuple(size), tuple(stride)
        numbers = (offset, *self.size, *self.stride)
        # Python's whole numbers: sums and products are exact however large.
        if any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError(f"a tensor has an impossible size or stride: {numbers}")
        if len(self.size) != len(self.stride):
            raise ValueError(f"a tensor has {self.size} numbers, strides {self.stride}")
        pairs = zip(self.size, self.stride, strict=True)
        last = offset + sum((n - 1) * step for n, step in pairs)
        if self.count and (self.count > storage.count or last >= storage.count):
            raise ValueError(f"a tensor of size {self.size} exceeds its storage")

    @property
    def count(self) -> int:
        return math.prod(self.size)


class _Parameter(_Sealed):
    """Stands for what makes a tensor a parameter: it gives the tensor."""

    def __new__(cls, data: Any, *_rest: Any) -> Any:
        return data


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


class _Dict(dict[Any, Any]):
    """Stands for an OrderedDict; its attributes are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and plain containers; no other class or function is found."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        match module_name, global_name:
            case "collections", "OrderedDict":
                return _Dict
            case "torch._utils", "_rebuild_tensor_v2":
                return _Tensor
            case "torch._utils", "_rebuild_parameter":
                return _Parameter
            case "torch", name if name in _STORAGE_DTYPES:
                return _StorageType(_STORAGE_DTYPES[name])
        return _Inert

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("unknown kind of storage")
        _, kind, key, _location, count = pid
        if type(key) is not str or type(count) is not int or count < 0:
            raise pickle.UnpicklingError("a storage has an impossible name or size")
        if not isinstance(kind, _StorageType):
            raise pickle.UnpicklingError(f"storage {key[:40]} is of an unknown type")
        return _Storage(kind.dtype, key, count)


def _read_archive(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Return the tensors of `ROOT/data.pkl`, their numbers from `ROOT/data/KEY`."""
    names = [n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"]
    if len(names) != 1:
        raise ValueError("no data.pkl inside")
    root = names[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist():
        if _member(archive, f"{root}byteorder", 16) != b"little":
            raise ValueError("big-endian tensors are not supported")
    content = _member(archive, names[0], MAX_PICKLE_BYTES)
    _check_pickle(content)
    unpickler = _TensorUnpickler(io.BytesIO(content), encoding="utf-8")
    tensors = _named_tensors(unpickler.load())
    storages: dict[str, _Storage] = {}
    for name, tensor in tensors.items():
        storage = storages.setdefault(tensor.storage.key, tensor.storage)
        if (storage.dtype, storage.count) != (
            tensor.storage.dtype,
            tensor.storage.count,
        ):
            raise ValueError(f"the storage of {name[:80]} has two sizes or types")
    for parts in (storages.values(), tensors.values()):
        if sum(_num_bytes(part) for part in parts) > MAX_TENSOR_BYTES:
            raise ValueError(
                f"its tensors take more than {MAX_TENSOR_BYTES >> 20} MB, which those "
                "of no HPPNet do"
            )
    data = {
        key: _member(archive, f"{root}data/{key}", _num_bytes(storage))
        for key, storage in storages.items()
    }
    return {
        name: _to_array(tensor, data[tensor.storage.key])
        for name, tensor in tensors.items()
    }


def _num_bytes(part: _Storage | _Tensor) -> int:
    storage = part.storage if isinstance(part, _Tensor) else part
    return part.count * storage.itemsize


def _member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Return a part of the archive, if it is no larger than allowed."""
    info = archive.getinfo(name)
    # torch.save does not compress. What others pack with deflate is read in steps, so
    # that no more comes out than was announced; the other methods have no such limit.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name[:80]} is packed by a method that torch.save has not")
    if info.file_size > max_bytes:
        raise ValueError(f"{name[:80]} has {info.file_size} bytes, over {max_bytes}")
    return archive.read(info)


def _check_pickle(content: bytes) -> None:
    """Refuse pickles that are small but take much of memory, or of the stack."""
    tuples = 0
    for opcode, argument, _ in pickletools.genops(content):
        # Python's memo is an array of twice this length.
        if "PUT" in opcode.name and (argument or 0) > len(content):
            raise pickle.UnpicklingError(f"memo {argument} is not in the pickle")
        # Tuples inside of each other, as a key of a dict, overflow C's stack.
        tuples += "TUPLE" in opcode.name
        if tuples > MAX_TUPLES:
            raise pickle.UnpicklingError(f"more than {MAX_TUPLES} tuples")


def _to_array(tensor: _Tensor, data: bytes) -> np.ndarray:
    """Return a tensor as an array of its own."""
    storage, step = tensor.storage, tensor.storage.itemsize
    if len(data) != storage.count * step:
        raise ValueError(f"a storage of {storage.count} numbers has {len(data)} bytes")
    bfloat16 = storage.dtype == "bf16"
    dtype = np.dtype("u2" if bfloat16 else storage.dtype).newbyteorder("<")
    if not tensor.count:
        return np.zeros(tensor.size, "f4" if bfloat16 else dtype)
    # NumPy, too, refuses a view that is not within its buffer.
    view = np.ndarray(
        shape=tensor.size,
        dtype=dtype,
        buffer=data,
        offset=tensor.offset * step,
        strides=tuple(n * step for n in tensor.stride),
    )
    if bfloat16:
        return (view.astype(np.uint32) << 16).view(np.float32)
    return np.array(view)


def _named_tensors(content: Any) -> dict[str, _Tensor]:
    """Return the tensors of a whole model, of a state dict or of a dict around one."""
    found: dict[str, _Tensor] = {}
    # Dicts may hold one another: each is looked into once.
    seen, waiting = set(), collections.deque([content])
    while waiting:
        part = waiting.popleft()
        if not isinstance(part, (dict, _Inert)) or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, _Inert):
            tensors = dict(_module_tensors(part.state))
        else:
            tensors = {
                name: value
                for name, value in part.items()
                if isinstance(name, str) and isinstance(value, _Tensor)
            }
            if not tensors:
                waiting += part.values()
        found = max(found, tensors, key=len)
    return found


def _module_tensors(state: Any) -> Iterator[tuple[str, _Tensor]]:
    """Yield a pickled module's parameters, buffers and those of its submodules."""
    waiting = [("", state)]
    for _ in range(MAX_MODULES):
        if not waiting:
            return
        prefix, state = waiting.pop()
        parameters, buffers, modules = (
            dict(state.get(group) or {})
            for group in ("_parameters", "_buffers", "_modules")
        )
        for name, value in (parameters | buffers).items():
            if isinstance(value, _Tensor):
                yield f"{prefix}{name}", value
        waiting += [
            (f"{prefix}{name}.", module.state)
            for name, module in modules.items()
            if isinstance(module, _Inert)
        ]
    # Modules that hold one another have names without end.
    raise ValueError(f"more than {MAX_MODULES} modules")


# --- mapping ------------------------------------------------------------------------


def _config_of(state: Mapping[str, np.ndarray]) -> HPPNetConfig:
    """Return the size that the harmonic convolution and the subnets tell."""
    kernel = state.get("subnet_onset.trunk.conv_3.conv_1.weight")
    if kernel is None or kernel.ndim != 4:
        some = ", ".join(name[:60] for name in sorted(state)[:3])
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

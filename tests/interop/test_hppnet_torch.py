"""Import of the authors' `.pt` files: two real ones, hostile ones and broken ones."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import hppnet_inputs as inputs
import numpy as np
import pytest
from click.testing import CliRunner

from mt3x.cli.main import group
from mt3x.interop.hppnet_torch import import_hppnet, read_torch_file, state_shapes
from mt3x.models.hppnet import SP_SUBNETS, HPPNetConfig
from mt3x.models.objectives import PianoConfig
from mt3x.models.weights_file import load_weights
from mt3x.music.rolls import ROLL_NAMES

GOLDEN = Path(__file__).parents[1] / "golden"
ONE = HPPNetConfig(channels=8)
SP = HPPNetConfig(channels=8, subnets=SP_SUBNETS)


def seeded(config: HPPNetConfig) -> dict[str, np.ndarray]:
    return inputs.weights(1, state_shapes(config))  # the seed of make_hppnet.py


def write_archive(path: Path, content: bytes, name: str = "model/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return path


def test_reads_a_state_dict():
    state = read_torch_file(GOLDEN / "hppnet_state.pt")
    ref = seeded(ONE)
    assert state.keys() == ref.keys()
    for name, array in ref.items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)


def test_reads_a_whole_model():
    state = read_torch_file(GOLDEN / "hppnet_model.pt")
    ref = seeded(SP)
    assert state.keys() == ref.keys()
    for name, array in ref.items():
        assert state[name].dtype == np.float16
        np.testing.assert_array_equal(state[name], array.astype(np.float16))


@pytest.mark.parametrize("config", [ONE, SP])
def test_size_is_found(config):
    found, params = import_hppnet(seeded(config))
    assert found == config
    names = [f"subnet_{n}" for n in range(len(config.subnets))]
    assert list(params) == names


def test_data_parallel_prefix_is_dropped():
    state = {f"module.{name}": array for name, array in seeded(ONE).items()}
    assert import_hppnet(state)[0] == ONE


def test_tensors_land_where_they_belong():
    state = seeded(SP)
    params = import_hppnet(state)[1]
    trunk = params["subnet_1"]["trunk"]
    prefix = "subnet_frame.trunk"
    kernel_HxWxCxD = trunk["stem_1"]["kernel"]
    assert kernel_HxWxCxD[2, 3, 4, 5] == state[f"{prefix}.block_2.0.weight"][5, 4, 2, 3]
    weight = state[f"{prefix}.conv_3.conv_8.weight"]
    assert trunk["harmonic"]["kernel"][7, 2, 4, 5] == weight[5, 4, 0, 2]
    heads = params["subnet_1"]["heads"]
    velocity = "subnet_frame.heads.velocity.head"
    rnn = f"{velocity}.lstm.rnn"
    assert ROLL_NAMES.index("velocity") == 3  # third of its subnet: index 2 below
    assert (
        heads["input_kernel"][1, 2, 6, 7]
        == (state[f"{rnn}.weight_ih_l0_reverse"][6, 7])
    )
    assert heads["recurrent_bias"][0, 2, 9] == state[f"{rnn}.bias_hh_l0"][9]
    dense = state[f"{velocity}.linear.weight"]
    np.testing.assert_array_equal(heads["dense_kernel"][1, 2], dense[0, 4:])


class Hostile:
    """Runs a shell command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_in_a_file_is_run(tmp_path):
    trace = tmp_path / "trace"
    content = {"config": Hostile(trace), "rest": [Hostile(trace)]}
    path = write_archive(tmp_path / "bad.pt", pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=r"bad\.pt: holds no named tensors"):
        read_torch_file(path)
    assert not trace.exists()
    # The same bytes do run under plain pickle: the file is hostile indeed.
    pickle.loads(pickle.dumps(content, protocol=2))
    assert trace.exists()


def storage(count: int = 3, kind: str = "Float", key: str = "0") -> str:
    """What a pickle of torch has for the stored part `data/KEY`."""
    return f"(S'storage'\nctorch\n{kind}Storage\nS'{key}'\nS'cpu'\nI{count}\ntQ"


def view(base: str, size: tuple, stride: tuple, offset: int = 0) -> str:
    """What a pickle of torch has for a tensor."""
    sizes, steps = ("".join(f"I{n}\n" for n in x) for x in (size, stride))
    numbers = f"({base}I{offset}\n({sizes}t({steps}tI00\nNt"
    return f"ctorch._utils\n_rebuild_tensor_v2\n{numbers}R"


def pickled_archive(path: Path, body: str | bytes, data: bytes = bytes(12)) -> Path:
    """An archive with a pickle and the bytes of one storage, compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", body)
        archive.writestr("m/data/0", data)
    return path


def tensor_archive(path: Path, size: tuple, stride: tuple, data: bytes) -> Path:
    """A state dict of one float tensor, its pickle as torch writes it."""
    return pickled_archive(path, f"(dS'w'\n{view(storage(), size, stride)}s.", data)


def module(group: str, value: str) -> str:
    """What a pickle has for a module with this state of one of its groups."""
    return f"ca\nM\n(tR(dS'{group}'\n{value}sb."


SCALAR = view(storage(), (1,), (1,))
PAST = view(view(storage(), (1, 3), (3, 1)), (2,), (1,), offset=1)
DAMAGED = {
    "a tensor of a tensor": f"(dS'w'\n{PAST}s.",
    "a tensor of a text": f"(dS'w'\n{view(chr(78), (1,), (1,))}s.",
    "an offset past the end": f"(dS'w'\n{view(storage(), (1,), (1,), 3)}s.",
    "an offset before it": f"(dS'w'\n{view(storage(), (1,), (1,), -1)}s.",
    "an offset of 2^64": f"(dS'w'\n{view(storage(), (1,), (1,), 2**64)}s.",
    "a stride of 2^62": f"(dS'w'\n{view(storage(), (2,), (2**62,))}s.",
    "sizes whose product is 2^64": f"(dS'w'\n{view(storage(), (2**32,) * 2, (0, 0))}s.",
    "more sizes than strides": f"(dS'w'\n{view(storage(), (1, 1), (1,))}s.",
    "100 dimensions": f"(dS'w'\n{view(storage(), (1,) * 100, (1,) * 100)}s.",
    "a storage of negative size": f"(dS'w'\n{view(storage(-3), (1,), (1,))}s.",
    "a storage larger than its data": f"(dS'w'\n{view(storage(4), (1,), (1,))}s.",
    "a storage smaller than its data": f"(dS'w'\n{view(storage(2), (1,), (1,))}s.",
    "a storage of two types": f"(dS'a'\n{SCALAR}s"
    f"S'b'\n{view(storage(kind='Int'), (1,), (1,))}s.",
    "a storage of gigabytes": f"(dS'w'\n{view(storage(2**40), (1,), (1,))}s.",
    "a storage that is not there": f"(dS'w'\n{view(storage(key='9'), (1,), (1,))}s.",
    "an identifier that is a text": "S'storage'\nQ.",
    "an identifier of odd parts": "(S'storage'\n(t(tS'cpu'\nI3\ntQ.",
    "a state for a tensor": f"(dS'w'\n{SCALAR}(dS'size'\n(tsbs.",
    "a state for a type": "ctorch\nFloatStorage\n(dS'dtype'\nS'O'\nsb.",
    "a state for what makes views": "ctorch._utils\n_rebuild_tensor_v2\n(d(dtb.",
    "parameters that are a number": module("_parameters", "I5\n"),
    "modules that are a text": module("_modules", "S'abc'\n"),
    "a module in itself": "ca\nM\n(tRp0\n(dS'_modules'\n(dS'm'\ng0\nssb.",
    "a memo of gigabytes": b"Nr\xff\xff\xff\x3f.",
    "tuples in each other": b"})" + b"\x85" * 300_000 + b"Ns.",
    "bytes of 2^62": b"\x80\x05\x8e" + (2**62).to_bytes(8, "little") + b"x.",
    "a large pickle": b"N0" * 2**20 + b"N.",
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
def test_hostile_pickles_are_refused(tmp_path, body):
    path = pickled_archive(tmp_path / "bad.pt", body)
    with pytest.raises(ValueError, match=r"bad\.pt: damaged") as error:
        read_torch_file(path)
    assert "\n" not in str(error.value)


def test_dicts_in_each_other_hold_no_tensors(tmp_path):
    path = pickled_archive(tmp_path / "bad.pt", "(dp0\nS'a'\n(dp1\nS'b'\ng0\nss.")
    with pytest.raises(ValueError, match="holds no named tensors"):
        read_torch_file(path)


@pytest.mark.parametrize("part", ["m/data.pkl", "m/data/0"])
def test_small_archives_that_unpack_to_much_are_refused(tmp_path, part):
    parts = {
        "m/data.pkl": f"(dS'w'\n{view(storage(2**26 + 1), (1,), (1,))}s.",
        "m/data/0": bytes(4),
        part: bytes(4 * 2**26 + 4),
    }
    with zipfile.ZipFile(tmp_path / "bad.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"bad\.pt: damaged.*(more than|over) "):
        read_torch_file(tmp_path / "bad.pt")


METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_damaged_compression_is_told(tmp_path, method):
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("m/data.pkl", pickle.dumps(dict.fromkeys(range(1000)), 2))
    data = bytearray(path.read_bytes())
    data[44:80] = b"\xff" * 36
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.pt: damaged"):
        read_torch_file(path)


def test_attributes_of_a_state_dict_are_passed_over(tmp_path):
    """PyTorch's carry `_metadata`."""
    body = f"ccollections\nOrderedDict\n(tRS'w'\n{view(storage(), (3,), (1,))}s"
    body += "(dS'_metadata'\n(dsS'items'\nI1\nsb."
    assert read_torch_file(pickled_archive(tmp_path / "a.pt", body)).keys() == {"w"}


def test_tensors_must_lie_in_their_storage(tmp_path):
    data = np.arange(3, dtype="<f4").tobytes()
    good = tensor_archive(tmp_path / "a.pt", (3,), (1,), data)
    np.testing.assert_array_equal(read_torch_file(good)["w"], [0, 1, 2])
    for size, stride in (((4,), (1,)), ((2,), (3,)), ((10**9,), (0,)), ((-1,), (1,))):
        bad = tensor_archive(tmp_path / "b.pt", size, stride, data)
        with pytest.raises(ValueError, match=r"b\.pt: damaged"):
            read_torch_file(bad)
    short = tensor_archive(tmp_path / "c.pt", (3,), (1,), data[:8])
    with pytest.raises(ValueError, match="3 numbers has 8 bytes"):
        read_torch_file(short)


def test_strides_are_followed(tmp_path):
    data = np.arange(3, dtype="<f4").tobytes()
    path = tensor_archive(tmp_path / "a.pt", (1, 2), (1, 2), data)
    np.testing.assert_array_equal(read_torch_file(path)["w"], [[0, 2]])


def test_other_files_are_refused(tmp_path):
    text = tmp_path / "text.pt"
    text.write_text("no model")
    with pytest.raises(ValueError, match=r"text\.pt: not a zip"):
        read_torch_file(text)
    empty = write_archive(tmp_path / "empty.pt", b"", name="readme")
    with pytest.raises(ValueError, match=r"no data\.pkl"):
        read_torch_file(empty)
    broken = write_archive(tmp_path / "broken.pt", b"(lp0\nnonsense")
    with pytest.raises(ValueError, match=r"broken\.pt: damaged"):
        read_torch_file(broken)
    with pytest.raises(OSError, match="absent"):
        read_torch_file(tmp_path / "absent.pt")
    whole = (GOLDEN / "hppnet_state.pt").read_bytes()
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.pt"):
        read_torch_file(cut)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="no HPPNet"):
        import_hppnet({"layer.weight": np.zeros((2, 2))})
    state = seeded(ONE)
    del state["subnet_onset.trunk.block_6.0.bias"]
    with pytest.raises(
        ValueError, match=r"lacks 'subnet_onset\.trunk\.block_6\.0\.bias'"
    ):
        import_hppnet(state)
    state = seeded(ONE) | {"subnet_onset.extra": np.zeros(1)}
    with pytest.raises(ValueError, match=r"unknown 'subnet_onset\.extra'"):
        import_hppnet(state)
    name = "subnet_onset.trunk.block_6.0.weight"
    state = seeded(ONE) | {name: np.zeros((8, 8, 3, 1))}
    with pytest.raises(ValueError, match=r"shape \(8, 8, 3, 1\)"):
        import_hppnet(state)
    state = seeded(ONE) | {name: np.full((8, 8, 5, 1), np.nan)}
    with pytest.raises(ValueError, match="not finite"):
        import_hppnet(state)
    state = seeded(ONE) | {name: np.full((8, 8, 5, 1), 1e300)}
    with pytest.raises(ValueError, match="not finite"):
        import_hppnet(state)


def test_command_writes_weights(tmp_path):
    out = tmp_path / "out.safetensors"
    arguments = ["import", "hppnet", str(GOLDEN / "hppnet_model.pt"), str(out)]
    result = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    weights = load_weights(out)
    assert PianoConfig.from_dict(weights.config).model == SP
    kernel = weights.params["subnet_0"]["trunk"]["stem_0"]["kernel"]
    ref = seeded(SP)["subnet_onset.trunk.block_1.0.weight"].astype(np.float16)
    np.testing.assert_array_equal(kernel, ref.transpose(2, 3, 1, 0))
    with pytest.raises(OSError, match="out"):
        CliRunner().invoke(group, arguments, catch_exceptions=False)
    again = [*arguments, "--overwrite"]
    assert CliRunner().invoke(group, again, catch_exceptions=False).exit_code == 0


def test_reads_what_torch_writes_now(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch writes the file")
    buffer = io.BytesIO()
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {
        "turned": base.T,
        "slice": base[1:, ::2],
        "half": base.half(),
        "brain": base.bfloat16(),
        "whole": torch.arange(3),
        "scalar": torch.tensor(2.5),
    }
    torch.save({"state_dict": tensors, "step": 3}, buffer)
    path = tmp_path / "new.pt"
    path.write_bytes(buffer.getvalue())
    for name, array in read_torch_file(path).items():
        np.testing.assert_array_equal(array, tensors[name].float().numpy())

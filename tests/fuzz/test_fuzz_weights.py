"""Damaged weights: what was saved, or one line that names the file."""

import io
import json
import struct
import zipfile
from pathlib import Path

import mutations
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_models import SMALL, SMALL_BAND, SMALL_ROLLS, random_params

from mt3x.cli.import_ import command
from mt3x.inference.transcriber import Transcriber
from mt3x.models import weights_file

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIGS = (SMALL, SMALL_BAND, SMALL_ROLLS)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The bytes of a weights file of each kind of model."""
    folder = tmp_path_factory.mktemp("weights")
    for n, config in enumerate(CONFIGS):
        weights_file.save_weights(
            folder / str(n), random_params(config), config.to_dict(), {"step": "3"}
        )
    return [(folder / str(n)).read_bytes() for n in range(len(CONFIGS))]


def unpacked(data: bytes) -> tuple[dict, bytes]:
    """The header of a safetensors file, and what follows it."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def packed(header: dict, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def read_as_saved(path: Path, files: list[bytes]) -> None:
    """Load a model; what comes through is one of those that were saved."""
    found = weights_file.flatten(weights_file.load(path).params)
    assert any(
        found.keys() == {name for name in unpacked(file)[0] if name != "__metadata__"}
        for file in files
    )
    assert all(np.isfinite(array).all() for array in found.values())
    Transcriber(path)


def test_damaged_files(tmp_path, files):
    mutations.try_all(
        lambda path: read_as_saved(path, files), tmp_path / "a.safetensors", files
    )


@pytest.mark.parametrize("kind", range(len(CONFIGS)))
def test_odd_configs(tmp_path, files, kind):
    """Of files that are whole but for the config in their header."""
    header, body = unpacked(files[kind])
    texts = header["__metadata__"]

    def read(path):
        config = path.read_bytes().decode("latin-1")
        path.write_bytes(
            packed(header | {"__metadata__": texts | {"config": config}}, body)
        )
        read_as_saved(path, files)

    config = texts["config"].encode()
    counts = mutations.try_all(read, tmp_path / "a.safetensors", [config])
    assert counts["read"]  # such as other thresholds


def convert(path: Path) -> None:
    """Run `mt3x import hppnet`; raise what it raises."""
    out = path.with_suffix(".safetensors")
    args = ["hppnet", str(path), str(out), "--overwrite"]
    result = CliRunner().invoke(command, args)
    if result.exception is not None:
        raise result.exception
    weights = weights_file.load(out)
    assert weights.config["model"]["channels"] == 8


@pytest.fixture(scope="module")
def archives():
    names = ("hppnet_state.pt", "hppnet_model.pt")
    return [(GOLDEN / name).read_bytes() for name in names]


def test_damaged_archives(tmp_path, archives):
    mutations.try_all(convert, tmp_path / "a.pt", archives)


def test_odd_pickles(tmp_path, archives):
    """Of archives that are whole but for their pickle."""

    def pickle_of(data):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            return archive.read(name)

    def read(path):
        content = path.read_bytes()
        source = archives[len(content) % 2]
        with (
            zipfile.ZipFile(io.BytesIO(source)) as old,
            zipfile.ZipFile(path, "w") as new,
        ):
            for info in old.infolist():
                is_pickle = info.filename.endswith("/data.pkl")
                new.writestr(info.filename, content if is_pickle else old.read(info))
        convert(path)

    mutations.try_all(read, tmp_path / "a.pt", [pickle_of(data) for data in archives])

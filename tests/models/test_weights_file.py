"""Weights files and run folders: round trips, damage, other models."""

import json
import struct
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_objective import ToyBatches, ToyObjective

from mt3x.models import orbax_items, weights_file
from mt3x.training.run_checkpoints import RunCheckpoints
from mt3x.training.train import TrainConfig, train

PARAMS = {
    "trunk": {"conv_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    "head": {"bias": np.float32([1.5]), "steps": np.int32([7])},
}
CONFIG = {"model": {"channels": 48}, "names": ["onset", "frame"], "none": None}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "w.safetensors"
    weights_file.save_weights(path, PARAMS, CONFIG, {"licence": "CC0 \u266a"})
    return path


def test_weights_round_trip(file):
    params, config, metadata = weights_file.load_weights(file)
    assert config == CONFIG
    assert metadata == {"licence": "CC0 \u266a"}
    flat = weights_file.flatten(params)
    assert flat.keys() == {"trunk/conv_0/kernel", "head/bias", "head/steps"}
    for name, value in weights_file.flatten(PARAMS).items():
        np.testing.assert_array_equal(flat[name], value)
        assert flat[name].dtype == value.dtype
    weights_file.check_params(params, PARAMS, file)


def test_bfloat16_is_stored_as_float32(tmp_path):
    weights_file.save_weights(
        tmp_path / "w", {"a": jnp.asarray([1.0, 2.5], jnp.bfloat16)}, {}
    )
    array = weights_file.load_weights(tmp_path / "w").params["a"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [1.0, 2.5])


def test_existing_file_is_kept(file):
    before = file.read_bytes()
    with pytest.raises(OSError, match="exists"):
        weights_file.save_weights(file, {"a": np.zeros(1)}, {})
    assert file.read_bytes() == before
    weights_file.save_weights(file, {"a": np.zeros(1)}, {}, overwrite=True)
    assert weights_file.load_weights(file).params.keys() == {"a"}


def test_not_finite_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="x/y is not finite"):
        weights_file.save_weights(
            tmp_path / "w", {"x": {"y": np.float32([np.inf])}}, {}
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 4, 20, 200, -1])
def test_truncated_file(file, size):
    data = file.read_bytes()
    file.write_bytes(data[:size])
    with pytest.raises(ValueError, match=r"w\.safetensors.*mt3x export"):
        weights_file.load(file)


def change_header(file, **entries):
    """Give a weights file other entries in its header; None takes one out."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    texts = header["__metadata__"] | entries
    header["__metadata__"] = {k: v for k, v in texts.items() if v is not None}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    "entries",
    [
        {"config": None},
        {"config": "{"},
        {"config": "[]"},
        {"config": "[" * 50_000},
        {"metadata": None},
        {"metadata": ""},
        {"metadata": "5"},
        {"metadata": '{"step": 5}'},
    ],
)
def test_a_damaged_header_is_told(file, entries):
    change_header(file, **entries)
    with pytest.raises(ValueError, match=r"w\.safetensors: .*mt3x export") as error:
        weights_file.load(file)
    assert "\n" not in str(error.value)


def test_a_flipped_bit_is_noticed(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"w\.safetensors: damaged, .*as they were"):
        weights_file.load(file)
    # Files of older versions have no checksum.
    change_header(file, sha256=None)
    weights_file.load(file)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a/b/c/d")])
def test_an_array_named_like_a_folder_of_others_is_told(file, names):
    from safetensors.numpy import save_file

    metadata = {"format": weights_file.FORMAT, "config": "{}", "metadata": "{}"}
    save_file(dict.fromkeys(names, np.zeros(2)), file, metadata=metadata)
    with pytest.raises(ValueError, match=r"w\.safetensors: a.* array"):
        weights_file.load(file)


def test_what_is_not_finite_is_not_loaded(file):
    from safetensors.numpy import save_file

    metadata = {"format": weights_file.FORMAT, "config": "{}", "metadata": "{}"}
    save_file({"a": np.float32([1, np.nan])}, file, metadata=metadata)
    with pytest.raises(ValueError, match=r"w\.safetensors: parameter a is not finite"):
        weights_file.load(file)


def test_other_files(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: has no config"):
        weights_file.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        weights_file.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="not a run folder"):
        weights_file.load(tmp_path)


def test_differences_are_named():
    def fault(params):
        with pytest.raises(ValueError) as error:
            weights_file.check_params(params, PARAMS, "w.safetensors")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "head/bias is missing" in fault({**PARAMS, "head": {"steps": np.int32([7])}})
    assert "extra is unknown" in fault({**PARAMS, "extra": np.zeros(1)})
    shape = {**PARAMS, "trunk": {"conv_0": {"kernel": np.zeros((2, 4), np.float32)}}}
    assert "kernel is float32[2, 4], not float32[2, 3]" in fault(shape)
    dtype = {**PARAMS, "trunk": {"conv_0": {"kernel": np.zeros((2, 3))}}}
    assert "kernel is float64[2, 3], not float32[2, 3]" in fault(dtype)
    assert "a checkpoint of another model" in fault({})


@pytest.fixture
def run_dir(tmp_path):
    scores = iter([0.1, 0.9, 0.2])
    config = TrainConfig(
        steps=3, eval_interval=1, checkpoint_interval=1, keep=2, ema_decay=0.5
    )
    train(
        config,
        ToyObjective(),
        ToyBatches(),
        tmp_path / "run",
        lambda params: {"note_f1": next(scores)},
    )
    return tmp_path / "run"


def test_run_folder_gives_the_best_step(run_dir):
    best = weights_file.load(run_dir)
    assert best.metadata == {"step": "2"}
    assert best.config == {"width": 16}
    newest = weights_file.load(run_dir / "checkpoints" / "3")
    assert newest.metadata == {"step": "3"}
    assert not np.array_equal(
        best.params["out"]["kernel"], newest.params["out"]["kernel"]
    )
    both = orbax_items.restore_arrays(run_dir / "checkpoints" / "3" / "weights")
    np.testing.assert_array_equal(
        newest.params["out"]["kernel"], both["ema"]["out"]["kernel"]
    )
    assert not np.array_equal(
        both["params"]["out"]["kernel"], both["ema"]["out"]["kernel"]
    )


# A failed read leaves TensorStore's other reads without their event loop.
def test_damaged_step_of_a_run_folder(run_dir):
    def cut(step):
        files = (run_dir / "checkpoints" / step).rglob("weights/**/d/*")
        file = max(files, key=lambda p: p.stat().st_size)
        file.write_bytes(file.read_bytes()[:50])

    cut("2")
    with pytest.warns(UserWarning, match="2: damaged checkpoint"):
        assert weights_file.load(run_dir).metadata == {"step": "3"}
    cut("3")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(ValueError, match="3: damaged checkpoint"),
    ):
        weights_file.load(run_dir)


def flip(folder):
    """Flip a bit in the largest file of the arrays."""
    largest = max(folder.rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    return largest.name


def test_a_flipped_bit_in_a_step_is_noticed_and_the_one_before_taken(run_dir):
    name = flip(run_dir / "checkpoints" / "2" / "weights")
    with pytest.warns(UserWarning, match=f"{name} is not as it was saved.*, skipped"):
        assert weights_file.load(run_dir).metadata == {"step": "3"}
    (run_dir / "checkpoints" / "3" / "checksums.json").unlink()
    assert weights_file.load(run_dir / "checkpoints" / "3").metadata == {"step": "3"}


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"best_st'])
@pytest.mark.parametrize("has_checksums", [True, False])
def test_damaged_progress_of_the_newest_step(run_dir, text, has_checksums):
    newest = run_dir / "checkpoints" / "3"
    progress = newest / "progress" / "metadata"
    progress.unlink() if text is None else progress.write_text(text)
    if not has_checksums:
        (newest / "checksums.json").unlink()
    with pytest.warns(UserWarning, match=r"checkpoints/3/progress: damaged .*skipped"):
        assert weights_file.load(run_dir).metadata == {"step": "2"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"objective": [1]}', "[" * 5000])
def test_damaged_config_of_a_run(run_dir, text):
    (run_dir / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"run/config\.json: ") as error:
        weights_file.load(run_dir)
    assert "\n" not in str(error.value)


def test_a_step_with_nothing_in_it_is_skipped(run_dir):
    (run_dir / "checkpoints" / "4" / "nothing").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"4/progress: damaged .*skipped"):
        assert weights_file.load(run_dir).metadata == {"step": "2"}


def test_arrays_that_unpack_to_far_more_than_their_files(tmp_path, monkeypatch):
    zeros = {"a": np.zeros(2**20, np.float32)}
    weights_file.save_checkpoint(tmp_path / "model", zeros, {})
    weights_file.load(tmp_path / "model")
    monkeypatch.setattr(orbax_items, "_UNPACKED_BYTES", 2**20)
    with pytest.raises(ValueError, match=r"model: damaged .*would take 0\.00419 GB"):
        weights_file.load(tmp_path / "model")


def test_what_is_saved_is_what_was_given(tmp_path):
    """Saving goes on in the background while the trainer counts on."""
    saver = RunCheckpoints(tmp_path, keep=1)
    weights = {"params": {"a": jnp.arange(1000.0)}}
    progress = {"best_step": None, "sums": {"loss": 1.0}}
    saver.save(1, weights, {"step": jnp.zeros(())}, progress)
    progress["sums"]["loss"] = 2.0
    double = jax.jit(lambda a: 2 * a, donate_argnums=0)
    double(weights["params"]["a"])
    saver.wait()
    template = {"params": {"a": jnp.zeros(1000)}}
    found = saver.restore(template, {"step": jnp.ones(())}, print)
    assert found is not None
    np.testing.assert_array_equal(found[1]["params"]["a"], np.arange(1000.0))
    assert found[3] == {"best_step": None, "sums": {"loss": 1.0}}
    saver.close()


def test_weights_file_needs_no_orbax(file):
    script = (
        "import sys; from mt3x.models import weights_file; "
        f"weights_file.load({str(file)!r}); "
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('orbax', 'tensorstore', 'optax')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_checkpoint_folder(tmp_path):
    path = tmp_path / "model"
    weights_file.save_checkpoint(path, PARAMS, CONFIG, {"licence": "CC0"})
    params, config, metadata = weights_file.load(path)
    assert config == CONFIG
    assert metadata == {"licence": "CC0"}
    weights_file.check_params(params, PARAMS, path)
    for name, value in weights_file.flatten(params).items():
        np.testing.assert_array_equal(value, weights_file.flatten(PARAMS)[name])
    other = {"a": np.ones(2, np.float32)}
    with pytest.raises(FileExistsError, match="exists already; give --overwrite"):
        weights_file.save_checkpoint(path, other, {})
    assert weights_file.load(path).config == CONFIG
    with pytest.raises(ValueError, match="a is not finite"):
        nan = {"a": np.float32([np.nan])}
        weights_file.save_checkpoint(path, nan, {}, overwrite=True)
    assert weights_file.load(path).config == CONFIG
    weights_file.save_checkpoint(path, other, {}, overwrite=True)
    assert weights_file.load(path).params.keys() == {"a"}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_flipped_bit_in_a_checkpoint_folder_is_noticed(tmp_path):
    path = tmp_path / "model"
    weights_file.save_checkpoint(path, PARAMS, CONFIG)
    name = flip(path / "weights")
    with pytest.raises(ValueError, match=f"model: damaged .*{name} is not as it was"):
        weights_file.load(path)


def test_other_folders_are_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(FileExistsError, match="photos is not a checkpoint"):
        weights_file.save_checkpoint(tmp_path / "photos", PARAMS, {}, overwrite=True)
    with pytest.raises(FileNotFoundError, match="no folder"):
        weights_file.save_checkpoint(tmp_path / "a" / "b", PARAMS, {})
    assert [p.name for p in tmp_path.rglob("*")] == ["photos", "cat.jpg"]


# A failed read leaves TensorStore's other reads without their event loop.
@pytest.mark.parametrize("item", ["config", "weights"])
def test_damaged_checkpoint_folder(tmp_path, item):
    weights_file.save_checkpoint(tmp_path / "model", PARAMS, CONFIG)
    files = [p for p in (tmp_path / "model" / item).rglob("*") if p.is_file()]
    for file in files:
        file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(ValueError, match="model: damaged checkpoint") as error:
        weights_file.load(tmp_path / "model")
    assert "\n" not in str(error.value)

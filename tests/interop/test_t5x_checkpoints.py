"""Import of a checkpoint that T5X wrote with MT3's network: parity, damage, names."""

import json
import tarfile
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import t5x_inputs as inputs
from click.testing import CliRunner
from flax import serialization
from tiny_models import SMALL, SMALL_TOKENS, random_params, save_small_weights

from mt3x.cli import export
from mt3x.cli.import_ import command
from mt3x.interop.t5x_checkpoints import (
    guess_config,
    read_t5x,
    store_spec,
    tokens_config,
    write_config,
    write_t5x,
)
from mt3x.models import orbax_items, weights_file
from mt3x.models.objectives import TokensConfig, TokensObjective, config_from_dict
from mt3x.models.seq2seq import SIZES, Seq2Seq, Seq2SeqConfig

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = Seq2SeqConfig(
    vocab_size=1536, input_depth=inputs.INPUT_DEPTH, **inputs.NETWORK
)


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(GOLDEN / "t5x_tiny.tar.gz") as tar:
        tar.extractall(tmp_path / "run", filter="data")
    return tmp_path / "run" / f"checkpoint_{inputs.STEP}"


def convert(*args):
    """Run `mt3x import t5x`; raise what it raises."""
    result = CliRunner().invoke(command, ["t5x", *map(str, args)])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_logits_are_those_of_mt3(folder):
    params, step = read_t5x(folder)
    assert step == inputs.STEP
    config = guess_config(params, head_dim=4)
    assert config == CONFIG
    logits_BxLxV = jax.jit(Seq2Seq(config).apply)(
        {"params": params}, inputs.feats(), inputs.tokens()
    )
    with np.load(GOLDEN / "t5x_tiny.npz") as golden:
        ref_BxLxV = golden["logits"]
    est_BxLxV = logits_BxLxV[..., :: inputs.EVERY]
    np.testing.assert_allclose(est_BxLxV, ref_BxLxV, atol=1e-5)


@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_import(folder, tmp_path, name):
    out = tmp_path / name
    report = convert(folder.parent, out, "--head-dim", 4)
    assert "1 + 2 layers of width 8" in report and "step 4321" in report
    weights = weights_file.load(out)
    assert TokensConfig.from_dict(weights.config) == TokensConfig(model=CONFIG)
    assert weights.metadata == {"source": str(folder.parent), "step": "4321"}
    expected = jax.eval_shape(
        TokensObjective(TokensConfig(model=CONFIG)).init, jax.random.key(0)
    )
    weights_file.check_params(weights.params, expected, out)
    ref = weights_file.flatten(read_t5x(folder)[0])
    for name, array in weights_file.flatten(weights.params).items():
        np.testing.assert_array_equal(array, ref[name])
    with pytest.raises(FileExistsError, match=r"out.*exists already.*--overwrite"):
        convert(folder, out, "--head-dim", 4)
    convert(folder, out, "--head-dim", 4, "--overwrite")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([out.name, "run"])


def test_published_models_are_told_by_their_vocabulary():
    mt3 = tokens_config(SIZES["small"])
    assert (mt3.num_frames, mt3.max_tokens) == (256, 1024)
    assert mt3.tokens.use_ties and mt3.tokens.program_granularity == "full"
    ismir2021 = tokens_config(Seq2SeqConfig(vocab_size=1664))
    assert (ismir2021.num_frames, ismir2021.max_tokens) == (512, 1024)
    assert ismir2021.tokens.vocab.num_velocity_bins == 127
    assert not ismir2021.tokens.use_ties
    with pytest.raises(ValueError, match=r"1536 is not that of ismir2021.*has 1664"):
        tokens_config(SIZES["small"], "ismir2021")
    with pytest.raises(ValueError, match=r"1280 is that of no published model"):
        tokens_config(Seq2SeqConfig(vocab_size=1280))


def test_sizes_are_guessed():
    for size in SIZES.values():
        shapes = jax.eval_shape(
            Seq2Seq(size).init,
            jax.random.key(0),
            jax.ShapeDtypeStruct((1, 2, 512), np.float32),
            jax.ShapeDtypeStruct((1, 2), np.int32),
        )
        assert guess_config(shapes["params"]) == size
    with pytest.raises(ValueError, match="not made of heads of 100"):
        guess_config(shapes["params"], head_dim=100)
    with pytest.raises(ValueError, match=r"no matrix encoder/.*among its 1 param"):
        guess_config({"decoder": {"bias": np.zeros(3)}})


def test_newest_step_of_a_run(folder):
    folder.rename(folder.with_name("checkpoint_90"))
    (folder.parent / "checkpoint_100").mkdir()
    (folder.parent / "checkpoint_101.tmp-7").mkdir()
    assert store_spec(folder.parent)["path"].endswith("/checkpoint_100/")
    with pytest.raises(FileNotFoundError, match="neither a file `checkpoint`"):
        read_t5x(folder.parent)


def test_buckets():
    spec = {"driver": "gcs", "bucket": "mt3", "path": "checkpoints/mt3/"}
    assert store_spec("gs://mt3/checkpoints/mt3") == spec
    assert store_spec("gs://mt3/checkpoints/mt3/") == spec
    with pytest.raises(ValueError, match="gs://mt3: give gs://BUCKET/FOLDER"):
        store_spec("gs://mt3")


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*gs://mt3/checkpoints/mt3"):
        convert(tmp_path / "nowhere", tmp_path / "out")


def test_foreign_file(folder, tmp_path):
    for data in (b"", b"\xff" * 30, b"\x81\xa1a\x01"):
        (folder / "checkpoint").write_bytes(data)
        with pytest.raises(ValueError, match=r"checkpoint_4321: the file `checkpoint`"):
            convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


ARRAY = "target.encoder.layers_0.mlp.wo.kernel"


@pytest.mark.parametrize("file", [".zarray", "0.0"])
def test_lost_file(folder, file):
    (folder / ARRAY / file).unlink()
    with pytest.raises(ValueError, match=r"encoder/layers_0/mlp/wo/kernel is.*again"):
        read_t5x(folder)


def test_cut_file(folder):
    file = folder / ARRAY / "0.0"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match="mlp/wo/kernel is damaged or incomplete"):
        read_t5x(folder)


def test_mixed_checkpoints(folder):
    file = folder / ARRAY / ".zarray"
    described = json.loads(file.read_text())
    file.write_text(json.dumps({**described, "shape": [12, 9], "chunks": [12, 9]}))
    with pytest.raises(
        ValueError, match=r"wo/kernel is float32\[12, 9\].*says float32\[12, 8\]"
    ):
        read_t5x(folder)


DESCRIBED = {
    "driver": "zarr",
    "kvstore": {"driver": "file", "path": "x"},
    "dtype": "float32",
    "metadata": {"shape": [16]},
}


def put(*names):
    """Return what puts a value at a place of the state's tree."""

    def change(tree, value):
        for name in names[:-1]:
            tree = tree[name]
        tree[names[-1]] = value

    return change


STATE = put("optimizer", "state")
STEP = put("optimizer", "state", "step")
MUTABLES = put("optimizer", "flax_mutables")
NORM = put("optimizer", "target", "encoder", "encoder_norm", "scale")
DECODER = put("optimizer", "target", "decoder")
NESTED: dict = {}
for _ in range(500):
    NESTED = {"a": NESTED}
ODD_STATES = [
    (STATE, "x"),
    (STEP, None),
    (STEP, {"a": 1}),
    (STEP, float("inf")),
    (STEP, -1),
    (STEP, np.zeros(2, np.int32)),
    (MUTABLES, 5),
    (MUTABLES, {"batch_stats": 5}),
    (MUTABLES, {"batch_stats": {"encoder": {"encoder_norm": {"scale": {"a": 1}}}}}),
    (NORM, "x"),
    (NORM, None),
    (NORM, np.full(16, np.nan, np.float32)),
    (NORM, {**DESCRIBED, "kvstore": "x"}),
    (NORM, {**DESCRIBED, "kvstore": {}}),
    (NORM, {**DESCRIBED, "kvstore": {"path": 5}}),
    (NORM, {**DESCRIBED, "metadata": {}}),
    (NORM, {**DESCRIBED, "driver": None}),
    (NORM, {**DESCRIBED, "driver": "json"}),
    (NORM, {"driver": "zarr"}),
    (NORM, DESCRIBED),
    (DECODER, [1, 2]),
    (DECODER, NESTED),
    (DECODER, {1: np.zeros(1)}),
]


@pytest.mark.parametrize(("change", "value"), ODD_STATES)
def test_odd_states_are_told(tmp_path, change, value):
    path = write_t5x(tmp_path, random_params(SMALL_TOKENS), SMALL_TOKENS.to_dict())
    file = path / "checkpoint"
    tree = serialization.msgpack_restore(file.read_bytes())
    change(tree, value)
    file.write_bytes(serialization.msgpack_serialize(tree))
    with pytest.raises(ValueError, match="checkpoint_0: ") as error:
        convert(path, tmp_path / "out")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "path", ["../../secret", "{}/secret", "a/../../../secret", "/"]
)
def test_arrays_lie_in_the_checkpoint(folder, tmp_path, path):
    """A description may not have files of other folders read."""
    (folder / ARRAY).rename(tmp_path / "secret")
    file = folder / "checkpoint"
    tree = serialization.msgpack_restore(file.read_bytes())
    kernel = tree["optimizer"]["target"]["encoder"]["layers_0"]["mlp"]["wo"]["kernel"]
    kernel["kvstore"]["path"] = path.format(tmp_path)
    file.write_bytes(serialization.msgpack_serialize(tree))
    with pytest.raises(ValueError, match=r"wo/kernel lies outside of the checkpoint"):
        read_t5x(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"objective": [1]}', '{"objective": {'])
def test_a_damaged_config_is_told_by_its_file(tmp_path, text):
    path = write_t5x(tmp_path, random_params(SMALL_TOKENS), SMALL_TOKENS.to_dict())
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: "):
        convert(path, tmp_path / "out")


def test_arrays_that_unpack_to_far_more_than_their_files(folder, monkeypatch):
    monkeypatch.setattr(orbax_items, "_UNPACKED_BYTES", 0)
    monkeypatch.setattr(orbax_items, "_UNPACKED_RATIO", 0.001)
    with pytest.raises(ValueError, match=r"checkpoint_4321: its arrays would take"):
        read_t5x(folder)


def test_another_network(folder, tmp_path):
    """One whose parameters have other names: the error says which."""
    data = (folder / "checkpoint").read_bytes()
    renamed = data.replace(b"\xacencoder_norm", b"\xacencoder_nora")
    assert renamed != data
    (folder / "checkpoint").write_bytes(renamed)
    with pytest.raises(ValueError, match=r"encoder_norm/scale is missing; .*unknown"):
        convert(folder, tmp_path / "out", "--head-dim", 4)
    assert not (tmp_path / "out").exists()


def save_as_t5x_does(folder, params, step):
    """The Orbax item of T5X's main branch; its optimizer's state is not to be read."""
    state = {"step": np.int32(step), "param_states": {"v": np.ones(3, np.float32)}}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as saver:
        args = ocp.args.StandardSave({"target": params, "state": state})
        saver.save(folder, args=ocp.args.Composite(state=args))


@pytest.mark.parametrize("config", [SMALL, SMALL_TOKENS], ids=["piano", "tokens"])
@pytest.mark.parametrize("form", ["orbax", "older"])
def test_own_models(tmp_path, config, form):
    """Both forms; config.json says what they are of."""
    params, run = random_params(config), tmp_path / "run"
    if form == "orbax":
        run.mkdir()
        save_as_t5x_does(run / "checkpoint_7", params, 7)
        write_config(run, config.to_dict())
    else:
        assert write_t5x(run, params, config.to_dict(), 7) == run / "checkpoint_7"
    for source in (run, run / "checkpoint_7"):
        assert "step 7" in convert(source, tmp_path / "out.safetensors", "--overwrite")
        weights = weights_file.load(tmp_path / "out.safetensors")
        assert config_from_dict(weights.config) == config
        jax.tree.map(np.testing.assert_array_equal, weights.params, params)


def test_running_statistics_lie_where_t5x_keeps_them(tmp_path):
    names = ("bias", "mean", "scale", "var")
    norm = {name: np.full(2, n, np.float32) for n, name in enumerate(names)}
    params = {"encoder": {"stem": {"norm": norm}}}
    path = write_t5x(tmp_path, params, SMALL_TOKENS.to_dict())
    state = serialization.msgpack_restore((path / "checkpoint").read_bytes())
    parts = state["optimizer"]["target"], state["optimizer"]["flax_mutables"]
    target, mutables = (weights_file.flatten(part) for part in parts)
    prefix = "encoder/stem/norm"
    assert target.keys() == {f"{prefix}/bias", f"{prefix}/scale"}
    assert mutables.keys() == {f"batch_stats/{prefix}/{n}" for n in ("mean", "var")}
    found = read_t5x(path)[0]
    assert found.keys() == params.keys()
    np.testing.assert_equal(found["encoder"]["stem"]["norm"], norm)
    with pytest.raises(ValueError, match=r"encoder/stem/norm/.*config\.json"):
        guess_config(found)


def test_export(tmp_path):
    weights = save_small_weights(tmp_path / "a.safetensors")
    args = [str(weights), str(tmp_path / "out"), "--format", "t5x"]
    result = CliRunner().invoke(export.command, args, catch_exceptions=False)
    assert "checkpoint_0: step 0 of" in result.output
    params, step = read_t5x(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, params, random_params())
    assert step == 0
    with pytest.raises(FileExistsError, match="exists already"):
        CliRunner().invoke(export.command, args, catch_exceptions=False)
    with pytest.raises(ValueError, match="no room for --average, --hppnet, --note"):
        args += ["--note", "licence=CC0"]
        CliRunner().invoke(export.command, args, catch_exceptions=False)


def test_what_is_not_finite_is_not_written(tmp_path):
    params = {"a": {"kernel": np.array([1.0, np.nan])}}
    with pytest.raises(ValueError, match="a/kernel is not finite"):
        write_t5x(tmp_path / "out", params, {})
    assert not (tmp_path / "out").exists()


def test_damaged_orbax_form(tmp_path):
    save_as_t5x_does(tmp_path / "checkpoint_7", random_params(), 7)
    for file in (tmp_path / "checkpoint_7" / "state").glob("**/d/*"):
        file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match="checkpoint_7: damaged") as error:
        read_t5x(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_of_another_model_keeps_its_config(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"objective": {"width": 3}}')
    with pytest.raises(FileExistsError, match=r"config\.json is of another"):
        write_t5x(tmp_path, {"kernel": np.ones(2, np.float32)}, {"width": 4})
    assert json.loads(config.read_text()) == {"objective": {"width": 3}}
    assert not (tmp_path / "checkpoint_0").exists()

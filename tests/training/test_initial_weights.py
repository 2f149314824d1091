"""Starting from weights of another model: what fits, what is told, resumes, meshes."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_models import (
    SMALL,
    SMALL_BAND,
    SMALL_PAIR,
    SMALL_PEDAL,
    SMALL_TOKENS,
    random_params,
    save_small_weights,
)
from toy_objective import LargeToy, ToyBatches, ToyConfig, ToyObjective

from mt3x import config
from mt3x.models import batch_norm, weights_file
from mt3x.models.objectives import TokensObjective
from mt3x.models.stem import StemConfig
from mt3x.models.weights_file import flatten
from mt3x.training import partitioning
from mt3x.training.initial_weights import REPORT_FILE, fitting, load
from mt3x.training.optimizers import OptimizerConfig
from mt3x.training.partitioning import MeshConfig
from mt3x.training.step import make_sharded_step
from mt3x.training.train import TrainConfig, train

FIXTURES = Path(__file__).parents[1] / "fixtures"

CONFIG = TrainConfig(
    steps=2,
    # Without an effect on the parameters, so that the start can be read from the end.
    optimizer=OptimizerConfig(learning_rate=0.0, schedule="constant"),
    init_partial=True,
    init_weights="w.safetensors",
    seed=3,
)


def saved(folder, **changes):
    """Weights of a toy, plus one, with some arrays replaced (None: left out)."""
    params = jax.tree.map(lambda x: x + 1, ToyObjective().init(jax.random.key(1)))
    flat = weights_file.flatten(params) | changes
    params = weights_file.unflatten({k: v for k, v in flat.items() if v is not None})
    weights_file.save_weights(folder / "w.safetensors", params, {})
    return params


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_fits_is_restored_and_the_rest_drawn_as_without(in_folder, capfd):
    given = saved(in_folder, **{"old/a": np.ones(2), "old/b": np.ones(2)})
    train(CONFIG, LargeToy(), ToyBatches(), in_folder / "run")
    start = weights_file.load(in_folder / "run").params
    drawn = LargeToy().init(jax.random.key(CONFIG.seed))
    for name in ("hidden", "out"):
        jax.tree.map(np.testing.assert_array_equal, start[name], given[name])
    np.testing.assert_array_equal(start["more"], drawn["more"])
    lines = [
        "init_weights w.safetensors: 3 of 6 arrays restored (272 of 283 parameters)",
        "  drawn: layer_* (2 arrays, 6); more (1 array, 5)",
        "  not used: old (2 arrays, 4)",
    ]
    told = capfd.readouterr().err
    assert all(line in told for line in lines)
    report = (in_folder / "run" / REPORT_FILE).read_text()
    assert report.splitlines()[:3] == lines
    assert report.splitlines()[4:] == [
        "restored  hidden/bias  float32[16]",
        "restored  hidden/kernel  float32[8, 16]",
        "restored  out/kernel  float32[16, 8]",
        "drawn     layer_0/bias  float32[3]",
        "drawn     layer_1/bias  float32[3]",
        "drawn     more  float32[5]",
        "not used  old/a  float64[2]",
        "not used  old/b  float64[2]",
    ]
    # A run folder serves as well.
    params, report = load(in_folder / "run", ToyObjective().init, True)
    assert "3 of 3 arrays restored (272 of 272 parameters)" in report.lines()[0]
    assert sorted(params) == ["hidden", "out"]
    # Started again, the run restores its own checkpoint and needs the file no more.
    (in_folder / "w.safetensors").unlink()
    (in_folder / "run" / REPORT_FILE).write_text("kept")
    more = dataclasses.replace(CONFIG, steps=3)
    assert train(more, LargeToy(), ToyBatches(), in_folder / "run").step == 3
    assert (in_folder / "run" / REPORT_FILE).read_text() == "kept"


def test_shape_and_dtype_must_fit(in_folder):
    params = {"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)}
    expected = {**params, "c": {"d": np.ones(1)}}
    given = {"a": np.ones(4, np.float32), "b": np.ones(3), "c": {"d": np.ones(1)}}
    fits, report = fitting(given, expected, "w")
    assert fits == {"c": {"d": np.ones(1)}}
    assert report.lines() == [
        "init_weights w: 1 of 3 arrays restored (1 of 7 parameters)",
        "  drawn, as they differ in the file: a float32[4], not float32[3]; "
        "b float64[3], not float32[3]",
    ]
    assert "drawn     a  float32[3] (file: float32[4])\n" in report.text()


def test_groups_are_the_shortest_prefixes_without_others():
    def tree(**parts):
        leaf = np.zeros((1000, 1000), np.float32)
        return {"x": {"kept": leaf, **{name: {"k": leaf} for name in parts}}}

    many = {f"part{chr(97 + n)}": 1 for n in range(9)}
    _, report = fitting(tree(), tree(stem=1), "w")
    assert report.lines()[1] == "  drawn: x/stem (1 array, 1.0M)"
    _, report = fitting(tree(), tree(**many), "w")
    assert report.lines()[1].endswith(
        f"x/partf (1 array, 1.0M) and 3 more (see {REPORT_FILE})"
    )
    assert "x/parti/k" in report.text()


def test_gin_sets_it():
    bindings = [
        "train.TrainConfig.init_weights='w'",
        "train.TrainConfig.init_partial=True",
    ]
    loaded = config.load(["experiments/tiny_cpu.gin"], bindings).train
    assert (loaded.init_weights, loaded.init_partial) == ("w", True)


def test_nothing_that_fits_and_strict_mode_are_one_line(in_folder):
    saved(in_folder)
    narrow = ToyObjective(ToyConfig(width=4))
    with pytest.raises(ValueError, match="none of its 3 arrays fits") as error:
        train(CONFIG, narrow, ToyBatches(), in_folder / "run")
    assert "\n" not in str(error.value)
    strict = dataclasses.replace(CONFIG, init_partial=False)
    with pytest.raises(ValueError, match="init_partial=True starts from the arrays"):
        train(strict, LargeToy(), ToyBatches(), in_folder / "run2")
    with pytest.raises(ValueError, match="needs init_weights"):
        TrainConfig(init_partial=True)


def with_stem(mode):
    stem = StemConfig(mode=mode, channels=(2, 2, 2), kernel_frames=3)
    model = dataclasses.replace(SMALL_TOKENS.model, stem=stem)
    return TokensObjective(dataclasses.replace(SMALL_TOKENS, model=model))


def logits(objective, params):
    rng = np.random.default_rng(0)
    feats_BxTxF = rng.normal(size=(2, 8, 512)).astype(np.float32)
    tokens_BxL = rng.integers(3, 1000, (2, 4)).astype(np.int32)
    variables = batch_norm.variables(params)
    return jax.jit(objective.model.apply)(variables, feats_BxTxF, tokens_BxL)


@pytest.mark.parametrize("mode", ["parallel", "conformer"])
def test_started_from_mt3_a_stem_gives_its_logits(tmp_path, mode):
    file = save_small_weights(tmp_path / "mt3.safetensors", SMALL_TOKENS)
    objective = with_stem(mode)
    params, report = load(file, objective.init, partial=True)
    lines = report.lines()
    num_arrays = len(weights_file.flatten(random_params(SMALL_TOKENS)))
    assert f": {num_arrays} of " in lines[0] and len(lines) == 2
    news = {
        "parallel": "encoder/stem (17 arrays, 131,698); encoder/stem_projection (1 a",
        "conformer": "encoder/layers_*/conv (",
    }
    assert f"  drawn: {news[mode]}" in lines[1]
    mesh = partitioning.make_mesh(MeshConfig())
    step = make_sharded_step(TrainConfig(), MeshConfig(), objective, mesh)
    start = step.init(params)["weights"]["params"]
    np.testing.assert_array_equal(
        logits(objective, start),
        logits(TokensObjective(SMALL_TOKENS), random_params(SMALL_TOKENS)),
    )


def test_a_band_models_notes_are_a_stem(tmp_path):
    file = save_small_weights(tmp_path / "band.safetensors", SMALL_BAND)
    stem = StemConfig("before", "band", band=SMALL_BAND.model)
    features = dataclasses.replace(SMALL_TOKENS.features, hop_samples=512)
    objective = TokensObjective(
        dataclasses.replace(
            SMALL_TOKENS,
            model=dataclasses.replace(SMALL_TOKENS.model, stem=stem),
            features=features,
            stem_features=SMALL_BAND.features,
        )
    )
    params, report = load(file, objective.init, partial=True, under="encoder/stem")
    given = random_params(SMALL_BAND)
    assert {name.split("/")[2] for name in report.restored} == {"notes"}
    assert {name.split("/")[2] for name in report.unused} == {"drums"}
    jax.tree.map(
        np.testing.assert_array_equal,
        params["encoder"]["stem"]["notes"],
        given["notes"],
    )
    with pytest.raises(ValueError, match="init_under is for init_partial=True"):
        TrainConfig(init_under="encoder/stem")


def test_the_packages_weights_have_names(in_folder):
    Path("piano").mkdir()  # such as a data set's folder
    given, _ = load("piano", lambda rng: weights_file.load().params)
    jax.tree.map(np.testing.assert_array_equal, given, weights_file.load().params)


def test_running_statistics_are_arrays_like_others():
    params = random_params(with_stem("before").config)
    fits, report = fitting(params, params, "w")
    assert weights_file.flatten(fits).keys() == report.restored.keys()
    names = [name for name in report.restored if name.endswith(("/mean", "/var"))]
    assert len(names) == 6


MESH = """
import json, sys
sys.path.insert(0, {fixtures!r})
import jax
from mt3x.training import partitioning
from mt3x.training.initial_weights import load
from mt3x.training.partitioning import MeshConfig
from mt3x.training.step import make_sharded_step
from mt3x.training.train import TrainConfig
from toy_objective import LargeToy

toy, parts = LargeToy(), MeshConfig(model=2, fully_sharded=True)
given, _ = load({file!r}, toy.init, partial=True)
mesh = partitioning.make_mesh(parts)
start = make_sharded_step(TrainConfig(seed=3), parts, toy, mesh).init(given)
print(json.dumps(jax.tree.map(lambda x: x.tolist(), start["weights"]["params"])))
"""


def test_partial_start_on_a_mesh(in_folder):
    given = saved(in_folder, **{"out/kernel": None})
    script = MESH.format(
        fixtures=str(FIXTURES),
        file="w.safetensors",
    )
    more = "--xla_force_host_platform_device_count=4"
    flags = {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {more}"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **flags},
    )
    assert done.returncode == 0, done.stderr
    start = json.loads(done.stdout)
    drawn = LargeToy().init(jax.random.key(3))
    for name, tree in (("hidden", given), ("out", drawn), ("more", drawn)):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, np.asarray(y), rtol=1e-6),
            start[name],
            jax.tree.map(np.ndarray.tolist, jax.device_get(tree[name])),
        )


def test_an_hppnet_is_left_out_where_the_model_has_none(tmp_path):
    path = save_small_weights(tmp_path / "w.safetensors", SMALL_PAIR)
    given, _ = load(path, lambda rng: random_params(SMALL_BAND))
    assert given.keys() == {"notes", "drums"}
    whole, _ = load(path, lambda rng: random_params(SMALL_PAIR))
    assert whole.keys() == {"notes", "drums", "hppnet"}


def test_heads_of_the_pedal_are_left_out_where_the_model_has_none(tmp_path):
    path = save_small_weights(tmp_path / "w.safetensors", SMALL_PEDAL)
    given, report = load(path, lambda rng: random_params(SMALL))
    assert report is None
    assert flatten(given).keys() == flatten(random_params(SMALL)).keys()
    whole, _ = load(path, lambda rng: random_params(SMALL_PEDAL))
    assert "pedal_heads" in whole["subnet_0"]

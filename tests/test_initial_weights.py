"""Starting from weights of another model: what fits, what is told, resumes, meshes."""

import dataclasses

import jax
import numpy as np
import pytest
from toy import ToyBatches, ToyConfig, ToyObjective

from mt3x import checkpoints
from mt3x.initial_weights import REPORT_FILE, fitting, load
from mt3x.optimizers import OptimizerConfig
from mt3x.train import TrainConfig, train

CONFIG = TrainConfig(
    steps=2,
    # Without an effect on the parameters, so that the start can be read from the end.
    optimizer=OptimizerConfig(learning_rate=0.0, schedule="constant"),
    checkpoint_interval=1,
    init_partial=True,
    init_weights="w.safetensors",
    seed=3,
)


class LargeToy(ToyObjective):
    """The toy with a part more, which changes nothing."""

    def init(self, rng):
        more = jax.random.fold_in(rng, 1)
        blocks = {f"layer_{n}": {"bias": np.zeros(3, np.float32)} for n in range(2)}
        return super().init(rng) | {"more": jax.random.normal(more, (5,))} | blocks


def saved(folder, **changes):
    """Weights of a toy, plus one, with some arrays replaced (None: left out)."""
    params = jax.tree.map(lambda x: x + 1, ToyObjective().init(jax.random.key(1)))
    flat = checkpoints.flatten(params) | changes
    params = checkpoints.unflatten({k: v for k, v in flat.items() if v is not None})
    checkpoints.save_weights(folder / "w.safetensors", params, {})
    return params


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start_of(run_dir):
    return checkpoints.load(run_dir / "checkpoints" / "1").params


def test_what_fits_is_restored_and_the_rest_drawn_as_without(in_folder, capfd):
    given = saved(in_folder, **{"old/a": np.ones(2), "old/b": np.ones(2)})
    train(CONFIG, LargeToy(), ToyBatches(), in_folder / "run")
    plain = dataclasses.replace(CONFIG, init_weights=None, init_partial=False)
    train(plain, LargeToy(), ToyBatches(), in_folder / "plain")
    start, drawn = start_of(in_folder / "run"), start_of(in_folder / "plain")
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
    assert not (in_folder / "plain" / REPORT_FILE).exists()


def test_shape_and_dtype_must_fit(in_folder):
    params = {"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)}
    expected = {**params, "c": {"d": np.ones(1)}}
    given = {"a": np.ones(4, np.float32), "b": np.ones(3), "c": {"d": np.ones(1)}}
    fits, report = fitting(given, expected, "w")
    assert fits == {"c": {"d": np.ones(1)}}
    assert report.lines() == [
        "init_weights w: 1 of 3 arrays restored (1 of 7 parameters)",
        "  drawn, of another shape in the file: a float32[4], not float32[3]; "
        "b float64[3], not float32[3]",
    ]
    assert "drawn     a  float32[3] (file: float32[4])\n" in report.text()


def test_groups_are_the_shortest_prefixes_without_others():
    def tree(**parts):
        leaf = np.zeros((1000, 100), np.float32)
        return {"x": {"kept": leaf, **{name: {"k": leaf} for name in parts}}}

    many = {f"part{chr(97 + n)}": 1 for n in range(9)}
    _, report = fitting(tree(), tree(stem=1), "w")
    assert report.lines()[1] == "  drawn: x/stem (1 array, 0.1M)"
    _, report = fitting(tree(), tree(**many), "w")
    assert report.lines()[1].endswith(
        f"x/partf (1 array, 0.1M) and 3 more (see {REPORT_FILE})"
    )
    assert "x/parti/k" in report.text()


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


def test_a_resumed_run_restores_its_own(in_folder):
    saved(in_folder)
    learning = dataclasses.replace(CONFIG, optimizer=OptimizerConfig(warmup_steps=1))
    train(learning, LargeToy(), ToyBatches(), in_folder / "run")
    (in_folder / "w.safetensors").unlink()
    (in_folder / "run" / REPORT_FILE).write_text("kept")
    more = dataclasses.replace(learning, steps=4)
    assert train(more, LargeToy(), ToyBatches(), in_folder / "run").step == 4
    assert (in_folder / "run" / REPORT_FILE).read_text() == "kept"


def test_a_run_folder_serves_as_well(in_folder):
    saved(in_folder)
    train(CONFIG, LargeToy(), ToyBatches(), in_folder / "run")
    params, lines = load(in_folder / "run", ToyObjective().init, in_folder, True)
    assert "3 of 3 arrays restored (272 of 272 parameters)" in lines[0]
    assert sorted(params) == ["hidden", "out"]

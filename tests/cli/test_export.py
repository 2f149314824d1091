"""`mt3x export`: weights of runs and files, and means of several."""

import dataclasses

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_models import SMALL_BAND, SMALL_PEDAL, save_small_weights

from mt3x.cli.export import command
from mt3x.models import weights_file
from mt3x.models.band_objective import HPPNET
from mt3x.models.hppnet import PEDAL_HEADS
from mt3x.models.objectives import config_from_dict, make_objective


@pytest.fixture
def weights(tmp_path):
    """Weights, and a way to write other ones of the same model."""
    first = weights_file.load(save_small_weights(tmp_path / "1.safetensors"))

    def write(name, change):
        params = jax.tree.map(change, first.params)
        weights_file.save_weights(tmp_path / name, params, first.config)
        return tmp_path / name

    return first, write


def export(*arguments):
    return CliRunner().invoke(command, list(map(str, arguments)))


def test_parameters_are_averaged(weights, tmp_path):
    first, write = weights
    two, six = write("2", lambda x: x + 1), write("3", lambda x: x + 5)
    out = tmp_path / "mean.safetensors"
    options = ["--average", two, "--average", six]
    assert export(tmp_path / "1.safetensors", out, *options).exit_code == 0
    found = weights_file.load(out)
    assert found.config == first.config
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b + 2, rtol=1e-6, atol=1e-6),
        found.params,
        first.params,
    )


def test_weights_of_other_sizes_are_not_averaged(weights, tmp_path):
    _, write = weights
    other = write("2", lambda x: np.append(x, x, axis=-1))
    result = export(tmp_path / "1.safetensors", tmp_path / "mean", "--average", other)
    assert "average weights of one model" in str(result.exception)
    assert not (tmp_path / "mean").exists()


def test_an_hppnet_joins_a_band_model(tmp_path):
    band = save_small_weights(tmp_path / "band.safetensors", SMALL_BAND)
    pedal = save_small_weights(tmp_path / "hppnet.safetensors", SMALL_PEDAL)
    out = tmp_path / "both.safetensors"
    assert export(band, out, "--hppnet", pedal).exit_code == 0
    found, own, other = map(weights_file.load, (out, band, pedal))
    config = config_from_dict(found.config)
    assert config.hppnet == SMALL_PEDAL.without_pedal()
    assert dataclasses.replace(config, hppnet=None) == SMALL_BAND
    objective = make_objective(config)
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0)))
    weights_file.check_params(found.params, shapes, out)
    heard = weights_file.without(other.params, PEDAL_HEADS)
    given = {**own.params, HPPNET: heard}
    jax.tree.map(np.testing.assert_array_equal, found.params, given)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (SMALL_PEDAL, SMALL_PEDAL, "piano model: --hppnet is for band models"),
        (SMALL_BAND, SMALL_BAND, "band model: give an HPPNet"),
    ],
)
def test_no_other_models_are_joined(tmp_path, first, second, message):
    first, second = (
        save_small_weights(tmp_path / f"{n}.safetensors", config)
        for n, config in enumerate((first, second))
    )
    result = export(first, tmp_path / "both", "--hppnet", second)
    assert message in str(result.exception)
    assert not (tmp_path / "both").exists()

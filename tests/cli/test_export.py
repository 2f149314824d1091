"""`mt3x export`: weights of runs and files, and means of several."""

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_models import save_small_weights

from mt3x.cli.export import command
from mt3x.models import weights_file


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

"""`mt3x web`: a folder with the page and its model, whole or not at all."""

import gzip
import json

import onnx
import pytest
from click.testing import CliRunner
from tiny_models import SMALL, SMALL_BAND, save_small_weights

from mt3x import page
from mt3x.cli import web
from mt3x.models import onnx_export, weights_file


def invoke(*arguments):
    return CliRunner().invoke(web.command, [str(argument) for argument in arguments])


def test_writes_the_page_and_the_packaged_model(tmp_path):
    site = tmp_path / "site"
    result = invoke(site)
    assert result.exit_code == 0, result.output
    assert "site: " in result.output and " MB" in result.output
    found = {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in site.rglob("*")
        if path.is_file()
    }
    for name, path in page.files().items():
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        assert name == "index.html" or found.pop(name) == data
    assert b'name="mt3x-engine" content="browser"' in found.pop("index.html")
    source = weights_file.packaged("piano")
    assert found.pop("model/model.onnx") == source.with_suffix(".onnx").read_bytes()
    config = json.loads(found.pop("model/config.json"))
    weights = weights_file.load(source)
    assert config["features"] == weights.config["features"]
    assert config["decoding"]["onset_threshold"] == 0.6
    assert len(found.pop("model/noise.bin")) == 1024 * 320
    assert found == {}
    assert list(tmp_path.iterdir()) == [site]


def test_takes_other_piano_models(tmp_path):
    weights = save_small_weights(tmp_path / "w.safetensors")
    assert invoke(tmp_path / "site", "--checkpoint", weights).exit_code == 0
    model = onnx.load(tmp_path / "site/model/model.onnx")
    assert model == onnx_export.build(weights_file.load(weights), weights)
    config = json.loads((tmp_path / "site/model/config.json").read_text())
    assert config["decoding"]["onset_threshold"] == SMALL.decoding.onset_threshold


def test_replaces_its_own_folders_only_and_when_told(tmp_path):
    site, mine = tmp_path / "site", tmp_path / "mine"
    assert invoke(site).exit_code == 0
    (site / "old.txt").write_text("old")
    result = invoke(site)
    assert isinstance(result.exception, FileExistsError)
    assert "--overwrite" in str(result.exception)
    assert (site / "old.txt").exists()
    assert invoke(site, "--overwrite").exit_code == 0
    assert not (site / "old.txt").exists()
    mine.mkdir()
    (mine / "index.html").write_text("mine")
    result = invoke(mine, "--overwrite")
    assert "was not written by mt3x web" in str(result.exception)
    assert [path.name for path in mine.iterdir()] == ["index.html"]


@pytest.mark.parametrize(
    ("out", "config", "message"),
    [
        ("nowhere/site", None, "there is no folder"),
        ("site", SMALL_BAND, "is a band model: browsers run piano models only"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(out, config, message, tmp_path):
    arguments = [tmp_path / out]
    if config is not None:
        weights = save_small_weights(tmp_path / "w.safetensors", config)
        arguments += ["--checkpoint", weights]
    before = sorted(tmp_path.iterdir())
    result = invoke(*arguments)
    assert isinstance(result.exception, ValueError | OSError)
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert sorted(tmp_path.iterdir()) == before

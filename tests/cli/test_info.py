import importlib.metadata
import json
import platform

import jax
import pytest
from click.testing import CliRunner

from mt3x.cli import info


def run(*options):
    result = CliRunner().invoke(info.command, options)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def report():
    return json.loads(run("--json"))


def test_versions(report):
    assert report["python"] == platform.python_version()
    assert report["packages"]["jax"] == jax.__version__
    for name in ("click", "flax", "jaxlib", "numpy"):
        assert report["packages"][name] == importlib.metadata.version(name)


def test_devices_and_weights(report):
    assert report["devices"] == {"cpu: cpu": jax.local_device_count()}
    assert report["weights"]["hppnet_tiny.safetensors"] > 500_000


def test_extras_name_what_is_missing(monkeypatch):
    required = [
        "jax>=0.5",
        'av>=12; extra == "av"',
        'optax[all]>=0.2; extra == "train"',
        'nowhere; extra == "train"',
        "audioop-lts; python_version >= '3.13' and extra == 'train'",
        'ruff; extra == "dev"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: required)
    report = json.loads(run("--json"))
    assert report["packages"].keys() == {"jax", "jaxlib"}
    assert report["extras"]["train"] == {
        "nowhere": None,
        "optax": importlib.metadata.version("optax"),
    }
    assert report["extras"].keys() == {"av", "train"}
    assert "missing: nowhere; optax " in run()
    assert "complete; av " in run()


def test_no_installation_is_reported(monkeypatch):
    def fail(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", fail)
    monkeypatch.setattr(importlib.metadata, "version", fail)
    assert "not installed" in run()
    assert "jaxlib missing" in run()


def test_broken_devices_are_a_line(monkeypatch):
    def fail():
        raise RuntimeError("Unable to initialize backend 'cuda':\nno such library")

    monkeypatch.setattr(jax, "devices", fail)
    line = "RuntimeError: Unable to initialize backend 'cuda': no such library"
    assert json.loads(run("--json"))["devices"] == line
    assert f"devices    {line}\n" in run()


def test_cache_is_measured(monkeypatch, tmp_path):
    folder = jax.config.jax_compilation_cache_dir
    (tmp_path / "program").write_bytes(b"x" * 250_000)
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        cache = json.loads(run("--json"))["cache"]
        assert cache == {"folder": str(tmp_path), "files": 1, "bytes": 250_000}
        assert f"{tmp_path}: 1 files, 0.2 MB" in run()
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv("MT3X_CACHE", "off")
        assert json.loads(run("--json"))["cache"] == "off"
    finally:
        jax.config.update("jax_compilation_cache_dir", folder)


def test_settings(monkeypatch):
    monkeypatch.setenv("MT3X_DATA_DIR", "/records")
    monkeypatch.setenv("UNRELATED", "secret")
    assert "setting    MT3X_DATA_DIR=/records\n" in run()
    assert "secret" not in run()

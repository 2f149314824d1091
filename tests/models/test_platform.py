"""The folder of compiled programs: the user's, another, or none."""

import types

import jax
import pytest

from mt3x.models.platform import use_compilation_cache


@pytest.fixture
def folder(monkeypatch):
    """Call `use_compilation_cache` and return the folder that JAX was given."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    given = {}
    config = types.SimpleNamespace(
        jax_compilation_cache_dir=None, update=given.__setitem__
    )
    monkeypatch.setattr(jax, "config", config)

    def use(choice, home):
        monkeypatch.setenv("MT3X_CACHE", choice)
        monkeypatch.setattr(
            "os.path.expanduser", lambda path: path.replace("~", home or "~")
        )
        use_compilation_cache()
        return given.get("jax_compilation_cache_dir")

    return use


def test_the_cache_is_the_users(folder):
    assert "/home/a" in folder("", "/home/a") and folder("", "/home/a").endswith("jax")


def test_a_variable_names_another_folder(folder):
    assert folder("/scratch/b", "/home/a") == "/scratch/b"


@pytest.mark.parametrize(("choice", "home"), [("off", "/home/a"), ("", None)])
def test_there_may_be_none(folder, choice, home):
    assert folder(choice, home) is None

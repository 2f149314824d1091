"""The folder of compiled programs: the user's, another, or none; what is kept in it."""

import math
import os
import subprocess
import sys
import types
import warnings
import zlib
from pathlib import Path

import jax
import pytest

from mt3x.models import platform
from mt3x.models.platform import use_compilation_cache


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Call `use_compilation_cache` and return what JAX was told."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("atexit.register", lambda *_: None)

    def use(choice="", home=""):
        given = {}
        config = types.SimpleNamespace(
            jax_compilation_cache_dir=None, update=given.__setitem__
        )
        monkeypatch.setattr(jax, "config", config)
        monkeypatch.setenv("MT3X_CACHE", str(choice))
        monkeypatch.setattr(
            "os.path.expanduser", lambda path: path.replace("~", str(home) or "~")
        )
        use_compilation_cache()
        return given

    return use


@pytest.fixture
def folder(settings):
    return lambda *given: settings(*given).get("jax_compilation_cache_dir")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"device_kind": "cpu"}, "cpu"),
        ({"device_kind": "TPU v6 lite"}, "tpu"),
        ({"device_kind": "NVIDIA A100-SXM4-40GB"}, "gpu"),
        ({"device_kind": "TPU v6 lite", "platform": "cpu"}, "cpu"),
    ],
)
def test_the_platform_is_that_of_the_mesh(monkeypatch, known, expected):
    """Older versions of JAX do not tell it."""
    mesh = types.SimpleNamespace(abstract_device=types.SimpleNamespace(**known))
    monkeypatch.setattr(jax.sharding, "get_abstract_mesh", lambda: mesh)
    assert platform.platform() == expected


def test_the_cache_is_the_users(folder, tmp_path):
    used = folder("", tmp_path)
    assert used.startswith(str(tmp_path)) and used.endswith("jax")
    assert os.path.isdir(used)


def test_a_variable_names_another_folder(folder, tmp_path):
    assert folder(tmp_path / "b", tmp_path) == str(tmp_path / "b")


@pytest.mark.parametrize("choice", ["off", ""])
def test_there_may_be_none(folder, tmp_path, choice):
    assert folder(choice, tmp_path if choice else None) is None


def test_a_folder_that_cannot_be_made_is_not_used(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="MT3X_CACHE=.*file.*name another folder"):
        assert folder(tmp_path / "file") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folder("", tmp_path / "file") is None


def test_nothing_new_is_kept_where_nothing_can_be_written(settings, tmp_path):
    name = "jax_persistent_cache_min_compile_time_secs"
    assert settings(tmp_path)[name] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert settings(tmp_path)[name] == math.inf
    assert os.listdir(tmp_path) == []


def program(path, text=b"a program " * 100):
    from jax._src.compilation_cache import compress_executable

    path.write_bytes(compress_executable(text))
    return path


@pytest.mark.parametrize("damage", ["half", "empty", "other bytes"])
@pytest.mark.parametrize("looked_at_before", [False, True])
def test_damaged_programs_are_removed(settings, tmp_path, damage, looked_at_before):
    kept, bad = program(tmp_path / "a-cache"), program(tmp_path / "b-cache")
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    if looked_at_before:
        settings(tmp_path)
        assert kept.exists() and bad.exists()
    data = bad.read_bytes()
    bad.write_bytes(
        {
            "half": data[: len(data) // 2],
            "empty": b"",
            "other bytes": zlib.compress(b"1")[:-1],
        }[damage]
    )
    settings(tmp_path)
    assert kept.exists() and other.exists() and not bad.exists()


def test_programs_that_changed_are_removed_though_they_unpack(settings, tmp_path):
    changed = program(tmp_path / "a-cache")
    settings(tmp_path)
    program(changed, b"another program")
    settings(tmp_path)
    assert not changed.exists()


def test_programs_are_looked_at_once(settings, tmp_path, monkeypatch):
    program(tmp_path / "a-cache")
    settings(tmp_path)
    monkeypatch.setattr(platform, "_is_whole", lambda data: pytest.fail("read again"))
    settings(tmp_path)
    for list_of in (b"", b"[1, 2]", b'{"a-cache": 3}', b"\xff"):
        (tmp_path / platform._LIST_NAME).write_bytes(list_of)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(platform, "_is_whole", lambda data: True)
            settings(tmp_path)
        assert (tmp_path / "a-cache").exists()


def test_programs_stay_where_jax_cannot_tell_whether_they_are_whole(
    settings, tmp_path, monkeypatch
):
    program = tmp_path / "a-cache"
    program.write_bytes(b"not packed as this version packs")
    monkeypatch.setitem(sys.modules, "jax._src.compilation_cache", None)
    settings(tmp_path)
    assert program.exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux tells of CPUs")
def test_threads_are_bound_to_so_many_cpus():
    code = """
import os
from mt3x.models.platform import use_threads
before = set(os.listdir("/proc/self/task"))
use_threads(1)
import jax
jax.block_until_ready(jax.jit(lambda x: x @ x)(jax.numpy.ones((300, 300))))
new = set(os.listdir("/proc/self/task")) - before
print(len(new) > 0, {len(os.sched_getaffinity(int(x))) for x in [os.getpid(), *new]})
"""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[0] == "True {1}"

"""Recordings that come into a folder."""

import threading
import time

import numpy as np
import pytest
import soundfile

from mt3x.cli.watch import watch

pytest.importorskip("watchfiles")


@pytest.fixture
def start(tmp_path):
    """Starts to watch the folder; returns a list that grows by what is found."""
    stop = threading.Event()
    threads = []

    def call():
        found = []

        def look():
            for paths in watch(tmp_path, settled_s=0.3, stop=stop):
                found.extend(path.relative_to(tmp_path).as_posix() for path in paths)

        threads.append(threading.Thread(target=look))
        threads[0].start()
        return found

    yield call
    stop.set()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


def wait_for(found, expected):
    for _ in range(200):
        if sorted(found) == sorted(expected):
            return
        time.sleep(0.05)
    assert sorted(found) == sorted(expected)


def record(path):
    soundfile.write(path, np.zeros(100), 16000)


def test_recordings_that_are_there_and_that_come(start, tmp_path):
    record(tmp_path / "a.wav")
    (tmp_path / "notes.txt").write_text("none")
    found = start()
    wait_for(found, ["a.wav"])
    (tmp_path / "sub").mkdir()
    record(tmp_path / "sub" / "b.wav")
    (tmp_path / ".hidden.wav").touch()
    wait_for(found, ["a.wav", "sub/b.wav"])
    record(tmp_path / "a.wav")  # once more
    wait_for(found, ["a.wav", "a.wav", "sub/b.wav"])


def test_a_file_that_grows_is_waited_for(start, tmp_path):
    found = start()
    with open(tmp_path / "a.wav", "wb") as file:
        for _ in range(12):
            file.write(bytes(100))
            file.flush()
            time.sleep(0.1)
            assert not found
    wait_for(found, ["a.wav"])


def test_without_watchfiles_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    with pytest.raises(ModuleNotFoundError, match=r"mt3x\[watch\]"):
        next(watch(tmp_path))

"""Output files appear whole or not at all."""

import errno
import os

import pytest

from mt3x.files import check_writable, write_whole


def test_writes_binary_and_text(tmp_path):
    with write_whole(tmp_path / "a.bin") as file:
        file.write(b"\x00\r\n")
    with write_whole(tmp_path / "a.txt", text=True) as file:
        file.write("é\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "a.txt").read_bytes() == "é\n".encode()
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "a.txt"]


def test_failing_block_leaves_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), write_whole(path, overwrite=True) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_is_not_there_before_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with write_whole(path) as file:
        file.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"


def test_keeps_existing_file_unless_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with (
        pytest.raises(FileExistsError, match=r"a\.txt exists.*--overwrite"),
        write_whole(path),
    ):
        pass
    assert path.read_text() == "old"
    with write_whole(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_text() == "new"


def test_keeps_file_that_appears_meanwhile(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(FileExistsError, match="--overwrite"), write_whole(path):
        path.write_text("another program's")
    assert path.read_text() == "another program's"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_follows_symbolic_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with write_whole(tmp_path / "link.txt", overwrite=True) as file:
        file.write(b"new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_device_is_written_directly():
    with write_whole("/dev/null") as file:
        file.write(b"gone")
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize(
    "path, message",
    [("missing/a.txt", "create it first"), ("folder", "it is a folder")],
)
def test_bad_paths_are_named(tmp_path, path, message):
    (tmp_path / "folder").mkdir()
    for attempt in (check_writable, lambda p: write_whole(p).__enter__()):
        with pytest.raises(OSError, match=message) as caught:
            attempt(tmp_path / path)
        assert path in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="choose another folder"):
        check_writable(tmp_path / "a.txt")


def test_refused_folder_is_reported(tmp_path, monkeypatch):
    """The same as above, also where the tests run as root."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="choose another folder"):
        check_writable(tmp_path / "a.txt")


def test_full_disk_names_the_file(tmp_path):
    with (
        pytest.raises(OSError, match=r"cannot write .*a\.txt: No space left.*free"),
        write_whole(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_errors_of_other_files_pass_unchanged(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"input\.wav"),
        write_whole(tmp_path / "a.txt"),
    ):
        open(tmp_path / "input.wav")

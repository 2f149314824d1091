"""Files are found whatever their names; outputs appear whole or not at all."""

import errno
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from mt3x import files
from mt3x.files import check_writable, find_files, name_key, one_line, write_whole


@pytest.fixture
def tree(tmp_path):
    """A folder with files of every kind, and one beside it."""
    for name in (
        *("in/a.wav", "in/B.WAV", "in/._a.wav", "in/.old/c.wav", "in/d.txt"),
        *("in/sub/e.mp3", "in/x.wav/f.wav", "disk/g.wav", "disk/deep/h.wav"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def found(folder, *args):
    return [p.relative_to(folder).as_posix() for p in find_files(folder, *args)]


def test_files_are_found_deeply_but_for_hidden_ones(tree):
    expected = ["B.WAV", "a.wav", "sub/e.mp3", "x.wav/f.wav"]
    assert found(tree, {".wav", ".mp3"}) == expected
    assert found(tree) == sorted([*expected, "d.txt"])


def test_linked_folders_are_searched_once_and_circles_end(tree):
    (tree / "z1").symlink_to("../disk")
    (tree / "z2").symlink_to("../disk")
    (tree / "again").symlink_to("sub")
    for name in ("in/sub/up", "in/sub/here", "disk/deep/back", "in/itself"):
        (tree.parent / name).unlink(missing_ok=True)
    (tree / "sub" / "up").symlink_to("..")
    (tree / "sub" / "here").symlink_to(".")
    (tree.parent / "disk" / "deep" / "back").symlink_to("../../in")
    (tree / "itself").symlink_to("itself")
    assert found(tree, {".wav", ".mp3"}) == [
        *("B.WAV", "a.wav", "sub/e.mp3", "x.wav/f.wav", "z1/deep/h.wav", "z1/g.wav")
    ]


def test_a_link_that_leads_nowhere_is_found_and_a_pipe_is_not(tree):
    (tree / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(tree / "pipe.wav")
    names = found(tree, {".wav"})
    assert "gone.wav" in names and "pipe.wav" not in names


def test_folders_that_cannot_be_read_are_told(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "sub":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=r"in/sub: .*cannot be read.*ermission"):
        find_files(tree)
    errors = []
    assert found(tree, {".wav"}, errors.append) == ["B.WAV", "a.wav", "x.wav/f.wav"]
    assert len(errors) == 1
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_files(tree / "nowhere")


def test_one_name_in_two_forms_of_unicode_has_one_key():
    forms = [unicodedata.normalize(form, "Étude") for form in ("NFC", "NFD")]
    assert forms[0] != forms[1] and name_key(forms[0]) == name_key(forms[1])
    assert name_key("a") != name_key("A")
    assert name_key(os.fsdecode(b"caf\xe9")) == "caf\\xe9"


def test_a_message_is_one_line_of_printable_text():
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("é\x1b[31m\udce9") == "é\\x1b[31m\\udce9"


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


def test_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *a: (done.append("name"), replace(*a)))
    with write_whole(tmp_path / "a.txt") as file:
        file.write(b"all")
    assert done == ["fsync", "name"]


def test_links_in_a_circle_are_replaced(tmp_path):
    (tmp_path / "a.txt").symlink_to("a.txt")
    with write_whole(tmp_path / "a.txt") as file:
        file.write(b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"


KILLED = """
import os, signal, sys
from mt3x.files import write_whole
with write_whole(sys.argv[1]) as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_killed_processes_leave_is_removed_and_nothing_else(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a.txt"])
    (left,) = os.listdir(tmp_path)
    assert left.endswith(".part")
    (tmp_path / ".mine.part").touch()
    with write_whole(tmp_path / "b.txt") as file:
        file.write(b"b")
        # Another process comes, and leaves alone what is being written.
        files._swept.clear()
        with write_whole(tmp_path / "c.txt"):
            pass
    assert sorted(os.listdir(tmp_path)) == [".mine.part", "b.txt", "c.txt"]


def test_a_file_that_is_taken_for_an_abandoned_one_is_made_anew(tmp_path, monkeypatch):
    assert files.fcntl is not None
    lock, waited = files.fcntl.flock, []

    def late(file, how):
        if not waited:
            waited.append(1)
            for path in tmp_path.glob("*.part"):
                path.unlink()
        lock(file, how)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with write_whole(tmp_path / "a.txt") as file:
        file.write(b"all")
    assert waited and (tmp_path / "a.txt").read_bytes() == b"all"
    assert os.listdir(tmp_path) == ["a.txt"]

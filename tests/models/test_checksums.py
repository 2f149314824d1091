"""Checksums of a folder's files: damage is named, what has none passes."""

import pytest

from mt3x.models import checksums


@pytest.fixture
def folder(tmp_path):
    for name in ("weights/d/a", "weights/b", "progress/metadata"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    checksums.write(tmp_path)
    return tmp_path


def test_what_is_as_it_was_passes(folder):
    checksums.check(folder)
    # Files of the folder itself, which others may change, and new ones are left out.
    (folder / "note").touch()
    (folder / "weights" / "new").touch()
    checksums.check(folder)


def test_a_changed_file_is_named(folder):
    (folder / "weights/d/a").write_bytes(b"weights/d/b")
    with pytest.raises(ValueError, match=r"weights/d/a is not as it was saved"):
        checksums.check(folder)
    with pytest.raises(ValueError, match=r"weights/d/a"):
        checksums.check(folder, "weights")
    checksums.check(folder, "progress")


def test_a_missing_file_is_named(folder):
    (folder / "weights/b").unlink()
    with pytest.raises(ValueError, match=r"weights/b is missing"):
        checksums.check(folder)


def test_no_checksums_pass(folder):
    (folder / checksums.FILE_NAME).unlink()
    (folder / "weights/b").unlink()
    checksums.check(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": [1]}', "[" * 5000])
def test_damaged_checksums_are_told(folder, text):
    (folder / checksums.FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=r"checksums\.json is not a list of checksums"):
        checksums.check(folder)

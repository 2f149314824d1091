"""Checksums of the files in a folder, beside them: what was damaged later is noticed.

`checksums.json` has the SHA-256 of each file in the folders of a folder, by its path.
"""

import hashlib
import json
from pathlib import Path

from mt3x.files import write_whole

FILE_NAME = "checksums.json"


def write(folder: Path) -> None:
    """Write the checksums of the files in the folders of `folder`, as they are now.

    Raises:
      OSError: a file cannot be read, or the checksums not be written.
    """
    sums = {name: _checksum(path) for name, path in _files(folder).items()}
    with write_whole(folder / FILE_NAME, overwrite=True, text=True) as file:
        json.dump({"sha256": sums}, file, indent=1, sort_keys=True)


def check(folder: Path, part: str | None = None) -> None:
    """Compare files with their checksums; folders without checksums pass.

    Args:
      folder: as for `write`.
      part: one of the folders in it, where only its files matter.

    Raises:
      ValueError: a file is missing or not as it was; it is named.
      OSError: a file cannot be read.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))["sha256"]
        names = sorted(sums.keys())
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ValueError(f"{path} is not a list of checksums") from error
    there = _files(folder)
    for name in names:
        if part is not None and not name.startswith(f"{part}/"):
            continue
        if name not in there:
            raise ValueError(f"{folder / name} is missing")
        if _checksum(there[name]) != sums[name]:
            raise ValueError(f"{folder / name} is not as it was saved")


def _files(folder: Path) -> dict[str, Path]:
    """Return the files inside of the folders of `folder` by their paths in it."""
    paths = (path for path in folder.glob("*/**/*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

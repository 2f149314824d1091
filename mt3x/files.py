"""Files: written whole or not at all, locked, and options read from them.

A file is written beside its final place under a temporary name and then renamed, so
that a crash, a full disk or an exception leaves the old file or none, never a half.
"""

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "FieldError",
    "check_local",
    "check_writable",
    "from_json",
    "locked",
    "write_whole",
]

Options = TypeVar("Options")


class FieldError(ValueError):
    """Values in a file are not those of a dataclass."""


def check_local(path: str | os.PathLike[str]) -> None:
    """Raise ValueError where a path is a bucket's address, such as gs://bucket/run."""
    if re.match(r"[a-z0-9]+:/", str(path)):
        raise ValueError(
            f"{path} is not a folder of this machine's file system: mount the bucket "
            "(for instance with gcsfuse) and name the folder"
        )


def check_writable(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise early, before long work, where `write_whole(path)` would.

    Raises:
      OSError: as `write_whole` does, naming `path` and the remedy.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; name a file")
    if _is_device(path):
        return
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already; give --overwrite to replace it, or another name"
        )
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: there is no folder {folder}; create it first"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f"cannot write {path}: no permission in {folder}; choose another folder"
        )


@contextmanager
def write_whole(
    path: str | os.PathLike[str], overwrite: bool = False, text: bool = False
) -> Iterator[Any]:
    """Yield a file that takes its place at `path` when the block ends without error.

    Args:
      path: the final name. A symbolic link keeps pointing at its (new) target; a
        device such as /dev/null or a pipe is written directly.
      overwrite: replace an existing file; without it, an existing file is an error.
      text: yield a UTF-8 text file (newlines as they are) instead of a binary one.
        Either way the file's `name` is the temporary file, for libraries that
        insist on opening a path themselves.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false.
      OSError: the folder is missing, not writable or full; the message says which.
    """
    path = Path(path)
    check_writable(path, overwrite)
    kind = "" if text else "b"
    encoding, newline = ("utf-8", "") if text else (None, None)
    if _is_device(path):
        with open(path, "w" + kind, encoding=encoding, newline=newline) as file:
            yield file
        return
    target = path.resolve()
    temporary = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        file = open(temporary, "x" + kind, encoding=encoding, newline=newline)
    except OSError as error:
        raise _explained(error, path) from error
    try:
        with file:
            yield file
        if not overwrite:
            check_writable(path)
        os.replace(temporary, target)
    except OSError as error:
        # A full disk and the like; what names another file is the block's own affair.
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise _explained(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, name: str = "lock") -> Iterator[None]:
    """Hold a folder for this process; the lock goes with it, even by a kill.

    Raises:
      BlockingIOError: another process holds it.
    """
    import filelock

    owner = folder / f"{name}.pid"
    try:
        lock = filelock.FileLock(folder / name).acquire(blocking=False)
    except filelock.Timeout as error:
        holder = owner.read_text(encoding="utf-8") if owner.exists() else "unknown"
        raise BlockingIOError(
            f"{folder} is in use by another run (process {holder}); stop it or choose "
            "another run folder"
        ) from error
    with lock:
        with write_whole(owner, overwrite=True, text=True) as file:
            file.write(str(os.getpid()))
        yield


def from_json(
    kind: type[Options],
    values: Mapping[str, Any],
    required: tuple[str, ...] = (),
    upgrades: Mapping[type, Callable[[Any], Any]] | None = None,
) -> Options:
    """Return a dataclass, with those inside of it, from JSON values.

    Args:
      kind: the dataclass.
      values: its fields by name; those that are missing have their defaults.
      required: fields that must be there all the same.
      upgrades: what makes the values of an older version those of this one, for the
        dataclasses inside.

    Raises:
      FieldError: a field is missing, unknown or of another type; one line.
      ValueError: the dataclass refuses a value.
    """
    import dacite

    if not isinstance(values, Mapping):
        raise FieldError(f"{str(values)[:40]!r} are no options of {kind.__name__}")
    for name in required:
        if name not in values:
            raise FieldError(f"{name!r} is missing")
    config = dacite.Config(strict=True, cast=[tuple], type_hooks=dict(upgrades or {}))
    try:
        return dacite.from_dict(kind, values, config)
    except dacite.DaciteError as error:
        raise FieldError(" ".join(str(error).split())[:300]) from error
    # What dacite makes of a number where a list belongs, and the like.
    except (TypeError, AttributeError, RecursionError) as error:
        raise FieldError(f"a value is of a wrong type ({error})") from error


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _explained(error: OSError, path: Path) -> OSError:
    reason = error.strerror or str(error)
    return type(error)(
        f"cannot write {path}: {reason}; check the folder's permissions and free space"
    )

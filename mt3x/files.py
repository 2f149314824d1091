"""Files: found, written whole or not at all, locked, and options read from them.

A file is written beside its final place under a temporary name and then renamed, so
that a crash, a full disk or an exception leaves the old file or none, never a half.
The temporary file is locked while it is written: one that a killed process left is
free, and the next process that writes into its folder removes it.
"""

import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove a file that is open
    fcntl = None

__all__ = [
    "FieldError",
    "check_local",
    "check_writable",
    "find_files",
    "from_json",
    "locked",
    "name_key",
    "one_line",
    "write_whole",
]

Options = TypeVar("Options")

_swept: set[Path] = set()
"""Folders where this process has looked for what killed ones left."""


class FieldError(ValueError):
    """Values in a file are not those of a dataclass."""


def find_files(
    folder: str | os.PathLike[str],
    suffixes: Collection[str] | None = None,
    on_error: Callable[[OSError], object] | None = None,
) -> list[Path]:
    """Return the files below a folder, sorted.

    Hidden files and folders are left out (macOS keeps a `._a.wav` beside a.wav). Links
    to folders are followed, except for one that leads back to a folder it lies in; what
    can be reached in several ways is found once. A link that leads nowhere counts as a
    file, so that whoever opens it can tell of it.

    Args:
      folder: where to search.
      suffixes: of the files, in lower case, such as `.wav`; files may have them in any
        case. By default all files are found.
      on_error: told of each folder that cannot be read; by default it is raised.

    Raises:
      OSError: a folder cannot be read; names it.
    """

    def tell(error: OSError) -> None:
        error = type(error)(
            f"{error.filename}: the folder cannot be read ({error.strerror}); check "
            "its permissions"
        )
        if on_error is None:
            raise error
        on_error(error)

    found: list[Path] = []
    seen: set[str] = set()
    # Real folders come before links to them.
    starts = [Path(folder)]
    for start in starts:
        inside = os.path.realpath(start.parent) if start != starts[0] else ""
        if Path(inside).is_relative_to(os.path.realpath(start)):
            continue
        for place, folders, names in os.walk(start, onerror=tell):
            real = os.path.realpath(place)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths = [Path(place, name) for name in folders]
            starts += [path for path in paths if path.is_symlink()]
            paths = [Path(place, name) for name in names if not name.startswith(".")]
            found += [
                path
                for path in paths
                if suffixes is None or path.suffix.lower() in suffixes
                if os.path.isfile(path) or not os.path.exists(path)
            ]
    return sorted(found)


def name_key(name: str | os.PathLike[str]) -> str:
    """Return a file name in the form by which names of files are compared.

    One name may be written in two ways in Unicode: a Mac takes the accent off its
    letter. What is not UTF-8 is spelt out, so that the key can be written anywhere.
    """
    data = os.fsencode(unicodedata.normalize("NFC", os.fspath(name)))
    return data.decode("utf-8", "backslashreplace")


def one_line(message: object) -> str:
    """Return a message as one line that a terminal shows as it is."""
    text = " ".join(str(message).split())
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


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
    folder = _target(path).parent
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
    target = _target(path)
    _sweep(target.parent)
    try:
        file, temporary, lock = _temporary(target.parent, "x" + kind, encoding, newline)
    except OSError as error:
        raise _explained(error, path) from error
    try:
        with file:
            yield file
            file.flush()
            # Some file systems would rename before the bytes are on the disk.
            os.fsync(file.fileno())
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
        lock.close()


def _target(path: Path) -> Path:
    # Path.resolve raises where links lead in a circle.
    return Path(os.path.realpath(path))


def _temporary(
    folder: Path, mode: str, encoding: str | None, newline: str | None
) -> tuple[IO[Any], Path, ExitStack]:
    """Open a new file; return it, its path, and what holds it until it is closed."""
    while True:
        path = folder / f".mt3x-{secrets.token_hex(6)}.part"
        file = open(path, mode, encoding=encoding, newline=newline)
        lock = ExitStack()
        if fcntl is not None:
            # The file itself is closed before it is renamed.
            held = os.dup(file.fileno())
            lock.callback(os.close, held)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(held, fcntl.LOCK_EX)
        if path.exists():
            return file, path, lock
        # Another process took it for one that was left, before it was locked.
        file.close()
        lock.close()


def _sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder; once, as it may be large."""
    if folder in _swept:
        return
    _swept.add(folder)
    for path in folder.glob(".mt3x-*.part"):
        with suppress(OSError):
            if fcntl is None:
                path.unlink()
                continue
            with open(path, "rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


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
        raise FieldError(f"{str(values)[:40]!r} are not options of {kind.__name__}")
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

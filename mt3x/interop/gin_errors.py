"""Gin's errors and bindings without effect, as one line each."""

import contextlib
import re
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mt3x.interop import gin_names
from mt3x.interop.gin_files import (
    Statement,
    binds,
    foreign_imports,
    gin_dir,
    is_ours,
    statements,
)


class MissingMacro(ValueError):
    """A macro was read that has no value."""


def find_file(name: str | Path, search_paths: Sequence[str | Path] = ()) -> Path:
    """Find a gin file as named, in a folder of `search_paths`, or in the library's."""
    for folder in (Path(), *map(Path, search_paths), gin_dir()):
        if (folder / name).is_file():
            return folder / name
    places = ", ".join(["here", *map(str, search_paths), str(gin_dir())])
    raise FileNotFoundError(
        f"{name}: no such gin file; looked for it {places}"
        f"{gin_names.near_files(str(name))}"
    )


class Source(NamedTuple):
    """What is read; as text, the files' names."""

    gin_files: Sequence[str | Path]
    bindings: Sequence[str]
    search_paths: Sequence[str | Path]

    def __str__(self) -> str:
        return ", ".join(map(str, self.gin_files))

    def statements(self) -> list[Statement]:
        """Return what the files bind and import."""
        return statements(
            self.gin_files, lambda file: find_file(file, self.search_paths)
        )

    def is_bound_directly(self, name: str) -> bool:
        """Return whether the command line binds a parameter or macro."""
        return any(binds(one.partition("=")[0], name) for one in self.bindings)

    def place(self, name: str) -> str | None:
        """Return where the user's files bind it last, as FILE:LINE; None: nowhere."""
        places = [
            one.place
            for one in self.statements()
            if not one.is_import and not is_ours(one.file) and binds(one.name, name)
        ]
        return places[-1] if places else None


@contextlib.contextmanager
def explained(where: Any, file: Source | None = None) -> Iterator[None]:
    """Raise gin's errors as one line that names the file or binding, and a remedy.

    Args:
      where: file, files or binding.
      file: the file that is read, if it is one.
    """
    try:
        yield
    except MissingMacro as error:
        raise MissingMacro(str(error).splitlines()[0]) from error
    except RecursionError as error:
        raise ValueError(
            f"{where}: a file, macro or class is made of itself; name another one"
        ) from error
    # Gin calls what files name, so that all kinds of errors arise.
    except Exception as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{where}: {_reason(error)}{_remedy(error, file)}") from error


def _reason(error: Exception) -> str:
    """Return the first line of gin's message, with the place in a file."""
    if isinstance(error, SyntaxError):
        place = f" (line {error.lineno})" if error.filename else ""
        return f"{error.msg.splitlines()[0]}{place}"
    if isinstance(error, tokenize.TokenError):
        return f"{error.args[0]} (line {error.args[1][0]})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].rstrip(".") if lines else repr(error)
    text = re.sub(r"<module '(\S+)' from '.*?'>", r"\1", first)
    calls = re.findall(r"In call to configurable '(\S+)'", str(error))
    if calls and not isinstance(error, ValueError):
        text += f"; look at what {calls[0]} is given"
    places = [line.rstrip(".") for line in lines[1:] if line.startswith("In file")]
    return "; ".join([text, *places[:1]])


def _remedy(error: Exception, file: Source | None) -> str:
    """Return what to do about an error of gin's, as `; ...`, or nothing."""
    if file is not None:
        found = file.statements()
        foreign = foreign_imports(found)
        if foreign:
            return _foreign(file, [one.name for one in found if not one.is_import])
    missing = re.search(r"Unable to open file: (\S+)\.\s", str(error))
    if missing:
        return gin_names.near_files(missing[1])
    name = gin_names.unknown_name(str(error))
    if name is None:
        return ""
    module = gin_names.modules().get(name.partition(".")[0])
    if module and file is not None and "not provided by an import" in str(error):
        package, _, last = module.rpartition(".")
        return f"; write `from {package} import {last}` into the file"
    modules = ", ".join(gin_names.modules())
    return gin_names.advice([name]) or f"; known are classes of {modules}"


def _foreign(file: Source, names: Sequence[str]) -> str:
    """Return what to do with a gin file that is for T5X."""
    if is_ours(file.gin_files[0]):
        return (
            "; this file is for T5X (python -m t5x.train, see docs/how_to/t5x.md): "
            "mt3x's own commands take train.gin, eval.gin and infer.gin"
        )
    known = [name for name in dict.fromkeys(names) if gin_names.ours(name)]
    instead = gin_names.OUR_FILES.get(Path(file.gin_files[0]).name)
    return (
        "; this is a file for MT3's or T5X's modules, which mt3x does not run: "
        f"{f'take {instead}, and ' if instead else ''}set what is needed of it by "
        f"mt3x's names{gin_names.advice(known, near=False)}"
    )


def refuse(names: Sequence[str], source: Source) -> None:
    """Raise ValueError for bindings without effect, with what to write instead."""
    if not names:
        return
    places = {name: source.place(name) for name in names}
    given = [
        f"{name} ({place})" if place and not source.is_bound_directly(name) else name
        for name, place in places.items()
    ]
    advice = gin_names.advice(names)
    if any(".task_evaluation." in name for name in names):
        advice += "; eval.gin is for `mt3x eval`, infer.gin for `mt3x infer`"
    raise ValueError(
        f"{source}: bindings without effect: {', '.join(given)}; remove them or use "
        f"what they configure{advice}"
    )

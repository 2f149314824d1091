"""Gin files as they are written: where each binding stands, and what files import."""

import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gin import config_parser

FOREIGN = ("mt3", "t5x", "seqio", "__main__")
"""What files of MT3 and T5X import, and ours for T5X."""


def gin_dir() -> Path:
    """Return the folder of the library's gin files, in a checkout or installed."""
    package = Path(__file__).resolve().parents[1]
    # Installed: inside the package. Checkout and editable installation: beside it.
    for folder in (package / "gin", package.parent / "gin"):
        if (folder / "train.gin").is_file():
            return folder
    raise FileNotFoundError(f"{package}: its gin files are missing; install mt3x again")


def is_ours(file: str | Path) -> bool:
    """Return whether a file is one of the library's."""
    return gin_dir().resolve() in Path(file).resolve().parents


class Statement(NamedTuple):
    """A binding or an import of a gin file."""

    # SCOPE/SELECTOR.PARAMETER as written, a macro's name, or the module's.
    name: str
    file: Path
    line: int
    is_import: bool = False

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


class _Text(config_parser.ParserDelegate):
    """Takes references and macros as text, so that nothing is imported."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool):
        return f"@{scoped_configurable_name}"

    def macro(self, macro_name: str):
        return f"%{macro_name}"


def statements(
    files: Sequence[str | Path], find: Callable[[str | Path], Path]
) -> list[Statement]:
    """Return what files and those they include bind and import, in gin's order.

    What cannot be read ends the file: gin says why.

    Args:
      files: names or paths.
      find: the path of a name; raises OSError where there is none.
    """
    return [found for file in files for found in _statements(file, find, ())]


def _statements(
    file: str | Path, find: Callable[[str | Path], Path], outer: tuple[Path, ...]
) -> Iterator[Statement]:
    try:
        path = find(file)
        text = path.read_text(encoding="utf-8")
        if path in outer:
            return
        for found in config_parser.ConfigParser(text, _Text()):
            if isinstance(found, config_parser.BindingStatement):
                name = ".".join(filter(None, [found.selector, found.arg_name]))
                name = "/".join(filter(None, [found.scope, name]))
                yield Statement(name, path, found.location.line_num)
            elif isinstance(found, config_parser.ImportStatement):
                yield Statement(found.module, path, found.location.line_num, True)
            elif isinstance(found, config_parser.IncludeStatement):
                yield from _statements(found.filename, find, (*outer, path))
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return


def foreign_imports(found: Sequence[Statement]) -> list[Statement]:
    """Return the imports of MT3's and T5X's modules."""
    return [one for one in found if one.is_import and one.name.split(".")[0] in FOREIGN]


def binds(binding: str, name: str) -> bool:
    """Return whether a binding as written (`a.B.c`) is that of a full name.

    Args:
      binding: SCOPE/SELECTOR.PARAMETER, or a macro.
      name: the same with the whole module: `mt3x.a.B.c`.
    """
    scope, _, selector = binding.strip().rpartition("/")
    full_scope, _, full = name.rpartition("/")
    return scope == full_scope and f".{full}".endswith(f".{selector}")

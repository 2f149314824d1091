"""The page: static files that a browser runs, and nothing in Python but their list."""

from pathlib import Path

__all__ = ["files"]

# What the page is made from, but does not load.
_NOT_SERVED = (".py", ".pyc", ".mjs")


def files() -> dict[str, Path]:
    """Return the page's files by their addresses, as `index.html` or `vendor/a.js`.

    Files that end in .gz are packed, and lie at the address without that ending.
    """
    folder = Path(__file__).parent
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix().removesuffix(".gz"): path
        for path in found
        if path.suffix not in _NOT_SERVED
    }

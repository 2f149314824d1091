"""The page: static files that a browser runs, and nothing in Python but their list."""

from importlib.resources import files
from importlib.resources.abc import Traversable

__all__ = ["page_files"]

# What the page is made from, but does not load.
_NOT_SERVED = (".py", ".mjs")


def page_files() -> dict[str, Traversable]:
    """Return the files of the page by their names, "index.html" or "vendor/preact.js".

    Names are relative to the page's address, parts joined by "/".
    """
    return dict(_walk(files(__name__), ""))


def _walk(folder: Traversable, prefix: str):
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.is_file() and not entry.name.endswith(_NOT_SERVED):
            yield f"{prefix}{entry.name}", entry

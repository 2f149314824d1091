"""Recordings that come into a folder: `watch`."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from mt3x.cli.recordings import is_recording
from mt3x.files import find_files

SETTLED_S = 3.0
"""A file that has not changed for so long is complete."""
_LOOK_EVERY_S = 0.5


def watch(
    folder: Path, settled_s: float = SETTLED_S, stop: Event | None = None
) -> Iterator[list[Path]]:
    """Yield recordings that are in a folder, and those that come, until Ctrl-C.

    A recording that is replaced comes again. Files that grow are waited for.

    Args:
      folder: with its subfolders.
      settled_s: how long a file has not changed before it is taken.
      stop: ends it when it is set.

    Raises:
      ModuleNotFoundError: watchfiles is missing; the message names the extra.
    """
    try:
        import watchfiles
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--watch needs watchfiles: pip install 'mt3x[watch]'"
        ) from error

    # Of each recording that waits: its size and time, and since when these are so.
    waiting = {path: (_stamp(path), time.monotonic()) for path in find_files(folder)}
    for changes in watchfiles.watch(
        folder,
        stop_event=stop,
        rust_timeout=round(_LOOK_EVERY_S * 1000),
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        now = time.monotonic()
        for _, name in changes:
            # Of a folder that is moved here, its files are not told.
            moved = find_files(name) if os.path.isdir(name) else [Path(name)]
            for path in moved:
                waiting.setdefault(path, (None, now))
        ready = []
        for path, (stamp, since) in list(waiting.items()):
            if (new := _stamp(path)) is None:  # it was taken away
                del waiting[path]
            elif new != stamp:
                waiting[path] = new, now
            elif now - since >= settled_s:
                del waiting[path]
                if is_recording(path):
                    ready.append(path)
        if ready:
            yield sorted(ready)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return the size and time of a file; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns

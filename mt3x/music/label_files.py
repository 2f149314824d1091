"""Files of labels, as strangers write them: their bytes and text, and their errors.

`naming` turns whatever a damaged file makes a parser raise into one error that names
it; `read_limited` and `read_text` read no more than a file of notes can have.
"""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["LATEST_S", "naming", "one_line", "read_limited", "read_text"]

LATEST_S = 1e9
"""No time may be later, or earlier than its negative; frames and ticks of later ones
would not fit into whole numbers."""
MOST_TEXT_BYTES = 32_000_000
"""A table has a million notes then, and JSON half a day of music."""

READ_BYTES = 1 << 20

_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, csv.Error)


@contextmanager
def naming(name: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turn errors of reading into a ValueError `name: what (reason)`."""
    try:
        yield
    except (*_DAMAGE, RecursionError) as error:
        raise ValueError(f"{name}: {what} ({one_line(error)})") from error


def one_line(error: Exception) -> str:
    """Return an error's kind and message on one line of moderate length."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def read_limited(source: str | os.PathLike[str] | IO, most: int) -> bytes | str:
    """Return what a path (its bytes) or an open file has.

    Raises:
      OSError: the path cannot be opened.
      ValueError: there is more than that; names the file.
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return read_limited(file, most)
    parts = [source.read(0)]
    size = 0
    while size <= most and (part := source.read(READ_BYTES)):
        parts.append(part)
        size += len(part)
    if size > most:
        name = getattr(source, "name", "the data")
        raise ValueError(
            f"{name}: more than {most / 1e6:.0f} MB, which no file of notes has; "
            "check that it is one"
        )
    return parts[0].join(parts)


def read_text(source: str | os.PathLike[str] | IO[str]) -> tuple[str, str]:
    """Return A name for messages and the text of a path or an open text file.

    Files are UTF-8, UTF-16 where they begin with its mark, or else Latin-1.

    Raises:
      OSError: the path cannot be opened.
      ValueError: it is not text, or too much; names the file.
    """
    data = read_limited(source, MOST_TEXT_BYTES)
    if isinstance(data, str):
        return str(getattr(source, "name", "note table")), data
    encodings = ("utf-8-sig", "latin-1")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ("utf-16",)
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return str(source), text
    raise ValueError(f"{source}: not a text file; give a table of notes")

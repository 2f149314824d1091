"""Tables of notes as text <-> columns of numbers; `Notes.from_csv` and others use it.

Commas, semicolons or tabs split the cells of CSV; white space splits those of TSV, too.
Where no comma does, one may stand for the decimal point. A line with too few cells, or
in CSV with too many, is an error: nobody knows which are meant.
"""

import csv
import io
import json
import math
import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from mt3x.music.label_files import naming, one_line, read_text

__all__ = [
    "DEFAULT_VELOCITY",
    "csv_text",
    "json_text",
    "jsonl_text",
    "read_csv",
    "read_json",
    "read_tsv",
]

DEFAULT_VELOCITY = 100
"""Velocity of notes that come without one."""

Source = str | os.PathLike[str] | IO[str]
Columns = dict[str, array]
"""By the names of the arrays of `Notes`."""
Rows = Iterable[tuple[int, Sequence[str]]]
"""The number of each line, and its cells."""

_REQUIRED = ("onset_s", "offset_s", "pitch")
_UNKNOWN = "confidence"
"""The column whose cells may be empty."""
_FIELDS = (*_REQUIRED, "velocity", "program", "is_drum", _UNKNOWN)
_KEY_UP = "key_up_s"
"""Where the key is released, while the pedal may hold the note."""
_DIGITS = {"onset_s": 6, "offset_s": 6, "key_up_s": 6, "confidence": 4}
_ALIASES = {"onset": "onset_s", "offset": "offset_s"}


def csv_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return notes as `Notes.to_csv` writes them, from their columns by name."""
    written = _written(columns)
    for name in ("onset_s", "offset_s", "key_up_s"):
        if name in columns:
            written[name] = [f"{value:.6f}" for value in columns[name]]
    written["is_drum"] = list(map(int, columns["is_drum"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(written)
    writer.writerows(zip(*written.values(), strict=True))
    return text.getvalue()


def json_text(
    columns: Mapping[str, Sequence[Any]], about: Mapping[str, Any] | None = None
) -> str:
    """Return notes as `Notes.to_json` writes them."""
    members = [
        f"{json.dumps(name)}: {json.dumps(value)},\n"
        for name, value in (about or {}).items()
    ]
    body = ",\n".join(_objects(columns))
    body = f"\n{body}\n" if body else ""
    return f'{{{"".join(members)}"notes": [{body}]}}\n'


def jsonl_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return notes as `Notes.to_jsonl` writes them."""
    return "".join(f"{line}\n" for line in _objects(columns))


def _objects(columns: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    written = _written(columns)
    for row in zip(*written.values(), strict=True):
        yield json.dumps(dict(zip(written, row, strict=True)))


def _written(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Return the columns of a file, rounded; without those that are unknown."""
    written = dict(columns)
    for name in _DIGITS.keys() & columns.keys():
        written[name] = [
            None if math.isnan(value) else round(value, _DIGITS[name])
            for value in columns[name]
        ]
    if not any(value is not None for value in written[_UNKNOWN]):
        del written[_UNKNOWN]
    return written


def read_csv(source: Source, key_up: bool = False) -> tuple[str, Columns]:
    """Return A name for messages, and the columns by the names that the table has.

    With `key_up`, notes end where their keys are released, if there is such a column.

    Raises:
      OSError: the path cannot be opened.
      ValueError: a column or a value is wrong; names the file and the line.
    """
    name, text = read_text(source)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)

    def filled() -> Iterator[tuple[int, list[str]]]:
        with naming(name, "not a table of notes"):
            for cells in reader:
                while cells and not cells[-1]:
                    del cells[-1]
                if cells:
                    yield reader.line_num, cells

    rows = filled()
    _, heads = next(rows, (1, []))
    return name, _columns(name, _places(heads, key_up), rows, len(heads))


def read_tsv(source: Source, key_up: bool) -> tuple[str, Columns]:
    """Return A name for messages, and the columns; see `Notes.from_tsv`.

    Raises:
      OSError, ValueError: as `read_csv`.
    """
    name, text = read_text(source)
    rows = (
        (number, _split(line))
        for number, line in enumerate(io.StringIO(text, newline=None), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    )
    head = text.partition("\n")[0].strip()
    places = _places(_split(head.lstrip("#")))
    if {*_REQUIRED, "program"} <= places.keys():
        if not head.startswith("#"):
            next(rows)
        return name, _columns(name, places, rows)
    places = {"onset_s": 0, "offset_s": 4 if key_up else 1, "pitch": 2, "velocity": 3}
    return name, _columns(name, places, _without_names(name, rows, key_up))


def read_json(source: Source, key_up: bool = False) -> tuple[str, Columns]:
    """Return A name for messages, and the columns of what `Notes.to_json` writes.

    With `key_up`, notes end where their keys are released, if the first one says it.

    Raises:
      OSError: the path cannot be opened.
      ValueError: it is not such a file, or a value is wrong; names the file.
    """
    name, text = read_text(source)
    what = 'not a note file; JSON of the form {"notes": [{"onset_s": ...}]} is expected'
    with naming(name, what):
        # As floats, whole numbers may have any number of digits.
        records = json.loads(text, parse_int=float)["notes"]
        if not isinstance(records, list):
            raise TypeError("notes is not a list")
        found = records[0] if records else _REQUIRED
        columns = {field: array("d") for field in _FIELDS if field in found}
        members: dict[str, str] = {field: field for field in _FIELDS}
        if key_up and _KEY_UP in found:
            members["offset_s"] = _KEY_UP
    _check_required(name, columns)
    for number, record in enumerate(records):
        for field, column in columns.items():
            try:
                unknown = field == _UNKNOWN and record.get(field) is None
                value = math.nan if unknown else float(record[members[field]])
                column.append(value)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                reason = f"no valid {field} ({one_line(error)})"
                raise ValueError(f"{name}: note {number} has {reason}") from error
    return name, columns


def _columns(
    name: str, places: Mapping[str, int], rows: Rows, most_cells: int | None = None
) -> Columns:
    """Return columns from the places that they have in a line."""
    _check_required(name, places)
    columns = {field: array("d") for field in places}
    for number, cells in rows:
        if most_cells is not None and len(cells) > most_cells:
            raise ValueError(
                f"{name}, line {number}: {len(cells)} cells for {most_cells} columns"
            )
        for field, column in columns.items():
            try:
                # A line has no empty cells at its end.
                cell = cells[places[field]] if places[field] < len(cells) else ""
                unknown = field == _UNKNOWN and not cell
                column.append(math.nan if unknown else _number(cell))
            except ValueError as error:
                reason = f"no valid {field} ({one_line(error)})"
                raise ValueError(f"{name}, line {number}: {reason}") from error
    return columns


def _without_names(name: str, rows: Rows, key_up: bool) -> Rows:
    """Yield lines of four cells or more; the first may have names and is left out."""
    needed = 5 if key_up else 3
    for index, (number, cells) in enumerate(rows):
        if index == 0 and not _is_number(cells[0]):
            continue
        if len(cells) < needed:
            what = "a key-up time in column 5" if key_up else "onset, offset, pitch"
            raise ValueError(
                f"{name}, line {number}: {len(cells)} columns, but {what} expected"
            )
        yield number, [*cells, str(DEFAULT_VELOCITY)] if len(cells) == 3 else cells


def _places(heads: Sequence[str], key_up: bool = False) -> dict[str, int]:
    """Return where the columns of notes are; others are left out."""
    names = [word.strip().lower() for word in heads]
    names = [_ALIASES.get(word, word) for word in names]
    places = {field: names.index(field) for field in _FIELDS if field in names}
    if key_up and _KEY_UP in names:
        places["offset_s"] = names.index(_KEY_UP)
    return places


def _check_required(name: str, columns: Collection[str]) -> None:
    missing = [field for field in _REQUIRED if field not in columns]
    if missing:
        raise ValueError(
            f"{name}: no column {' or '.join(missing)}; a note needs "
            f"{', '.join(_REQUIRED)}"
        )


def _split(line: str) -> list[str]:
    """Split a line at white space and semicolons, or else at commas."""
    cells = line.replace(";", " ").split()
    if len(cells) < len(_REQUIRED):
        cells = line.replace(",", " ").split()
    return [cell.strip(",") for cell in cells] or [""]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float(text.replace(",", "."))


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True

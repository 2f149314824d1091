"""MAESTRO v1 to v3 (Hawthorne et al. 2019): piano recitals with their MIDI."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from mt3x.data.published.source import NotesSource, unique_ids
from mt3x.music.label_files import naming, read_text

MAESTRO_SPLITS = ("train", "validation", "test")
_NEEDED = {"split", "midi_filename", "audio_filename"}
_INFO = ("canonical_composer", "canonical_title", "year")


def find_maestro(
    folder: str | os.PathLike[str], split: str | None = None
) -> list[NotesSource]:
    """Return the pieces of MAESTRO as it is unpacked.

    Args:
      folder: holds `maestro-v*.csv` or `.json` and the folders of years. Without
        audio (the MIDI-only download) pieces have notes alone. Pieces whose MIDI file
        is missing cannot be read.
      split: "train", "validation", "test", or None for all.

    Raises:
      ValueError: an unknown split, or a table without the columns.
      FileNotFoundError: there is no table.
    """
    folder = Path(folder)
    if split is not None and split not in MAESTRO_SPLITS:
        raise ValueError(f"split must be one of {MAESTRO_SPLITS}: {split!r}")
    tables = sorted(folder.glob("maestro-v*.csv"))
    tables += sorted(folder.glob("maestro-v*.json"))
    if not tables:
        raise FileNotFoundError(f"{folder}: no maestro-v*.csv or .json in it")
    pieces = []
    for row in _rows(tables[0]):
        filled = {name for name, value in row.items() if value}
        missing = _NEEDED - filled
        if missing:
            raise ValueError(f"{tables[0]}: no column {min(missing)}")
        if split is not None and row["split"] != split:
            continue
        notes_path = folder / row["midi_filename"]
        audio_path = folder / row["audio_filename"]
        pieces.append(
            NotesSource(
                id=notes_path.stem,
                split=row["split"],
                audio_path=audio_path if audio_path.is_file() else None,
                notes_path=notes_path,
                info={key: row.get(key) for key in _INFO},
            )
        )
    return unique_ids(pieces, folder)


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of the CSV, or of the JSON: rows (v1, v2) or columns (v3)."""
    _, text = read_text(path)
    with naming(path, "not a table of MAESTRO"):
        if path.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(text, newline=None)))
        elif isinstance(table := json.loads(text), list):
            rows = [dict(row) for row in table]
        else:
            keys = next(iter(table.values()), {}).keys()
            rows = [
                {name: column[key] for name, column in table.items()} for key in keys
            ]
        for number, row in enumerate(rows, start=1):
            for name in row.keys() & _NEEDED:
                value = row[name]
                if not isinstance(value, str) or len(value) > 255 or "\0" in value:
                    raise ValueError(f"row {number} has no valid {name}")
        return rows

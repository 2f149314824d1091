"""MusicNet (Thickstun et al. 2017) and MusicNet-EM, its labels aligned again."""

import csv
import glob
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mt3x.data.published.source import NotesSource
from mt3x.music.label_files import naming, read_text
from mt3x.music.notes import Notes

_LABEL_RATE_HZ = 44100
_COLUMNS = ("start_time", "end_time", "note", "instrument")
# MT3's splits (Gardner et al. 2022, appendix).
_VALIDATION = frozenset(
    "1733 1765 1790 1818 2160 2198 2289 2300 2308 2315 2336 2466 2477 2504 2611".split()
)
_TEST = frozenset(
    "1729 1776 1813 1893 2118 2186 2296 2431 2432 2487 2497 2501 2507 2537 2621".split()
)


def read_musicnet_notes(path: Path) -> Notes:
    """Read a label file; its times count samples at 44.1 kHz, its instruments from 1.

    Raises:
      OSError, ValueError: there is no such file, or it is not one of MusicNet.
    """
    _, text = read_text(path)
    with naming(path, "not a label file of MusicNet"):
        rows = csv.DictReader(io.StringIO(text, newline=None))
        if missing := set(_COLUMNS).difference(rows.fieldnames or ()):
            raise ValueError(f"no column {min(missing)}")
        values = [[float(row[name]) for name in _COLUMNS] for row in rows]
        start, end, pitch, instrument = np.array(values).reshape(-1, len(_COLUMNS)).T
        return Notes(
            start / _LABEL_RATE_HZ, end / _LABEL_RATE_HZ, pitch, program=instrument - 1
        )


def find_musicnet(folder: Path) -> list[NotesSource]:
    """Return the pieces with MusicNet's own labels."""
    pieces = []
    for audio_path in _audio_paths(folder):
        id = audio_path.stem
        labels = audio_path.parent.name.replace("_data", "_labels")
        notes_path = folder / labels / f"{id}.csv"
        pieces.append(
            NotesSource(id, _split(id), audio_path, notes_path, read_musicnet_notes)
        )
    return pieces


def find_musicnet_em(folder: Path) -> list[NotesSource]:
    """Return the pieces that have MIDI files aligned again (Maman & Bermano 2022)."""
    pieces = []
    for audio_path in _audio_paths(folder):
        id = audio_path.stem
        found = sorted(folder.glob(f"*em*/**/{glob.escape(id)}*.mid"))
        if found:
            pieces.append(NotesSource(id, _split(id), audio_path, found[0]))
    return pieces


def _audio_paths(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("t*_data/*.wav") if path.name[0] != ".")


def _split(id: str) -> str:
    if id in _TEST:
        return "test"
    return "validation" if id in _VALIDATION else "train"

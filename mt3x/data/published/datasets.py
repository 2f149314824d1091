"""Piano data sets as they are downloaded: MAPS, MAESTRO, and folders of MIDI files.

Each reader lists `Recording`s; `write_corpus` turns them into a training corpus.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mt3x.data.corpus import CorpusWriter
from mt3x.music.audio import load_audio
from mt3x.music.notes import Notes

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3")
MAESTRO_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Recording:
    """One piece of a data set: where its audio and notes are."""

    name: str
    audio_path: Path | None  # None: notes alone
    notes_path: Path  # .tsv, .mid or .midi
    split: str = ""
    info: dict[str, Any] = field(default_factory=dict)

    def notes(self) -> Notes:
        """The notes; offsets hold the sustain pedal."""
        if self.notes_path.suffix.lower() == ".tsv":
            return Notes.from_tsv(self.notes_path)
        return Notes.from_midi(self.notes_path)


def read_maps(folder: str | os.PathLike[str]) -> list[Recording]:
    """Recordings of MAPS (Emiya et al. 2010): audio beside .tsv or .mid labels.

    All audio files below the folder are taken, as a downloaded piano's folder has
    them (`ENSTDkCl/MUS/MAPS_MUS-*.wav` with `.mid`) or a table of onset s, offset s
    with pedal, pitch, velocity, key-up s (`.tsv`), which is preferred: the labels
    hold the pedal by MAPS's own rule. The split is the name of the audio's folder.

    Raises:
      FileNotFoundError: where there is no audio, or a recording has no labels.
    """
    folder = Path(folder)
    recordings = []
    for path in _audio_files(folder):
        notes_path = _first_existing(path, (".tsv", ".mid", ".midi"))
        if notes_path is None:
            raise FileNotFoundError(f"{path}: no .tsv or .mid labels beside it")
        name = path.stem
        recordings.append(Recording(name, path, notes_path, path.parent.name))
    if not recordings:
        raise FileNotFoundError(f"{folder}: no audio files; expected a MAPS folder")
    return recordings


def read_maestro(
    folder: str | os.PathLike[str], split: str | None = None
) -> list[Recording]:
    """Recordings of MAESTRO v1, v2 or v3 (Hawthorne et al. 2019) as unpacked.

    Args:
      folder: holds `maestro-v*.csv` or `.json` and the folders of years. Without
        audio (the MIDI-only download) recordings have notes alone.
      split: "train", "validation", "test", or None for all.

    Raises:
      ValueError: an unknown split or a table without the columns.
      FileNotFoundError: no table, or a file of it is missing.
    """
    folder = Path(folder)
    if split is not None and split not in MAESTRO_SPLITS:
        raise ValueError(f"split must be one of {MAESTRO_SPLITS}: {split!r}")
    tables = [*sorted(folder.glob("maestro-v*.csv"))]
    tables += sorted(folder.glob("maestro-v*.json"))
    if not tables:
        raise FileNotFoundError(f"{folder}: no maestro-v*.csv or .json in it")
    recordings = []
    for row in _maestro_rows(tables[0]):
        missing = {"split", "midi_filename", "audio_filename"} - row.keys()
        if missing:
            raise ValueError(f"{tables[0]}: no column {sorted(missing)[0]}")
        if split is not None and row["split"] != split:
            continue
        notes_path = folder / row["midi_filename"]
        if not notes_path.is_file():
            raise FileNotFoundError(f"{notes_path}: named by {tables[0].name}, missing")
        audio_path = folder / row["audio_filename"]
        info = {
            key: row.get(key)
            for key in ("canonical_composer", "canonical_title", "year")
        }
        recordings.append(
            Recording(
                notes_path.stem,
                audio_path if audio_path.is_file() else None,
                notes_path,
                row["split"],
                info,
            )
        )
    return recordings


def read_pairs(folder: str | os.PathLike[str]) -> list[Recording]:
    """MIDI files below a folder, each with the audio of its name where there is one."""
    folder = Path(folder)
    recordings = [
        Recording(path.stem, _first_existing(path, AUDIO_SUFFIXES), path)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in (".mid", ".midi")
    ]
    if not recordings:
        raise FileNotFoundError(f"{folder}: no .mid or .midi files in it")
    return recordings


def write_corpus(
    recordings: Iterable[Recording],
    folder: str | os.PathLike[str],
    sample_rate_hz: int = 16000,
) -> Iterator[Recording]:
    """Writes recordings into a corpus; goes on where a stopped run ended.

    Yields each recording once it is written (for progress); the corpus is finished
    when the iterator is.

    Raises:
      ValueError: a recording without audio.
      FileExistsError: the corpus exists.
    """
    with CorpusWriter(folder, sample_rate_hz) as writer:
        done = {piece.name for piece in writer.pieces}
        for recording in recordings:
            if recording.name not in done:
                if recording.audio_path is None:
                    raise ValueError(f"{recording.notes_path}: no audio beside it")
                samples_S = load_audio(recording.audio_path, sample_rate_hz)
                info = {**recording.info, "split": recording.split}
                writer.add(recording.name, samples_S, recording.notes(), info)
            yield recording


def _audio_files(folder: Path) -> list[Path]:
    paths = sorted(folder.rglob("*"))
    return [path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES]


def _first_existing(path: Path, suffixes: tuple[str, ...]) -> Path | None:
    # Not with_suffix: names of MAPS and MAESTRO may hold further dots.
    stem = str(path)[: -len(path.suffix)]
    for suffix in suffixes:
        if Path(stem + suffix).is_file():
            return Path(stem + suffix)
    return None


def _maestro_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of the CSV, or of the JSON: a list of rows (v1, v2) or columns (v3)."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    table = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(table, list):
        return table
    keys = next(iter(table.values()), {}).keys()
    return [{name: column[key] for name, column in table.items()} for key in keys]

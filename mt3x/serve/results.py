"""Files of a job's notes, written when they are asked for."""

import hashlib
import re
import unicodedata
from pathlib import Path
from typing import Any

from mt3x.files import write_whole
from mt3x.inference.beat_choice import BeatChoice
from mt3x.inference.outputs import FORMATS
from mt3x.music.notes import Notes
from mt3x.serve.composing import Composed
from mt3x.serve.transcription import Found

Result = Found | Composed
"""What a job has found; its `music` takes the job's own task."""

MEDIA_TYPES = {
    "mid": "audio/midi",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "musicxml": "application/vnd.recordare.musicxml+xml",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "png": "image/png",
    "wav": "audio/wav",
}
"""By the endings of the files; others are sent as plain bytes."""


def result_endings() -> tuple[str, ...]:
    """Return the endings of the files that can be written."""
    return tuple(
        form.suffix.rpartition(".")[2]
        for name, form in FORMATS.items()
        # An ending stands for one format: svg for the score.
        if name not in ("rolls", "svg-plot") and not form.missing
    )


def write_result(
    task: Any,
    found: Result,
    notes: Notes,
    version: int,
    ending: str,
    choice: BeatChoice,
) -> Path:
    """Write a file as `mt3x transcribe` does; return where it is.

    Args:
      task, found: of the job.
      notes: which are written.
      version: of the notes; a file of the same is not written again, and one of others
        is removed.
      ending: one of `result_endings`.
      choice: of beats, for formats that have bars.
    """
    path = task.folder / f"{result_name(version, choice)}.{ending}"
    if path.exists():
        return path
    for old in task.folder.glob(f"*.{ending}"):
        old.unlink(missing_ok=True)
    made = found.music(task, notes, choice)
    with write_whole(path, overwrite=True) as file:
        found.formats[found.endings[ending]].write(file, made)
    return path


def result_name(*made_of: Any) -> str:
    """Return a name for a file: 16 digits that differ where what it is made of does."""
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def title_of(name: str) -> str:
    """Return what a client calls a file, without folders and what is not for eyes."""
    last = re.split(r"[/\\]", name)[-1]
    shown = (c for c in last if unicodedata.category(c)[0] != "C")
    return "".join(shown).strip()[:100] or "recording"

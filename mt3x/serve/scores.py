"""Scores as the page shows them: pictures, and when each of their notes sounds."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from mt3x.files import write_whole
from mt3x.inference.beat_choice import BeatChoice
from mt3x.inference.outputs import score_of
from mt3x.music.notes import Notes
from mt3x.serve.results import Result, result_name
from mt3x.serve.tasks import Task

__all__ = ["WIDTHS", "picture", "write_score"]

WIDTHS = range(240, 2001)
"""The widths that pictures may have, in pixels."""
_NOTE = re.compile(r'<g id="(P\d+-\d+-[\d-]+)"')
_SIZE = re.compile(r'<svg width="([\d.]+)px" height="([\d.]+)px"')


def write_score(
    task: Any,
    found: Result,
    notes: Notes,
    version: int,
    choice: BeatChoice,
    width: int,
) -> dict[str, Any]:
    """Draw a score into the task's folder; return what the page has to know of it.

    A score of the same is not drawn again, and one of others is removed.

    Args:
      task, found: of the job.
      notes, version: what is drawn, and which it is.
      choice: of beats.
      width: of the pictures, one of `WIDTHS`.

    Raises:
      ValueError: there are no notes, or they are too many.
    """
    name = result_name(version, choice, width)
    folder = task.folder / f"score-{name}"
    about = folder / "score.json"
    if about.exists():
        return json.loads(about.read_text(encoding="utf-8"))
    for old in task.folder.glob("score-*"):
        shutil.rmtree(old, ignore_errors=True)
    made: Any = found.music(task, notes, choice)
    score = score_of(made)
    sounding_s = score.sounding_s()
    folder.mkdir()
    pages = []
    for number, svg in enumerate(score.to_screens(width)):
        (folder / f"{number}.svg").write_text(svg, encoding="utf-8")
        size = _SIZE.match(svg)
        assert size is not None
        # What is drawn twice, as a note on two staves, is the same note.
        drawn = [
            name for name in dict.fromkeys(_NOTE.findall(svg)) if name in sounding_s
        ]
        pages.append(
            {
                "width": float(size[1]),
                "height": float(size[2]),
                "notes": sorted(
                    ([name, *map(_rounded, sounding_s[name])] for name in drawn),
                    key=lambda note: note[1:],
                ),
            }
        )
    values = {
        "name": name,
        "bpm": round(score.bpm, 1),
        "meter": score.beats.meter,
        "key": score.key.name,
        "pages": pages,
    }
    with write_whole(about, text=True) as file:
        json.dump(values, file)
    return values


def picture(task: Task, name: str, page: int) -> Path | None:
    """Return where a page of a score is, if it is there."""
    if not re.fullmatch("[0-9a-f]{16}", name):
        return None
    path = task.folder / f"score-{name}" / f"{page}.svg"
    return path if path.is_file() else None


def _rounded(seconds: float) -> float:
    return round(seconds, 3)

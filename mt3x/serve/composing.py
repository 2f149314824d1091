"""Music that is composed: what a client may wish for, and what the worker does."""

from dataclasses import dataclass, fields
from threading import Event
from typing import Any

from mt3x.files import one_line
from mt3x.inference.beat_choice import BeatChoice
from mt3x.inference.outputs import MUSIC_ENDINGS, MUSIC_FORMATS, Composition
from mt3x.inference.wish import MAX_S, Wish, draw_seed
from mt3x.music.notes import Notes
from mt3x.serve.config import ServerConfig
from mt3x.serve.models import Models
from mt3x.serve.notes_json import JsonError, notes_from_json, notes_to_json
from mt3x.serve.tasks import Cancelled, Task, Tell, failures_explained

__all__ = ["Composed", "Order", "about_wishes", "compose", "wish_from_json"]

# What a client chooses, by the names of `Wish`. Each other `top_k` and number of moods
# would be compiled.
_CHOSEN = "valence arousal seconds key seed guidance temperature".split()
# How long after the longest recording's end notes of a prompt may end.
_RING_S = 60.0
_DEFAULTS = {field.name: field.default for field in fields(Wish)}


@dataclass(frozen=True)
class Order(Task):
    """Music that is wished for."""

    wish: Wish
    prompt: Notes | None


@dataclass(frozen=True)
class Composed:
    """What a wish became."""

    wish: Wish
    notes: Notes
    duration_s: float

    endings = MUSIC_ENDINGS
    formats = MUSIC_FORMATS

    def music(self, order: Order, notes: Notes, choice: BeatChoice) -> Composition:
        """Return what the writers of files take: these notes, with beats of choice."""
        chosen = {name: getattr(self.wish, name) for name in sorted(_CHOSEN)}
        options = {name: x for name, x in chosen.items() if x is not None}
        return Composition(notes, order.title, options, beats=lambda: choice.of(notes))


def about_wishes(config: ServerConfig) -> dict[str, Any]:
    """Return what a client has to know who wishes for music."""
    return {
        "maxSeconds": _longest_s(config),
        "defaults": {name: _DEFAULTS[name] for name in _CHOSEN if name != "seed"},
    }


def wish_from_json(values: Any, config: ServerConfig) -> tuple[Wish, Notes | None]:
    """Return what a client wishes for, and the notes that it is to continue.

    What is left out is as in `Wish`; a seed is drawn.

    Raises:
      JsonError: a name is unknown, a value out of range, or the prompt no notes.
    """
    if not isinstance(values, dict):
        raise JsonError("the wish is not an object: send {...}")
    given = {name: value for name, value in values.items() if value is not None}
    prompt = given.pop("prompt", None)
    for name in given:
        if name not in _CHOSEN:
            names = ", ".join((*_CHOSEN, "prompt"))
            raise JsonError(f"{name[:40]!r} is not one of {names}")
    if not isinstance(given.get("key", ""), str):
        raise JsonError("key is not text: give one such as C, Eb, F# or C#m")
    try:
        wish = Wish(**{"seed": draw_seed(), **given})
    except ValueError as error:
        raise JsonError(one_line(error)) from error
    longest_s = _longest_s(config)
    if wish.seconds > longest_s:
        raise JsonError(f"seconds={wish.seconds:g}: give {longest_s:g} at most")
    return wish, None if prompt is None else _prompt(prompt, longest_s)


def compose(
    order: Order, models: Models, config: ServerConfig, tell: Tell, cancelled: Event
) -> Composed:
    """Compose a piece; tell of its progress, and of its notes at the end.

    Raises:
      Cancelled: `cancelled` was set.
      TaskError: it cannot be composed.
    """
    del config  # whose limits the wish keeps
    seconds = order.wish.seconds

    def progress(done_s: float) -> None:
        if cancelled.is_set():
            raise Cancelled
        tell("progress", {"seconds": done_s, "duration": seconds})

    with failures_explained(order):
        progress(0.0)
        composer = models.composer
        progress(0.0)
        [notes] = composer.compose(order.wish, order.prompt, on_progress=progress)
    duration_s = float(notes.offset_s.max(initial=0.0))
    tell(
        "done",
        {
            "notes": notes_to_json(notes),
            "candidates": [],
            "model": "generator",
            "names": {},
            "duration": duration_s,
            "defaults": None,
            "warnings": [],
        },
    )
    return Composed(order.wish, notes, duration_s)


def _longest_s(config: ServerConfig) -> float:
    return min(config.max_s, MAX_S)


def _prompt(values: Any, longest_s: float) -> Notes:
    notes = notes_from_json(values)
    if not len(notes):
        raise JsonError("the prompt has no notes: leave it out, or send some")
    end_s = longest_s + _RING_S
    if notes.onset_s.min() < 0 or notes.offset_s.max() > end_s:
        raise JsonError(
            f"a note of the prompt begins before 0 s or ends after {end_s:.1f} s"
        )
    return notes

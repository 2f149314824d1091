"""One recording: what the worker does, and what it finds."""

import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from mt3x.files import one_line
from mt3x.inference.transcriber import Transcriber
from mt3x.music.audio import audio_info
from mt3x.music.notes import Notes
from mt3x.serve.config import ServerConfig
from mt3x.serve.decoding import Choice, KeptRolls, Preview, decode
from mt3x.serve.models import Models
from mt3x.serve.notes_json import notes_to_json

Tell = Callable[[str, dict[str, Any]], None]
"""Takes the kind of an event and its values."""


class Cancelled(Exception):
    """Nobody wants the recording's notes any more."""


class RecordingError(ValueError):
    """What is wrong with a recording, in one line for whoever sent it."""

    def __init__(self, message: str, status: int = 415) -> None:
        super().__init__(message)
        self.status = status  # of HTTP


@dataclass(frozen=True)
class Recording:
    """An upload, in a folder of its own."""

    folder: Path
    title: str  # what the client calls it; never a path
    model: str  # one of `Models.names`
    media_type: str

    @property
    def path(self) -> Path:
        return self.folder / "audio"

    def explained(self, error: object) -> str:
        """Return a message on one line, with the client's name of the file."""
        return one_line(error).replace(str(self.path), self.title)


@dataclass(frozen=True)
class Found:
    """What a recording became."""

    transcriber: Transcriber
    notes: Notes
    duration_s: float
    # What `decode` needs; None where notes are not made of rolls.
    rolls: KeptRolls | None
    choice: Choice | None


def check_recording(recording: Recording, config: ServerConfig) -> None:
    """Raise RecordingError where a file is no recording, or its header says too much.

    Headers may lie: `transcribe` counts what is decoded.
    """
    try:
        duration_s = audio_info(recording.path).duration_s
    except (ValueError, OSError) as error:
        raise RecordingError(recording.explained(error)) from error
    if duration_s is not None and duration_s > config.max_s:
        raise _too_long(recording, config)


def transcribe(
    recording: Recording,
    models: Models,
    config: ServerConfig,
    tell: Tell,
    cancelled: Event,
) -> Found:
    """Transcribe a recording; tell of its progress and notes as they come.

    Raises:
      Cancelled: `cancelled` was set.
      RecordingError: it cannot be transcribed.
    """
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            found = _transcribed(recording, models, config, tell, cancelled)
            said += [recording.explained(each.message) for each in caught]
    except (Cancelled, RecordingError):
        raise
    except (ValueError, OSError, MemoryError) as error:
        raise RecordingError(recording.explained(error)) from error
    except Exception as error:
        traceback.print_exc()  # a fault of ours, for whoever runs the server
        raise RecordingError("the server failed: its log says why") from error
    _tell_notes(found, said, tell)
    return found


def _transcribed(
    recording: Recording,
    models: Models,
    config: ServerConfig,
    tell: Tell,
    cancelled: Event,
) -> Found:
    duration_s = audio_info(recording.path).duration_s
    done_s = 0.0

    def progress(seconds: float) -> None:
        nonlocal done_s
        done_s += seconds
        if cancelled.is_set():
            raise Cancelled
        # Frames are rounded up.
        if done_s > config.max_s + 1:
            raise _too_long(recording, config)
        tell("progress", {"seconds": done_s, "duration": duration_s})

    progress(0.0)
    transcriber = models.of(recording.model, recording.path)
    progress(0.0)
    choice = Choice.of(transcriber)
    if choice is None:
        notes = transcriber(recording.path, on_progress=progress)
        return Found(transcriber, notes, done_s, None, None)
    rolls, preview = KeptRolls(recording.folder / "rolls"), Preview(transcriber)

    def keep(part: Any) -> None:
        rolls.append(part)
        if len(new := preview.push(part)):
            tell("notes", {"notes": notes_to_json(new), "final": False})

    notes = transcriber(recording.path, on_rolls=keep, on_progress=progress)
    return Found(transcriber, notes, done_s, rolls, choice)


def _tell_notes(found: Found, said: list[str], tell: Tell) -> None:
    """Tell of all that was found."""
    candidates = Notes.empty()
    if found.rolls is not None and found.choice is not None:
        candidates = decode(found.transcriber, found.rolls, found.choice).candidates
    tell(
        "done",
        {
            "notes": notes_to_json(found.notes),
            "candidates": notes_to_json(candidates),
            "model": found.transcriber.kind,
            "names": found.transcriber.instrument_names,
            "duration": found.duration_s,
            "defaults": found.choice and found.choice.by_name(),
            "warnings": list(dict.fromkeys(said)),
        },
    )


def _too_long(recording: Recording, config: ServerConfig) -> RecordingError:
    return RecordingError(
        f"{recording.title} is longer than {config.max_minutes:g} minutes: cut it, or "
        "start the server with a larger --max-minutes",
        status=413,
    )

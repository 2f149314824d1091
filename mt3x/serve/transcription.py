"""One recording: what the worker does, and what it finds."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from mt3x.inference.beat_choice import BeatChoice
from mt3x.inference.outputs import ENDINGS, FORMATS, Transcription
from mt3x.inference.transcriber import Transcriber
from mt3x.music.audio import audio_info
from mt3x.music.notes import Notes
from mt3x.music.performance import EVENTS, Performance
from mt3x.serve.config import ServerConfig
from mt3x.serve.decoding import Choice, KeptRolls, Preview, decode, find_pedal
from mt3x.serve.models import Models
from mt3x.serve.notes_json import notes_to_json, pedal_to_json
from mt3x.serve.tasks import Cancelled, Task, TaskError, Tell, failures_explained


@dataclass(frozen=True)
class Recording(Task):
    """An upload."""

    model: str  # one of `Models.names`
    media_type: str
    # Whether notes end where keys are released, beside the pedal.
    pedal_events: bool = False

    @property
    def path(self) -> Path:
        return self.folder / "audio"

    def explained(self, error: object) -> str:
        """Return a message on one line, with the client's name of the file."""
        return super().explained(error).replace(str(self.path), self.title)


@dataclass(frozen=True)
class Found:
    """What a recording became."""

    transcriber: Transcriber
    notes: Notes  # that end where keys are released, where there is a pedal
    duration_s: float
    # What `decode` needs; None where notes are not made of rolls.
    rolls: KeptRolls | None
    choice: Choice | None
    pedal_s: np.ndarray | None = None  # K x 2, down and up; None: in the notes' lengths

    endings = ENDINGS
    formats = FORMATS

    def music(
        self, recording: Recording, notes: Notes, choice: BeatChoice
    ) -> Transcription:
        """Return what the writers of files take: these notes, with beats of choice."""
        played, options = None, {}
        if self.pedal_s is not None:
            played = Performance(notes, self.pedal_s)
            notes, options = played.notes(), {"pedal": EVENTS}
        return Transcription(
            notes=notes,
            rolls=[],
            audio=recording.path,
            title=recording.title,
            transcriber=self.transcriber,
            duration_s=self.duration_s,
            options=options,
            beats=lambda: choice.of(notes),
            performance=played,
        )


def check_recording(recording: Recording, config: ServerConfig) -> None:
    """Raise TaskError where a file is not a recording, or its header says too much.

    Headers may lie: `transcribe` counts what is decoded.
    """
    try:
        duration_s = audio_info(recording.path).duration_s
    except (ValueError, OSError) as error:
        raise TaskError(recording.explained(error)) from error
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
      TaskError: it cannot be transcribed.
    """
    with (
        failures_explained(recording),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", UserWarning)
        found = _transcribed(recording, models, config, tell, cancelled)
    said = [recording.explained(each.message) for each in caught]
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

    if not recording.pedal_events:
        notes = transcriber(recording.path, on_rolls=keep, on_progress=progress)
        return Found(transcriber, notes, done_s, rolls, choice)
    for part in transcriber.stream_pedal_rolls(recording.path):
        keep(part)
        progress(part.rolls.num_frames / part.rolls.frame_rate_hz)
    notes = decode(transcriber, rolls, choice).notes
    pedal_s = find_pedal(transcriber, rolls)
    return Found(transcriber, notes, done_s, rolls, choice, pedal_s)


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
            "pedal": pedal_to_json(found.pedal_s),
            "warnings": list(dict.fromkeys(said)),
        },
    )


def _too_long(recording: Recording, config: ServerConfig) -> TaskError:
    return TaskError(
        f"{recording.title} is longer than {config.max_minutes:g} minutes: cut it, or "
        "start the server with a larger --max-minutes",
        status=413,
    )

"""The recordings of a call of `mt3x transcribe`, one after another: `Batch`."""

import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mt3x.cli.log import Log
from mt3x.cli.models import Models
from mt3x.cli.recordings import Recording
from mt3x.files import check_writable, one_line, write_whole
from mt3x.inference.beat_choice import BeatChoice
from mt3x.inference.outputs import FORMATS, Transcription, recorded_options
from mt3x.music.audio import Excerpt, audio_info, rereadable
from mt3x.music.note_filter import NoteFilter

_PACKAGE = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Settings:
    """What is done to each recording."""

    overwrite: bool = False
    # The part that is transcribed.
    start_s: float = 0.0
    end_s: float | None = None
    keep: NoteFilter = field(default_factory=NoteFilter)
    beats: BeatChoice = field(default_factory=BeatChoice)
    # Write key releases and the pedal, instead of notes as they sound.
    pedal_events: bool = False
    plot_theme: str = "dark"
    # What was chosen instead of defaults, which files keep.
    chosen: Mapping[str, Any] = field(default_factory=dict)


class Batch:
    """Transcribes recordings one by one, with messages, progress and a summary."""

    def __init__(self, log: Log, settings: Settings) -> None:
        self._log = log
        self._settings = settings
        self._num_done = self._num_notes = self._num_kept = self.num_failed = 0
        self._audio_s = self._wall_s = 0.0

    def prepare(self, recording: Recording) -> bool:
        """Drop outputs that exist; return whether anything remains to be done.

        The others are checked: whether they can be written and the input be read.
        """
        with self._reported(recording):
            if None in recording.outputs.values():
                _check_standard_output()
            if not self._keep(recording):
                return False
            # Pipes are read once, however often they are listened to.
            recording.audio = rereadable(recording.source or "-")
            start_s, end_s = self._settings.start_s, self._settings.end_s
            if start_s or end_s is not None:
                end_s = float("inf") if end_s is None else end_s
                recording.audio = Excerpt(recording.audio, start_s, end_s)
            recording.duration_s = audio_info(recording.audio).duration_s or 0.0
            for path in recording.outputs.values():
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # What another process writes from here on is kept, too.
                    check_writable(path, overwrite=True)
            return True
        return False

    def _keep(self, recording: Recording) -> bool:
        """Drop outputs that exist; return whether any remain."""
        for name, path in list(recording.outputs.items()):
            if path is not None and path.is_file() and not self._settings.overwrite:
                self._kept(recording, name)
        return bool(recording.outputs)

    def _kept(self, recording: Recording, name: str) -> None:
        path = recording.outputs.pop(name)
        assert path is not None  # standard output has nothing to keep
        recorded = recorded_options(path)
        other = recorded is not None and recorded != self._settings.chosen
        line = f"kept {one_line(path)}"
        line += ", made with other options" * other + " (--overwrite replaces it)"
        about = {"output": str(path), "other_options": other}
        self._log.event("kept", line, file=recording.name, **about)
        self._num_kept += 1

    def run(self, recordings: Sequence[Recording], models: Models) -> None:
        """Transcribe and write."""
        start = time.monotonic()
        with self._log.bar(sum(r.duration_s for r in recordings)) as bar:
            for number, recording in enumerate(recordings, start=1):
                counted = f"{number}/{len(recordings)} " if len(recordings) > 1 else ""
                bar.begin(counted + recording.title)

                def advance(seconds: float, recording: Recording = recording) -> None:
                    left_s = recording.duration_s - recording.done_s
                    recording.done_s += seconds
                    # Frames are rounded up, and headers may be wrong.
                    bar.advance(max(min(seconds, left_s), 0))

                with self._reported(recording):
                    # Another process may have written them meanwhile.
                    if self._keep(recording):
                        self._transcribe(recording, models, advance)
                # What a damaged or wrongly labelled file did not bring.
                bar.advance(max(recording.duration_s - recording.done_s, 0))
        self._wall_s += time.monotonic() - start

    def _transcribe(
        self,
        recording: Recording,
        models: Models,
        advance: Callable[[float], None],
    ) -> None:
        self._log.event(
            "start", file=recording.name, duration_s=round(recording.duration_s, 3)
        )
        transcriber = models.of(recording.audio)
        parts: list[Any] = []
        on_rolls = parts.append if "rolls" in recording.outputs else None
        told = {"on_rolls": on_rolls, "on_progress": advance}
        performance, keep = None, self._settings.keep
        if self._settings.pedal_events:
            performance = transcriber.perform(recording.audio, **told)
            performance = replace(performance, keys=keep(performance.keys))
            notes = performance.notes()
        else:
            notes = keep(transcriber(recording.audio, **told))
        found = Transcription(
            notes,
            parts,
            recording.audio,
            recording.title,
            transcriber,
            recording.duration_s or recording.done_s,
            self._settings.chosen,
            self._settings.plot_theme,
            lambda: self._settings.beats.of(notes, self._settings.start_s),
            performance,
        )
        for name, path in list(recording.outputs.items()):
            if path is not None:
                try:
                    with write_whole(path, self._settings.overwrite) as file:
                        FORMATS[name].write(file, found)
                except FileExistsError:
                    if not path.is_file():
                        raise
                    self._kept(recording, name)
                continue
            buffer = io.BytesIO()
            FORMATS[name].write(buffer, found)
            sys.stdout.buffer.write(buffer.getvalue())
            sys.stdout.buffer.flush()
        self._log.event(
            "done",
            f"{recording.name}: {transcriber.kind}" if models.choose else None,
            file=recording.name,
            model=transcriber.kind,
            notes=len(notes),
            outputs=[str(path or "-") for path in recording.outputs.values()],
        )
        self._num_done += 1
        self._num_notes += len(notes)
        self._audio_s += recording.done_s

    def report(self) -> None:
        """Tell what was done in all."""
        speed = self._audio_s / self._wall_s if self._wall_s else 0.0
        line = (
            f"{_count(self._num_done, 'file')}, {_count(self._num_notes, 'note')}, "
            f"{self._audio_s:.1f} s of audio in {self._wall_s:.1f} s "
            f"({speed:.1f}x realtime)"
        )
        if self._num_kept:
            line += f", {_count(self._num_kept, 'output')} kept"
        if self.num_failed:
            line += f", {self.num_failed} failed"
        self._log.event(
            "summary",
            line,
            files=self._num_done,
            notes=self._num_notes,
            kept=self._num_kept,
            failed=self.num_failed,
            audio_s=round(self._audio_s, 3),
            wall_s=round(self._wall_s, 3),
        )

    def fail(self, error: Exception, **about: Any) -> None:
        """Report what cannot be transcribed."""
        self._log.error(error, **about)
        self.num_failed += 1

    @contextmanager
    def _reported(self, recording: Recording) -> Iterator[None]:
        """Turn a recording's warnings and errors into lines that name it."""
        said: set[str] = set()
        show = warnings.showwarning

        def warn(message: Any, category: Any, filename: str, *place: Any) -> None:
            if not filename.startswith(_PACKAGE):
                show(message, category, filename, *place)
                return
            # Once: a picture or comparison reads the recording again.
            if str(message) not in said:
                self._log.warning(_naming(recording, message), file=recording.name)
            said.add(str(message))

        with warnings.catch_warnings():
            # Those of other libraries are not about the recording.
            warnings.filterwarnings("always", category=UserWarning, module=r"mt3x\.")
            warnings.showwarning = warn
            try:
                yield
            except (ValueError, OSError, MemoryError) as error:
                text = _naming(recording, error)
                if isinstance(error, FileNotFoundError) and not _exists(recording):
                    text = f"{recording.name}: no such file; check the name"
                self.fail(ValueError(text), file=recording.name)


def _check_standard_output() -> None:
    if sys.stdout is None:
        raise ValueError("standard output is closed: give -o or --out-dir")
    if sys.stdout.isatty():
        raise ValueError("standard output is a terminal: give -o or --out-dir")


def _exists(recording: Recording) -> bool:
    return recording.source is None or os.path.exists(recording.source)


def _naming(recording: Recording, message: object) -> str:
    """Return a message on one line that names the recording."""
    line = one_line(message)
    return line if recording.name in line else f"{recording.name}: {line}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

"""What `mt3x transcribe` tells on standard error: lines and a bar, or JSON."""

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mt3x.files import one_line

LINE_EVERY_S, EVENT_EVERY_S = 10.0, 1.0
"""How often progress is told where there is no terminal: to people, to programs."""


class Unit(NamedTuple):
    """What is counted."""

    name: str
    speed: str  # of one a second
    event: str
    key: str  # in events


AUDIO = Unit("s of audio", "x realtime", "progress", "s")
MEGABYTES = Unit("MB", " MB/s", "fetch", "mb")


class Log(ABC):
    """Where messages go."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    @abstractmethod
    def error(self, message: object, **about: Any) -> None:
        """Tell what went wrong; `about` is for programs."""

    @abstractmethod
    def warning(self, message: object, **about: Any) -> None:
        """Tell what may be wrong."""

    @abstractmethod
    def event(self, name: str, line: str | None = None, **about: Any) -> None:
        """Tell what has happened: the line to people, the rest to programs."""

    @contextmanager
    def bar(self, total: float, unit: Unit = AUDIO) -> Iterator["Bar"]:
        """Show how much is done."""
        yield Bar(self, total, unit)


class Bar:
    """How much is done; here told from time to time."""

    every_s = EVENT_EVERY_S

    def __init__(self, log: Log, total: float, unit: Unit) -> None:
        self._log = log
        self._total = total
        self._unit = unit
        self._done = 0.0
        self._title = ""
        self._start = self._told = time.monotonic()

    def begin(self, title: str) -> None:
        """Begin with a file."""
        self._title = title

    def advance(self, amount: float) -> None:
        """Add what was done."""
        self.reach(self._done + amount, self._total)

    def reach(self, done: float, total: float) -> None:
        """Say how much is done, of how much."""
        self._done, self._total = done, total
        now = time.monotonic()
        if now - self._told >= self.every_s:
            self._told = now
            self._tell(self._done / (now - self._start))

    def _tell(self, speed: float) -> None:
        unit = self._unit
        line = (
            f"{self._title}: {self._done:.0f} of {self._total:.0f} {unit.name} "
            f"({speed:.1f}{unit.speed})"
        )
        about = {
            f"done_{unit.key}": round(self._done, 3),
            f"total_{unit.key}": round(self._total, 3),
        }
        self._log.event(unit.event, line, file=self._title, **about)


class TextLog(Log):
    """Lines for people; where they see a terminal, a bar."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def error(self, message: object, **about: Any) -> None:
        self._print(f"error: {one_line(message)}")

    def warning(self, message: object, **about: Any) -> None:
        self._print(f"warning: {one_line(message)}")

    def event(self, name: str, line: str | None = None, **about: Any) -> None:
        if line is not None and not self._quiet:
            self._print(line)

    @contextmanager
    def bar(self, total: float, unit: Unit = AUDIO) -> Iterator[Bar]:
        if self._quiet or not self._console.is_terminal:
            yield _Lines(self, total, unit)
            return
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            _SpeedColumn(unit),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        ) as progress:
            yield _Drawn(self, total, unit, progress)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False)


class JsonLog(Log):
    """An object a line, for programs; `event` says what each is."""

    def error(self, message: object, **about: Any) -> None:
        self._print("error", about | {"message": one_line(message)})

    def warning(self, message: object, **about: Any) -> None:
        self._print("warning", about | {"message": one_line(message)})

    def event(self, name: str, line: str | None = None, **about: Any) -> None:
        if not self._quiet:
            self._print(name, about)

    def _print(self, name: str, about: dict[str, Any]) -> None:
        print(json.dumps({"event": name, **about}), file=sys.stderr, flush=True)


LOGS = {"text": TextLog, "json": JsonLog}


class _Lines(Bar):
    every_s = LINE_EVERY_S


class _Drawn(Bar):
    def __init__(self, log: Log, total: float, unit: Unit, progress: Progress) -> None:
        super().__init__(log, total, unit)
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def begin(self, title: str) -> None:
        self._progress.update(self._task, description=title)

    def reach(self, done: float, total: float) -> None:
        self._done, self._total = done, total
        self._progress.update(self._task, completed=done, total=total)


class _SpeedColumn(ProgressColumn):
    """How much is done a second."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}{self._unit.speed}" if speed else "starting")

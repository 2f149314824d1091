"""What a job is asked for, and how it ends where it does not end well."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mt3x.files import one_line

__all__ = ["Cancelled", "Task", "TaskError", "Tell", "failures_explained"]

Tell = Callable[[str, dict[str, Any]], None]
"""Takes the kind of an event and its values."""


class Cancelled(Exception):
    """Nobody wants the notes any more."""


class TaskError(ValueError):
    """What is wrong with a task, in one line for whoever sent it."""

    def __init__(self, message: str, status: int = 415) -> None:
        super().__init__(message)
        self.status = status  # of HTTP


@dataclass(frozen=True)
class Task:
    """What a client wants notes for, in a folder of its own."""

    folder: Path
    title: str  # what the client calls it; never a path

    def explained(self, error: object) -> str:
        """Return a message on one line, as the client may read it."""
        return one_line(error)


@contextmanager
def failures_explained(task: Task) -> Iterator[None]:
    """Make TaskError of whatever fails."""
    try:
        yield
    except (Cancelled, TaskError):
        raise
    except (ValueError, OSError, MemoryError) as error:
        raise TaskError(task.explained(error)) from error
    except Exception as error:
        traceback.print_exc()  # a fault of ours, for whoever runs the server
        raise TaskError("the server failed: its log says why") from error

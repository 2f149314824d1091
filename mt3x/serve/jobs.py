"""Jobs: recordings and wishes that wait, are done one by one, and are kept for a while.

All of it runs in the event loop but the work itself, which one thread does: it alone
has the models.
"""

import asyncio
import json
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mt3x.music.notes import Notes
from mt3x.serve.composing import Order, compose
from mt3x.serve.config import ServerConfig
from mt3x.serve.models import Models
from mt3x.serve.results import Result
from mt3x.serve.tasks import Cancelled, Task, TaskError
from mt3x.serve.transcription import transcribe

State = Literal["waiting", "running", "done", "failed", "removed"]

# An event of one kind makes those of these kinds that came before it needless.
_REPLACED = {
    "queued": {"queued"},
    "progress": {"queued", "progress"},
    "notes": set[str](),
    "done": {"queued", "progress", "notes"},
    "error": {"queued", "progress", "notes"},
}


class QueueFull(Exception):
    """As many tasks as are allowed are being uploaded, or wait."""


class JobEvent(NamedTuple):
    """What is told of a job."""

    number: int
    kind: str
    data: str  # JSON

    def encode(self) -> bytes:
        """Return it as a server-sent event."""
        return f"id: {self.number}\nevent: {self.kind}\ndata: {self.data}\n\n".encode()


@dataclass(eq=False)
class Job:
    """A task on its way, and what became of it."""

    task: Task
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "waiting"
    cancelled: threading.Event = field(default_factory=threading.Event)
    used_at: float = field(default_factory=time.monotonic)
    found: Result | None = None
    # As decoded last or as a client sent them, and how often they have changed.
    notes: Notes = field(default_factory=Notes.empty)
    version: int = 0
    _events: list[JobEvent] = field(default_factory=list)
    _num_events: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_ended(self) -> bool:
        return self.state in ("done", "failed", "removed")

    def tell(self, kind: str, values: dict[str, Any]) -> None:
        """Add an event, for those who listen now and those who will."""
        self.tell_text(kind, json.dumps({"type": kind, **values}))

    def tell_text(self, kind: str, data: str) -> None:
        """Add an event whose values are JSON already."""
        gone = _REPLACED[kind]
        self._events = [event for event in self._events if event.kind not in gone]
        self._num_events += 1
        self._events.append(JobEvent(self._num_events, kind, data))
        self.wake()

    def wake(self) -> None:
        """Let those who listen look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def events_after(self, number: int) -> list[JobEvent]:
        """Return the events that a listener lacks who has those up to a number."""
        return [event for event in self._events if event.number > number]

    async def wait(self, timeout_s: float) -> bool:
        """Wait for something new; return whether it came."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def use(self) -> "Job":
        """Put off the time when the job is forgotten."""
        self.used_at = time.monotonic()
        return self

    def edit(self, notes: Notes) -> None:
        """Take other notes."""
        self.notes = notes
        self.version += 1


class Jobs:
    """The jobs of a server."""

    def __init__(self, models: Models, config: ServerConfig, folder: Path) -> None:
        self._models = models
        self._config = config
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._num_uploads = 0
        self._arrived = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="worker")

    def find(self, id: str) -> Job | None:
        """Return a job, which counts as used."""
        job = self._jobs.get(id)
        return job and job.use()

    @contextmanager
    def upload(self) -> Iterator[Path]:
        """Hold a place in the queue; yield the folder of a task to be.

        The caller adds the task, or raises; then the folder is removed.

        Raises:
          QueueFull: there is no place.
        """
        busy = sum(not job.has_ended for job in self._jobs.values())
        if busy + self._num_uploads >= self._config.jobs:
            raise QueueFull
        self._num_uploads += 1
        folder = self._folder / secrets.token_hex(16)
        folder.mkdir()
        try:
            yield folder
        except BaseException:
            _remove(folder)
            raise
        finally:
            self._num_uploads -= 1

    def add(self, task: Task) -> Job:
        """Let a task wait for its turn."""
        job = Job(task)
        self._jobs[job.id] = job
        self._tell_places()
        self._arrived.set()
        return job

    def remove(self, job: Job) -> None:
        """Cancel a job and forget it."""
        del self._jobs[job.id]
        was_running = job.state == "running"
        job.state = "removed"
        job.cancelled.set()
        job.tell("error", {"message": "it was removed"})
        self._tell_places()
        if not was_running:  # or else the worker does it
            _remove(job.task.folder)

    def place(self, job: Job) -> int:
        """Return a job's place in the queue, 1 for the next."""
        return self._waiting().index(job) + 1

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state == "waiting"]

    def _tell_places(self) -> None:
        for place, job in enumerate(self._waiting(), start=1):
            job.tell("queued", {"place": place})

    async def work(self) -> None:
        """Do what waits, one after the other, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while waiting := self._waiting():
                await self._run(waiting[0])

    async def _run(self, job: Job) -> None:
        loop = asyncio.get_running_loop()

        def tell(kind: str, values: dict[str, Any]) -> None:
            data = json.dumps({"type": kind, **values})
            loop.call_soon_threadsafe(job.tell_text, kind, data)

        job.state = "running"
        self._tell_places()
        work: Any = compose if isinstance(job.task, Order) else transcribe
        try:
            job.found = await loop.run_in_executor(
                self._worker,
                work,
                *(job.task, self._models, self._config, tell, job.cancelled),
            )
        except Cancelled:
            pass  # whoever removed it has told of it
        except TaskError as error:
            job.tell("error", {"message": str(error)})
        if job.state == "removed":
            _remove(job.task.folder)
            return
        job.state = "done" if job.found is not None else "failed"
        if job.found is not None:
            job.notes = job.found.notes
        job.use().wake()
        self._make_room()

    async def expire(self) -> None:
        """Forget jobs that nobody has used for long, for ever."""
        while True:
            await asyncio.sleep(min(self._config.keep_s / 4, 30))
            oldest = time.monotonic() - self._config.keep_s
            for job in [job for job in self._ended() if job.used_at < oldest]:
                self.remove(job)

    def _make_room(self) -> None:
        """Forget what was not used for the longest time, if much is kept."""
        ended = sorted(self._ended(), key=lambda job: job.used_at)
        for job in ended[: max(len(ended) - self._config.jobs, 0)]:
            self.remove(job)

    def _ended(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.has_ended]

    def end_streams(self) -> None:
        """Cancel all jobs, so that nobody waits for them."""
        for job in list(self._jobs.values()):
            self.remove(job)

    def close(self) -> None:
        """Wait for the worker, which stops at the end of a window."""
        self._worker.shutdown(wait=True, cancel_futures=True)


def _remove(folder: Path) -> None:
    # A file that is being written into it stays: until the server ends.
    shutil.rmtree(folder, ignore_errors=True)

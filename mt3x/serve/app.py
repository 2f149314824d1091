"""The routes of the API and the page."""

import asyncio
import functools
import math
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from mt3x.files import one_line
from mt3x.inference.beat_choice import BeatChoice
from mt3x.inference.outputs import FORMATS
from mt3x.music.performance import EVENTS, EXTEND
from mt3x.serve.bodies import read_body, read_json, sound_type
from mt3x.serve.composing import Order, about_wishes, wish_from_json
from mt3x.serve.config import ServerConfig
from mt3x.serve.decoding import Choice, decode
from mt3x.serve.guard import Guard, OneLine, refusal
from mt3x.serve.jobs import Job, Jobs, QueueFull
from mt3x.serve.live import Microphones
from mt3x.serve.models import Models
from mt3x.serve.notes_json import (
    JsonError,
    notes_from_json,
    notes_to_json,
)
from mt3x.serve.results import (
    MEDIA_TYPES,
    Result,
    result_endings,
    title_of,
    write_result,
)
from mt3x.serve.scores import WIDTHS, picture, write_score
from mt3x.serve.static import content_security_policy, static_files
from mt3x.serve.tasks import TaskError
from mt3x.serve.transcription import Found, Recording, check_recording

Made = TypeVar("Made")

# How often a listener hears something.
KEEP_ALIVE_S = 15.0
# How long after a recording's end notes that a client sends may end.
RING_S = 60.0


class Api:
    """What the routes do."""

    def __init__(
        self, models: Models, config: ServerConfig, folder: Path, files: dict[str, Path]
    ) -> None:
        self.jobs = Jobs(models, config, folder)
        self._models, self._config = models, config
        self._microphones = Microphones(models, config)
        self._static = static_files(files)
        # Work for clients beside that of jobs, one piece at a time.
        self._turn = anyio.CapacityLimiter(1)

    def routes(self) -> list[BaseRoute]:
        """Return all addresses."""
        job, write = "/api/jobs/{id}", ["POST"]
        return [
            Route("/api/info", self.info),
            WebSocketRoute("/api/live", self._microphones.hear),
            Route("/api/jobs", self.create, methods=write),
            Route("/api/compose", self.compose, methods=write),
            Route(job, self.delete, methods=["DELETE"]),
            Route(f"{job}/events", self.events),
            Route(f"{job}/decode", self.decode, methods=write),
            Route(f"{job}/notes", self.edit, methods=["PUT"]),
            Route(f"{job}/result.{{ending}}", self.result),
            Route(f"{job}/score", self.score),
            Route(f"{job}/score/{{name}}/{{page:int}}.svg", self.picture),
            Route(f"{job}/audio", self.audio),
            Route("/{path:path}", self.static),
        ]

    async def static(self, request: Request) -> Response:
        """Send a file of the page."""
        found = self._static.get(request.url.path)
        if found is None:
            raise HTTPException(404, "there is nothing at this address")
        return found.response()

    async def info(self, request: Request) -> Response:
        """Tell what there is."""
        config, models = self._config, self._models
        choice = Choice.of(models.first)
        return OneLine(
            {
                "version": version("mt3x"),
                "models": models.names,
                "model": models.usual,
                "pedalModel": models.pedal_model,
                "limits": {
                    "maxMinutes": config.max_minutes,
                    "maxMb": config.max_mb,
                    "jobs": config.jobs,
                    "microphones": config.microphones,
                    "keepSeconds": config.keep_s,
                },
                "formats": list(result_endings()),
                "defaults": choice and choice.by_name(),
                "compose": about_wishes(config) if models.composes else None,
            }
        )

    async def create(self, request: Request) -> Response:
        """Take a recording."""
        asked = request.query_params
        pedal = asked.get("pedal", EXTEND)
        try:
            model = self._models.choose(asked.get("model"), pedal)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        media_type = sound_type(request)
        title = title_of(asked.get("name", ""))
        with self.jobs.upload() as folder:
            recording = Recording(folder, title, model, media_type, pedal == EVENTS)
            with open(recording.path, "wb") as file:
                async for part in read_body(request, self._config.max_bytes):
                    file.write(part)
            await anyio.to_thread.run_sync(
                check_recording, recording, self._config, limiter=self._turn
            )
            job = self.jobs.add(recording)
        return OneLine({"id": job.id, "place": self.jobs.place(job)}, 202)

    async def compose(self, request: Request) -> Response:
        """Take a wish for music."""
        if not self._models.composes:
            raise HTTPException(
                404, "this server cannot compose: its installation lacks the model"
            )
        values = await read_json(request)
        wish, prompt = await self._do(wish_from_json, values, self._config)
        name = request.query_params.get("name") or f"generated-{wish.seed}"
        with self.jobs.upload() as folder:
            job = self.jobs.add(Order(folder, title_of(name), wish, prompt))
        place = self.jobs.place(job)
        return OneLine({"id": job.id, "place": place, "seed": wish.seed}, 202)

    async def events(self, request: Request) -> Response:
        """Tell what happens to a job, from an event on that the client names."""
        job = self._job(request)
        last = request.headers.get("last-event-id", "")
        number = int(last) if re.fullmatch(r"[0-9]{1,9}", last) else 0
        if job.has_ended and not job.events_after(number):
            return Response(status_code=204)  # browsers stop asking
        return StreamingResponse(
            event_stream(job, number), media_type="text/event-stream"
        )

    async def decode(self, request: Request) -> Response:
        """Find notes with other thresholds."""
        job = self._job(request)
        found = _found(job)
        if not isinstance(found, Found) or found.rolls is None or found.choice is None:
            raise HTTPException(409, "this model's notes have no thresholds")
        choice = found.choice.changed(await read_json(request))
        decoded = await self._do(decode, found.transcriber, found.rolls, choice)
        job.edit(decoded.notes)
        notes, candidates = map(notes_to_json, decoded)
        return OneLine({"notes": notes, "candidates": candidates})

    async def edit(self, request: Request) -> Response:
        """Take a client's notes for a job's own."""
        job = self._job(request)
        found = _found(job)
        notes = await self._do(notes_from_json, await read_json(request))
        end_s = found.duration_s + RING_S
        if len(notes) and (notes.onset_s.min() < 0 or notes.offset_s.max() > end_s):
            raise JsonError(
                f"a note begins before 0 s or ends after {end_s:.1f} s: the music "
                f"has {found.duration_s:.1f} s"
            )
        job.edit(notes)
        return Response(status_code=204)

    async def result(self, request: Request) -> Response:
        """Send a file of the notes."""
        ending = request.path_params["ending"]
        if ending not in result_endings():
            endings = ", ".join(result_endings())
            raise HTTPException(404, f"there is no such format: ask for {endings}")
        choice = _beat_choice(request)
        job = self._job(request)
        path = await self._write(job, write_result, ending, choice)
        stem = Path(job.task.title).stem
        return FileResponse(
            path,
            media_type=MEDIA_TYPES.get(ending, "application/octet-stream"),
            filename=f"{stem}.{ending}",
        )

    async def score(self, request: Request) -> Response:
        """Draw the notes as a score; tell of its pages and when its notes sound."""
        if FORMATS["svg"].missing:
            raise HTTPException(
                404, "the server has no scores: it needs pip install 'mt3x[score]'"
            )
        choice, width = _beat_choice(request), request.query_params.get("width", "900")
        if not (re.fullmatch("[0-9]{1,5}", width) and int(width) in WIDTHS):
            raise HTTPException(
                422, f"width is not a number of pixels from {WIDTHS[0]} to {WIDTHS[-1]}"
            )
        job = self._job(request)
        return OneLine(await self._write(job, write_score, choice, int(width)))

    async def picture(self, request: Request) -> Response:
        """Send a page of a score."""
        task = self._job(request).task
        given = request.path_params
        path = picture(task, given["name"], given["page"])
        if path is None:
            raise HTTPException(404, "there is no such page: ask for the score again")
        return FileResponse(path, media_type=MEDIA_TYPES["svg"])

    async def audio(self, request: Request) -> Response:
        """Send the recording, or a range of it."""
        recording = self._job(request).task
        if not isinstance(recording, Recording):
            raise HTTPException(404, "this music was composed: there is no recording")
        return FileResponse(recording.path, media_type=recording.media_type)

    async def delete(self, request: Request) -> Response:
        """Cancel a job and forget it."""
        self.jobs.remove(self._job(request))
        return Response(status_code=204)

    def _job(self, request: Request) -> Job:
        job = self.jobs.find(request.path_params["id"])
        if job is None:
            raise HTTPException(404, "there is no such job: it may have been forgotten")
        return job

    async def _write(self, job: Job, write: Callable[..., Made], *options: Any) -> Made:
        """Write a job's notes."""
        found = _found(job)
        try:
            return await self._do(
                write, job.task, found, job.notes, job.version, *options
            )
        except ValueError as error:  # no notes have no score
            raise HTTPException(422, job.task.explained(error)) from error

    async def _do(self, function: Callable[..., Made], *args: Any) -> Made:
        """Call a function in a thread, when it is its turn."""
        call = functools.partial(function, *args)
        try:
            return await anyio.to_thread.run_sync(call, limiter=self._turn)
        except FileNotFoundError as error:
            raise HTTPException(404, "the job was removed meanwhile") from error


async def event_stream(job: Job, number: int) -> AsyncIterator[bytes]:
    """Yield a job's events after those up to a number, until it has ended."""
    while True:
        # More may come while these are sent.
        while events := job.events_after(number):
            for event in events:
                yield event.encode()
                number = event.number
        job.use()
        if job.has_ended:
            return
        if not await job.wait(KEEP_ALIVE_S):
            yield b": still here\n\n"


def _found(job: Job) -> Result:
    if job.found is None:
        raise HTTPException(409, f"the job is {job.state}: wait until it is done")
    return job.found


def _beat_choice(request: Request) -> BeatChoice:
    """Return which beats a client wants."""
    tempo: Any = request.query_params.get("tempo", "detect")
    if tempo not in ("detect", "none"):
        # Words are not a number of beats, and are refused as such.
        tempo = float(tempo) if re.fullmatch(r"[0-9.]{1,9}", tempo) else math.nan
    try:
        return BeatChoice(tempo, meter=request.query_params.get("meter") or None)
    except ValueError as error:
        raise HTTPException(422, one_line(error)) from error


async def _explained(request: Request, error: Exception) -> Response:
    """Return an error of HTTP, of a recording or of a client's JSON."""
    if isinstance(error, HTTPException):
        return refusal(error.status_code, error.detail, **(error.headers or {}))
    return refusal(error.status if isinstance(error, TaskError) else 422, str(error))


async def _full(request: Request, error: Exception) -> Response:
    message = "too many jobs wait: try again in a minute"
    return refusal(429, message, **{"Retry-After": "60"})


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _disk_failed(request: Request, error: Exception) -> Response:
    print(f"error: {one_line(error)}", file=sys.stderr)
    return refusal(507, "the server cannot write: its disk may be full")


async def _failed(request: Request, error: Exception) -> Response:
    return refusal(500, "the server failed: its log says why")


def make_app(
    models: Models, config: ServerConfig, folder: Path, files: dict[str, Path]
) -> tuple[ASGIApp, Jobs]:
    """Return the application, and its jobs.

    Args:
      models: what transcribes.
      config: what is allowed.
      folder: an empty one, for uploads and what is made of them.
      files: the page's, by their addresses.
    """
    api = Api(models, config, folder, files)

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(x) for x in (api.jobs.work(), api.jobs.expire())]
        yield
        api.jobs.end_streams()
        await anyio.to_thread.run_sync(api.jobs.close)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = Starlette(
        routes=api.routes(),
        lifespan=running,
        exception_handlers={
            HTTPException: _explained,
            JsonError: _explained,
            TaskError: _explained,
            QueueFull: _full,
            ClientDisconnect: _gone,
            OSError: _disk_failed,
            Exception: _failed,
        },
    )
    page = files["index.html"].read_text(encoding="utf-8")
    headers = {
        "Content-Security-Policy": content_security_policy(page),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return Guard(app, config, headers), api.jobs

"""Microphones of clients: samples in by a WebSocket, notes out while they are played.

A client connects to `/api/live?rate=16000` and sends binary messages, 16-bit samples
of one channel, little-endian, at the rate that it names; empty ones while it pauses;
and at the end the text `end`. It gets JSON: `{"type": "ready"}` when it may send, then
`{"type": "notes", "notes": [...], "sounding": [...], "seconds": 1.5}` with notes that
are final, those that have begun and not ended, and the time up to which that holds; at
last `{"type": "done"}`, or `{"type": "error", "message": ...}`.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from mt3x.files import one_line
from mt3x.inference.live import LiveTranscriber, LiveWindowConfig
from mt3x.music.notes import Notes
from mt3x.music.samples import from_int16
from mt3x.serve.config import ServerConfig
from mt3x.serve.models import Models
from mt3x.serve.notes_json import notes_to_json

Made = TypeVar("Made")

# Seconds of sound at most, so that nobody waits long for another's turn.
MAX_MESSAGE_BYTES = 1 << 16
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8000, 192_000
# A microphone that sends nothing for so long has gone.
SILENCE_S = 30.0
END = "end"
# Costs a sixth of a processor.
WINDOW = LiveWindowConfig(context_frames=16, fade_frames=8, hop_frames=32)
NORMAL, REFUSED = 1000, 1008


class MessageError(ValueError):
    """What a client sent is not what was asked for."""


class Microphones:
    """Hears several clients at once."""

    def __init__(self, models: Models, config: ServerConfig) -> None:
        """Begin with none.

        Args:
          models: whose piano model listens.
          config: how many clients may be heard, and for how long.
        """
        self._models, self._config = models, config
        self._num_heard = 0
        # One computes at a time; a client whose turn is late is not read meanwhile.
        self._turn = anyio.CapacityLimiter(1)

    async def hear(self, socket: WebSocket) -> None:
        """Hear a client to its end."""
        await socket.accept()
        self._num_heard += 1
        try:
            if self._num_heard > self._config.microphones:
                raise MessageError("too many microphones are heard: try again later")
            await self._heard(socket)
            await socket.send_json({"type": "done"})
            await socket.close(NORMAL)
        except WebSocketDisconnect:
            pass  # nobody reads what is left
        except ValueError as error:  # of the client's, or of a model's that cannot
            with suppress(WebSocketDisconnect):
                await socket.send_json({"type": "error", "message": one_line(error)})
                await socket.close(REFUSED)
        finally:
            self._num_heard -= 1

    async def _heard(self, socket: WebSocket) -> None:
        live = await self._do(self._begin, _rate(socket))
        await socket.send_json({"type": "ready"})
        left = round(self._config.max_s * live.sample_rate_hz)
        shown: Any = None
        while (samples_S := await _samples(socket)) is not None:
            left -= len(samples_S)
            if left < 0:
                minutes = f"{self._config.max_minutes:g}"
                raise MessageError(f"this is too long: at most {minutes} minutes")
            notes = await self._do(live.push, samples_S)
            told = _told(notes, live.sounding)
            if told["notes"] or told["sounding"] != shown:
                shown = told["sounding"]
                await socket.send_json({**told, "seconds": live.final_s})
        notes = await self._do(live.finish)
        await socket.send_json({**_told(notes, Notes.empty()), "seconds": live.final_s})

    def _begin(self, rate_hz: int) -> LiveTranscriber:
        names = self._models.names
        name = "piano" if "piano" in names else self._models.usual
        model = self._models.of(name, None)
        return LiveTranscriber(model, sample_rate_hz=rate_hz, window=WINDOW)

    async def _do(self, function: Callable[..., Made], *args: Any) -> Made:
        return await anyio.to_thread.run_sync(function, *args, limiter=self._turn)


def _rate(socket: WebSocket) -> int:
    given = socket.query_params.get("rate", "16000")
    rate_hz = int(given) if re.fullmatch("[0-9]{1,9}", given) else 0
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise MessageError(
            f"rate is {given[:20]!r}: give {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} "
            "samples per second"
        )
    return rate_hz


async def _samples(socket: WebSocket) -> np.ndarray | None:
    """Return the samples of the next message; None where it is the end."""
    try:
        message = await asyncio.wait_for(socket.receive(), SILENCE_S)
    except TimeoutError as error:
        raise MessageError("nothing came for a while") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", NORMAL))
    if message.get("text") == END:
        return None
    data = message.get("bytes")
    if data is None or len(data) % 2 or len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(
            f"a message has no 16-bit samples, or more than {MAX_MESSAGE_BYTES} bytes: "
            f"send these, or the text {END!r}"
        )
    return from_int16(np.frombuffer(data, "<i2").astype(np.int16))


def _told(notes: Notes, sounding: Notes) -> dict[str, Any]:
    return {
        "type": "notes",
        "notes": notes_to_json(notes),
        "sounding": [
            {key: note[key] for key in ("onset", "pitch", "velocity")}
            for note in notes_to_json(sounding)
        ],
    }

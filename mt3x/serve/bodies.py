"""The bodies of requests, read as far as they are allowed to go."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from mt3x.serve.notes_json import parse_json

__all__ = ["read_body", "read_json", "sound_type"]

# A sender that is silent for so long has gone.
SILENCE_S = 30.0
# The notes of some hours.
MAX_JSON_BYTES = 16_000_000
_MEDIA_TYPE = re.compile(r"(audio|video)/[a-z0-9.+-]{1,60}")
_OTHER_AUDIO = ("application/ogg", "application/octet-stream")


def sound_type(request: Request) -> str:
    """Return the type of an upload, if it may be sound."""
    given = request.headers.get("content-type", "application/octet-stream")
    media_type = given.partition(";")[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(media_type) or media_type in _OTHER_AUDIO:
        return media_type
    raise HTTPException(415, "this is not sound: send a file of type audio/...")


async def read_body(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the parts of a body; refuse one that is too large as early as possible."""
    too_large = HTTPException(413, f"this is too large: send at most {limit} bytes")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limit:
        raise too_large
    parts, num_bytes = aiter(request.stream()), 0
    while True:
        try:
            part = await asyncio.wait_for(anext(parts), SILENCE_S)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise HTTPException(408, "nothing came for a while: try again") from error
        num_bytes += len(part)
        if num_bytes > limit:
            raise too_large
        yield part


async def read_json(request: Request) -> Any:
    """Return the values that a client sent."""
    parts = [part async for part in read_body(request, MAX_JSON_BYTES)]
    return parse_json(b"".join(parts))

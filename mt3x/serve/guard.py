"""What stands before the API: who may ask, and what browsers are told.

Other web pages in the same browser can send requests to this machine. They cannot read
the answers, since no CORS header allows it, unless their name is made to lead here (DNS
rebinding): then the header Host has that name. What they send to change anything comes
with their own Origin.
"""

import asyncio
import hmac
import ipaddress
import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mt3x.serve.config import ServerConfig, is_loopback

TOKEN_HEADER = "X-MT3X-Token"
_READS = ("GET", "HEAD", "OPTIONS")
# How long the rest of a request that is refused is waited for.
_REST_S = 60.0


class OneLine(JSONResponse):
    """JSON on a line."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode() + b"\n"


def refusal(status: int, message: str, **headers: str) -> OneLine:
    """Return an error as the API tells of it."""
    return OneLine({"error": message}, status, headers=headers)


class Guard:
    """An application that refuses foreign hosts, origins and tokens.

    Other requests are read to their end before they are answered: browsers lose an
    answer that comes while they send.
    """

    def __init__(
        self, app: ASGIApp, config: ServerConfig, headers: Mapping[str, str]
    ) -> None:
        """Stand before an application.

        Args:
          app: the application.
          config: whom it is for.
          headers: what every answer has, unless it has its own.
        """
        self._app, self._config, self._headers = app, config, headers
        self._hosts = {config.host.lower().strip("[]"), "localhost"}
        if not config.is_local:
            name = socket.gethostname().lower()
            self._hosts |= {name, f"{name}.local", socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            if self._refused(scope) is None:
                await self._app(scope, receive, send)
            else:  # a browser tells a page nothing of it but that it failed
                await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        refused = self._refused(scope)
        rest = _Rest(receive, self._config.max_bytes)
        # Who waits for leave to send does not send.
        reads_on = refused is None and scope["method"] not in _READS
        reads_on = reads_on and "expect" not in Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if reads_on:
                    await rest.read()
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await (refused or self._app)(scope, rest.receive, send_with_headers)

    def _refused(self, scope: Scope) -> OneLine | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return refusal(
                403, "this name does not belong to the server: use its address"
            )
        # Any page may open a WebSocket to anywhere, and read it.
        if scope["type"] == "websocket" or scope["method"] not in _READS:
            origin = headers.get("origin")
            site = headers.get("sec-fetch-site", "none")
            is_foreign = origin is not None and _netloc(origin) != host.lower()
            if is_foreign or site not in ("same-origin", "none"):
                return refusal(403, "this comes from another web page")
        if scope["path"].startswith("/api/") and not self._has_token(scope, headers):
            return refusal(401, "the token is missing or wrong: open the link with it")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._hosts or is_loopback(name):
            return True
        # Who asks for an address was not led here by a name; on a machine with several
        # networks any of them may be its own.
        return not self._config.is_local and _is_address(name)

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        if self._config.token is None:
            return True
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = headers.get(TOKEN_HEADER) or query.get("token", [""])[0]
        expected = self._config.token.encode()
        return hmac.compare_digest(given.encode("utf-8", "replace"), expected)


class _Rest:
    """What a client sends, and the rest of it that nobody wants."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive, self._num_left = receive, max_bytes
        self._has_ended = False

    async def receive(self) -> Message:
        """Return what comes next."""
        message = await self._receive()
        self._has_ended = not message.get("more_body", False)
        return message

    async def read(self) -> None:
        """Read to the end, but no more than was allowed in all."""
        try:
            async with asyncio.timeout(_REST_S):
                while not self._has_ended and self._num_left > 0:
                    self._num_left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return  # an answer that does not arrive is not a loss


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

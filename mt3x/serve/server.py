"""A server in this process, until it is interrupted."""

import asyncio
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from mt3x import page
from mt3x.serve.app import make_app
from mt3x.serve.config import ServerConfig
from mt3x.serve.jobs import Jobs
from mt3x.serve.models import Models

# So many connections at once; further ones are told to come back.
MAX_CONNECTIONS = 200
# How long a connection may go on when the server stops.
GRACE_S = 1.0


class _Server(uvicorn.Server):
    """Ends what listens to jobs before it waits for its connections to end."""

    def __init__(
        self, config: uvicorn.Config, jobs: Jobs, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._jobs, self._on_ready = jobs, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._jobs.end_streams()
        asyncio.get_running_loop().call_later(GRACE_S, self._cut)
        await super().shutdown(sockets)

    def _cut(self) -> None:
        """Leave those who still send or fetch."""
        for connection in list(self.server_state.connections):
            transport: Any = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


def serve(
    models: Models, config: ServerConfig, on_ready: Callable[[str], None]
) -> None:
    """Serve the page until a signal comes; what was uploaded is then removed.

    Args:
      models: what transcribes.
      config: where to listen, and what is allowed.
      on_ready: called with the page's address when it can be opened.

    Raises:
      OSError: the server cannot listen there.
    """
    with (
        _listening(config) as listener,
        tempfile.TemporaryDirectory(prefix="mt3x-serve-") as folder,
    ):
        app, jobs = make_app(models, config, Path(folder), page.files())
        options = uvicorn.Config(
            app,
            access_log=False,  # it would tell tokens and names
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=10,
        )
        address = _address(config, listener.getsockname()[1])
        _Server(options, jobs, lambda: on_ready(address)).run([listener])


def _listening(config: ServerConfig) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM
        )[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise type(error)(
            f"cannot listen at {config.host}:{config.port} ({error.strerror}): choose "
            "another --port or --host"
        ) from error


def _address(config: ServerConfig, port: int) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    if host in ("0.0.0.0", "[::]"):  # all addresses of the machine
        host = socket.gethostname()
    query = f"?token={config.token}" if config.token else ""
    return f"http://{host}:{port}/{query}"

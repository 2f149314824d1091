"""`mt3x serve`: the page on one's own machine."""

import re
import secrets
import threading
import webbrowser
from pathlib import Path
from typing import Any

import click

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType):
    """A time as `90s`, `30m` or `1h`, in seconds."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd])", value.strip())
        if match is None:
            self.fail(
                f"{value!r} is not a time: give one as 90s, 30m or 1h", param, ctx
            )
        return float(match[1]) * _UNITS_S[match[2]]


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen. Any other than this machine's own needs a token, which is "
    "made if none is given; 0.0.0.0 is all of its addresses.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="0 takes a free one.",
)
@click.option(
    "-m",
    "--model",
    type=click.Choice(["auto", "piano", "band"]),
    help="What transcribes recordings whose senders do not choose.  [default: auto, "
    "where the package has weights for bands, or else piano]",
)
@click.option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Weights file, checkpoint or run folder, for all recordings.  [default: the "
    "package's weights]",
)
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0.01),
    default=60.0,
    show_default=True,
    help="The longest recording or piece.",
)
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0.001),
    default=200.0,
    show_default=True,
    help="The largest upload.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Recordings and pieces that may wait or be worked on at once; as many that "
    "are done are kept.",
)
@click.option(
    "--microphones",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Visitors whose microphones are heard at once, while they play.",
)
@click.option(
    "--keep",
    type=Duration(),
    default="1h",
    show_default=True,
    help="How long a recording and its notes are kept after they were last used.",
)
@click.option(
    "--token",
    envvar="MT3X_TOKEN",
    help="What every visitor must know; also read from MT3X_TOKEN.  [default: none on "
    "this machine, a new one for other hosts]",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
def command(
    host: str,
    port: int,
    model: str | None,
    checkpoint: Path | None,
    max_minutes: float,
    max_mb: float,
    jobs: int,
    microphones: int,
    keep: float,
    token: str | None,
    open_page: bool,
) -> None:
    """Open a page that turns recordings into notes, on this machine.

    Nothing leaves the machine, and all that was uploaded is removed when the server
    stops (Ctrl-C).
    """
    from mt3x.models.memory import reuse_memory
    from mt3x.serve.config import ServerConfig, is_loopback

    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(16)
    config = ServerConfig(
        host, port, token, max_minutes, max_mb, jobs, keep, microphones
    )
    if checkpoint is not None and model is not None:
        raise click.UsageError("give --model or --checkpoint, not both")
    # Here, so that wrong options and --help do not wait for JAX.
    from mt3x.serve.server import serve

    reuse_memory()
    from mt3x.serve.models import Models

    def ready(address: str) -> None:
        click.echo(f"mt3x is at {address} (Ctrl-C stops it)", err=True)
        if open_page:
            # Browsers of terminals return only when they are left.
            threading.Thread(
                target=webbrowser.open, args=[address], daemon=True
            ).start()

    try:
        serve(Models(model, checkpoint), config, ready)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)

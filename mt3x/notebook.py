"""What notebooks need beside the package: files from and to their reader, players.

In Colab files come and go through the browser; elsewhere (Jupyter, VS Code, a script)
everything lies on this machine, and each function has a plain way to do the same.
"""

import base64
import binascii
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from glob import glob
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from mt3x.files import write_whole
from mt3x.music.audio import audio_info, write_audio
from mt3x.music.notes import Notes

if TYPE_CHECKING:
    import numpy.typing as npt

    from mt3x.music.audio import Source

__all__ = [
    "Player",
    "download",
    "drive_folder",
    "example",
    "fetch",
    "player",
    "record",
    "run",
    "sign_in",
    "transcribe",
    "upload",
]

# Of recordings from the microphone.
SAMPLE_RATE_HZ = 22050
DRIVE = Path("/content/drive")
_CHUNK_BYTES = 1 << 16


def in_colab() -> bool:
    """Return whether this is a notebook of Colab."""
    return "google.colab" in sys.modules


def example() -> Path:
    """Return a recording that comes with the package: 16 s of a piano."""
    return Path(__file__).parent / "page" / "example.ogg"


def upload() -> list[Path]:
    """Return files that the reader picks; outside of Colab, a path or pattern's.

    Raises:
      FileNotFoundError: nothing was picked, or there is no such file.
    """
    if in_colab():
        from google.colab import files  # pyright: ignore

        found = [Path(name) for name in files.upload()]
    else:
        pattern = input("Path of a recording, or a pattern such as takes/*.wav: ")
        found = [Path(name) for name in sorted(glob(pattern.strip()))]
    if not found:
        raise FileNotFoundError("no file was chosen; run the cell again")
    return found


def record(seconds: float = 30.0, path: str = "recording.wav") -> Path:
    """Record from the microphone, and replace the sound file of this name.

    In Colab it is the browser's, and a button ends the recording earlier. Elsewhere it
    is that of the machine where the notebook runs, by the package sounddevice.

    Raises:
      OSError: there is no microphone, or it may not be used.
      ModuleNotFoundError: sounddevice is missing.
    """
    if in_colab():
        from google.colab import output  # pyright: ignore

        script = Path(__file__).with_name("notebook_record.js")
        said = output.eval_js(
            f"({script.read_text(encoding='utf-8')})({seconds}, {SAMPLE_RATE_HZ})"
        )
        try:
            data = base64.b64decode(said, validate=True)
        except binascii.Error as error:
            raise OSError(f"the browser does not record: {said}") from error
        with write_whole(path, overwrite=True) as file:
            file.write(data)
        return Path(path)
    try:
        import sounddevice  # pyright: ignore
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "recording on this machine needs sounddevice: pip install sounddevice, or "
            "upload a recording"
        ) from error
    try:
        samples_SxC = sounddevice.rec(
            round(seconds * SAMPLE_RATE_HZ), samplerate=SAMPLE_RATE_HZ, channels=1
        )
        sounddevice.wait()
    except sounddevice.PortAudioError as error:
        raise OSError(f"the microphone cannot be used: {error}") from error
    write_audio(path, samples_SxC, SAMPLE_RATE_HZ, overwrite=True)
    return Path(path)


def fetch(address: str, max_mb: float = 100.0) -> Path:
    """Download a file into this folder, and replace the one of its name.

    Args:
      address: https:// or http://, of the file itself, not of a page that plays it.
      max_mb: a larger one is refused.

    Raises:
      OSError: it cannot be downloaded.
      ValueError: it is not such an address, or the file is too large.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise ValueError(
            f"{address!r} is not an address: give one that begins with https:"
        )
    path = Path(Path(unquote(parts.path)).name or "recording")
    size = 0
    try:
        with (
            urlopen(address, timeout=60) as answer,
            write_whole(path, overwrite=True) as file,
        ):
            while chunk := answer.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > 1e6 * max_mb:
                    raise ValueError(
                        f"{address} is larger than {max_mb:g} MB: give max_mb, or a "
                        "shorter recording"
                    )
                file.write(chunk)
            if answer.length:  # bytes that were promised and did not come
                raise OSError("it breaks off; try again")
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise OSError(f"{address} cannot be downloaded: {reason}") from error
    return path


def download(path: str | os.PathLike[str]) -> None:
    """Give a file to the reader's browser; outside of Colab, say where it lies."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if in_colab():
        from google.colab import files  # pyright: ignore

        files.download(str(path))
    else:
        print(Path(path).resolve())


def drive_folder(name: str) -> Path:
    """Return a folder that outlives the runtime: in Google Drive, or this machine's."""
    folder = Path.cwd() / name
    if in_colab():
        from google.colab import drive  # pyright: ignore

        drive.mount(str(DRIVE))
        folder = DRIVE / "MyDrive" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sign_in() -> None:
    """Let the commands of this notebook act for the reader's Google account."""
    if in_colab():
        from google.colab import auth  # pyright: ignore

        auth.authenticate_user()
    else:
        print("sign in with: gcloud auth login")


class Player:
    """What a cell shows as a player; `html` is its page."""

    def __init__(self, html: str) -> None:
        self.html = html

    def _repr_html_(self) -> str:
        return self.html


def player(
    notes: Notes,
    audio: "Source | npt.ArrayLike | None" = None,
    sample_rate_hz: float | None = None,
) -> Player:
    """Return a piano roll in step with the notes' sound, or with the recording's.

    Arguments and errors are those of `mt3x.music.player.player_html`. Of a recording of
    more than ten minutes the beginning is shown.
    """
    from mt3x.music.player import player_html

    return Player(player_html(notes, audio, sample_rate_hz))


def transcribe(
    audio: str | os.PathLike[str],
    model: str | os.PathLike[str] = "auto",
    **options: Any,
) -> Notes:
    """Transcribe a recording, and show how far it is.

    Args:
      audio: the file.
      model: `piano`, `band`, `auto` to listen first and take one of these, or a
        checkpoint.
      options: of `mt3x.Transcriber`.

    Raises:
      OSError, ValueError: as `mt3x.Transcriber`.
    """
    from mt3x.inference.model_choice import choose_model
    from mt3x.inference.transcriber import Transcriber

    packaged: Any = "band" if model == "auto" else model
    if packaged in ("piano", "band"):
        transcriber = Transcriber(model=packaged, **options)
    else:
        transcriber = Transcriber(model, **options)
    if model == "auto" and choose_model(transcriber, audio) == "piano":
        transcriber = Transcriber(model="piano", **options)
    console = Console()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        console=console,
        # In Jupyter rich draws by ipywidgets.
        disable=console.is_jupyter and find_spec("ipywidgets") is None,
    ) as progress:
        title = f"{Path(audio).name}: {transcriber.kind}"
        bar = progress.add_task(title, total=audio_info(audio).duration_s)
        return transcriber(
            audio, on_progress=lambda seconds: progress.advance(bar, seconds)
        )


def run(command: str, dry_run: bool = False) -> None:
    """Print a command, run it and print what it says; a dry run prints it alone.

    Args:
      command: as typed into a shell, in one line or several, but without a shell's
        pipes and variables. `mt3x` and `python` are those of this notebook.
      dry_run: only print it.

    Raises:
      RuntimeError: it failed.
    """
    words = shlex.split(command)
    print("$", " ".join(map(shlex.quote, words)), flush=True)
    if dry_run:
        return
    own = {"mt3x": [sys.executable, "-m", "mt3x"], "python": [sys.executable]}
    # Jupyter asks for colours, and with them come bars drawn over and over.
    colours = ("FORCE_COLOR", "CLICOLOR_FORCE")
    environment = {x: y for x, y in os.environ.items() if x not in colours}
    with subprocess.Popen(
        [*own.get(words[0], words[:1]), *words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            _print_lines(process.stdout)
        except KeyboardInterrupt:
            # It was interrupted, too: a training run saves before it ends.
            _print_lines(process.stdout)
            raise
    if process.returncode:
        raise RuntimeError(f"{words[0]} failed: its last lines say why")


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, end="", flush=True)

"""The `mt3x` command: a group that imports its subcommands when they are called.

Subcommand `NAME` is the click command `command` of `mt3x/cli/NAME.py`, so that
`mt3x evaluate` pays for no JAX and `mt3x transcribe` for no training library.
"""

import atexit
import difflib
import errno
import gc
import importlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import Any

import click

from mt3x.files import one_line

SUBCOMMANDS: Mapping[str, str] = {
    "transcribe": "Turn recordings into MIDI.",
    "listen": "Tell the notes of a microphone while it is played.",
    "serve": "Open a page that turns recordings into notes.",
    "generate": "Compose piano music of a wished mood.",
    "score": "Write notes down as sheet music.",
    "play": "Play notes through loudspeakers, beside a recording too.",
    "evaluate": "Score transcriptions against reference notes.",
    "train": "Train a model from a gin file.",
    "plan": "Tell what a training step needs on a TPU slice.",
    "eval": "Score a checkpoint on an evaluation task.",
    "infer": "Transcribe the pieces of a task with a checkpoint.",
    "compare": "Put training runs side by side: scores over seeds, curves.",
    "export": "Write the weights of a training run to one file.",
    "web": "Write the page with a piano model as a static web site.",
    "prepare": "Turn a published data set into TFRecords.",
    "corpus": "Build training data: render MIDI, read MAPS and MAESTRO.",
    "synth": "Render a set of multi-instrument songs in Slakh's layout.",
    "import": "Convert a published checkpoint into mt3x weights.",
    "info": "Print versions, devices, cache and optional parts.",
    "completion": "Let a shell complete commands and options.",
}

EXTRAS: Mapping[str, Collection[str]] = {
    "train": ("gin", "optax", "orbax", "scipy", "tensorboardX", "tensorstore"),
    "data": (
        *("apache_beam", "note_seq", "pyloudnorm", "seqio", "tensorflow"),
        *("tensorflow_datasets", "yaml"),
    ),
    "live": ("rtmidi", "sounddevice"),
    "onnx": ("onnx",),
    "plot": ("matplotlib",),
    "serve": ("starlette", "uvicorn", "websockets"),
    "av": ("av",),
    "score": ("partitura", "reportlab", "verovio"),
    "watch": ("watchfiles",),
}
"""The modules that each extra installs, of those that commands import."""


class LazyGroup(click.Group):
    """A group that knows its subcommands' names and imports one on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        module = "import_" if cmd_name == "import" else cmd_name
        return importlib.import_module(f"mt3x.cli.{module}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where there is none, tell what may have been meant."""
        if args and self.get_command(ctx, args[0]) is None:
            name, rest = one_line(args[0]), " ".join(map(one_line, args[1:]))
            near = difflib.get_close_matches(name, SUBCOMMANDS, n=1)
            if near:
                hint = f"did you mean `mt3x {near[0]}`?"
            elif os.path.exists(args[0]) or "." in name or "://" in name:
                hint = f"did you mean `mt3x transcribe {name} {rest}".rstrip() + "`?"
            else:
                hint = "`mt3x -h` lists them"
            if not name.startswith("-"):
                ctx.fail(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mt3x")
def group() -> None:
    """Music transcription: audio in, notes and MIDI out."""


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 1."""
    # What JAX loads lives as long as the command. By default Python's collector walks
    # it dozens of times meanwhile, and once more at the end: 0.3 s.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    # TensorFlow reads data on the CPU here; it reports every GPU that it cannot use.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.showwarning = _show
    _prepare_streams()
    code: Any = 0
    try:
        with _signals_raised():
            group.main(standalone_mode=True)
    except SystemExit as exit_:
        code = exit_.code
    except _Ended as ended:
        # What was begun is cleaned up; the caller shall see what ended the process.
        code = 128 + ended.number  # where it is the first of a container, it lives on
        os.kill(os.getpid(), ended.number)
    except (
        ValueError,
        OSError,
        MemoryError,
        ModuleNotFoundError,
        RuntimeError,
    ) as error:
        line = _explained(error)
        if line is None:
            raise
        print(f"error: {one_line(line)}", file=sys.stderr)
        code = 1
    sys.exit(_flush() or code)


class _Ended(BaseException):
    """The process was asked to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Let signals that end a process be exceptions, so that files are cleaned up.

    The second ends it at once. Those that are ignored, as by nohup, stay so.
    """

    def end(number: int, frame: Any) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        raise _Ended(number)

    names = ("SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    is_main = threading.current_thread() is threading.main_thread()
    ours = [n for n in numbers if is_main and signal.getsignal(n) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _prepare_streams() -> None:
    """Make standard streams safe to use, closed ones too, as services have them.

    The first file that is opened would get the number of a closed stream, and what
    libraries report would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    # Names of files may hold anything. (Standard error is so by default.)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush() -> int:
    """Write what is left for standard output; return 1 where that is impossible."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:  # whoever reads it wants no more
            reason = f"{error.strerror}; write to another disk"
            print(f"error: standard output: {reason}", file=sys.stderr)
        sys.stdout = None  # or Python would try once more, and print a traceback
        return 1
    return 0


def _explained(error: Exception) -> str | None:
    """Return what a user can do something about; None for our own faults."""
    message = str(error)
    if isinstance(error, MemoryError):
        return f"out of memory ({message or 'of this process'})"
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        if "pip install" in message or name == "mt3x":
            return message if "pip install" in message else None
        package = next((f"mt3x[{x}]" for x, y in EXTRAS.items() if name in y), name)
        return (
            f"this command needs {name}, which is not installed: pip install "
            f"'{package}'"
        )
    if isinstance(error, BrokenExecutor):
        return (
            "a process was killed, perhaps out of memory: run again with fewer "
            f"processes ({message})"
        )
    if isinstance(error, RuntimeError):
        if "initialize backend" not in message:
            return None
        setting = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX cannot start with JAX_PLATFORMS={setting}: unset it ({message})"
    return message


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line, without the place in the code that it comes from."""
    print(f"warning: {one_line(str(message))}", file=sys.stderr)

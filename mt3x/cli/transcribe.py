"""`mt3x transcribe`: recordings to MIDI and other formats."""

import importlib.util
import io
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mt3x.cli.models import AUTO, MODELS, Models
from mt3x.cli.recordings import Recording, choose_outputs, find_recordings
from mt3x.files import check_writable, one_line, write_whole
from mt3x.inference.outputs import FORMATS, Transcription
from mt3x.music.audio import audio_info, rereadable
from mt3x.music.instruments import Instruments, parse_instruments

_PACKAGE = str(Path(__file__).parents[1])


class InstrumentList(click.ParamType):
    """A list of instruments, as `piano,drums,33`."""

    name = "LIST"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Instruments:
        try:
            return parse_instruments(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Tuning(click.ParamType):
    """Cents, or `auto`."""

    name = "auto|CENTS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        if value == "auto":
            return value
        return click.FloatRange(-100, 100).convert(value, param, ctx)


class Formats(click.ParamType):
    """A list of formats, as `midi,csv`."""

    name = "LIST"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        names = [name.strip() for name in value.split(",")]
        for name in names:
            if name not in FORMATS:
                self.fail(f"{name!r} is not one of {', '.join(FORMATS)}", param, ctx)
        return list(dict.fromkeys(names))


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@click.option(
    "-f",
    "--format",
    "formats",
    type=Formats(),
    help="What to write, separated by commas: midi, csv and json (notes), rolls (the "
    "model's output, npz), plot (notes over the spectrogram, PNG), sonify (WAV with "
    "the recording left and the notes right).  [default: midi]",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Output file of a single recording; `-` is standard output. Its ending "
    "chooses the format unless -f does.",
)
@click.option(
    "-d",
    "--out-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the outputs, made if missing; folders of inputs are kept as they "
    "are inside.  [default: beside each input]",
)
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist already.")
@click.option(
    "-m",
    "--model",
    type=click.Choice([AUTO, *MODELS]),
    help="What transcribes: piano or band, whose weights the package brings; auto, "
    "which listens to each recording and takes one of these; or what a checkpoint must "
    "be: these, or mt3 and ismir2021, token models, of all instruments and of piano.  "
    "[default: what the checkpoint is; without one auto, where the package has weights "
    "for bands, or else piano]",
)
@click.option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Weights file, checkpoint or run folder.  [default: the package's weights]",
)
@click.option(
    "--decoder",
    type=click.Choice(["tokens", "rolls", "both"]),
    help="What notes are made from; both: from tokens, with onsets and velocities from "
    "the rolls of models that have heads for them; rolls: no drums, all piano.  "
    "[default: tokens; rolls of piano and band models]",
)
@click.option(
    "-i",
    "--instruments",
    type=InstrumentList(),
    help="The instruments that there are, separated by commas: families (piano, "
    "strings, ...), drums, program numbers or names of General MIDI. No others can be "
    "chosen, and one may be taken for another. Of band models, and where tokens are "
    "decoded.",
)
@click.option(
    "--constrain",
    is_flag=True,
    help="Decode only tokens that make sense in a row; implied by -i.",
)
@click.option(
    "--beams",
    type=click.IntRange(min=1),
    help="Search for tokens with this many beams.  [default: 1, greedy]",
)
@click.option(
    "--onset-threshold",
    type=click.FloatRange(0, 1),
    help="Probability above which an onset of rolls counts: lower finds more notes.",
)
@click.option(
    "--frame-threshold",
    type=click.FloatRange(0, 1),
    help="Probability above which a note of rolls continues: lower makes notes longer.",
)
@click.option(
    "--drum-threshold",
    type=click.FloatRange(0, 1),
    help="Probability above which a drum counts: lower finds more. Of band models.",
)
@click.option(
    "--tuning",
    type=Tuning(),
    default=0.0,
    help="How many cents recordings are above A4 = 440 Hz, or auto, which listens to "
    "each; they are brought to 440 Hz.  [default: 0]",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "gpu", "tpu"]),
    help="Where to compute.  [default: an accelerator if JAX finds one]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the network's arithmetic; bfloat16 is for accelerators.",
)
@click.option(
    "-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors."
)
@click.pass_context
def command(
    ctx: click.Context,
    inputs: tuple[str, ...],
    formats: list[str] | None,
    output: str | None,
    out_dir: Path | None,
    overwrite: bool,
    model: str | None,
    checkpoint: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Turn recordings into MIDI: piano, bands, or what a checkpoint is trained for.

    IN are sound files, folders (searched for sound files, with their subfolders),
    quoted patterns such as 'takes/**/*.wav', or - for standard input. The MIDI file of
    a.wav is a.mid beside it. Outputs that exist are kept unless --overwrite is given.

    A recording that cannot be transcribed is reported, the others are done all the
    same, and the exit code is 1.
    """
    if output is not None and out_dir is not None:
        raise click.UsageError("give -o or --out-dir, not both")
    models = Models(model, checkpoint, options)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    batch = _Batch(console, overwrite, quiet)
    found = find_recordings(inputs, batch.fail)
    recordings = choose_outputs(found, formats, output, out_dir) if found else []
    if any("plot" in recording.outputs for recording in recordings):
        if importlib.util.find_spec("matplotlib") is None:
            raise ValueError("pictures need matplotlib: pip install 'mt3x[plot]'")
    recordings = [recording for recording in recordings if batch.prepare(recording)]
    if recordings:
        # Here, so that wrong options and --help do not wait for JAX.
        from mt3x.models.memory import reuse_memory

        reuse_memory()
        models.check(any("rolls" in recording.outputs for recording in recordings))
        batch.run(recordings, models)
    batch.report()
    ctx.exit(1 if batch.num_failed else 0)


class _Batch:
    """Transcribes recordings one by one, with messages, progress and a summary."""

    def __init__(self, console: Console, overwrite: bool, quiet: bool):
        self._console = console
        self._overwrite = overwrite
        self._quiet = quiet
        self._num_done = self._num_notes = self._num_kept = self.num_failed = 0
        self._audio_s = self._wall_s = 0.0

    def prepare(self, recording: Recording) -> bool:
        """Drop outputs that exist; return whether anything remains to be done.

        The others are checked: whether they can be written and the input be read.
        """
        with self._reported(recording):
            if None in recording.outputs.values():
                _check_standard_output()
            if not self._keep(recording):
                return False
            # Pipes are read once, however often they are listened to.
            recording.audio = rereadable(recording.source or "-")
            recording.duration_s = audio_info(recording.audio).duration_s or 0.0
            for path in recording.outputs.values():
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # What another process writes from here on is kept, too.
                    check_writable(path, overwrite=True)
            return True
        return False

    def _keep(self, recording: Recording) -> bool:
        """Drop outputs that exist; return whether any remain."""
        for name, path in list(recording.outputs.items()):
            if path is not None and path.is_file() and not self._overwrite:
                self._kept(recording, name)
        return bool(recording.outputs)

    def _kept(self, recording: Recording, name: str) -> None:
        path = recording.outputs.pop(name)
        self._note(f"kept {one_line(path)} (--overwrite replaces it)")
        self._num_kept += 1

    def run(self, recordings: Sequence[Recording], models: Models) -> None:
        """Transcribe and write."""
        start = time.monotonic()
        hidden = self._quiet or not self._console.is_terminal
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            _RealtimeColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=hidden,
            transient=True,
        ) as progress:
            task = progress.add_task(
                "", total=sum(recording.duration_s for recording in recordings)
            )
            for number, recording in enumerate(recordings, start=1):
                counted = f"{number}/{len(recordings)} " if len(recordings) > 1 else ""
                progress.update(task, description=counted + recording.title)

                def advance(seconds: float, recording: Recording = recording) -> None:
                    left_s = recording.duration_s - recording.done_s
                    recording.done_s += seconds
                    # Frames are rounded up, and headers may be wrong.
                    progress.advance(task, max(min(seconds, left_s), 0))

                with self._reported(recording):
                    # Another process may have written them meanwhile.
                    if self._keep(recording):
                        self._transcribe(recording, models, advance)
                # What a damaged or wrongly labelled file did not bring.
                progress.advance(task, max(recording.duration_s - recording.done_s, 0))
        self._wall_s = time.monotonic() - start

    def _transcribe(self, recording: Recording, models: Models, advance: Any) -> None:
        transcriber = models.of(recording.audio)
        parts: list[Any] = []
        on_rolls = parts.append if "rolls" in recording.outputs else None
        notes = transcriber(recording.audio, on_rolls=on_rolls, on_progress=advance)
        found = Transcription(
            notes, parts, recording.audio, recording.title, transcriber
        )
        for name, path in list(recording.outputs.items()):
            if path is not None:
                try:
                    with write_whole(path, self._overwrite) as file:
                        FORMATS[name].write(file, found)
                except FileExistsError:
                    if not path.is_file():
                        raise
                    self._kept(recording, name)
                continue
            buffer = io.BytesIO()
            FORMATS[name].write(buffer, found)
            sys.stdout.buffer.write(buffer.getvalue())
            sys.stdout.buffer.flush()
        if models.choose:
            self._note(f"{recording.name}: {transcriber.kind}")
        self._num_done += 1
        self._num_notes += len(notes)
        self._audio_s += recording.done_s

    def report(self) -> None:
        """Print the summary line."""
        speed = self._audio_s / self._wall_s if self._wall_s else 0.0
        line = (
            f"{_count(self._num_done, 'file')}, {_count(self._num_notes, 'note')}, "
            f"{self._audio_s:.1f} s of audio in {self._wall_s:.1f} s "
            f"({speed:.1f}x realtime)"
        )
        if self._num_kept:
            line += f", {_count(self._num_kept, 'output')} kept"
        if self.num_failed:
            line += f", {self.num_failed} failed"
        self._note(line)

    def fail(self, error: Exception) -> None:
        """Report what cannot be transcribed."""
        self._say(f"error: {one_line(error)}")
        self.num_failed += 1

    @contextmanager
    def _reported(self, recording: Recording) -> Iterator[None]:
        """Turn a recording's warnings and errors into lines that name it."""
        said: set[str] = set()
        show = warnings.showwarning

        def warn(message: Any, category: Any, filename: str, *place: Any) -> None:
            if not filename.startswith(_PACKAGE):
                show(message, category, filename, *place)
                return
            # Once: a picture or comparison reads the recording again.
            if str(message) not in said:
                self._say(f"warning: {_naming(recording, message)}")
            said.add(str(message))

        with warnings.catch_warnings():
            # Those of other libraries are not about the recording.
            warnings.filterwarnings("always", category=UserWarning, module=r"mt3x\.")
            warnings.showwarning = warn
            try:
                yield
            except (ValueError, OSError, MemoryError) as error:
                text = _naming(recording, error)
                if isinstance(error, FileNotFoundError) and not _exists(recording):
                    text = f"{recording.name}: no such file; check the name"
                self.fail(ValueError(text))

    def _note(self, line: str) -> None:
        if not self._quiet:
            self._say(line)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False)


def _check_standard_output() -> None:
    if sys.stdout is None:
        raise ValueError("standard output is closed: give -o or --out-dir")
    if sys.stdout.isatty():
        raise ValueError("standard output is a terminal: give -o or --out-dir")


class _RealtimeColumn(ProgressColumn):
    """Seconds of audio per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}x realtime" if speed else "starting")


def _exists(recording: Recording) -> bool:
    return recording.source is None or os.path.exists(recording.source)


def _naming(recording: Recording, message: object) -> str:
    """Return a message on one line that names the recording."""
    line = one_line(message)
    return line if recording.name in line else f"{recording.name}: {line}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

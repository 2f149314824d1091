"""`mt3x listen`: notes of what a microphone hears, while it is played."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mt3x.cli.microphone import Microphone, input_lines
from mt3x.files import check_writable, one_line, write_whole
from mt3x.music.notes import Notes
from mt3x.music.plot import pitch_name

if TYPE_CHECKING:
    from mt3x.inference.live import LiveTranscriber

# A port that other programs see, instead of one that is there.
VIRTUAL = "virtual"
# Notes in many small arrays take much memory.
MOST_PARTS = 1000


@click.command()
@click.option(
    "--device",
    help="The audio input: its number, or a part of its name.  [default: the system's]",
)
@click.option(
    "--list-devices", is_flag=True, help="Print audio inputs and MIDI ports, and stop."
)
@click.option(
    "--midi-out",
    metavar="PORT",
    help="Send the notes to this MIDI port: a part of its name, or `virtual`, which "
    "makes a port that other programs can read.",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT.mid",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the whole take to this MIDI file at the end.",
)
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after so many.  [default: at Ctrl-C]",
)
@click.option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Weights of a piano model.  [default: the package's]",
)
@click.option(
    "--onset-threshold",
    type=click.FloatRange(0, 1),
    help="Probability above which an onset counts: lower finds more notes.",
)
@click.option(
    "--frame-threshold",
    type=click.FloatRange(0, 1),
    help="Probability above which a note continues: lower makes notes longer.",
)
@click.option(
    "--step",
    type=click.FloatRange(0.1, 2.0),
    default=0.32,
    show_default=True,
    help="Seconds of new sound that are heard at once: longer steps cost less to "
    "compute, and notes come later.",
)
@click.option(
    "--tuning",
    type=click.FloatRange(-100, 100),
    default=0.0,
    help="How many cents the piano is above A4 = 440 Hz.  [default: 0]",
)
@click.option("-q", "--quiet", is_flag=True, help="Print no notes.")
def command(
    device: str | None,
    list_devices: bool,
    midi_out: str | None,
    output: Path | None,
    overwrite: bool,
    seconds: float | None,
    step: float,
    quiet: bool,
    **options: Any,
) -> None:
    """Listen to a piano and tell its notes, half a second after they are played.

    Notes are printed when they have ended: onset, pitch, velocity and length. MIDI
    ports get the key down as soon as its note is certain, and up at its end. Ctrl-C
    ends the take.
    """
    if list_devices:
        click.echo("\n".join(_device_lines()))
        return
    if output is not None:
        if output.suffix.lower() not in (".mid", ".midi"):
            raise ValueError(f"-o {output}: a take is a MIDI file; name it *.mid")
        check_writable(output, overwrite)
    microphone = Microphone(device)
    with _midi_port(midi_out) as port:
        # Here, so that wrong options do not wait for JAX.
        from mt3x.inference.live import LiveTranscriber, LiveWindowConfig
        from mt3x.inference.transcriber import Transcriber

        transcriber = Transcriber(**options)
        window = LiveWindowConfig(hop_frames=round(step * transcriber.frame_rate_hz))
        live = LiveTranscriber(
            transcriber, sample_rate_hz=microphone.rate_hz, window=window
        )
        take = _Take(live, port, quiet)
        with _ctrl_c() as stop, microphone:
            click.echo(
                f"listening to {one_line(microphone.name)}; Ctrl-C ends", err=True
            )
            try:
                take.record(microphone.blocks(stop), seconds, stop)
            finally:
                # Whatever ended it.
                notes = take.finish()
                decoding = transcriber.roll_decoding
                if decoding is not None and decoding.postprocessing is not None:
                    notes = decoding.postprocessing(notes)
                if output is not None:
                    output = _write(notes, output, overwrite)
                where = f" in {one_line(output)}" if output else ""
                click.echo(f"{len(notes)} notes{where}", err=True)


class _Take:
    """Notes of what is played, printed and sent on as they are found."""

    def __init__(self, live: "LiveTranscriber", port: Any, quiet: bool) -> None:
        from mt3x.inference.live import KeyEvents

        self._live, self._port, self._quiet = live, port, quiet
        self._events = KeyEvents()
        self._notes: list[Notes] = []

    def record(
        self, blocks: Iterator[Any], seconds: float | None, stop: threading.Event
    ) -> None:
        left = None if seconds is None else round(seconds * self._live.sample_rate_hz)
        for block_SxC in blocks:
            if left is not None:
                block_SxC = block_SxC[:left]
                left -= len(block_SxC)
            self._tell(self._live.push(block_SxC), self._live.sounding)
            if left == 0:
                stop.set()

    def finish(self) -> Notes:
        """End the take and return its notes."""
        self._tell(self._live.finish(), Notes.empty())
        return Notes.concatenate(self._notes)

    def _tell(self, ended: Notes, sounding: Notes) -> None:
        if self._port is not None:
            for event in self._events(ended, sounding):
                kind = "note_on" if event.velocity else "note_off"
                self._port.send(
                    _mido().Message(kind, note=event.pitch, velocity=event.velocity)
                )
        if not len(ended):
            return
        self._notes.append(ended)
        if len(self._notes) > MOST_PARTS:
            self._notes = [Notes.concatenate(self._notes)]
        if not self._quiet:
            columns = ended.onset_s, ended.offset_s, ended.pitch, ended.velocity
            for onset_s, offset_s, pitch, velocity in zip(*columns, strict=True):
                click.echo(
                    f"{onset_s:9.2f} s  {pitch_name(pitch):4s} {velocity:4d}  "
                    f"{offset_s - onset_s:6.2f} s"
                )


def _write(notes: Notes, path: Path, overwrite: bool) -> Path:
    """Write a take, beside a file that came there meanwhile; return where it is."""
    free, number = path, 1
    while True:
        try:
            with write_whole(free, overwrite) as file:
                file.write(notes.to_midi())
            return free
        except FileExistsError:
            number += 1
            free = path.with_stem(f"{path.stem}-{number}")


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Yield what Ctrl-C sets; the second one ends the process as usual."""
    stop = threading.Event()

    def end(number: int, frame: Any) -> None:
        del number, frame
        signal.signal(signal.SIGINT, before)
        stop.set()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _device_lines() -> list[str]:
    lines = ["audio inputs:", *(input_lines() or ["  none"]), "MIDI ports:"]
    try:
        ports = _ports()
    except (OSError, ModuleNotFoundError) as error:
        return [*lines, f"  none ({one_line(error)})"]
    return [*lines, *(f"  {one_line(name)}" for name in ports or ["none"])]


def _ports() -> list[str]:
    return list(dict.fromkeys(_mido().get_output_names()))


def _mido() -> Any:
    import mido  # which finds its functions at run time

    return mido


def _midi_port(name: str | None) -> Any:
    """Open a port for a `with` block.

    Raises:
      ModuleNotFoundError: python-rtmidi is not installed.
      OSError: the system has no MIDI.
      ValueError: there is no such port.
    """
    if name is None:
        return nullcontext()
    try:
        if name == VIRTUAL:
            return closing(_mido().open_output("mt3x", virtual=True))
        names = _ports()
    except OSError as error:
        raise OSError(f"--midi-out {name}: this system has no MIDI ({error})") from None
    found = [each for each in names if name == each] or [
        each for each in names if name.lower() in each.lower()
    ]
    if len(found) != 1:
        there = ", ".join(found or names) or "none"
        raise ValueError(
            f"--midi-out {name}: {'several ports have' if found else 'no port has'} "
            f"this name; choose of {there}, or `{VIRTUAL}`"
        )
    return closing(_mido().open_output(found[0]))

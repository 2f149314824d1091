"""`mt3x play`: notes through the loudspeakers."""

from pathlib import Path

import click
import numpy as np

from mt3x.cli.microphone import load_sounddevice
from mt3x.cli.option_types import Time
from mt3x.music.audio import load_audio
from mt3x.music.note_files import read_notes
from mt3x.music.sonify import SAMPLE_RATE_HZ, sonify


@click.command(
    help="Play notes: NOTES is a MIDI file (.mid), or a table of notes as mt3x "
    "transcribe writes it (.csv, .json). Ctrl-C stops."
)
@click.argument("notes", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--recording",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Play it on the left, and the notes on the right.",
)
@click.option("--start", "start_s", type=Time(), default=0.0, help="Where to begin.")
@click.option("--end", "end_s", type=Time(), help="Where to stop.")
@click.option("--device", help="Loudspeaker: its number, or a part of its name.")
def command(
    notes: Path,
    recording: Path | None,
    start_s: float,
    end_s: float | None,
    device: str | None,
) -> None:
    end_s = float("inf") if end_s is None else end_s
    if end_s <= start_s:
        raise ValueError(f"--end {end_s:g} s is not after --start {start_s:g} s")
    played = read_notes(notes)
    last_s = float(played.offset_s.max(initial=0.0))
    played = played.clip(start_s, min(end_s, last_s + 1)).shift(-start_s)
    if not len(played):
        raise ValueError(f"{notes}: there are no notes to play in this part")
    samples = sonify(played)
    if recording is not None:
        begin = round(start_s * SAMPLE_RATE_HZ)
        heard_S = load_audio(recording, SAMPLE_RATE_HZ)[begin:][: len(samples)]
        heard_S = np.pad(heard_S, (0, len(samples) - len(heard_S)))
        samples = np.stack([heard_S, samples], axis=1)
    sounddevice = load_sounddevice()
    number = int(device) if device is not None and device.isdecimal() else device
    try:
        sounddevice.play(samples, SAMPLE_RATE_HZ, device=number, blocking=True)
    except KeyboardInterrupt:
        sounddevice.stop()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise ValueError(
            f"no sound comes out ({error}): choose another --device, or write a file "
            "with mt3x transcribe -f sonify"
        ) from error

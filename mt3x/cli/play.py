"""`mt3x play`: notes through the loudspeakers."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import numpy as np

from mt3x.cli.option_types import Time
from mt3x.cli.portaudio import load_sounddevice, number_or_name
from mt3x.music.audio import Excerpt, stream_audio
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes
from mt3x.music.sonify import RELEASE_S, SAMPLE_RATE_HZ, Player

BLOCK_S = 0.25


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
    sounddevice = load_sounddevice()
    try:
        stream = sounddevice.OutputStream(
            samplerate=SAMPLE_RATE_HZ,
            device=number_or_name(device),
            channels=1 if recording is None else 2,
            dtype="float32",
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise _no_sound(error) from error
    try:
        with suppress(KeyboardInterrupt), stream:
            for block_SxC in _blocks(played, recording, start_s):
                stream.write(block_SxC)
    except sounddevice.PortAudioError as error:
        raise _no_sound(error) from error


def _blocks(
    notes: Notes, recording: Path | None, start_s: float
) -> Iterator[np.ndarray]:
    """Yield samples_SxC of the notes, with the recording from `start_s` on the left."""
    player, heard = Player(notes), iter(())
    if recording is not None:
        heard = stream_audio(Excerpt(recording, start_s), SAMPLE_RATE_HZ, BLOCK_S)
    left = math.ceil((notes.offset_s.max() + RELEASE_S) * SAMPLE_RATE_HZ)
    while left > 0:
        notes_S = player.play(min(left, round(BLOCK_S * SAMPLE_RATE_HZ)))
        left -= len(notes_S)
        if recording is None:
            yield notes_S[:, np.newaxis]
            continue
        heard_S = next(heard, notes_S[:0])[: len(notes_S)]
        heard_S = np.pad(heard_S, (0, len(notes_S) - len(heard_S)))
        yield np.stack([heard_S, notes_S], axis=1)


def _no_sound(error: Exception) -> ValueError:
    return ValueError(
        f"no sound comes out ({error}): choose another --device, or write a file with "
        "mt3x transcribe -f sonify"
    )

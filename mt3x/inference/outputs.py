"""The formats in which a transcription can be written."""

from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mt3x.music.audio import Source, stream_audio
from mt3x.music.band_rolls import BandRolls
from mt3x.music.notes import Notes
from mt3x.music.rolls import LOWEST_PITCH, Rolls

if TYPE_CHECKING:
    from mt3x.inference.transcriber import Transcriber

__all__ = ["FORMATS", "Format", "Transcription"]


class Transcription(NamedTuple):
    """What a recording became, and what pictures and comparisons need beside it."""

    notes: Notes
    # Consecutive parts; only the format `rolls` needs them.
    rolls: Sequence[Rolls] | Sequence[BandRolls]
    audio: Source  # read again
    title: str
    transcriber: "Transcriber"


class Format(NamedTuple):
    """The ending of a format's files, and what writes one to an open, seekable file."""

    suffix: str
    write: Callable[[IO[bytes], Transcription], Any]


def _write_rolls(file: IO[bytes], found: Transcription) -> None:
    parts: Any = found.rolls
    whole: Rolls | BandRolls = type(parts[0]).concatenate(parts)
    arrays: dict[str, Any] = whole.by_name()
    if isinstance(whole, BandRolls):
        arrays["drum_rate_hz"] = whole.drum_rate_hz
    np.savez_compressed(
        file,
        **arrays,
        frame_rate_hz=whole.frame_rate_hz,
        lowest_pitch=LOWEST_PITCH,
    )


def _write_midi(file: IO[bytes], found: Transcription) -> None:
    file.write(found.notes.to_midi(names=found.transcriber.instrument_names))


def _write_plot(file: IO[bytes], found: Transcription) -> None:
    from mt3x.music.plot import plot_notes

    spectrogram = found.transcriber.spectrogram(found.audio)
    plot_notes(
        found.notes,
        file,
        spectrogram=spectrogram,
        title=found.title,
        names=found.transcriber.instrument_names,
    )


def _write_sonified(file: IO[bytes], found: Transcription) -> None:
    from mt3x.music.sonify import SAMPLE_RATE_HZ, write_comparison

    blocks = stream_audio(found.audio, SAMPLE_RATE_HZ)
    write_comparison(file, blocks, found.notes, SAMPLE_RATE_HZ)


FORMATS: Mapping[str, Format] = {
    "midi": Format(".mid", _write_midi),
    "csv": Format(
        ".csv", lambda file, found: file.write(found.notes.to_csv().encode())
    ),
    "json": Format(
        ".json", lambda file, found: file.write(found.notes.to_json().encode())
    ),
    "rolls": Format(".npz", _write_rolls),
    "plot": Format(".png", _write_plot),
    "sonify": Format(".transcribed.wav", _write_sonified),
}
"""The formats by their names."""

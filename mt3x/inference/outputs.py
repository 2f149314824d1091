"""The formats in which transcriptions and composed music can be written."""

import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mt3x.music.audio import Source, stream_audio
from mt3x.music.band_rolls import BandRolls
from mt3x.music.beats import Beats
from mt3x.music.key import estimate_key
from mt3x.music.midi_record import add_record, read_record
from mt3x.music.notes import Notes
from mt3x.music.performance import Performance
from mt3x.music.rolls import LOWEST_PITCH, Rolls

if TYPE_CHECKING:
    from mt3x.inference.transcriber import Transcriber
    from mt3x.music.plot import Spectrogram
    from mt3x.notation.score import Score

__all__ = [
    "ENDINGS",
    "FORMATS",
    "MUSIC_ENDINGS",
    "MUSIC_FORMATS",
    "Composition",
    "Format",
    "Music",
    "Transcription",
    "recorded_options",
    "score_of",
]

_RECORD_BYTES = 1 << 16
"""The beginning of a file in which its record is looked for."""


class Music(Protocol):
    """What most formats write."""

    @property
    def notes(self) -> Notes: ...
    @property
    def title(self) -> str: ...
    @property
    def duration_s(self) -> float: ...
    @property
    def plot_theme(self) -> str: ...
    @property
    def beats(self) -> Callable[[], Beats | None]:
        """Finds the beats of the notes; only formats with bars ask for them."""
        ...

    @property
    def names(self) -> Mapping[int, str]:
        """Of instruments, by program."""
        ...

    @property
    def performance(self) -> Performance | None:
        """Key releases and pedal where they are wanted: `notes` are its `notes()`."""
        ...

    def record(self) -> dict[str, Any]:
        """Return what it was made with."""
        ...

    def spectrogram(self) -> "Spectrogram | None":
        """Return the background of a picture."""
        ...


class Composition(NamedTuple):
    """Music that was composed."""

    notes: Notes
    title: str
    options: Mapping[str, Any]  # what it was made with, as values for JSON
    plot_theme: str = "dark"
    beats: Callable[[], Beats | None] = lambda: None
    names: Mapping[int, str] = {}
    performance: Performance | None = None

    @property
    def duration_s(self) -> float:
        return float(self.notes.offset_s.max(initial=0.0))

    def record(self) -> dict[str, Any]:
        return {
            "mt3x": version("mt3x"),
            "model": "generator",
            "options": dict(self.options),
        }

    def spectrogram(self) -> None:
        return None


class Transcription(NamedTuple):
    """What a recording became, and what pictures and comparisons need beside it."""

    notes: Notes
    # Consecutive parts; only the format `rolls` needs them.
    rolls: Sequence[Rolls] | Sequence[BandRolls]
    audio: Source  # read again
    title: str
    transcriber: "Transcriber"
    duration_s: float = 0.0
    # What was chosen instead of defaults, as values for JSON.
    options: Mapping[str, Any] = {}
    plot_theme: str = "dark"
    beats: Callable[[], Beats | None] = lambda: None
    performance: Performance | None = None

    @property
    def names(self) -> Mapping[int, str]:
        return self.transcriber.instrument_names

    def record(self) -> dict[str, Any]:
        return {
            "mt3x": version("mt3x"),
            "model": self.transcriber.kind,
            "options": dict(self.options),
        }

    def spectrogram(self) -> "Spectrogram":
        return self.transcriber.spectrogram(self.audio)


class Format(NamedTuple):
    """The ending of a format's files, and what writes one to an open, seekable file."""

    suffix: str
    write: Callable[[IO[bytes], Any], Any]
    # Modules that it needs besides the package's own, and the extra that has them.
    modules: tuple[str, ...] = ()
    extra: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that it needs and that are not installed."""
        find = importlib.util.find_spec
        return tuple(name for name in self.modules if find(name) is None)


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


def _write_midi(file: IO[bytes], found: Music) -> None:
    beats = found.beats()
    midi = (found.performance or found.notes).to_midi(
        names=found.names,
        beats=beats,
        key=None if beats is None else estimate_key(found.notes),
    )
    file.write(add_record(midi, found.record()))


def _write_json(file: IO[bytes], found: Music) -> None:
    about = {
        **found.record(),
        "file": found.title,
        "duration_s": round(found.duration_s, 3),
    }
    file.write((found.performance or found.notes).to_json(about=about).encode())


def _table_writer(method: str) -> Callable[[IO[bytes], Music], Any]:
    def write(file: IO[bytes], found: Music) -> None:
        table = getattr(found.performance or found.notes, method)()
        file.write(table.encode())

    return write


def _plot_writer(form: str) -> Callable[[IO[bytes], Music], None]:
    def write(file: IO[bytes], found: Music) -> None:
        from mt3x.music.plot import plot_notes

        plot_notes(
            found.notes,
            file,
            spectrogram=found.spectrogram(),
            title=found.title,
            names=found.names,
            theme=found.plot_theme,
            form=form,
        )

    return write


def _write_sonified(file: IO[bytes], found: Transcription) -> None:
    from mt3x.music.sonify import SAMPLE_RATE_HZ, write_comparison

    blocks = stream_audio(found.audio, SAMPLE_RATE_HZ)
    write_comparison(file, blocks, found.notes, SAMPLE_RATE_HZ)


def _write_sound(file: IO[bytes], found: Music) -> None:
    from mt3x.music.audio import open_sound
    from mt3x.music.sonify import RELEASE_S, SAMPLE_RATE_HZ, Player

    left = math.ceil((found.duration_s + RELEASE_S) * SAMPLE_RATE_HZ)
    with open_sound(file, SAMPLE_RATE_HZ, 1, "WAV", "PCM_16") as out:
        player = Player(found.notes)
        while left > 0:
            block_S = player.play(min(left, SAMPLE_RATE_HZ))
            out.write(block_S)
            left -= len(block_S)


def score_of(found: "Music | Transcription") -> "Score":
    """Write music down as a score; it needs beats even where none are wanted.

    Raises:
      ValueError, ModuleNotFoundError: as `mt3x.notation.notate.notate`.
    """
    # Here, so that other formats wait for neither.
    from mt3x.inference.beat_tracker import beats
    from mt3x.notation.notate import notate

    played = found.performance
    return notate(
        found.notes if played is None else played.keys,
        found.beats() or beats(found.notes),
        title=Path(found.title).stem,
        names=found.names,
        pedal_s=None if played is None else played.pedal_s,
    )


def _score_writer(method: str) -> Callable[[IO[bytes], Music], Any]:
    return lambda file, found: file.write(getattr(score_of(found), method)())


FORMATS: Mapping[str, Format] = {
    "midi": Format(".mid", _write_midi),
    "csv": Format(".csv", _table_writer("to_csv")),
    "json": Format(".json", _write_json),
    "jsonl": Format(".jsonl", _table_writer("to_jsonl")),
    "rolls": Format(".npz", _write_rolls),
    "plot": Format(".png", _plot_writer("png"), ("matplotlib",), "plot"),
    "svg-plot": Format(".plot.svg", _plot_writer("svg"), ("matplotlib",), "plot"),
    "musicxml": Format(
        ".musicxml", _score_writer("to_musicxml"), ("partitura",), "score"
    ),
    "svg": Format(".svg", _score_writer("to_svg"), ("partitura", "verovio"), "score"),
    "pdf": Format(
        ".pdf", _score_writer("to_pdf"), ("partitura", "verovio", "reportlab"), "score"
    ),
    "sonify": Format(".transcribed.wav", _write_sonified),
}
"""The formats of transcriptions, by their names."""

MUSIC_FORMATS: Mapping[str, Format] = {
    **{name: form for name, form in FORMATS.items() if name not in ("rolls", "sonify")},
    "wav": Format(".wav", _write_sound),
}
"""The formats of music without a recording."""

ENDINGS: Mapping[str, str] = {
    "mid": "midi",
    "midi": "midi",
    "csv": "csv",
    "json": "json",
    "jsonl": "jsonl",
    "npz": "rolls",
    "png": "plot",
    "musicxml": "musicxml",
    "svg": "svg",
    "pdf": "pdf",
    "wav": "sonify",
}
"""The formats of transcriptions, by the endings that stand for them."""

MUSIC_ENDINGS: Mapping[str, str] = {
    **{ending: name for ending, name in ENDINGS.items() if name in MUSIC_FORMATS},
    "wav": "wav",
}
"""The formats of music without a recording, by their endings."""


def recorded_options(path: Path) -> dict[str, Any] | None:
    """Return the options that a file was written with; None where it does not say."""
    try:
        with open(path, "rb") as file:
            start = file.read(_RECORD_BYTES)
    except OSError:
        return None
    if start.startswith(b"MThd"):
        record = read_record(start)
        return record.get("options") if record else None
    _, found, rest = start.partition(b'\n"options": ')
    try:
        options, _ = json.JSONDecoder().raw_decode(rest.decode("latin-1"))
    except ValueError:
        return None
    return options if found and start.startswith(b'{"mt3x": ') else None

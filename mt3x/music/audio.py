"""Audio files <-> mono float32 samples at the model's rate.

libsndfile reads WAV, FLAC, OGG, MP3, AIFF and more; what it cannot read (M4A, AAC,
WMA, sound of videos) goes to PyAV if that is installed (`pip install mt3x[av]`).
Channels are averaged first and the mean is resampled by soxr (quality HQ). Files are
decoded in blocks, so memory does not grow with their length.

Damaged input: what a decoder cannot decode is an error. A file that merely ends
before its header says is read as far as it goes, with a warning. A file without a
single sample gives an empty array; what that means is the caller's decision.
"""

import contextlib
import errno
import io
import math
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from mt3x.files import write_whole
from mt3x.music.audio_decoders import (
    UNKNOWN_LENGTH,
    SoundReader,
    av_duration_s,
    decoded,
    named_errors,
    open_av,
    short_reason,
)
from mt3x.music.containers import sound_parts
from mt3x.music.samples import Mixer, as_samples, check_rate, is_samples, resample

__all__ = [
    "AudioInfo",
    "Excerpt",
    "audio_info",
    "decode_audio",
    "encode_audio",
    "load_audio",
    "open_sound",
    "rereadable",
    "stream_audio",
    "stream_samples",
    "write_audio",
]


@dataclass(frozen=True)
class Excerpt:
    """A part of a recording, which is read as if it were the whole."""

    source: Any  # as of `stream_audio`
    start_s: float = 0.0
    end_s: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise ValueError(
                f"a part from {self.start_s:g} to {self.end_s:g} s holds nothing: give "
                "an end after the start"
            )

    @property
    def name(self) -> str:
        """What messages call the recording."""
        is_bytes = isinstance(self.source, bytes | bytearray | memoryview)
        return str(
            getattr(self.source, "name", "audio data" if is_bytes else self.source)
        )


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Excerpt


class AudioInfo(NamedTuple):
    """What a file's header says, before any resampling."""

    duration_s: float | None  # None where the header does not say
    sample_rate_hz: int
    num_channels: int


def load_audio(source: Source, sample_rate_hz: int = 16000) -> np.ndarray:
    """Read a whole file as mono float32 `samples_S`; see `stream_audio`."""
    blocks = list(stream_audio(source, sample_rate_hz))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def stream_audio(
    source: Source,
    sample_rate_hz: float = 16000,
    block_s: float = 10.0,
    start_s: float = 0.0,
) -> Iterator[np.ndarray]:
    """Read a file as blocks of mono float32 samples, in bounded memory.

    All blocks but the last have exactly `round(block_s * sample_rate_hz)` samples,
    and together they are the same samples for any `block_s`.

    Args:
      source: a path, `-` for standard input, a file's bytes, an open binary file
        (read from its beginning), or an `Excerpt`.
      sample_rate_hz: the rate of the samples to return.
      block_s: length of a block.
      start_s: where to begin, to about a tenth of a second.

    Raises:
      OSError: the file is missing or cannot be opened.
      ValueError: empty, not audio, damaged, or with samples that are NaN or infinite;
        one line that names the file and the remedy. Raised when the failing block
        is asked for.
    """
    block_samples = round(block_s * sample_rate_hz)
    if block_samples < 1:
        raise ValueError(
            f"block_s={block_s} at {sample_rate_hz} Hz is not a whole sample; "
            "give a longer block"
        )
    if isinstance(source, Excerpt):
        begin_s = source.start_s + start_s
        blocks = stream_audio(source.source, sample_rate_hz, block_s, begin_s)
        yield from _first(blocks, (source.end_s - begin_s) * sample_rate_hz)
        return
    pieces: list[np.ndarray] = []
    num_pending = 0
    for piece in _resampled(source, sample_rate_hz, start_s):
        pieces.append(piece)
        num_pending += len(piece)
        if num_pending < block_samples:
            continue
        pending = np.concatenate(pieces)
        num_whole = num_pending // block_samples * block_samples
        for start in range(0, num_whole, block_samples):
            yield pending[start : start + block_samples].copy()
        pieces = [pending[num_whole:]]
        num_pending -= num_whole
    if num_pending:
        yield np.concatenate(pieces)


def _first(blocks: Iterator[np.ndarray], num_samples: float) -> Iterator[np.ndarray]:
    """Yield so many samples."""
    for block_S in blocks:
        block_S = block_S[: math.ceil(min(num_samples, len(block_S)))]
        num_samples -= len(block_S)
        if len(block_S):
            yield block_S
        if num_samples < 1:
            return


def stream_samples(
    audio: Source | npt.ArrayLike, sample_rate_hz: float | None, target_hz: float
) -> Iterator[np.ndarray]:
    """Read a file, or take an array, as blocks of mono float32 at the target rate.

    Args:
      audio: what `stream_audio` reads, or samples (see `samples.as_samples`).
      sample_rate_hz: of the array; None for files, which have a rate of their own.
      target_hz: the rate of the samples to return.

    Raises:
      OSError, ValueError: as `stream_audio`; the recording has no samples, or the
        array is not what it should be.
    """
    name = "the array of samples"
    if is_samples(audio):
        blocks = iter([_mono_array(audio, sample_rate_hz, target_hz, name)])
    elif sample_rate_hz is not None:
        raise ValueError("sample_rate_hz is for arrays: a file has its own rate")
    else:
        is_bytes = isinstance(audio, bytes | bytearray | memoryview)
        name = str(getattr(audio, "name", "audio data" if is_bytes else audio))
        file: Any = audio
        blocks = stream_audio(file, target_hz)
    empty = True
    for block_S in blocks:
        empty = empty and not len(block_S)
        yield block_S
    if empty:
        raise ValueError(f"{name} has no samples; give a recording that is not empty")


def rereadable(audio: Any) -> Any:
    """Return a recording that can be read again: pipes are read to their end."""
    if is_samples(audio):
        return audio
    if isinstance(audio, Excerpt):
        return replace(audio, source=rereadable(audio.source))
    with _opened(audio) as (_, file):
        if isinstance(file, _NamedBytes):
            return file
    return audio


class _NamedBytes(io.BytesIO):
    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(data)
        self.name = name


def _mono_array(
    audio: Any, sample_rate_hz: float | None, target_hz: float, name: str
) -> np.ndarray:
    """Return an array of one or more channels as mono float32 at the target rate."""
    if sample_rate_hz is None:
        raise ValueError("samples come without a rate: give sample_rate_hz")
    rate_hz = check_rate(sample_rate_hz, name)
    mono_S = Mixer(name)(as_samples(audio), rate_hz)
    return resample(mono_S, rate_hz, target_hz)


def encode_audio(samples_S: np.ndarray, sample_rate_hz: int, form: str) -> bytes:
    """Return samples in -1..1 (clipped) as the bytes of a 16-bit "FLAC" or "WAV"."""
    file = io.BytesIO()
    clipped_S = np.clip(samples_S, -1.0, 1.0)
    soundfile.write(file, clipped_S, sample_rate_hz, format=form, subtype="PCM_16")
    return file.getvalue()


def decode_audio(data: bytes, sample_rate_hz: int) -> np.ndarray:
    """Return the mono float32 samples of a sound file's bytes, at the given rate.

    They are resampled in one go, as MT3 reads its records.
    """
    samples_SxC, rate_hz = soundfile.read(
        io.BytesIO(data), dtype="float32", always_2d=True
    )
    if samples_SxC.shape[1] == 1:
        return resample(samples_SxC[:, 0], rate_hz, sample_rate_hz)
    return resample(samples_SxC.mean(axis=1), rate_hz, sample_rate_hz)


def audio_info(source: Source) -> AudioInfo:
    """Read duration, sample rate and channels from a header, without decoding.

    Raises:
      OSError, ValueError: as `stream_audio` does when it opens the file. Or it ends
        before the excerpt that is asked for begins.
    """
    if isinstance(source, Excerpt):
        whole = audio_info(source.source)
        if whole.duration_s is None:
            return whole
        if whole.duration_s <= source.start_s:
            raise ValueError(
                f"{source.name} ends at {whole.duration_s:.1f} s, before the part that "
                f"begins at {source.start_s:g} s: begin earlier"
            )
        end_s = min(source.end_s, whole.duration_s)
        return whole._replace(duration_s=end_s - source.start_s)
    with _opened(source) as (name, file):
        parts = sound_parts(file, lambda text: None)
        try:
            sounds = [SoundReader(part) for part in parts]
        except soundfile.LibsndfileError:
            with open_av(name, file) as container, named_errors(name):
                stream = container.streams.audio[0]
                duration_s = av_duration_s(container)
                return AudioInfo(duration_s, stream.rate, stream.channels)
        known = all(0 <= sound.frames < UNKNOWN_LENGTH for sound in sounds)
        duration_s = sum(sound.frames / sound.samplerate for sound in sounds)
        first = sounds[0]
        info = AudioInfo(
            duration_s if known else None, first.samplerate, first.channels
        )
        for sound in sounds:
            sound.close()
        return info


def write_audio(
    path: str | os.PathLike[str],
    samples_SxC: np.ndarray,
    sample_rate_hz: int,
    overwrite: bool = False,
) -> None:
    """Write samples in -1..1 (louder ones are clipped) to a new audio file.

    Args:
      path: its ending chooses the format: .wav (16 bit), .flac (16 bit), .ogg, .mp3.
      samples_SxC: one column per channel; one dimension is mono.
      overwrite: replace an existing file.

    Raises:
      OSError: see `mt3x.files.write_whole`.
      ValueError: an ending that is not known, or samples that are NaN or infinite.
    """
    form = Path(path).suffix[1:].upper()
    if form not in _WRITE_SUBTYPES:
        endings = ", ".join(f".{name.lower()}" for name in _WRITE_SUBTYPES)
        raise ValueError(f"cannot write {path}: name it with one of {endings}")
    if samples_SxC.ndim == 1:
        samples_SxC = samples_SxC[:, np.newaxis]
    if not np.isfinite(samples_SxC).all():
        raise ValueError(f"cannot write {path}: some samples are NaN or infinite")
    num_channels = samples_SxC.shape[1]
    with (
        write_whole(path, overwrite) as file,
        open_sound(
            file, sample_rate_hz, num_channels, form, _WRITE_SUBTYPES[form]
        ) as sound,
    ):
        # libsndfile's Vorbis encoder overflows its stack on very long writes.
        for start in range(0, len(samples_SxC), 1 << 16):
            sound.write(np.clip(samples_SxC[start : start + (1 << 16)], -1.0, 1.0))


@contextlib.contextmanager
def open_sound(
    file: IO[bytes], sample_rate_hz: int, num_channels: int, form: str, subtype: str
) -> Iterator[soundfile.SoundFile]:
    """Yield a sound file that is written into an open, seekable file.

    Raises:
      OSError: the disk is full, or has another fault.
    """
    try:
        target = file.fileno()
    except OSError:  # in memory
        target = file
    try:
        # What the methods of `file` raise would be printed and lost.
        with soundfile.SoundFile(
            target,  # pyright: ignore[reportArgumentType]
            mode="w",
            samplerate=sample_rate_hz,
            channels=num_channels,
            format=form,
            subtype=subtype,
            closefd=False,
        ) as sound:
            yield sound
    except soundfile.LibsndfileError as error:
        reason = f"the disk is full or has another fault ({short_reason(error)})"
        raise OSError(errno.EIO, reason) from error


_WRITE_SUBTYPES = {
    "WAV": "PCM_16",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "MP3": "MPEG_LAYER_III",
}


def _resampled(
    source: Source, sample_rate_hz: float, start_s: float
) -> Iterator[np.ndarray]:
    resampler: soxr.ResampleStream | None = None
    resampled_hz: float = sample_rate_hz
    for rate_hz, samples_S in _mono(source, start_s):
        if resampler is not None and rate_hz != resampled_hz:
            yield resampler.resample_chunk(_NOTHING, last=True)
            resampler = None
        if rate_hz == sample_rate_hz:
            yield samples_S
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, num_channels=1)
            resampled_hz = rate_hz
        yield resampler.resample_chunk(samples_S)
    if resampler is not None:
        yield resampler.resample_chunk(_NOTHING, last=True)


_NOTHING = np.zeros(0, np.float32)


def _mono(source: Source, start_s: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (rate, mean of the channels) of each decoded block, all finite."""
    with _opened(source) as (name, file):
        mixer = Mixer(name, start_s)
        for rate_hz, samples_SxC in decoded(name, file, start_s):
            yield rate_hz, mixer(samples_SxC, check_rate(rate_hz, name))


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[tuple[str, Any]]:
    """Give a name for messages, and a seekable file at its beginning."""
    if isinstance(source, bytes | bytearray | memoryview):
        name, data = "audio data", bytes(source)
    elif isinstance(source, str) and source == "-":
        if sys.stdin is None:
            raise ValueError("standard input is closed: name a sound file")
        name, data = "standard input", sys.stdin.buffer.read()
    elif isinstance(source, str | os.PathLike):
        path, name = os.fspath(source), str(source)
        if os.path.isdir(path):
            raise IsADirectoryError(f"{name} is a folder; name a sound file")
        mode = os.stat(path).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # some have no end
            raise ValueError(f"{name} is a device: name a sound file")
        with open(path, "rb") as file:
            if stat.S_ISREG(mode):
                if not file.read(1):
                    raise ValueError(f"{name}: the file is empty; copy it again")
                file.seek(0)
                yield name, file
                return
            data = file.read()
    elif not hasattr(source, "read") or isinstance(source, io.TextIOBase | Excerpt):
        raise ValueError(
            f"the recording is {type(source).__name__}: give a path, the bytes of a "
            "sound file, a file opened in binary mode, or an array of samples"
        )
    else:
        name = str(getattr(source, "name", "audio data"))
        if source.seekable() and source.seek(0, io.SEEK_END):
            source.seek(0)
            yield name, source
            return
        data = source.read()
    if not data:
        raise ValueError(f"{name} is empty; give a sound file")
    yield name, _NamedBytes(name, data)

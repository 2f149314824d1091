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
import io
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import soundfile
import soxr

from mt3x.files import write_whole

__all__ = ["AudioInfo", "audio_info", "load_audio", "stream_audio", "write_audio"]

Source = str | os.PathLike[str] | bytes | IO[bytes]

READ_FRAMES = 1 << 16
"""Frames (samples of every channel) that are decoded at a time."""

_UNKNOWN_LENGTH = 0x7FFFF000
"""A header that claims more bytes or frames than this was written to a pipe."""


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
    source: Source, sample_rate_hz: int = 16000, block_s: float = 10.0
) -> Iterator[np.ndarray]:
    """Read a file as blocks of mono float32 samples, in bounded memory.

    All blocks but the last have exactly `round(block_s * sample_rate_hz)` samples,
    and together they are the same samples for any `block_s`.

    Args:
      source: a path, `-` for standard input, a file's bytes, or an open binary file
        (read from its beginning).
      sample_rate_hz: the rate of the samples to return.
      block_s: length of a block.

    Raises:
      OSError: the file is missing or cannot be opened.
      ValueError: empty, not audio, damaged, or with samples that are NaN or infinite;
        one line that names the file and the remedy. Raised when the failing block
        is asked for.
    """
    block_samples = round(block_s * sample_rate_hz)
    if block_samples < 1:
        raise ValueError(
            f"block_s={block_s} at {sample_rate_hz} Hz is no whole sample; "
            "give a longer block"
        )
    pieces: list[np.ndarray] = []
    num_pending = 0
    for piece in _resampled(source, sample_rate_hz):
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


def audio_info(source: Source) -> AudioInfo:
    """Duration, sample rate and channels by the file's header, without decoding it.

    Raises:
      OSError, ValueError: as `stream_audio` does when it opens the file.
    """
    name, file = _open_source(source)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, TypeError):
        with _open_av(name, file) as container, _named_errors(name):
            stream = container.streams.audio[0]
            duration_s = None
            if stream.duration is not None and stream.time_base is not None:
                duration_s = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                duration_s = container.duration / 1e6  # in microseconds
            return AudioInfo(duration_s, stream.rate, stream.channels)
    with sound:
        known = 0 <= sound.frames < _UNKNOWN_LENGTH
        duration_s = sound.frames / sound.samplerate if known else None
        return AudioInfo(duration_s, sound.samplerate, sound.channels)


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
    with (
        write_whole(path, overwrite) as file,
        _named_errors(str(path)),
        soundfile.SoundFile(
            file,
            mode="w",
            samplerate=sample_rate_hz,
            channels=samples_SxC.shape[1],
            format=form,
            subtype=_WRITE_SUBTYPES[form],
        ) as sound,
    ):
        # libsndfile's Vorbis encoder overflows its stack on very long writes.
        for start in range(0, len(samples_SxC), READ_FRAMES):
            sound.write(np.clip(samples_SxC[start : start + READ_FRAMES], -1.0, 1.0))


_WRITE_SUBTYPES = {
    "WAV": "PCM_16",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "MP3": "MPEG_LAYER_III",
}


def _resampled(source: Source, sample_rate_hz: int) -> Iterator[np.ndarray]:
    name, file = _open_source(source)
    resampler: soxr.ResampleStream | None = None
    for rate_hz, samples_S in _mono(name, file):
        if rate_hz == sample_rate_hz:
            yield samples_S
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, num_channels=1)
        yield resampler.resample_chunk(samples_S)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _mono(name: str, file: Any) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, mean of the channels) of each decoded block, checked to be finite."""
    num_before = 0
    for rate_hz, samples_SxC in _decoded(name, file):
        finite = np.isfinite(samples_SxC).all(axis=1)
        if not finite.all():
            bad_s = (num_before + int(np.argmin(finite))) / rate_hz
            raise ValueError(
                f"{name}: a sample at {bad_s:.3f} s is NaN or infinite; "
                "repair or re-export the file"
            )
        num_before += len(samples_SxC)
        yield rate_hz, samples_SxC.mean(axis=1, dtype=np.float32)


def _decoded(name: str, file: Any) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, samples_SxC) of each block, by libsndfile or else PyAV."""
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, TypeError):
        yield from _decoded_by_av(name, file)
        return
    with sound, _named_errors(name):
        _warn_if_cut(name, sound)
        num_frames = 0
        while True:
            block_SxC = sound.read(frames=READ_FRAMES, dtype="float32", always_2d=True)
            if not len(block_SxC):
                break
            num_frames += len(block_SxC)
            yield sound.samplerate, block_SxC
        if num_frames < sound.frames < _UNKNOWN_LENGTH:
            _warn_cut(name, num_frames / sound.frames)


def _warn_if_cut(name: str, sound: soundfile.SoundFile) -> None:
    """Warn of a WAV or AIFF shorter than its header says (libsndfile only logs it)."""
    found = re.search(
        r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)",
        sound.extra_info,
        flags=re.MULTILINE,
    )
    if found and int(found[2]) < int(found[1]) < _UNKNOWN_LENGTH:
        _warn_cut(name, int(found[2]) / int(found[1]))


def _warn_cut(name: str, part: float) -> None:
    warnings.warn(
        f"{name} is cut off: {part:.1%} of what its header says is there; "
        "only that is read",
        stacklevel=2,
    )


def _decoded_by_av(name: str, file: Any) -> Iterator[tuple[int, np.ndarray]]:
    with _open_av(name, file) as container, _named_errors(name):
        import av.error

        to_float = av.AudioResampler(format="fltp")
        for frame in container.decode(audio=0):
            for part in to_float.resample(frame):
                yield part.sample_rate, part.to_ndarray().T


@contextlib.contextmanager
def _open_av(name: str, file: Any) -> Iterator[Any]:
    try:
        import av.error
    except ImportError as error:
        raise ValueError(
            f"{name}: not a sound file that libsndfile can read; if it is another "
            "audio format (M4A, AAC, WMA, video), run pip install 'mt3x[av]'"
        ) from error
    if hasattr(file, "seek"):
        file.seek(0)
    try:
        container = av.open(file)
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(
            f"{name}: not a readable audio file ({_reason(error)}); "
            "check it or convert it to WAV"
        ) from error
    with container:
        if not container.streams.audio:
            raise ValueError(f"{name}: has no audio track; give a sound file")
        yield container


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn a decoder's errors into a ValueError that names the file."""
    decoder_errors: tuple[type[Exception], ...] = (soundfile.LibsndfileError,)
    if "av.error" in sys.modules:
        decoder_errors += (sys.modules["av.error"].FFmpegError,)
    try:
        yield
    except decoder_errors as error:
        raise ValueError(
            f"{name}: damaged audio ({_reason(error)}); copy or convert it again"
        ) from error


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return " ".join((text or str(error) or type(error).__name__).split()).rstrip(".")


def _open_source(source: Source) -> tuple[str, Any]:
    """A name for messages, and a path or seekable file for the decoders."""
    if isinstance(source, bytes):
        name, data = "audio data", source
    elif source == "-":
        name, data = "standard input", sys.stdin.buffer.read()
    elif isinstance(source, str | os.PathLike):
        path, name = os.fspath(source), str(source)
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{name} is a folder; name a sound file")
        with open(path, "rb") as opened:
            if stat.S_ISREG(mode):
                if not opened.read(1):
                    raise ValueError(f"{name}: the file is empty; copy it again")
                return name, path
            data = opened.read()
    else:
        name = str(getattr(source, "name", "audio data"))
        if source.seekable() and source.seek(0, io.SEEK_END):
            source.seek(0)
            return name, source
        data = source.read()
    if not data:
        raise ValueError(f"{name} is empty; give a sound file")
    return name, io.BytesIO(data)

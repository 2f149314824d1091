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
from mt3x.music.samples import resample

__all__ = [
    "AudioInfo",
    "audio_info",
    "decode_audio",
    "encode_audio",
    "load_audio",
    "open_sound",
    "stream_audio",
    "stream_samples",
    "write_audio",
]

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
    source: Source,
    sample_rate_hz: int = 16000,
    block_s: float = 10.0,
    start_s: float = 0.0,
) -> Iterator[np.ndarray]:
    """Read a file as blocks of mono float32 samples, in bounded memory.

    All blocks but the last have exactly `round(block_s * sample_rate_hz)` samples,
    and together they are the same samples for any `block_s`.

    Args:
      source: a path, `-` for standard input, a file's bytes, or an open binary file
        (read from its beginning).
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


def stream_samples(
    audio: Source | np.ndarray, sample_rate_hz: int | None, target_hz: int
) -> Iterator[np.ndarray]:
    """Read a file, or take an array, as blocks of mono float32 at the target rate.

    Args:
      audio: what `stream_audio` reads, or samples_S or samples_SxC, float in -1..1.
      sample_rate_hz: of the array; None for files, which have a rate of their own.
      target_hz: the rate of the samples to return.

    Raises:
      OSError, ValueError: as `stream_audio`; the recording has no samples, or the
        array is not what it should be.
    """
    if isinstance(audio, np.ndarray):
        name = "the array of samples"
        blocks = iter([_mono_array(audio, sample_rate_hz, target_hz)])
    elif sample_rate_hz is not None:
        raise ValueError("sample_rate_hz is for arrays: a file has its own rate")
    else:
        is_bytes = isinstance(audio, bytes)
        name = str(getattr(audio, "name", "audio data" if is_bytes else audio))
        blocks = stream_audio(audio, target_hz)
    empty = True
    for block_S in blocks:
        empty = empty and not len(block_S)
        yield block_S
    if empty:
        raise ValueError(f"{name} has no samples; give a recording that is not empty")


def _mono_array(
    samples: np.ndarray, sample_rate_hz: int | None, target_hz: int
) -> np.ndarray:
    """Return an array of one or more channels as mono float32 at the target rate."""
    if sample_rate_hz is None:
        raise ValueError("samples come without a rate: give sample_rate_hz")
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2):
        raise ValueError(
            f"samples are {samples.dtype} of shape {samples.shape}: give floats in "
            "-1..1, samples_S or samples_SxC"
        )
    mono_S = samples if samples.ndim == 1 else samples.mean(axis=1)
    if not np.isfinite(mono_S).all():
        raise ValueError("some samples are NaN or infinite: repair the recording")
    return resample(mono_S.astype(np.float32), sample_rate_hz, target_hz)


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
      OSError, ValueError: as `stream_audio` does when it opens the file.
    """
    name, file = _open_source(source)
    try:
        sound = soundfile.SoundFile(_for_soundfile(file))
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
    num_channels = samples_SxC.shape[1]
    with (
        write_whole(path, overwrite) as file,
        open_sound(
            file, sample_rate_hz, num_channels, form, _WRITE_SUBTYPES[form]
        ) as sound,
    ):
        # libsndfile's Vorbis encoder overflows its stack on very long writes.
        for start in range(0, len(samples_SxC), READ_FRAMES):
            sound.write(np.clip(samples_SxC[start : start + READ_FRAMES], -1.0, 1.0))


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
        reason = f"the disk is full or has another fault ({_reason(error)})"
        raise OSError(errno.EIO, reason) from error


_WRITE_SUBTYPES = {
    "WAV": "PCM_16",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "MP3": "MPEG_LAYER_III",
}


def _resampled(
    source: Source, sample_rate_hz: int, start_s: float
) -> Iterator[np.ndarray]:
    name, file = _open_source(source)
    resampler: soxr.ResampleStream | None = None
    for rate_hz, samples_S in _mono(name, file, start_s):
        if rate_hz == sample_rate_hz:
            yield samples_S
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, num_channels=1)
        yield resampler.resample_chunk(samples_S)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _mono(name: str, file: Any, start_s: float) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (rate, mean of the channels) of each decoded block, all finite."""
    num_before = 0
    for rate_hz, samples_SxC in _decoded(name, file, start_s):
        finite = np.isfinite(samples_SxC).all(axis=1)
        if not finite.all():
            bad_s = start_s + (num_before + int(np.argmin(finite))) / rate_hz
            raise ValueError(
                f"{name}: a sample at {bad_s:.3f} s is NaN or infinite; "
                "repair or re-export the file"
            )
        num_before += len(samples_SxC)
        yield rate_hz, samples_SxC.mean(axis=1, dtype=np.float32)


def _decoded(name: str, file: Any, start_s: float) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (rate, samples_SxC) of each block, by libsndfile or else PyAV."""
    try:
        sound = soundfile.SoundFile(_for_soundfile(file))
    except (soundfile.LibsndfileError, TypeError):
        yield from _decoded_by_av(name, file, start_s)
        return
    with sound, _named_errors(name):
        _warn_if_cut(name, sound)
        num_frames = 0
        if start_s > 0:
            num_frames = min(round(start_s * sound.samplerate), sound.frames)
            sound.seek(num_frames)
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


def _decoded_by_av(
    name: str, file: Any, start_s: float
) -> Iterator[tuple[int, np.ndarray]]:
    with _open_av(name, file) as container, _named_errors(name):
        import av.error

        if start_s > 0:
            container.seek(int(start_s * 1e6))  # in microseconds
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


def _for_soundfile(file: Any) -> Any:
    """Return a path as bytes: soundfile refuses names that are not UTF-8."""
    is_path = isinstance(file, str) and sys.platform != "win32"
    return os.fsencode(file) if is_path else file


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return " ".join((text or str(error) or type(error).__name__).split()).rstrip(".")


def _open_source(source: Source) -> tuple[str, Any]:
    """Return A name for messages, and a path or seekable file for the decoders."""
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

"""Decoders of sound files: libsndfile, and PyAV for what it cannot read.

A file may have several sounds in a row, chunks after its end, or a header that does not
know its length: `mt3x.music.containers` finds those.
"""

import contextlib
import io
import itertools
import sys
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import soundfile

from mt3x.music.containers import (
    CHUNKED,
    MANY_BYTES,
    Part,
    next_flac,
    rest_of,
    sound_parts,
    unread,
    without_length,
)
from mt3x.music.file_kinds import is_sound, kind_without_sound

READ_FRAMES = 1 << 13
"""Samples of all channels together that are decoded at a time.

A block at whose end the file is cut off is lost.
"""

UNKNOWN_LENGTH = 1 << 40
"""More frames than this stand for a header that does not tell."""

_FEW_BYTES = 1 << 11
"""Fewer after the end of the sound are not looked at."""


class SoundReader(soundfile.SoundFile):
    """A sound file that is read on and on.

    soundfile seeks after each read, and reads no more than the header tells of, unless
    it takes the file for one that cannot seek.
    """

    def __init__(self, file: Part) -> None:
        """Open a file, at its beginning."""
        file.seek(0)
        super().__init__(file)  # pyright: ignore[reportArgumentType]

    def seekable(self) -> bool:
        return False

    def blocks_SxC(self) -> Iterator[np.ndarray]:
        """Yield consecutive blocks of samples to the end."""
        size, left = max(READ_FRAMES // self.channels, 1), self.frames - self.tell()
        while left > 0:
            # No more than there is: decoders stumble over what follows.
            frames = min(size, left)
            block_SxC = self.read(frames=frames, dtype="float32", always_2d=True)
            left = left - frames if len(block_SxC) == frames else 0
            if len(block_SxC):
                yield block_SxC


Blocks = Generator[tuple[int, np.ndarray], None, Any]
"""Rate and samples_SxC of consecutive blocks."""


def decoded(name: str, file: Any, start_s: float) -> Blocks:
    """Yield the blocks of a file, by libsndfile or else PyAV.

    Args:
      name: of the file, for messages.
      file: open and seekable.
      start_s: where to begin, to about a tenth of a second.

    Raises:
      ValueError: not audio, or damaged; one line that names the file and the remedy.
    """
    said: list[str] = []
    parts = deque(sound_parts(file, said.append))
    for number in itertools.count():
        if not parts:
            return
        part = parts.popleft()
        try:
            sound = SoundReader(part)
        except soundfile.LibsndfileError as error:
            if not number:
                yield from _decoded_by_av(name, file, start_s)
                return
            _warn(name, f"has a part that is not read: {short_reason(error)}")
            continue
        while said:
            _warn(name, said.pop())
        with sound, named_errors(name):
            skipped = min(round(start_s * sound.samplerate), sound.frames)
            if skipped > 0:
                sound.seek(skipped)
                start_s -= skipped / sound.samplerate
            follower = yield from _all_blocks(name, part, sound, skipped)
        if follower is not None:
            parts.appendleft(follower)


def _all_blocks(name: str, file: Part, sound: SoundReader, skipped: int) -> Blocks:
    """Yield a sound file's blocks, and those after the end that its header tells of.

    Returns the sound file that follows, if there is one.
    """
    num_frames, follower = skipped, None
    try:
        for block_SxC in sound.blocks_SxC():
            num_frames += len(block_SxC)
            yield sound.samplerate, block_SxC
        end = file.tell()
    except soundfile.LibsndfileError:
        # In the middle it is damage; at the end the file is cut off.
        end = file.tell()
        follower = next_flac(file, end)
        if end < file.size and follower is None:
            raise
        if sound.frames >= UNKNOWN_LENGTH and follower is None:
            _warn(name, "is cut off; what there is is read")
    if num_frames < sound.frames < UNKNOWN_LENGTH:
        part = num_frames / sound.frames
        _warn(
            name,
            f"is cut off or damaged: {part:.1%} of what its header says is there; only "
            "that is read",
        )
        return follower
    if sound.format in CHUNKED or rest_of(file, end) < _FEW_BYTES:
        return follower
    if (follower := follower or next_flac(file, end)) is not None:
        return follower
    if (unlimited := without_length(file)) is not None:
        yield from _blocks_from(unlimited, num_frames)
        end = max(end, file.tell())
    if (rest := rest_of(file, end)) > MANY_BYTES:
        _warn(name, unread(rest))
    return None


def _blocks_from(file: Part, start_frames: int) -> Blocks:
    """Yield a sound file's blocks from a sample on, until no more can be decoded."""
    with contextlib.suppress(soundfile.LibsndfileError), SoundReader(file) as sound:
        for block_SxC in sound.blocks_SxC():
            if len(block_SxC) > start_frames:
                yield sound.samplerate, block_SxC[start_frames:]
            start_frames = max(start_frames - len(block_SxC), 0)


def _warn(name: str, text: str) -> None:
    warnings.warn(f"{name} {text}", stacklevel=2)


def _decoded_by_av(name: str, file: Any, start_s: float) -> Blocks:
    with open_av(name, file) as container, named_errors(name):
        import av.error

        if start_s > 0:
            container.seek(int(start_s * 1e6))  # in microseconds
        to_float, form, done_s = None, None, start_s
        for frame in container.decode(audio=0):
            # A stream may change on the way.
            if to_float is None or form != (frame.sample_rate, frame.layout.name):
                to_float = av.AudioResampler(format="fltp")
                form = frame.sample_rate, frame.layout.name
            for part in to_float.resample(frame):
                done_s += part.samples / part.sample_rate
                yield part.sample_rate, part.to_ndarray().T
        said_s = av_duration_s(container)
        if said_s is not None and done_s < 0.97 * said_s - 0.5:
            _warn(
                name,
                f"is cut off or damaged: {done_s / said_s:.1%} of what its header says "
                "is there; only that is read",
            )


def av_duration_s(container: Any) -> float | None:
    """Return what a PyAV container's headers say of its first sound, if anything."""
    stream = container.streams.audio[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration and container.duration / 1e6  # in microseconds


@contextlib.contextmanager
def open_av(name: str, file: Any) -> Iterator[Any]:
    """Yield PyAV's container of an open, seekable file that has sound.

    Raises:
      ValueError: PyAV is missing, or cannot read the file.
    """
    file.seek(0)
    start = file.read(1024)
    if kind := kind_without_sound(start):
        raise ValueError(f"{name} is {kind}")
    try:
        import av.error
    except ImportError as error:
        what = "damaged, cut off or" if is_sound(start) else "not a sound file, or"
        raise ValueError(
            f"{name}: {what} in a format that libsndfile does not read (M4A, AAC, WMA, "
            "video): copy it again or, if it is whole, run pip install 'mt3x[av]'"
        ) from error
    # A part can seek wherever a damaged file sends it.
    part = Part(file, 0, file.seek(0, io.SEEK_END))
    part.name = name
    try:
        container = av.open(part)
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(
            f"{name}: not a readable audio file ({short_reason(error)}); "
            "check it or convert it to WAV"
        ) from error
    with container:
        if not container.streams.audio:
            raise ValueError(f"{name}: has no audio track; give a sound file")
        if container.streams.audio[0].codec_context is None:
            raise ValueError(
                f"{name}: PyAV has no decoder for its sound; convert it to WAV"
            )
        yield container


@contextlib.contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn a decoder's errors into a ValueError that names the file."""
    decoder_errors: tuple[type[Exception], ...] = (soundfile.LibsndfileError,)
    if "av.error" in sys.modules:
        decoder_errors += (sys.modules["av.error"].FFmpegError,)
    try:
        yield
    except decoder_errors as error:
        raise ValueError(
            f"{name}: damaged audio ({short_reason(error)}); copy or convert it again"
        ) from error


def short_reason(error: Exception) -> str:
    """Return what a decoder says is wrong, in one line."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return " ".join((text or str(error) or type(error).__name__).split()).rstrip(".")

"""Opens the sound files of sample libraries."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import soundfile

from mt3x.music.audio_decoders import short_reason


@contextlib.contextmanager
def open_sample(path: Path) -> Iterator[soundfile.SoundFile]:
    """Yield a sound file to read from.

    Raises:
      OSError: there is no such file, or it cannot be read.
      ValueError: it is damaged.
    """
    with path.open("rb") as file:
        try:
            with soundfile.SoundFile(file) as sound:
                yield sound
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"{path}: not a sound file, or damaged ({short_reason(error)}); "
                "download it again"
            ) from error

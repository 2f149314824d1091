"""Parts of a recording, to listen to instead of all of it."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mt3x.music.audio import Source, audio_info, stream_audio, stream_samples
from mt3x.music.samples import as_samples, is_samples


def excerpts(
    audio: Source | npt.ArrayLike,
    sample_rate_hz: float | None,
    target_hz: int,
    length_s: float,
    number: int,
) -> Iterator[np.ndarray]:
    """Yield parts of a recording that are spread over it evenly, or all of a short one.

    Args:
      audio, sample_rate_hz, target_hz: as for `stream_samples`.
      length_s: length of a part. Of a file that breaks off, some may be shorter.
      number: how many parts; a recording that is no longer than all of them, or of a
        length that its header does not tell, is one part from its beginning.

    Raises:
      OSError, ValueError: as `stream_samples`.
    """
    file: Any = audio
    samples = as_samples(audio) if is_samples(audio) else None
    if samples is not None:
        duration_s = len(samples) / (sample_rate_hz or 1)
    else:
        duration_s = audio_info(file).duration_s or 0.0
    if duration_s <= number * length_s:
        num_samples = math.ceil(number * length_s * target_hz)
        blocks = stream_samples(audio, sample_rate_hz, target_hz)
        yield np.concatenate(list(_first(blocks, num_samples)))
        return
    for index in range(number):
        start_s = index * (duration_s - length_s) / max(number - 1, 1)
        if samples is not None:
            rate_hz = sample_rate_hz or 1
            first = round(start_s * rate_hz)
            part = samples[first : first + round(length_s * rate_hz)]
            yield from stream_samples(part, sample_rate_hz, target_hz)
        else:
            blocks = stream_audio(file, target_hz, length_s, start_s)
            yield from itertools.islice(blocks, 1)


def _first(blocks: Iterator[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """Yield blocks until they have so many samples."""
    for block_S in blocks:
        yield block_S
        samples -= len(block_S)
        if samples <= 0:
            return

"""Cutting a stream of samples into overlapping windows, and joining what they become.

    samples   |------------------------------------------------ ... -----|
    window 0  |-----------------FFFF....|
    window 1                ....FFFF---------------FFFF....|
    last one                                  ....(FFFF)-----------------|

A network knows little about a window's first and last frames, so `....`
(`context_frames`) are dropped wherever there is another window, and `FFFF`
(`fade_frames`) is crossfaded from one window to the next: no note is cut or doubled at
a seam. The last window is moved back so that it ends with the recording and is as long
as the others. Only about two windows are held at a time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class WindowConfig:
    """How a recording is cut."""

    # Length of a window; by default that of HPPNet's clips in its paper, 20.48 s.
    num_frames: int = 1024
    # Frames dropped on both sides of a seam: more than HPPNet's convolutions see (15).
    # Twice or three times as many change notes no more than other seams do.
    context_frames: int = 24
    # Frames crossfaded at a seam.
    fade_frames: int = 16
    # Windows for recordings that are shorter than one: the smallest that fits is
    # used. Each length in use is compiled once.
    short_frames: tuple[int, ...] = (256, 512)

    def __post_init__(self) -> None:
        if min(self.num_frames, self.fade_frames, *self.short_frames) < 1:
            raise ValueError(f"{self}: lengths must be 1 frame or more")
        if self.context_frames < 0 or self.num_frames < 2 * self.overlap_frames:
            raise ValueError(
                f"{self}: windows of {self.num_frames} frames cannot overlap by "
                f"{self.overlap_frames}; make them twice as long as the overlap"
            )

    @property
    def overlap_frames(self) -> int:
        return 2 * self.context_frames + self.fade_frames


class Window(NamedTuple):
    """One window of a recording."""

    # float32; after the end of the recording its mirror image, as at a clip's edge in
    # the features, so that padding changes nothing.
    samples_S: np.ndarray
    num_frames: int  # frames that hold samples; fewer only in a short recording
    first_frame: int  # the window's place in the recording
    is_last: bool


def cut_windows(
    blocks: Iterable[np.ndarray], hop_samples: int, config: WindowConfig
) -> Iterator[Window]:
    """Cut consecutive blocks of samples into windows; no samples give no window."""
    length = config.num_frames * hop_samples
    stride = length - config.overlap_frames * hop_samples
    # Samples from `begin` on; before the next window only what the last may need.
    held_S = np.zeros(0, np.float32)
    begin = next_begin = 0
    for block_S in blocks:
        held_S = np.concatenate([held_S, block_S.astype(np.float32, copy=False)])
        # More than one window, so that this one is not the last.
        while begin + len(held_S) > next_begin + length:
            at = next_begin - begin
            samples_S = held_S[at : at + length].copy()
            yield Window(
                samples_S, config.num_frames, next_begin // hop_samples, is_last=False
            )
            held_S, begin = held_S[at:], next_begin
            next_begin += stride
    total_frames = -(-(begin + len(held_S)) // hop_samples)
    if total_frames == 0:
        return
    sizes = sorted({*config.short_frames, config.num_frames})
    size = next((n for n in sizes if n >= total_frames), config.num_frames)
    first_frame = max(total_frames - size, 0)
    samples_S = held_S[first_frame * hop_samples - begin :]
    missing = size * hop_samples - len(samples_S)
    samples_S = np.pad(samples_S, (0, missing), mode="reflect")
    yield Window(samples_S, min(total_frames, size), first_frame, is_last=True)


class Stitcher:
    """Joins the arrays of consecutive windows into those of the recording."""

    def __init__(
        self, config: WindowConfig, steps: Mapping[str, int] | None = None
    ) -> None:
        """Start with an empty recording.

        Args:
          config: how it is cut.
          steps: rows per frame of the arrays that have more than one.
        """
        self._config = config
        self._steps = steps or {}
        # The last window's rows over the seam to come, and where that begins.
        self._tail: dict[str, np.ndarray] | None = None
        self._seam_frame = 0

    def push(
        self, window: Window, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Take a window's arrays by name; return the recording's next rows, now final.

        The first axis of an array is time.
        """
        config = self._config
        fade = config.fade_frames
        begin = self._seam_frame - window.first_frame
        end = window.num_frames
        if not window.is_last:
            end -= config.context_frames + fade
        finished, tail = {}, {}
        for name, array in arrays.items():
            rows = self._steps.get(name, 1)
            array = np.array(array, np.float32)
            if self._tail is not None:
                _fade(self._tail[name], array[begin * rows : (begin + fade) * rows])
            tail[name] = array[end * rows : (end + fade) * rows]
            finished[name] = array[begin * rows : end * rows]
        if not window.is_last:
            self._tail, self._seam_frame = tail, window.first_frame + end
        return finished


def _fade(before: np.ndarray, seam: np.ndarray) -> None:
    """Turn what one window has at a seam, in place, from the window before to it."""
    fade = len(seam)
    weight_F = (np.arange(fade, dtype=np.float32) + 0.5) / fade
    weight = np.expand_dims(weight_F, tuple(range(1, seam.ndim)))
    seam += (1 - weight) * (before - seam)

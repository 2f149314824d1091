"""Cutting a stream of samples into overlapping windows, and joining their rolls.

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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mt3x.music.rolls import Rolls


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
    """Joins the rolls of consecutive windows into the rolls of the recording."""

    def __init__(self, config: WindowConfig):
        self._config = config
        # The last window's rolls over the seam to come, and where that begins.
        self._tail: list[np.ndarray] | None = None
        self._seam_frame = 0

    def push(self, window: Window, rolls: Rolls) -> Rolls:
        """Take a window's rolls; return the recording's next ones, now final."""
        config = self._config
        fade = config.fade_frames
        arrays = [np.array(a, np.float32) for a in rolls.by_name().values()]
        begin = self._seam_frame - window.first_frame
        if self._tail is not None:
            weight_Fx1 = ((np.arange(fade, dtype=np.float32) + 0.5) / fade)[:, None]
            for tail_FxP, array_TxP in zip(self._tail, arrays, strict=True):
                seam_FxP = array_TxP[begin : begin + fade]
                seam_FxP += (1 - weight_Fx1) * (tail_FxP - seam_FxP)
        end = window.num_frames
        if not window.is_last:
            end -= config.context_frames + fade
            self._tail = [array_TxP[end : end + fade] for array_TxP in arrays]
            self._seam_frame = window.first_frame + end
        finished = (array_TxP[begin:end] for array_TxP in arrays)
        return Rolls(*finished, frame_rate_hz=rolls.frame_rate_hz)

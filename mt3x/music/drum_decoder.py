"""Drum onset probabilities -> notes of a drum kit, as a stream."""

import math
from dataclasses import dataclass, replace

import numpy as np

from mt3x.music.instrument_classes import DRUM_CLASSES
from mt3x.music.notes import Notes
from mt3x.music.options import check_fields
from mt3x.music.roll_decoder import onset_shift, roll_velocity

# How long a hit is written, where the next one of its class does not end it.
HIT_S = 0.1


@dataclass(frozen=True)
class DrumDecodingConfig:
    """How the onset probabilities of drums become notes."""

    # An onset is a local maximum above this probability: one for all classes of drums,
    # or one for each in the order of DRUM_CLASSES.
    onset_threshold: float | tuple[float, ...] = 0.5
    # Of two onsets of one class that are closer than this the weaker is left out.
    min_gap_s: float = 0.03
    # Of a recording with fewer hits a second, all classes together, none is written: a
    # quartet has no drummer who plays twice.
    min_rate_hz: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.onset_threshold, (int, float)):
            # Gin and JSON give lists.
            object.__setattr__(self, "onset_threshold", tuple(self.onset_threshold))
        if isinstance(self.onset_threshold, tuple):
            if len(self.onset_threshold) != len(DRUM_CLASSES):
                raise ValueError(
                    f"onset_threshold has {len(self.onset_threshold)} values: give one "
                    f"or {len(DRUM_CLASSES)}"
                )
        if not all(0 <= value <= 1 for value in self.thresholds):
            raise ValueError(
                f"onset_threshold is {self.onset_threshold}: give values from 0 to 1"
            )
        check_fields(self, min_gap_s=(0, 10), min_rate_hz=(0, 100))

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The threshold of each class of drums."""
        if isinstance(self.onset_threshold, tuple):
            return self.onset_threshold
        return (self.onset_threshold,) * len(DRUM_CLASSES)


class DrumDecoder:
    """Probabilities and velocities in, in blocks of any length; then notes out.

    A hit is a step above the threshold that is higher than all steps of its class
    before it and not lower than those after it, as near as `min_gap_s`; its time is
    refined between the steps. How the steps are split into blocks changes nothing.
    """

    def __init__(self, config: DrumDecodingConfig, rate_hz: float) -> None:
        """Start with an empty recording that has `rate_hz` steps per second."""
        self._threshold_D = np.array(config.thresholds, np.float32)
        self._rate_hz = rate_hz
        self._min_per_step = config.min_rate_hz / rate_hz
        # Steps on both sides that a hit is compared with.
        self._reach = max(math.ceil(config.min_gap_s * rate_hz - 1e-6) - 1, 1)
        # Steps that are done, as neighbours, and those that wait for theirs. Before the
        # first ones come some that are below everything.
        self._drums_UxD = self._velocity_UxD = self._nothing()
        self._num_done = 0
        # Of the hits: seconds, class, velocity and probability.
        nothing = np.zeros(0), np.zeros(0, int), np.zeros(0, int), np.zeros(0)
        self._hits: list[tuple[np.ndarray, ...]] = [nothing]

    def push(self, drums_UxD: np.ndarray, velocity_UxD: np.ndarray) -> None:
        """Take the next steps."""
        reach = self._reach
        drums_UxD = np.concatenate([self._drums_UxD, drums_UxD])
        velocity_UxD = np.concatenate([self._velocity_UxD, velocity_UxD])
        self._drums_UxD, self._velocity_UxD = drums_UxD, velocity_UxD
        if len(drums_UxD) <= 2 * reach:
            return
        windows_UxDxW = np.lib.stride_tricks.sliding_window_view(
            drums_UxD, window_shape=2 * reach + 1, axis=0
        )
        here_UxD = windows_UxDxW[..., reach]
        is_hit_UxD = here_UxD > self._threshold_D
        is_hit_UxD &= here_UxD > windows_UxDxW[..., :reach].max(axis=-1)
        is_hit_UxD &= here_UxD >= windows_UxDxW[..., reach + 1 :].max(axis=-1)
        step_N, class_N = np.nonzero(is_hit_UxD)
        around = (drums_UxD[step_N + reach + i, class_N] for i in (-1, 0, 1))
        # Labels are triangles.
        shift_N = onset_shift("triangle", *(x.astype(np.float64) for x in around))
        onset_N = (self._num_done + step_N + shift_N) / self._rate_hz
        velocity_N = roll_velocity(velocity_UxD[step_N + reach, class_N])
        peak_N = here_UxD[step_N, class_N].astype(np.float64)
        self._hits.append((np.maximum(onset_N, 0.0), class_N, velocity_N, peak_N))
        self._num_done += len(here_UxD)
        self._drums_UxD = drums_UxD[-2 * reach :]
        self._velocity_UxD = velocity_UxD[-2 * reach :]

    def finish(self) -> Notes:
        """End the recording and return its hits, each class as its key."""
        self.push(self._nothing(), self._nothing())
        onset_N, class_N, velocity_N, peak_N = map(
            np.concatenate, zip(*self._hits, strict=True)
        )
        notes = Notes(
            onset_N,
            onset_N + HIT_S,
            np.array([drum.key for drum in DRUM_CLASSES])[class_N],
            velocity_N,
            is_drum=np.ones(len(onset_N), bool),
            confidence=peak_N,
        )
        if len(notes) < self._min_per_step * self._num_done:
            return notes[:0]
        return replace(notes, offset_s=np.minimum(notes.offset_s, notes.next_onsets()))

    def _nothing(self) -> np.ndarray:
        return np.full((self._reach, len(DRUM_CLASSES)), -1, np.float32)

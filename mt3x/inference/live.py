"""Live input: samples in as they are played, notes out as soon as they are final.

The network hears short windows, each `hop_frames` after the one before:

    samples           |----------------------------------- ...
    window 0  <<<<<<<<|------FFFF....|
    window 1          |--------------FFFF....|
    window 2                  |--------------FFFF....|

It knows little about the end of a window, so `....` (`context_frames`) is dropped, and
`FFFF` (`fade_frames`) is crossfaded with the next window. What comes before a window's
new frames is context as well, which costs time to compute but no delay. Before the
first sample the mirror image `<<<<` of what follows stands for it: silence would make
an onset of the noise that begins there. A frame is final when the windows that hear it
are computed, and so is a note when the frame that ends it is. What is returned is never
taken back.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soxr

from mt3x.inference.transcriber import Transcriber
from mt3x.inference.windows import Stitcher, Window, WindowConfig
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import RollDecoder
from mt3x.music.rolls import Rolls
from mt3x.music.samples import Mixer, as_samples, check_rate

__all__ = ["KeyEvent", "KeyEvents", "LiveTranscriber", "LiveWindowConfig"]

NAME = "live input"
MOST_CHANNELS = 64


@dataclass(frozen=True)
class LiveWindowConfig(WindowConfig):
    """How live input is cut.

    A frame is final `context_frames + fade_frames` to that plus `hop_frames` after its
    time. The cost is that of `num_frames / hop_frames` passes over the input.
    """

    num_frames: int = 128
    context_frames: int = 12
    fade_frames: int = 4
    short_frames: tuple[int, ...] = ()
    # New frames of each window.
    hop_frames: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.num_frames - self.overlap_frames
        if not 1 <= self.hop_frames <= most:
            raise ValueError(f"hop_frames is {self.hop_frames}: give 1 to {most}")


class LiveTranscriber:
    """Samples in, in blocks of any length; notes out, once and for all.

    How the input is split into blocks changes nothing. Memory does not grow.

    Example:
      >>> live = LiveTranscriber(sample_rate_hz=48000)
      >>> for samples in microphone:
      ...     play(live.push(samples))
      >>> play(live.finish())
    """

    def __init__(
        self,
        transcriber: Transcriber | None = None,
        *,
        sample_rate_hz: float | None = None,
        window: LiveWindowConfig | None = None,
    ) -> None:
        """Begin a recording; the model is compiled here, so that no push waits for it.

        Args:
          transcriber: whose piano model listens, at its thresholds and tuning; several
            recordings may share it. By default `Transcriber()`.
          sample_rate_hz: of the input; by default the model's.
          window: how the input is cut; by default for 0.3 to 0.7 s of delay.

        Raises:
          ValueError: it is not a piano model, its tuning is `auto`, or no sound has
            this sample rate.
        """
        transcriber = transcriber or Transcriber()
        self._window = window or LiveWindowConfig()
        self._model = transcriber.piano_model
        decoding = transcriber.roll_decoding
        assert decoding is not None  # piano models have rolls
        if transcriber.tuning == "auto":
            raise ValueError("tuning 'auto' needs a whole recording: give cents")
        # Input that is too high is heard slower, and its times are stretched back.
        ratio = 2 ** (transcriber.tuning / 1200)
        self._stretch = 1 / ratio
        features = self._model.config.features
        self._hop_samples = features.hop_samples
        self._frame_rate_hz = features.frame_rate_hz
        self._latency_s = decoding.latency_s
        target_hz = features.sample_rate_hz * ratio
        self._rate_hz = target_hz if sample_rate_hz is None else sample_rate_hz
        self._rate_hz = check_rate(self._rate_hz, NAME)
        self._resampler = None
        if self._rate_hz != target_hz:
            self._resampler = soxr.ResampleStream(self._rate_hz, target_hz, 1)
        self._checked = Mixer(NAME)
        self._num_channels: int | None = None
        self._stitcher = Stitcher(self._window)
        self._decoder = RollDecoder(decoding, self._frame_rate_hz)
        # Samples from frame `begin` on. The next window ends at frame `end`.
        self._held_S = _NOTHING
        self._begin = 0
        self._end = self._window.context_frames + self._window.fade_frames
        self._end += self._window.hop_frames
        self._is_finished = False
        self._compile()

    @property
    def sample_rate_hz(self) -> float:
        """The sample rate of the input."""
        return self._rate_hz

    @property
    def final_s(self) -> float:
        """Before this time nothing will begin or end any more."""
        # An onset lies up to half a frame before its peak.
        frames = max(self._decoder.num_done - 0.5, 0.0)
        final_s = frames / self._frame_rate_hz - self._latency_s
        return max(final_s, 0.0) * self._stretch

    @property
    def sounding(self) -> Notes:
        """The notes that have begun and not ended, as if they ended now.

        Their onsets, pitches and velocities are final.
        """
        return self._decoder.sounding_notes().stretched(self._stretch)

    def push(self, samples: npt.ArrayLike) -> Notes:
        """Take the next samples and return the notes that are final by now.

        Args:
          samples: samples_S or samples_SxC, whose mean is heard: floats in
            -1..1, int16, int32 or uint8; none are fine. The number of channels stays
            the same.

        Raises:
          ValueError: an array of another type or shape, samples that are NaN, infinite
            or beyond 1e10, or the recording has ended; nothing is taken then.
        """
        if self._is_finished:
            raise ValueError("this recording has ended: make another LiveTranscriber")
        samples_SxC = as_samples(samples, time_first=True)
        num_channels = samples_SxC.shape[1]
        if not 1 <= num_channels <= MOST_CHANNELS:
            raise ValueError(
                f"samples have {num_channels} channels: give samples_S, or samples_SxC "
                f"of 1 to {MOST_CHANNELS}"
            )
        if len(samples_SxC) and num_channels != (self._num_channels or num_channels):
            raise ValueError(
                f"samples have {num_channels} channels, and had {self._num_channels}: "
                "keep to one number"
            )
        mean_Sx1 = samples_SxC.mean(axis=1, keepdims=True, dtype=np.float64)
        samples_S = self._checked(mean_Sx1, self._rate_hz)
        if len(samples_S):
            self._num_channels = num_channels
        if self._resampler is not None:
            samples_S = self._resampler.resample_chunk(samples_S)
        return self._take(samples_S)

    def finish(self) -> Notes:
        """End the recording and return the notes that are left."""
        if self._is_finished:
            return Notes.empty()
        notes = []
        if self._resampler is not None:
            rest_S = self._resampler.resample_chunk(_NOTHING, last=True)
            notes.append(self._take(rest_S))
        self._is_finished = True
        num_samples = len(self._held_S) + self._begin * self._hop_samples
        if num_samples:
            missing = -num_samples % self._hop_samples
            # As where a whole recording ends.
            self._held_S = np.pad(self._held_S, (0, missing), mode="reflect")
            end = (num_samples + missing) // self._hop_samples
            notes.append(self._decoder.push(self._rolls(end, is_last=True)))
        notes.append(self._decoder.finish())
        self._held_S = _NOTHING
        return Notes.concatenate(notes).stretched(self._stretch)

    def _take(self, samples_S: np.ndarray) -> Notes:
        """Compute the windows that are complete with the next samples."""
        self._held_S = np.concatenate([self._held_S, samples_S])
        notes = []
        while len(self._held_S) >= (self._end - self._begin) * self._hop_samples:
            notes.append(self._decoder.push(self._rolls(self._end, is_last=False)))
            # A window that ends anywhere after this one can still be cut.
            begin = max(self._end - self._window.num_frames, 0)
            self._held_S = self._held_S[(begin - self._begin) * self._hop_samples :]
            self._begin = begin
            self._end += self._window.hop_frames
        return Notes.concatenate(notes).stretched(self._stretch)

    def _rolls(self, end: int, is_last: bool) -> Rolls:
        """Return the frames that are final by the window that ends with frame `end`."""
        num_frames = self._window.num_frames
        first = max(end - num_frames, 0) - self._begin
        last = end - self._begin
        samples_S = self._held_S[first * self._hop_samples : last * self._hop_samples]
        missing = num_frames * self._hop_samples - len(samples_S)
        samples_S = np.pad(samples_S, (missing, 0), mode="reflect")
        window = Window(samples_S, num_frames, end - num_frames, is_last)
        arrays = self._stitcher.push(window, self._model.predict(window))
        return Rolls.from_names(arrays, self._frame_rate_hz)

    def _compile(self) -> None:
        length = self._window.num_frames * self._hop_samples
        loud_S = np.ones(length, np.float32)
        self._model.predict(Window(loud_S, self._window.num_frames, 0, is_last=False))


_NOTHING = np.zeros(0, np.float32)


class KeyEvent(NamedTuple):
    """A key that goes down, or up where the velocity is 0."""

    time_s: float
    pitch: int
    velocity: int


class KeyEvents:
    """Keys as they go down and up, of notes as `LiveTranscriber` gives them."""

    def __init__(self) -> None:
        # When the keys that are down went down.
        self._down_s: dict[int, float] = {}

    def __call__(self, ended: Notes, sounding: Notes) -> list[KeyEvent]:
        """Return what is new, in the order of time.

        Args:
          ended: what a push returned.
          sounding: `LiveTranscriber.sounding` after it; none after `finish`.
        """
        events = []
        for notes, is_open in ((ended, False), (sounding, True)):
            for onset_s, offset_s, pitch, velocity in zip(
                notes.onset_s.tolist(),
                notes.offset_s.tolist(),
                notes.pitch.tolist(),
                notes.velocity.tolist(),
                strict=True,
            ):
                if self._down_s.get(pitch) != onset_s:
                    events.append(KeyEvent(onset_s, pitch, velocity))
                self._down_s[pitch] = onset_s
                if not is_open:
                    events.append(KeyEvent(offset_s, pitch, 0))
                    del self._down_s[pitch]
        # Those of one key are in order: it goes up before it goes down again.
        return sorted(events, key=lambda event: event.time_s)

"""Piano rolls -> notes, as a stream."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.piano_postprocessing import PianoPostprocessing
from mt3x.music.rolls import LOWEST_PITCH, NUM_PITCHES, Rolls

# Rows decoded at once: as many as stay in the processor's cache.
BLOCK_FRAMES = 4096


@dataclass(frozen=True)
class RollDecodingConfig:
    """How rolls become notes."""

    # An onset is a local maximum of the onset roll above this probability.
    onset_threshold: float = 0.4
    # A note sounds as long as the frame roll is above this probability.
    frame_threshold: float = 0.4
    # Where between the frames an onset lies, from its peak and the two neighbours:
    # one of ONSET_REFINEMENTS.
    onset_refinement: str = "parabola"
    # Whether a note's end is where the line through the last frame above the threshold
    # and the first one below crosses it, instead of a whole frame.
    refine_offsets: bool = True
    # By how much the notes that are heard come after those played: real hammers need
    # time that the samples a model was trained on, cut at their attack, do not. Taken
    # off onsets and offsets. Negative where notes are heard ahead of what counts as
    # their beginning, as those of bows and breath are.
    latency_s: float = 0.0
    # What is done to the notes of a whole recording; None: nothing. Where notes are
    # made of rolls alone.
    postprocessing: PianoPostprocessing | None = None

    def __post_init__(self) -> None:
        for name in ("onset_threshold", "frame_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}: give a value from 0 to 1"
                )
        if self.onset_refinement not in ONSET_REFINEMENTS:
            raise ValueError(
                f"onset_refinement is {self.onset_refinement!r}: give one of "
                + ", ".join(ONSET_REFINEMENTS)
            )
        if not -0.05 <= self.latency_s <= 0.1:
            raise ValueError(
                f"latency_s is {self.latency_s}: give -0.05 to 0.1 seconds"
            )


def upgraded_decoding(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in a file of weights of any version as this one has them."""
    if not isinstance(values, Mapping):
        return values  # whose type is refused
    values = dict(values)
    # Before `PianoPostprocessing` two switches stood for it.
    switches = {
        "align": values.pop("gather", False),
        "even_keys": values.pop("even_keys", False),
    }
    if any(switches.values()) and values.get("postprocessing") is None:
        values["postprocessing"] = switches
    return values


def _no_shift(before_N: np.ndarray, peak_N: np.ndarray, after_N: np.ndarray):
    return np.zeros_like(peak_N)


def _parabola(before_N: np.ndarray, peak_N: np.ndarray, after_N: np.ndarray):
    """Return the vertex of the parabola through the three points."""
    bend_N = 2 * peak_N - before_N - after_N
    return _ratio(after_N - before_N, 2 * bend_N)


def _triangle(before_N: np.ndarray, peak_N: np.ndarray, after_N: np.ndarray):
    """Return a triangle's apex (Kong et al. 2021, arXiv:2010.01815, eq. 8)."""
    low_N = np.minimum(before_N, after_N)
    return _ratio(after_N - before_N, 2 * (peak_N - low_N))


def _ratio(top_N: np.ndarray, bottom_N: np.ndarray) -> np.ndarray:
    """Return top / bottom, 0 where the three points are level."""
    return np.divide(top_N, bottom_N, out=np.zeros_like(top_N), where=bottom_N > 0)


# Each maps the onset roll before, at and after a peak to a shift in frames.
ONSET_REFINEMENTS = {
    "none": _no_shift,
    "parabola": _parabola,
    "triangle": _triangle,
}


def onset_shift(
    refinement: str, before_N: np.ndarray, here_N: np.ndarray, after_N: np.ndarray
) -> np.ndarray:
    """Return how many frames after its peak an onset lies, -0.5 to 0.5.

    Args:
      refinement: one of `ONSET_REFINEMENTS`.
      before_N, here_N, after_N: the onset roll's values before, at and after peaks; a
        negative one stands for an end of the recording, where it is 0.
    """
    refine = ONSET_REFINEMENTS[refinement]
    shift_N = np.clip(refine(before_N, here_N, after_N), -0.5, 0.5)
    return np.where((before_N < 0) | (after_N < 0), 0.0, shift_N)


def roll_velocity(level_N: np.ndarray) -> np.ndarray:
    """Return values of the velocity roll as MIDI velocities."""
    return np.clip(np.round(128 * level_N), 1, 127).astype(np.int32)


class FoundNotes(NamedTuple):
    """Notes in the order in which they are found, and their frames in the rolls."""

    onset_s: np.ndarray
    offset_s: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    confidence: np.ndarray
    # The frame of the onset's peak, and the first one after the note.
    first_frame: np.ndarray
    end_frame: np.ndarray

    @classmethod
    def concatenate(cls, parts: "Sequence[FoundNotes]") -> "FoundNotes":
        """Join the notes of one part or more."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def notes(self) -> Notes:
        """Return them as notes of a piano."""
        return Notes(
            self.onset_s,
            self.offset_s,
            self.pitch,
            self.velocity,
            confidence=self.confidence,
        )


class RollDecoder:
    """Rolls in, in blocks of any length; notes out.

    The rules are HPPNet's (Wei et al. 2022, arXiv:2208.14339, after Onsets and
    Frames). A frame that is not less than both neighbours and above the onset threshold
    is an onset; adjacent ones are one onset, at the first. The note that starts there
    has the velocity roll's value in that frame, and the onset roll's is its confidence.
    It ends before the first later
    frame that is neither an onset nor above the frame threshold, or where the key's
    next onset begins, so it lasts one frame at least. Differing from the source, onset
    and offset may be moved by up to half a frame, as `RollDecodingConfig` says.

    How the rolls are split into blocks changes nothing.
    """

    def __init__(self, config: RollDecodingConfig, frame_rate_hz: float = 50.0):
        self._config = config
        self._frame_rate_hz = frame_rate_hz
        # Frames that wait for their right neighbour, after one that is already done.
        self._pending: Rolls | None = None
        # Frames that are decoded.
        self.num_done = 0
        self._was_peak_P = np.zeros(NUM_PITCHES, bool)
        self._was_on_P = np.zeros(NUM_PITCHES, bool)
        # The sounding note of each key: onset in frames (NaN where silent), the frame
        # of its peak, velocity and the peak's height.
        self._onset_P = np.full(NUM_PITCHES, np.nan)
        self._first_P = np.zeros(NUM_PITCHES, int)
        self._velocity_P = np.zeros(NUM_PITCHES, np.int32)
        self._peak_P = np.zeros(NUM_PITCHES)

    def push(self, rolls: Rolls) -> Notes:
        """Take the next frames and return the notes that ended in them."""
        return self.find(rolls).notes()

    def finish(self) -> Notes:
        """End the recording and return the notes still sounding."""
        return self.find_rest().notes()

    def sounding(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys that sound after `num_done` frames, and their first frames.

        Frames are done when both neighbours are known; the last one pushed is not.
        """
        key_N = np.flatnonzero(~np.isnan(self._onset_P))
        return key_N, self._first_P[key_N]

    def find(self, rolls: Rolls) -> FoundNotes:
        """Do as `push`."""
        if rolls.frame_rate_hz != self._frame_rate_hz:
            raise ValueError(
                f"rolls have {rolls.frame_rate_hz} frames per second, "
                f"the decoder {self._frame_rate_hz}: make them equal"
            )
        pending = rolls
        if self._pending is not None:
            pending = Rolls.concatenate([self._pending, rolls])
        has_left = self.num_done > 0
        num_new = pending.num_frames - has_left - 1
        if num_new < 1:
            self._pending = pending
            return _NOTHING
        found = self._decode(pending, has_left=has_left, has_right=True)
        self.num_done += num_new
        self._pending = pending[-2:]
        return found

    def find_rest(self) -> FoundNotes:
        """Do as `finish`."""
        found = []
        if self._pending is not None:
            has_left = self.num_done > 0
            num_new = self._pending.num_frames - has_left
            if num_new > 0:
                found.append(self._decode(self._pending, has_left, has_right=False))
            self.num_done += num_new
            self._pending = None
        key_N, first_N = self.sounding()
        last_N = np.full(key_N.shape, self.num_done)
        found.append(
            self._found(
                key_N,
                self._onset_P[key_N],
                last_N.astype(float),
                self._velocity_P[key_N],
                self._peak_P[key_N],
                first_N,
                last_N,
            )
        )
        self._onset_P[:] = np.nan
        return FoundNotes.concatenate(found)

    def _decode(self, rolls: Rolls, has_left: bool, has_right: bool) -> FoundNotes:
        """Decode the rows that have both neighbours; the others only serve as such."""
        # Keys first, so that a key's events lie side by side when flattened; a missing
        # neighbour (at the recording's ends) is below everything.
        num_frames = rolls.num_frames - has_left - has_right
        rows = slice(int(not has_left), num_frames + 2 - (not has_right))
        onset_PxT, frame_PxT = np.full((2, NUM_PITCHES, num_frames + 2), -1, np.float32)
        onset_PxT[:, rows] = rolls.onset_TxP.T
        frame_PxT[:, rows] = rolls.frame_TxP.T
        before_PxT, here_PxT = onset_PxT[:, :-2], onset_PxT[:, 1:-1]
        after_PxT = onset_PxT[:, 2:]
        peak_PxT = here_PxT > self._config.onset_threshold
        peak_PxT &= (here_PxT >= before_PxT) & (here_PxT >= after_PxT)
        on_PxT = peak_PxT | (frame_PxT[:, 1:-1] > self._config.frame_threshold)
        start_PxT = peak_PxT & ~_delayed(peak_PxT, self._was_peak_P)
        end_PxT = _delayed(on_PxT, self._was_on_P) & ~on_PxT
        self._was_peak_P, self._was_on_P = peak_PxT[:, -1], on_PxT[:, -1]

        start_N = np.flatnonzero(start_PxT)
        start_key_N, start_frame_N = np.divmod(start_N, num_frames)
        before_N, peak_N, after_N = (
            _at(x_PxT, start_key_N, start_frame_N)
            for x_PxT in (before_PxT, here_PxT, after_PxT)
        )
        first_N = self.num_done + start_frame_N
        refinement = self._config.onset_refinement
        onset_N = first_N + onset_shift(refinement, before_N, peak_N, after_N)
        level_N = _at(rolls.velocity_TxP.T, start_key_N, start_frame_N + has_left)
        velocity_N = roll_velocity(level_N)

        end_N = np.flatnonzero(end_PxT)
        end_key_N, end_frame_N = np.divmod(end_N, num_frames)
        above_N = _at(frame_PxT[:, :-2], end_key_N, end_frame_N)
        below_N = _at(frame_PxT[:, 1:-1], end_key_N, end_frame_N)
        stop_N = self.num_done + end_frame_N
        offset_N = stop_N + self._crossing(above_N, below_N)

        # A key's events in order: the note that sounded before, starts, ends. A note
        # reaches from its start to the next event; what follows an end is silence.
        sounding_N = np.flatnonzero(~np.isnan(self._onset_P))
        position = np.concatenate([sounding_N * num_frames - 0.5, start_N, end_N])
        order = np.argsort(position, kind="stable")
        key = np.concatenate([sounding_N, start_key_N, end_key_N])[order]
        time = np.concatenate([self._onset_P[sounding_N], onset_N, offset_N])[order]
        frame = np.concatenate([self._first_P[sounding_N], first_N, stop_N])[order]
        begins = np.arange(len(order)) < len(sounding_N) + len(start_N)
        none_N = np.zeros_like(end_N)
        velocity = [self._velocity_P[sounding_N], velocity_N, none_N]
        velocity = np.concatenate(velocity)[order]
        peak = np.concatenate([self._peak_P[sounding_N], peak_N, none_N])[order]
        begins = begins[order]
        closed = begins[:-1] & (key[1:] == key[:-1])
        still = begins & ~np.append(closed, False)
        self._onset_P[:] = np.nan
        self._onset_P[key[still]] = time[still]
        self._first_P[key[still]] = frame[still]
        self._velocity_P[key[still]] = velocity[still]
        self._peak_P[key[still]] = peak[still]
        first, then = np.flatnonzero(closed), np.flatnonzero(closed) + 1
        return self._found(
            key[first],
            time[first],
            time[then],
            velocity[first],
            peak[first],
            frame[first],
            frame[then],
        )

    def _crossing(self, above_N, below_N) -> np.ndarray:
        """Return the sub-frame shift of offsets, -0.5 to 0.5.

        Labels drop from 1 to 0 before the frame where the note ends, and so cross
        any threshold half a frame early on average: a crossing half way means no shift.
        """
        if not self._config.refine_offsets:
            return np.zeros_like(above_N)
        # Rolls were compared with the threshold in float32.
        height_N = above_N - np.float32(self._config.frame_threshold)
        shift_N = _ratio(height_N, above_N - below_N) - 0.5
        # A frame that was on as an onset only may itself lie below the threshold.
        return np.where(height_N > 0, shift_N, 0.0)

    def _found(
        self, key_N, onset_N, offset_N, velocity_N, peak_N, first_N, end_N
    ) -> FoundNotes:
        latency_frames = self._config.latency_s * self._frame_rate_hz
        onset_N = np.maximum(onset_N - latency_frames, 0.0)
        offset_N = offset_N - latency_frames
        # Two onsets are a frame apart even when both were moved: no notes overlap.
        offset_N = np.maximum(offset_N, onset_N + 1)
        return FoundNotes(
            onset_s=onset_N / self._frame_rate_hz,
            offset_s=offset_N / self._frame_rate_hz,
            pitch=key_N + LOWEST_PITCH,
            velocity=velocity_N,
            # Rolls of other sources may be a little outside.
            confidence=np.clip(peak_N, 0.0, 1.0),
            first_frame=first_N,
            end_frame=end_N,
        )


_NOTHING = FoundNotes(*np.zeros((2, 0)), *np.zeros((5, 0), int))


def _delayed(x_PxT: np.ndarray, before_P: np.ndarray) -> np.ndarray:
    """Return x one frame later, with the given values in the first frame."""
    return np.concatenate([before_P[:, None], x_PxT[:, :-1]], axis=1)


def _at(x_PxT: np.ndarray, key_N: np.ndarray, frame_N: np.ndarray) -> np.ndarray:
    return x_PxT[key_N, frame_N].astype(np.float64)


def blocks_to_notes(
    blocks: Iterable[Rolls], config: RollDecodingConfig, frame_rate_hz: float
) -> Notes:
    """Decode the rolls of a whole recording, which come in blocks of any length.

    The rules are `RollDecoder`'s; `config.postprocessing` needs all notes and comes
    last.
    """
    decoder = RollDecoder(config, frame_rate_hz)
    notes = Notes.concatenate([*map(decoder.push, blocks), decoder.finish()])
    return config.postprocessing(notes) if config.postprocessing else notes


def rolls_to_notes(rolls: Rolls, config: RollDecodingConfig) -> Notes:
    """Decode the rolls of a whole recording, as `blocks_to_notes` does."""
    num_frames = rolls.num_frames
    blocks = (rolls[t : t + BLOCK_FRAMES] for t in range(0, num_frames, BLOCK_FRAMES))
    return blocks_to_notes(blocks, config, rolls.frame_rate_hz)

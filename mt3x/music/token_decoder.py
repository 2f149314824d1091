"""Tokens of successive segments to notes.

What notes are made of tokens:

- A pitch with velocity 0 ends the note of its pitch and program, with another
  velocity it begins one and ends the one that sounds.
- A note lasts at least 10 ms, a drum 10 ms. Onsets only: all last 10 ms and have
  velocity 100.
- Without ties, notes sound on into the next segment. With ties, those that are not
  listed before `tie` end at the segment's beginning. A segment without `tie`, or
  one cut short in its tie section, ends none: all its pitches count as listed.
- What still sounds at the end ends at the time of the last event.
- Starts of segments are rounded down to a step. (MT3 takes off the remainder of a
  division of floats, which puts some of them a whole step too early.)
- Velocity and program stay in force over segments; the first has 100 and 0.

What is skipped:

- From the first shift beyond the next segment's beginning on, a segment's tokens
  are dropped and counted.
- Invalid, each counted as one: ids that do not exist; the end of a silent note; a
  tie of a silent note or a second one of the same; a drum with velocity 0; a `tie`
  where none is expected; anything at a time before an event that was decoded;
  anything but shift and pitch where only onsets are wanted.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mt3x.music.notes import DEFAULT_VELOCITY, Notes
from mt3x.music.vocabulary import (
    DRUM,
    PITCH,
    PROGRAM,
    SHIFT,
    TIE,
    VELOCITY,
    Codec,
    TokenizerConfig,
)

__all__ = ["Decoded", "TokenDecoder", "start_step"]

MIN_DURATION_S = 0.01
"""How long a note lasts at least, and a drum or a single onset always."""

# What becomes of a pitch: a note begins, or none does; or it is tied. Then those that
# are not tied end.
SOUND, SILENT, TIED, TIES_END = range(4)


class Decoded(NamedTuple):
    """What tokens mean, and how many of them mean nothing."""

    notes: Notes
    num_invalid: int
    num_dropped: int


class _Events(NamedTuple):
    """E tokens other than shifts, in their order."""

    segment_E: np.ndarray
    time_s_E: np.ndarray
    type_E: np.ndarray
    value_E: np.ndarray

    def take(self, index: np.ndarray) -> "_Events":
        return _Events(*(column_E[index] for column_E in self))


class TokenDecoder:
    """Takes the segments of a recording in their order, and gives its notes."""

    def __init__(self, config: TokenizerConfig) -> None:
        self._config = config
        self._segments: list[tuple[float, np.ndarray, float]] = []

    def push(
        self, start_s: float, ids_L: npt.ArrayLike, end_s: float | None = None
    ) -> None:
        """Take the next segment's codec ids.

        Args:
          start_s: the segment's start; rounded down to a step.
          ids_L: codec ids, none, or any other integers.
          end_s: the next segment's start; rounded likewise. None: there is none.
        """
        rate = self._config.vocab.steps_per_second
        start_s = start_step(start_s, rate) / rate
        end_s = math.inf if end_s is None else start_step(end_s, rate) / rate
        self._segments.append((start_s, np.asarray(ids_L, np.int64), end_s))

    def finish(self) -> Decoded:
        """Return all notes, those that still sound ended, and the counts."""
        if not self._segments:
            return Decoded(Notes.empty(), 0, 0)
        events, num_unknown, num_dropped = self._events()
        decode = _decode_onsets if self._config.onsets_only else self._decode
        notes, num_valid = decode(events)
        num_invalid = num_unknown + len(events.type_E) - num_valid
        return Decoded(notes, num_invalid, num_dropped)

    def _events(self) -> tuple[_Events, int, int]:
        """Return all events, and how many tokens are unknown or dropped."""
        starts_s, ids, ends_s = zip(*self._segments, strict=True)
        start_s, end_s = np.array(starts_s), np.array(ends_s)
        length = np.array([len(ids_L) for ids_L in ids])
        segment_L = np.repeat(np.arange(len(ids)), length)
        type_L, value_L = Codec(self._config.vocab).split(np.concatenate(ids))
        is_shift_L = type_L == SHIFT
        is_event_L = (type_L >= 0) & ~is_shift_L

        # S shifts add up from the segment's first token or from the event before.
        shift = np.flatnonzero(is_shift_L)
        segment_S, steps_S = segment_L[shift], value_L[shift]
        is_first_S = np.diff(segment_S, prepend=-1)
        if not self._config.relative_shifts:
            is_first_S += np.diff(np.cumsum(is_event_L)[shift], prepend=0)
        total_S = np.cumsum(steps_S)
        before_S = np.where(is_first_S > 0, total_S - steps_S, 0)
        steps_S = total_S - np.maximum.accumulate(before_S)
        time_s_S = start_s[segment_S] + steps_S / self._config.vocab.steps_per_second

        is_late_S = time_s_S > end_s[segment_S]
        cut = np.cumsum(length)
        num_tokens = cut[-1]
        np.minimum.at(cut, segment_S[is_late_S], shift[is_late_S])
        is_kept_L = np.arange(num_tokens) < cut[segment_L]
        num_unknown = int(np.count_nonzero((type_L < 0) & is_kept_L))
        num_dropped = int(num_tokens - np.count_nonzero(is_kept_L))

        event = np.flatnonzero(is_event_L & is_kept_L)
        segment_E = segment_L[event]
        # The number of shifts so far is the place of the last one, after a first entry
        # that stands for none.
        last_E = np.cumsum(is_shift_L)[event]
        time_s_E = np.append(0.0, time_s_S)[last_E]
        is_shifted_E = np.append(-1, segment_S)[last_E] == segment_E
        time_s_E = np.where(is_shifted_E, time_s_E, start_s[segment_E])
        events = _Events(segment_E, time_s_E, type_L[event], value_L[event])
        return events, num_unknown, num_dropped

    def _decode(self, events: _Events) -> tuple[Notes, int]:
        """Return the notes of events, and how many of these are valid."""
        latest_s_E = np.maximum.accumulate(np.maximum(events.time_s_E, 0.0))
        segment_E, time_s_E, type_E, value_E = events = events.take(
            events.time_s_E >= latest_s_E
        )
        num_bins = self._config.vocab.num_velocity_bins
        velocities = Codec(self._config.vocab).bin_to_velocity(np.arange(num_bins + 1))
        is_velocity_E = type_E == VELOCITY
        velocity_E = velocities[np.where(is_velocity_E, value_E, 0)]
        velocity_E = _latest(velocity_E, is_velocity_E, DEFAULT_VELOCITY)
        program_E = _latest(value_E, type_E == PROGRAM, 0)
        is_tie_E, is_pitch_E, is_drum_E = (type_E == t for t in (TIE, PITCH, DRUM))
        ties_before_E = np.cumsum(is_tie_E) - is_tie_E
        first_of_segment = np.searchsorted(segment_E, np.arange(len(self._segments)))
        ties_before_E -= ties_before_E[first_of_segment[segment_E]]
        in_ties_E = (ties_before_E == 0) & self._config.use_ties

        drums = np.flatnonzero(is_drum_E & (velocity_E > 0))
        rows = np.flatnonzero(is_pitch_E | (is_tie_E & in_ties_E))
        kind_E = np.where(in_ties_E, TIED, np.where(velocity_E == 0, SILENT, SOUND))
        kind_E[is_tie_E] = TIES_END
        columns = kind_E, program_E * 128 + value_E, segment_E
        end_R, num_invalid = _ends(*(column_E[rows].tolist() for column_E in columns))
        is_begin_R = kind_E[rows] == SOUND
        begin_N = rows[is_begin_R]
        end_N = np.append(rows, len(type_E))[np.array(end_R, int)[is_begin_R]]
        shortest_s_N = time_s_E[begin_N] + MIN_DURATION_S
        last_s = time_s_E.max(initial=0.0)
        last_s = max(last_s, shortest_s_N[end_N == len(type_E)].max(initial=0.0))
        offset_s_N = np.maximum(np.append(time_s_E, last_s)[end_N], shortest_s_N)

        # In the order in which they end, which counts where notes are equal.
        order = np.argsort(np.append(end_N, drums), kind="stable")
        first = np.append(begin_N, drums)[order]
        offset_s = np.append(offset_s_N, time_s_E[drums] + MIN_DURATION_S)[order]
        is_drum = is_drum_E[first]
        notes = Notes(
            time_s_E[first],
            offset_s,
            value_E[first],
            velocity_E[first],
            np.where(is_drum, 0, program_E[first]),
            is_drum,
        )
        num_others = int(np.count_nonzero(is_velocity_E | (type_E == PROGRAM)))
        return notes, num_others + len(drums) + len(rows) - num_invalid


def _decode_onsets(events: _Events) -> tuple[Notes, int]:
    """Return notes where only onsets are wanted, and how many events are valid."""
    _, time_s_N, _, pitch_N = events.take(events.type_E == PITCH)
    return Notes(time_s_N, time_s_N + MIN_DURATION_S, pitch_N), len(pitch_N)


def _ends(
    kind_R: list[int], key_R: list[int], segment_R: list[int]
) -> tuple[list[int], int]:
    """Return the row that ends what each row begins, and how many are invalid.

    Notes that still sound after the last row end with one more.
    """
    end_R, num_invalid = [len(kind_R)] * len(kind_R), 0
    sounding: dict[int, int] = {}
    tied: dict[int, int] = {}  # the last segment that tied a key
    for row, (kind, key) in enumerate(zip(kind_R, key_R, strict=True)):
        if kind == SOUND:
            if key in sounding:
                end_R[sounding[key]] = row
            sounding[key] = row
        elif kind == SILENT:
            if key in sounding:
                end_R[sounding.pop(key)] = row
            else:
                num_invalid += 1
        elif kind == TIED:
            if key in sounding and tied.get(key) != segment_R[row]:
                tied[key] = segment_R[row]
            else:
                num_invalid += 1
        else:
            for key in [key for key in sounding if tied.get(key) != segment_R[row]]:
                end_R[sounding.pop(key)] = row
    return end_R, num_invalid


def _latest(value_E: np.ndarray, is_new_E: np.ndarray, first: int) -> np.ndarray:
    """Return the last new value up to each place, `first` before there is one."""
    index_E = np.maximum.accumulate(np.where(is_new_E, np.arange(len(value_E)) + 1, 0))
    return np.append(first, value_E)[index_E]


def start_step(time_s: float, steps_per_second: int) -> int:
    """Return the last step at or before a time."""
    # The margin is for times like 5 * 2.048 that float leaves just below their step.
    return math.floor(time_s * steps_per_second + 1e-6)

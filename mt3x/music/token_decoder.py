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
    VELOCITY,
    Codec,
    TokenizerConfig,
)

__all__ = ["Decoded", "TokenDecoder", "start_step"]

MIN_DURATION_S = 0.01
"""How long a note lasts at least, and a drum or a single onset always."""


class Decoded(NamedTuple):
    """What tokens mean, and how many of them mean nothing."""

    notes: Notes
    num_invalid: int
    num_dropped: int


class TokenDecoder:
    """Takes the segments of a recording in their order, and gives its notes."""

    def __init__(self, config: TokenizerConfig) -> None:
        self._config = config
        self._codec = Codec(config.vocab)
        num_bins = config.vocab.num_velocity_bins
        self._velocities = self._codec.bin_to_velocity(np.arange(num_bins + 1)).tolist()
        self._notes: list[tuple[float, float, int, int, int, bool]] = []
        self._num_invalid = 0
        self._num_dropped = 0
        self._time_s = 0.0
        self._velocity = DEFAULT_VELOCITY
        self._program = 0
        # Onset and velocity of the notes that sound, by pitch and program.
        self._sounding: dict[tuple[int, int], tuple[float, int]] = {}
        self._tied: set[tuple[int, int]] = set()
        self._is_tie_section = False

    def push(
        self, start_s: float, ids_L: npt.ArrayLike, end_s: float | None = None
    ) -> None:
        """Decode the next segment's codec ids.

        Args:
          start_s: the segment's start; rounded down to a step.
          ids_L: codec ids, none, or any other integers.
          end_s: the next segment's start; rounded likewise. None: there is none.
        """
        steps_per_second = self._config.vocab.steps_per_second
        start_s = start_step(start_s, steps_per_second) / steps_per_second
        if end_s is not None:
            end_s = start_step(end_s, steps_per_second) / steps_per_second
        type_L, value_L = self._codec.split(ids_L)
        decode = self._decode_onset if self._config.onsets_only else self._decode
        self._is_tie_section = self._config.use_ties
        self._tied.clear()
        num_steps, time_s = 0, start_s
        tokens = zip(type_L.tolist(), value_L.tolist(), strict=True)
        for position, (type, value) in enumerate(tokens):
            if type == SHIFT:
                num_steps += value
                time_s = start_s + num_steps / steps_per_second
                if end_s is not None and time_s > end_s:
                    self._num_dropped += len(type_L) - position
                    break
            elif type < 0:
                self._num_invalid += 1
            else:
                num_steps = 0
                if not decode(time_s, type, value):
                    self._num_invalid += 1

    def finish(self) -> Decoded:
        """Return all notes, those that still sound ended, and the counts."""
        end_s = max(
            [self._time_s]
            + [onset_s + MIN_DURATION_S for onset_s, _ in self._sounding.values()]
        )
        for key in list(self._sounding):
            self._end(key, end_s)
        columns = zip(*self._notes, strict=True) if self._notes else [()] * 6
        return Decoded(Notes(*columns), self._num_invalid, self._num_dropped)

    def _decode_onset(self, time_s: float, type: int, value: int) -> bool:
        """Decode an event where only onsets are wanted; whether it is valid."""
        if type != PITCH:
            return False
        end_s = time_s + MIN_DURATION_S
        self._notes.append((time_s, end_s, value, DEFAULT_VELOCITY, 0, False))
        return True

    def _decode(self, time_s: float, type: int, value: int) -> bool:
        """Decode an event other than a shift; whether it is valid."""
        if time_s < self._time_s:
            return False
        self._time_s = time_s
        if type == VELOCITY:
            self._velocity = self._velocities[value]
        elif type == PITCH:
            return self._decode_pitch(time_s, (value, self._program))
        elif type == PROGRAM:
            self._program = value
        elif type == DRUM:
            if self._velocity == 0:
                return False
            end_s = time_s + MIN_DURATION_S
            self._notes.append((time_s, end_s, value, self._velocity, 0, True))
        else:  # TIE
            if not self._is_tie_section:
                return False
            self._is_tie_section = False
            for key in [key for key in self._sounding if key not in self._tied]:
                self._end(key, time_s)
        return True

    def _decode_pitch(self, time_s: float, key: tuple[int, int]) -> bool:
        if self._is_tie_section:
            if key not in self._sounding or key in self._tied:
                return False
            self._tied.add(key)
            return True
        if key in self._sounding:
            self._end(key, time_s)
        elif self._velocity == 0:
            return False
        if self._velocity > 0:
            self._sounding[key] = (time_s, self._velocity)
        return True

    def _end(self, key: tuple[int, int], end_s: float) -> None:
        onset_s, velocity = self._sounding.pop(key)
        end_s = max(end_s, onset_s + MIN_DURATION_S)
        self._notes.append((onset_s, end_s, key[0], velocity, key[1], False))


def start_step(time_s: float, steps_per_second: int) -> int:
    """Return the last step at or before a time."""
    # The margin is for times like 5 * 2.048 that float leaves just below their step.
    return math.floor(time_s * steps_per_second + 1e-6)

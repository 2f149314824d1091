"""The vocabulary of note events: MT3's (Gardner et al. 2022, arXiv:2111.03017).

Two numberings are in use. A *codec id* names an event; the ranges of the event types
follow each other, each inclusive:

    shift    0..max_shift_steps, steps since the segment's start or the last event
    pitch    0..127
    velocity 0..num_velocity_bins, 0 ends notes
    tie      0, the end of the list of notes that go on from the segment before
    program  0..127
    drum     0..127

A *model id* is a codec id + 3, after PAD, EOS and UNK; 100 unused ids follow, and
the model's embedding is padded to a multiple of 128 rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mt3x.music.options import check_fields

__all__ = [
    "DRUM",
    "EOS_ID",
    "EVENT_TYPES",
    "NUM_EXTRA_IDS",
    "NUM_SPECIAL_IDS",
    "PAD_ID",
    "PITCH",
    "PROGRAM",
    "SHIFT",
    "TIE",
    "UNK_ID",
    "VELOCITY",
    "Codec",
    "Event",
    "TokenizerConfig",
    "VocabConfig",
]

PAD_ID, EOS_ID, UNK_ID = 0, 1, 2
NUM_SPECIAL_IDS = 3
NUM_EXTRA_IDS = 100
EMBEDDING_MULTIPLE = 128
MAX_VELOCITY = 127

EVENT_TYPES = ("shift", "pitch", "velocity", "tie", "program", "drum")
"""In the order of their ids."""
SHIFT, PITCH, VELOCITY, TIE, PROGRAM, DRUM = range(len(EVENT_TYPES))


class Event(NamedTuple):
    """One token's meaning, such as Event("pitch", 60)."""

    type: str
    value: int


@dataclass(frozen=True)
class VocabConfig:
    """The sizes of the vocabulary; the defaults are those of the `mt3` checkpoint.

    `ismir2021` has 127 velocity bins; the Acoustic-Transformer's 205 time values are
    max_shift_steps=204.
    """

    steps_per_second: int = 100  # time resolution
    max_shift_steps: int = 1000  # the largest shift of one token, inclusive
    num_velocity_bins: int = 1  # besides bin 0

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{option.name} is {value!r}; give a whole number, 1 or more"
                )
        check_fields(self, steps_per_second=(1, 10_000), max_shift_steps=(1, 100_000))
        if self.num_velocity_bins > MAX_VELOCITY:
            raise ValueError(
                f"num_velocity_bins is {self.num_velocity_bins}; velocities have "
                f"{MAX_VELOCITY} values, so give that at most"
            )


GRANULARITIES = ("flat", "midi_class", "full")
"""How finely programs are told apart: not at all, by family, each."""


@dataclass(frozen=True)
class TokenizerConfig:
    """How notes are written as tokens."""

    vocab: VocabConfig = field(default_factory=VocabConfig)
    use_ties: bool = True  # segments begin with the notes that still sound
    onsets_only: bool = False  # pitches alone, without ends, velocities, programs
    program_granularity: str = "full"  # flat, midi_class or full
    # Events of one time in the order of their pitches, each pitch with its program:
    # notes of other programs are then as many tokens in the same order.
    by_pitch: bool = False
    relative_shifts: bool = False  # count from the last event, not the segment's start
    mt3_ties: bool = (
        False  # MT3's tie sections where they are wrong, see `mt3x.music.tokens`
    )

    def __post_init__(self) -> None:
        if self.program_granularity not in GRANULARITIES:
            raise ValueError(
                f"program_granularity is {self.program_granularity!r}; give one of "
                f"{', '.join(GRANULARITIES)}"
            )
        if self.by_pitch and (self.onsets_only or self.program_granularity == "flat"):
            raise ValueError(
                "by_pitch writes a program for each pitch, and there are none: set "
                "by_pitch=False, or tell programs"
            )
        if self.onsets_only and self.use_ties:
            raise ValueError(
                "onsets_only leaves out what use_ties needs; give only one of them"
            )


class Codec:
    """Events <-> codec ids for one VocabConfig."""

    def __init__(self, config: VocabConfig) -> None:
        self.config = config

    @cached_property
    def ranges(self) -> Mapping[str, tuple[int, int]]:
        """First and last codec id of each event type, in the order of the ids."""
        sizes = {
            "shift": self.config.max_shift_steps + 1,
            "pitch": 128,
            "velocity": self.config.num_velocity_bins + 1,
            "tie": 1,
            "program": 128,
            "drum": 128,
        }
        first, ranges = 0, {}
        for type in EVENT_TYPES:
            ranges[type] = (first, first + sizes[type] - 1)
            first += sizes[type]
        return MappingProxyType(ranges)

    @property
    def num_classes(self) -> int:
        """How many codec ids there are."""
        return self.ranges[EVENT_TYPES[-1]][1] + 1

    @property
    def num_ids(self) -> int:
        """How many model ids there are, the special and the extra ones included."""
        return NUM_SPECIAL_IDS + self.num_classes + NUM_EXTRA_IDS

    @property
    def num_embeddings(self) -> int:
        """Rows of the model's embedding: `num_ids` rounded up to 128."""
        return -(-self.num_ids // EMBEDDING_MULTIPLE) * EMBEDDING_MULTIPLE

    def encode(self, event: Event) -> int:
        """Return the codec id of an event.

        Raises:
          ValueError: the type is unknown or the value out of its range.
        """
        if event.type not in self.ranges:
            raise ValueError(
                f"event type {event.type!r} is unknown; {', '.join(EVENT_TYPES)} exist"
            )
        first, last = self.ranges[event.type]
        if not 0 <= event.value <= last - first:
            raise ValueError(
                f"{event.type} {event.value} is not in the vocabulary; "
                f"0 to {last - first} are"
            )
        return first + event.value

    def decode(self, id: int) -> Event:
        """Return the event of a codec id.

        Raises:
          ValueError: the id does not exist.
        """
        for type, (first, last) in self.ranges.items():
            if first <= id <= last:
                return Event(type, int(id) - first)
        raise ValueError(f"codec id {id} is unknown; 0 to {self.num_classes - 1} exist")

    def split(self, ids_L: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return types (indices into EVENT_TYPES; -1 of unknown ids) and values."""
        ids_L = np.asarray(ids_L, dtype=np.int64)
        type_L = np.searchsorted(self._firsts, ids_L, side="right") - 1
        value_L = ids_L - self._firsts[type_L]
        type_L[ids_L >= self.num_classes] = -1
        return type_L, value_L

    @cached_property
    def _firsts(self) -> np.ndarray:
        return np.array([first for first, _ in self.ranges.values()])

    def velocity_to_bin(self, velocity: npt.ArrayLike) -> np.ndarray:
        """Turn velocities 0..127 into bins: ceil(bins * velocity / 127); 0 stays 0."""
        bins = np.asarray(velocity, dtype=np.int64) * self.config.num_velocity_bins
        return -(-bins // MAX_VELOCITY)

    def bin_to_velocity(self, bin: npt.ArrayLike) -> np.ndarray:
        """Turn bins into velocities: floor(127 * bin / bins)."""
        bin = np.asarray(bin, dtype=np.int64)
        return MAX_VELOCITY * bin // self.config.num_velocity_bins

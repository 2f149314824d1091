"""A performance without segments as one stream of tokens, as a generator learns it.

The tokens are those of `mt3x.music.tokens` with shifts counted from the event before:
one segment of any length. There is one instrument, so neither programs nor drums nor
ties are written, and the vocabulary ends with the velocities. As elsewhere velocity
bin 0 ends notes, and ids are the model's: PAD is 0, EOS is 1.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mt3x.music.notes import Notes
from mt3x.music.options import check_fields
from mt3x.music.tokens import Tokenizer, trim_overlaps
from mt3x.music.vocabulary import NUM_SPECIAL_IDS, TokenizerConfig, VocabConfig

__all__ = ["EventStream"]


@dataclass(frozen=True)
class EventStream:
    """Notes of one instrument <-> model ids."""

    vocab: VocabConfig = field(
        default_factory=lambda: VocabConfig(max_shift_steps=100, num_velocity_bins=32)
    )
    lowest_pitch: int = 21  # of a piano
    highest_pitch: int = 108

    def __post_init__(self) -> None:
        check_fields(
            self,
            lowest_pitch=(0, 127),
            highest_pitch=(self.lowest_pitch, 127),
        )

    @cached_property
    def config(self) -> TokenizerConfig:
        """How the tokenizer writes a stream."""
        return TokenizerConfig(
            self.vocab,
            use_ties=False,
            program_granularity="flat",
            relative_shifts=True,
        )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the stream; its codec names the tokens."""
        return Tokenizer(self.config)

    @property
    def vocab_size(self) -> int:
        """How many model ids there are, up to the last velocity's."""
        _, last = self.tokenizer.codec.ranges["velocity"]
        return NUM_SPECIAL_IDS + last + 1

    def playable(self, notes: Notes) -> Notes:
        """Return what a stream can hold of notes, all of program 0.

        Drums and notes out of the range of pitches are left out. A note ends where its
        pitch is struck again, in whatever program.
        """
        in_range = (self.lowest_pitch <= notes.pitch) & (
            notes.pitch <= self.highest_pitch
        )
        notes = notes[in_range & ~notes.is_drum]
        return trim_overlaps(replace(notes, program=np.zeros_like(notes.program)))

    def encode(self, notes: Notes) -> np.ndarray:
        """Return model ids [L] int32 of the notes that are playable, EOS at the end.

        Times count from 0; a note that sounds there begins there.
        """
        events = self.tokenizer.events(self.playable(notes), num_frames=1)
        return self.tokenizer.to_model_ids(self.tokenizer.segment(events, 0, 1))

    def decode(self, tokens_L: npt.ArrayLike) -> Notes:
        """Return the notes of model ids up to EOS; ids that make no sense are skipped.

        What still sounds at the end ends at the last event.
        """
        ids_L = self.tokenizer.from_model_ids(tokens_L)
        return self.tokenizer.decode([(0.0, ids_L)]).notes

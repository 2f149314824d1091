"""Which tokens may follow each other: masks for decoding, on the device.

`Grammar` is a `mt3x.inference.decoding.Constraint` over model ids. It allows all that
`mt3x.music.tokens.Tokenizer` writes for notes that do not overlap in program and
pitch (after the granularity is applied), and what differs from it in the order of
events of one time. (MT3's tie sections in the midst of a sub-mix, `mt3_ties`, are not
allowed.) A segment is

    [ ties ]  events of step 0  ( shifts  events )*  EOS

- Ties, where the config uses them: any number of notes (`program`, `pitch`; `program`
  only where it changes, each higher than the one before; no note twice), then `tie`.
- An event is `program`, `velocity`, `pitch`, or `velocity`, `drum`. The first event
  gives program and velocity, later ones what changes; values equal to those in force
  are not repeated. A program in force at the end of the ties stays in force.
- Velocity 0 ends a note: it allows only pitches of the program in force that sound,
  and is itself allowed only if there are any. With ties, notes sound that were listed
  or begun in the segment and have not ended. Without, notes of earlier segments may
  sound that can't be known: each pitch may end once before it begins. Beginning a
  sounding pitch again is allowed and ends the old note. Drums have no velocity 0.
- Shifts give the steps since the segment's start. All but the last of a run are the
  maximum; they add up to more than the last event's step, and an event follows. With
  `relative_shifts` they give the steps since the last event, one or more.
- EOS comes after an event, after `tie`, or first where there are no ties.

With `by_pitch`, each pitch follows a program, the same again or not, and ties come in
any order.

With `onsets_only`, events are a `pitch` alone. With `flat` granularity there are no
programs. `midi_class` has the first ones of the families alone.

Instruments restrict programs, by family where the granularity is `midi_class`, and
drums. Where it is `flat`, one program or more allows all pitches.

A decoder that knows the segments before finds nothing invalid in an allowed segment,
except a tie (or, without ties, an end) of a note that did not sound before it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.music.instruments import Instruments
from mt3x.music.vocabulary import (
    EOS_ID,
    EVENT_TYPES,
    NUM_SPECIAL_IDS,
    Codec,
    TokenizerConfig,
)

NUM_PROGRAMS = NUM_PITCHES = 128
UNKNOWN = -1
# What the last token was: the end of an event (or of the ties), or a part of one.
DONE, SHIFT, PROGRAM, VELOCITY, PROGRAM_VELOCITY = range(5)


class GrammarState(NamedTuple):
    """Where B segments are: R programs, P pitches."""

    in_ties_B: jax.Array
    last_B: jax.Array
    # Those in force, UNKNOWN at first.
    program_B: jax.Array
    velocity_B: jax.Array
    # Step of the last event (0 where shifts are relative); sum of the shifts since.
    step_B: jax.Array
    shift_B: jax.Array
    sounding_BxRxP: jax.Array


@dataclass(frozen=True)
class Grammar:
    """The grammar of one tokenizer's segments."""

    config: TokenizerConfig
    # None: all of them.
    instruments: Instruments | None = None

    def __post_init__(self) -> None:
        if self.instruments is None:
            return
        if self.config.onsets_only:
            raise ValueError(
                "a model of onsets only can't tell instruments: do not restrict them"
            )
        if not self.instruments.programs and not self.instruments.drums:
            raise ValueError("no instruments are allowed: name some, such as piano")

    @cached_property
    def codec(self) -> Codec:
        return Codec(self.config.vocab)

    @property
    def _has_pitches(self) -> bool:
        return self.instruments is None or bool(self.instruments.programs)

    @property
    def _has_drums(self) -> bool:
        if self.config.onsets_only:
            return False
        return self.instruments is None or self.instruments.drums

    @cached_property
    def _programs_R(self) -> np.ndarray:
        """Which program tokens there are."""
        programs = np.arange(NUM_PROGRAMS)
        if self.instruments is not None:
            programs = np.array(sorted(self.instruments.programs), int)
        if self.config.program_granularity == "midi_class":
            programs = programs // 8 * 8
        if self.config.program_granularity == "flat" or self.config.onsets_only:
            programs = programs[:0]
        return np.isin(np.arange(NUM_PROGRAMS), programs)

    def init(self, batch: int) -> GrammarState:
        """Return the beginning of `batch` segments."""

        def full(value: int) -> jax.Array:
            return jnp.full(batch, value, jnp.int32)

        ties, onsets_only = self.config.use_ties, self.config.onsets_only
        no_programs = self._has_pitches and not self._programs_R.any()
        return GrammarState(
            in_ties_B=jnp.full(batch, ties),
            last_B=full(DONE),
            program_B=full(0 if no_programs else UNKNOWN),
            velocity_B=full(1 if onsets_only else UNKNOWN),
            step_B=full(0),
            shift_B=full(0),
            sounding_BxRxP=jnp.full((batch, NUM_PROGRAMS, NUM_PITCHES), not ties),
        )

    def allowed(self, state: GrammarState) -> jax.Array:
        """Return which model ids may come next: BxV, V up to the last event's id."""
        # Columns, against rows of the values that a type of token has.
        in_ties, last, program, velocity, step, shift = (
            column_B[:, None] for column_B in state[:-1]
        )
        on_BxP = state.sounding_BxRxP[jnp.arange(len(last)), _index(state.program_B)]
        largest, by_pitch = self.config.vocab.max_shift_steps, self.config.by_pitch
        steps = jnp.arange(largest + 1)
        velocities = jnp.arange(self.config.vocab.num_velocity_bins + 1)
        programs = jnp.arange(NUM_PROGRAMS)
        has_program = program != UNKNOWN

        complete = last == DONE
        # Shifts that do not get past the last event yet must go on.
        event = ~in_ties & (complete | ((last == SHIFT) & (shift > step)))
        shifting = complete | ((last == SHIFT) & (shift % largest == 0))
        past = (steps == largest) | (shift + steps > step)
        struck = event | (~in_ties & (last >= PROGRAM))
        makes_note = jnp.where(velocity == 0, on_BxP, velocity > 0)
        ends = has_program & jnp.any(on_BxP, axis=1, keepdims=True)
        begins = has_program | self._has_drums
        named = jnp.ones_like(in_ties)
        if by_pitch:
            named = (last == PROGRAM) | (last == PROGRAM_VELOCITY)
            ends, begins = ends & named, named | self._has_drums
        masks = {
            "shift": ~in_ties & shifting & (steps > 0) & past,
            "pitch": has_program
            & named
            & ((in_ties & ~on_BxP) | (struck & makes_note)),
            "velocity": (event | (~in_ties & (last == PROGRAM)))
            & (velocities != velocity)
            & jnp.where(velocities == 0, ends, begins)
            & (not self.config.onsets_only),
            "tie": in_ties & complete,
            "program": jnp.asarray(self._programs_R)
            & (
                (event & (by_pitch | (programs != program)))
                | (in_ties & complete & (by_pitch | (programs > program)))
            ),
            "drum": jnp.full(NUM_PITCHES, self._has_drums)
            & ((event | (last == VELOCITY)) & (velocity > 0)),
        }
        never = jnp.zeros_like(in_ties)
        specials = [never] * NUM_SPECIAL_IDS
        specials[EOS_ID] = ~in_ties & complete
        events = [masks[type] for type in EVENT_TYPES]
        return jnp.concatenate([*specials, *events], axis=1)

    def advance(self, state: GrammarState, tokens_B: jax.Array) -> GrammarState:
        """Return the states after these model ids, which `allowed` allowed."""
        is_type, value = {}, {}
        for type, (first, last) in self.codec.ranges.items():
            value[type] = tokens_B - NUM_SPECIAL_IDS - first
            is_type[type] = (value[type] >= 0) & (value[type] <= last - first)
        is_shift, is_program = is_type["shift"], is_type["program"]
        is_velocity, is_pitch = is_type["velocity"], is_type["pitch"]

        moved_B = ~is_shift & (state.last_B == SHIFT)
        if self.config.relative_shifts:
            moved_B = jnp.zeros_like(moved_B)
        last_B = jnp.full_like(state.last_B, DONE)
        last_B = jnp.where(is_shift, SHIFT, last_B)
        last_B = jnp.where(is_program, PROGRAM, last_B)
        after_program = jnp.where(state.last_B == PROGRAM, PROGRAM_VELOCITY, VELOCITY)
        last_B = jnp.where(is_velocity, after_program, last_B)

        note = (
            jnp.arange(len(tokens_B)),
            _index(state.program_B),
            _index(value["pitch"]),
        )
        sounds_B = jnp.where(
            is_pitch,
            state.in_ties_B | (state.velocity_B > 0),
            state.sounding_BxRxP[note],
        )
        return GrammarState(
            in_ties_B=state.in_ties_B & ~is_type["tie"],
            last_B=last_B,
            program_B=jnp.where(is_program, value["program"], state.program_B),
            velocity_B=jnp.where(is_velocity, value["velocity"], state.velocity_B),
            step_B=jnp.where(moved_B, state.shift_B, state.step_B),
            shift_B=jnp.where(is_shift, state.shift_B + value["shift"], 0),
            sounding_BxRxP=state.sounding_BxRxP.at[note].set(sounds_B),
        )


def _index(value_B: jax.Array) -> jax.Array:
    """Replace values that are none by some that can be looked up."""
    return jnp.clip(value_B, 0, NUM_PITCHES - 1)

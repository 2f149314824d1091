"""Which tokens may follow in a stream of music, so that it is playable and ends."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.inference.grammar import Grammar, GrammarState
from mt3x.music.event_stream import EventStream
from mt3x.music.instruments import Instruments
from mt3x.music.vocabulary import EOS_ID, NUM_SPECIAL_IDS

__all__ = ["StreamGrammar", "StreamState"]

_NEVER = np.iinfo(np.int32).max


class StreamState(NamedTuple):
    """Where B streams are: P pitches."""

    syntax: GrammarState
    now_B: jax.Array  # steps since the beginning
    onset_BxP: jax.Array  # steps at which the notes that sound began


@dataclass(frozen=True)
class StreamGrammar:
    """The syntax of events (`Grammar`), and a clock.

    - Notes of the stream's pitches begin where their pitch is silent, and before the
      end. They last one step at least and `longest_note_s` at most, and no more than
      `most_notes` sound at once (of real clips 99 in 100 onsets have no more).
    - No rest is longer than `longest_rest_s`.
    - After the end notes may ring on for `ring_s`; when all is silent the stream ends,
      and not before.

    Time goes on: no pitch begins or ends twice in one step. In every state that these
    rules lead to, a token is allowed.
    """

    stream: EventStream
    longest_note_s: float = 8.0
    most_notes: int = 20
    longest_rest_s: float = 4.0
    ring_s: float = 2.0

    @cached_property
    def _syntax(self) -> Grammar:
        return Grammar(self.stream.config, Instruments(frozenset([0]), drums=False))

    @cached_property
    def _is_playable_P(self) -> np.ndarray:
        pitch_P = np.arange(128)
        return (self.stream.lowest_pitch <= pitch_P) & (
            pitch_P <= self.stream.highest_pitch
        )

    def steps(self, seconds: float) -> int:
        """Return the number of steps nearest to a time, one at least."""
        return max(round(seconds * self.stream.vocab.steps_per_second), 1)

    def init(self, batch: int) -> StreamState:
        """Return the states in silence: at the beginning, or after a prompt."""
        syntax = self._syntax.init(batch)
        return StreamState(
            # What sounded before a segment is not known; here it is.
            syntax._replace(sounding_BxRxP=jnp.zeros_like(syntax.sounding_BxRxP)),
            jnp.zeros(batch, jnp.int32),
            jnp.zeros((batch, 128), jnp.int32),
        )

    def allowed(self, state: StreamState, end_step: jax.Array) -> jax.Array:
        """Return which model ids may come next: BxV, V the size of the vocabulary."""
        vocab = self.stream.vocab
        on_BxP = state.syntax.sounding_BxRxP[:, 0]
        velocity, now = state.syntax.velocity_B[:, None], state.now_B[:, None]
        due_BxP = jnp.minimum(
            state.onset_BxP + self.steps(self.longest_note_s),
            end_step + self.steps(self.ring_s),
        )
        is_due_BxP = on_BxP & (due_BxP <= now)
        must_end, sounds = _any(is_due_BxP), _any(on_BxP)
        ending_BxP = on_BxP & (state.onset_BxP < now) & (is_due_BxP | ~must_end)
        may_begin = (
            (now < end_step)
            & ~must_end
            & (jnp.sum(on_BxP, axis=1, keepdims=True) < self.most_notes)
        )
        beginning_BxP = ~on_BxP & self._is_playable_P & may_begin

        last_event = now - state.syntax.shift_B[:, None]
        latest_rest = last_event + self.steps(self.longest_rest_s)
        next_due = jnp.min(jnp.where(on_BxP, due_BxP, _NEVER), axis=1, keepdims=True)
        latest = jnp.where(sounds, next_due, jnp.minimum(latest_rest, end_step - 1))
        steps = jnp.arange(vocab.max_shift_steps + 1)
        is_end_velocity = jnp.arange(vocab.num_velocity_bins + 1) == 0
        never = jnp.zeros_like(sounds)
        specials = [never] * NUM_SPECIAL_IDS
        specials[EOS_ID] = ~sounds & (now >= end_step)
        playable = jnp.concatenate(
            [
                *specials,
                now + steps <= latest,
                jnp.where(velocity == 0, ending_BxP, beginning_BxP),
                jnp.where(is_end_velocity, _any(ending_BxP), _any(beginning_BxP)),
            ],
            axis=1,
        )
        return self._syntax.allowed(state.syntax)[:, : playable.shape[1]] & playable

    def advance(self, state: StreamState, tokens_B: jax.Array) -> StreamState:
        """Return the states after these model ids, which `allowed` allowed."""
        syntax = self._syntax.advance(state.syntax, tokens_B)
        # While shifts go on, the syntax adds them up.
        passed_B = jnp.maximum(syntax.shift_B - state.syntax.shift_B, 0)
        began_BxP = syntax.sounding_BxRxP[:, 0] & ~state.syntax.sounding_BxRxP[:, 0]
        return StreamState(
            syntax,
            state.now_B + passed_B,
            jnp.where(began_BxP, state.now_B[:, None], state.onset_BxP),
        )


def _any(mask_BxP: jax.Array) -> jax.Array:
    return jnp.any(mask_BxP, axis=1, keepdims=True)

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
    onset_BxP: jax.Array  # steps at which pitches were struck last
    pace_B: jax.Array  # notes that began a second, of late


@dataclass(frozen=True)
class StreamGrammar:
    """The syntax of events (`Grammar`), and a clock.

    - Notes of the stream's pitches begin where their pitch is silent, `least_again_s`
      after it was struck at the earliest, and before the end. They last
      `shortest_note_s` at least and `longest_note_s` at most, and no more than
      `most_notes` sound at once. (Of lively real clips one in 100 notes is shorter than
      0.07 s, or struck again within 0.2 s, and one in ten is more than the tenth that
      sounds. A model that errs repeats notes every 10 ms, more and more of them.)
    - No rest is longer than `longest_rest_s`.
    - After the end notes may ring on for `ring_s`; when all is silent the stream ends,
      and not before.

    So time goes on. In every state that these rules lead to, a token is allowed, as
    there are more pitches than can be struck within `least_again_s`.
    """

    stream: EventStream
    least_again_s: float = 0.1
    shortest_note_s: float = 0.03
    longest_note_s: float = 8.0
    most_notes: int = 12
    # Beyond its usual length, a note's end gets likelier by so many nats a second.
    usual_note_s: float = 1.5
    end_pressure: float = 1.0
    longest_rest_s: float = 4.0
    ring_s: float = 2.0
    # Notes a second, averaged over the last `pace_s`, that differ from those of clips
    # with the arousal by more than these nats (5 in 100 clips of each side do; where no
    # mood is wished, 1 in 100) get less likely, or likelier, by so many nats a nat.
    pace_s: float = 5.0
    pace_range: float = 0.4
    any_pace_range: float = 1.0
    pace_pressure: float = 4.0

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
            jnp.full((batch, 128), -self.steps(self.least_again_s)),
            jnp.full(batch, _usual_pace(jnp.zeros(()))),
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
        endable_BxP = state.onset_BxP + self.steps(self.shortest_note_s)
        ending_BxP = on_BxP & (endable_BxP <= now) & (is_due_BxP | ~must_end)
        has_room = jnp.sum(on_BxP, axis=1, keepdims=True) < self.most_notes
        is_rested_BxP = state.onset_BxP + self.steps(self.least_again_s) <= now
        may_begin = has_room & (now < end_step) & ~must_end
        beginning_BxP = ~on_BxP & is_rested_BxP & self._is_playable_P & may_begin

        last_event = now - state.syntax.shift_B[:, None]
        latest_rest = last_event + self.steps(self.longest_rest_s)
        latest = jnp.where(
            sounds,
            _earliest(due_BxP, on_BxP),
            jnp.minimum(latest_rest, end_step - 1),
        )
        # After a shift a note begins or ends.
        then_BxS = now + jnp.arange(vocab.max_shift_steps + 1)
        begins_BxS = has_room & (then_BxS < end_step)
        ends_BxS = then_BxS >= _earliest(endable_BxP, on_BxP)
        is_end_velocity = jnp.arange(vocab.num_velocity_bins + 1) == 0
        never = jnp.zeros_like(sounds)
        specials = [never] * NUM_SPECIAL_IDS
        specials[EOS_ID] = ~sounds & (now >= end_step)
        playable = jnp.concatenate(
            [
                *specials,
                (then_BxS <= latest) & (begins_BxS | ends_BxS),
                jnp.where(velocity == 0, ending_BxP, beginning_BxP),
                jnp.where(is_end_velocity, _any(ending_BxP), _any(beginning_BxP)),
            ],
            axis=1,
        )
        return self._syntax.allowed(state.syntax)[:, : playable.shape[1]] & playable

    def pressure(self, state: StreamState, arousal_B: jax.Array) -> jax.Array:
        """Return what to add to logits, against what models drift to: BxV.

        They forget some of the notes that sound, so that these pile up; and they take
        what they have composed for an example, so that dense music becomes denser
        without end, and sparse music sparser. NaN is any arousal.
        """
        on_BxP = state.syntax.sounding_BxRxP[:, 0]
        age_steps_BxP = state.now_B[:, None] - state.onset_BxP
        late_s_BxP = age_steps_BxP / self.stream.vocab.steps_per_second
        late_s_BxP = jnp.maximum(late_s_BxP - self.usual_note_s, 0.0)
        ending_BxP = jnp.where(on_BxP, self.end_pressure * late_s_BxP, 0.0)

        is_any_B = jnp.isnan(arousal_B)
        usual_B = _usual_pace(jnp.where(is_any_B, 0.0, arousal_B))
        nats_B = jnp.log(jnp.maximum(state.pace_B, 1e-3) / usual_B)
        range_B = jnp.where(is_any_B, self.any_pace_range, self.pace_range)
        excess_B = nats_B - jnp.clip(nats_B, -range_B, range_B)
        beginning_Bx1 = -self.pace_pressure * excess_B[:, None]

        is_ending_Bx1 = state.syntax.velocity_B[:, None] == 0
        specials_shifts = NUM_SPECIAL_IDS + self.stream.vocab.max_shift_steps + 1
        num_velocities = self.stream.vocab.num_velocity_bins
        return jnp.concatenate(
            [
                jnp.zeros((len(on_BxP), specials_shifts)),
                jnp.where(is_ending_Bx1, ending_BxP, beginning_Bx1),
                jnp.max(ending_BxP, axis=1, keepdims=True),
                jnp.repeat(beginning_Bx1, num_velocities, axis=1),
            ],
            axis=1,
        )

    def advance(self, state: StreamState, tokens_B: jax.Array) -> StreamState:
        """Return the states after these model ids, which `allowed` allowed."""
        syntax = self._syntax.advance(state.syntax, tokens_B)
        # While shifts go on, the syntax adds them up.
        passed_B = jnp.maximum(syntax.shift_B - state.syntax.shift_B, 0)
        began_BxP = syntax.sounding_BxRxP[:, 0] & ~state.syntax.sounding_BxRxP[:, 0]
        passed_s_B = passed_B / self.stream.vocab.steps_per_second
        pace_B = state.pace_B * jnp.exp(-passed_s_B / self.pace_s)
        return StreamState(
            syntax,
            state.now_B + passed_B,
            jnp.where(began_BxP, state.now_B[:, None], state.onset_BxP),
            pace_B + jnp.any(began_BxP, axis=1).astype(jnp.float32) / self.pace_s,
        )


def _usual_pace(arousal_B: jax.Array) -> jax.Array:
    """Return notes a second: a fit to labelled clips; 90 % of them differ by 0.4 nats.

    Of POP909, OpenScore Lieder and GiantMIDI-Piano; arousal -1..1.
    """
    return 6.8 * jnp.exp(0.52 * arousal_B)


def _earliest(step_BxP: jax.Array, mask_BxP: jax.Array) -> jax.Array:
    return jnp.min(jnp.where(mask_BxP, step_BxP, _NEVER), axis=1, keepdims=True)


def _any(mask_BxP: jax.Array) -> jax.Array:
    return jnp.any(mask_BxP, axis=1, keepdims=True)

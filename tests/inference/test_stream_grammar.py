"""Streams that a grammar allows: they end, are playable, and time goes on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.inference.stream_grammar import StreamGrammar
from mt3x.music.event_stream import EventStream
from mt3x.music.notes import Notes
from mt3x.music.vocabulary import EOS_ID, NUM_SPECIAL_IDS, Event, VocabConfig

STREAM = EventStream(VocabConfig(20, 10, 3), lowest_pitch=59, highest_pitch=63)
GRAMMAR = StreamGrammar(
    STREAM,
    least_again_s=0.15,
    shortest_note_s=0.1,
    longest_note_s=1.5,
    most_notes=2,
    longest_rest_s=1.0,
    ring_s=0.5,
)
NUM_WALKS = 6


@partial(jax.jit, static_argnames="length")
def walk(rng, weight_V, end_step, length=700):
    """Draw streams by the weights of tokens; also whether each step allowed some."""

    def step(state, rng):
        allowed = GRAMMAR.allowed(state, end_step)
        token = jax.random.categorical(rng, jnp.where(allowed, weight_V, -jnp.inf))
        token = token.astype(jnp.int32)
        return GRAMMAR.advance(state, token), (token, jnp.any(allowed, axis=1))

    keys = jax.random.split(rng, length)
    _, (tokens, some) = jax.lax.scan(step, GRAMMAR.init(NUM_WALKS), keys)
    return tokens.T, some


def weights(**of_type) -> jax.Array:
    """Logits of tokens, by their types; `longest` is the longest shift."""
    weight_V = np.zeros(STREAM.vocab_size, np.float32)
    ranges = STREAM.tokenizer.codec.ranges
    for type, weight in of_type.items():
        first, last = ranges["shift"] if type == "longest" else ranges[type]
        first = last if type == "longest" else first
        weight_V[NUM_SPECIAL_IDS + first : NUM_SPECIAL_IDS + last + 1] = weight
    return jnp.asarray(weight_V)


@pytest.mark.parametrize("end_s", [0.05, 3.0])
@pytest.mark.parametrize(
    "of_type", [{}, {"longest": 9.0}, {"shift": -30.0}, {"pitch": -9.0}, {"pitch": 9.0}]
)
def test_streams_are_playable_and_end(of_type, end_s):
    """Also where a model would let time stand still, or rest for ever."""
    end_step = round(end_s * 20)
    tokens_BxL, some = walk(jax.random.key(0), weights(**of_type), end_step)
    assert some.all()
    for tokens_L in np.asarray(tokens_BxL):
        assert EOS_ID in tokens_L
        decoded = STREAM.tokenizer.decode(
            [(0, STREAM.tokenizer.from_model_ids(tokens_L))]
        )
        notes = decoded.notes
        assert decoded.num_invalid == 0
        assert len(notes) and (notes.pitch >= 59).all() and (notes.pitch <= 63).all()
        duration_s = notes.offset_s - notes.onset_s
        assert duration_s.min() > 0.099 and duration_s.max() < 1.501
        assert (notes.onset_s < end_s).all()
        assert end_s - 0.001 < notes.offset_s.max() < end_s + 0.501
        sounding = (notes.onset_s[:, None] >= notes.onset_s - 1e-6) & (
            notes.onset_s[:, None] < notes.offset_s - 1e-6
        )
        assert sounding.sum(axis=1).max() <= 2
        assert (notes.next_onsets() - notes.onset_s).min() > 0.149
        # A pitch begins where it is silent.
        assert (notes.next_onsets() > notes.offset_s - 1e-6).all()
        silent_from_s = np.append(0, np.maximum.accumulate(notes.offset_s))[:-1]
        assert (notes.onset_s - silent_from_s).max() < 1.001


def test_a_piece_that_a_stream_holds_is_allowed():
    """But its EOS, before all is silent and the end has come."""
    stream = EventStream()
    grammar = StreamGrammar(stream)
    rng = np.random.default_rng(0)
    onset_s = np.sort(rng.uniform(0, 20, 60))
    notes = Notes(
        onset_s, onset_s + rng.uniform(0.02, 1.9, 60), rng.integers(21, 109, 60)
    )
    tokens_L = stream.encode(notes)
    last_step = round(float(notes.onset_s.max() * 100)) + 1

    @jax.jit
    def step(state, token):
        allowed = grammar.allowed(state, jnp.int32(last_step))[0]
        return grammar.advance(state, token[None]), allowed[token] & (
            allowed[EOS_ID] == (token == EOS_ID)
        )

    state = grammar.init(1)
    for token in tokens_L:
        state, right = step(state, jnp.asarray(token))
        assert right, stream.tokenizer.codec.decode(int(token) - NUM_SPECIAL_IDS)


def test_notes_that_have_sounded_long_are_pressed_to_end():
    def spelled(text):
        type, value = text.split()
        event = Event(type, int(value))
        return NUM_SPECIAL_IDS + STREAM.tokenizer.codec.encode(event)

    state, grammar = GRAMMAR.init(1), StreamGrammar(STREAM)
    first = ["velocity 2", "pitch 60", *["shift 10"] * 5, "pitch 61", "shift 10"]
    for text in first:
        state = grammar.advance(state, jnp.array([spelled(text)]))
    expected = np.zeros(STREAM.vocab_size)
    expected[spelled("velocity 0")] = 1.5  # of 3 s
    usual = state._replace(pace_B=jnp.full(1, 6.8))
    none = jnp.full(1, jnp.nan)
    np.testing.assert_allclose(grammar.pressure(usual, none)[0], expected, atol=1e-5)
    usual = grammar.advance(usual, jnp.array([spelled("velocity 0")]))
    expected[spelled("pitch 60")] = 1.5
    np.testing.assert_allclose(grammar.pressure(usual, none)[0], expected, atol=1e-5)


@pytest.mark.parametrize("arousal", [-1.0, 0.0, 1.0, np.nan])
def test_music_keeps_the_pace_of_its_arousal(arousal):
    """Whether a model would strike as many keys as it can, or next to none."""
    grammar = StreamGrammar(EventStream())
    codec = grammar.stream.tokenizer.codec
    paces = []
    for weight in (-4.0, 4.0):
        weight_V = np.zeros(grammar.stream.vocab_size, np.float32)
        for type in ("pitch", "velocity"):
            first, last = codec.ranges[type]
            weight_V[NUM_SPECIAL_IDS + first : NUM_SPECIAL_IDS + last + 1] = weight

        def step(state, rng, weight_V=weight_V):
            logits = weight_V + grammar.pressure(state, jnp.full(8, arousal))
            allowed = grammar.allowed(state, jnp.int32(10**6))
            token = jax.random.categorical(rng, jnp.where(allowed, logits, -jnp.inf))
            return grammar.advance(state, token.astype(jnp.int32)), None

        keys = jax.random.split(jax.random.key(0), 1200)
        state, _ = jax.lax.scan(step, grammar.init(8), keys)
        paces.append(float(state.pace_B.mean()))
    usual = 6.8 * np.exp(0.52 * np.nan_to_num(arousal))
    spread = 1.0 if np.isnan(arousal) else 0.4
    for pace, side in zip(paces, (-1, 1), strict=True):
        assert abs(np.log(pace / usual) - side * spread) < 1.5, paces

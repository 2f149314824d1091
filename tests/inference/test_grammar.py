"""Token masks: what they allow decodes, and what notes are written as is allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.inference.grammar import Grammar
from mt3x.music.instruments import Instruments, parse_instruments
from mt3x.music.notes import Notes
from mt3x.music.tokens import TokenDecoder, Tokenizer, trim_overlaps
from mt3x.music.vocabulary import (
    EOS_ID,
    EVENT_TYPES,
    NUM_SPECIAL_IDS,
    Event,
    TokenizerConfig,
    VocabConfig,
)

SHORT = VocabConfig(max_shift_steps=7)
CONFIGS = {
    "mt3": TokenizerConfig(),
    "short shifts": TokenizerConfig(SHORT),
    "ismir2021": TokenizerConfig(VocabConfig(num_velocity_bins=127), use_ties=False),
    "onsets": TokenizerConfig(SHORT, use_ties=False, onsets_only=True),
    "flat": TokenizerConfig(program_granularity="flat"),
    "midi_class": TokenizerConfig(use_ties=False, program_granularity="midi_class"),
    "relative": TokenizerConfig(SHORT, relative_shifts=True),
    "by pitch": TokenizerConfig(by_pitch=True),
}
INSTRUMENTS = {
    "piano and drums": parse_instruments("piano, drums"),
    "drums": parse_instruments("drums"),
    "violin": parse_instruments("violin"),
}
CASES = [
    ("mt3", None),
    ("short shifts", None),
    ("ismir2021", None),
    ("onsets", None),
    ("flat", None),
    ("midi_class", None),
    ("relative", None),
    ("by pitch", None),
    ("by pitch", "violin"),
    ("mt3", "piano and drums"),
    ("short shifts", "drums"),
    ("midi_class", "violin"),
    ("flat", "drums"),
]
NUM_WALKS = 24


def walk(grammar: Grammar, num_tokens: int) -> np.ndarray:
    """Model ids of walks through what is allowed, types of events alike likely."""
    codec = grammar.codec
    type_V = np.full(NUM_SPECIAL_IDS + codec.num_classes, len(EVENT_TYPES))
    type_V[NUM_SPECIAL_IDS:] = codec.split(np.arange(codec.num_classes))[0]
    # EOS seldom; few programs, pitches and steps, so that they meet again.
    weight_V = np.where(np.arange(len(type_V)) == EOS_ID, -5.0, 0.0)
    for type, few in (("program", 3), ("pitch", 4), ("shift", 12)):
        weight_V[NUM_SPECIAL_IDS + codec.ranges[type][0] :][:few] += 5.0

    @jax.jit
    def choose(state, rng):
        allowed = grammar.allowed(state)
        is_type = jax.nn.one_hot(type_V, len(EVENT_TYPES) + 1)
        size = allowed.astype(jnp.float32) @ is_type
        logits = jnp.asarray(weight_V, jnp.float32) - jnp.log(size + 1e-3)[:, type_V]
        token = jax.random.categorical(rng, jnp.where(allowed, logits, -jnp.inf))
        return token, grammar.advance(state, token), jnp.any(allowed, axis=1)

    state, rng = grammar.init(NUM_WALKS), jax.random.key(0)
    tokens = []
    for _ in range(num_tokens):
        rng, key = jax.random.split(rng)
        token, state, some = choose(state, key)
        assert some.all(), "a walk came to an end without EOS"
        tokens.append(np.asarray(token))
    return np.stack(tokens, axis=1)


@pytest.mark.parametrize(("name", "instruments"), CASES)
def test_what_is_allowed_decodes(name, instruments):
    """With notes that sounded before for its ties, or for ends where there are none."""
    config = CONFIGS[name]
    grammar = Grammar(config, INSTRUMENTS.get(instruments))
    tokenizer = Tokenizer(config)
    codec = tokenizer.codec
    seen = set()
    for tokens_L in walk(grammar, 120):
        ids = tokenizer.from_model_ids(tokens_L)
        events = [codec.decode(id) for id in ids]
        seen |= {event.type for event in events}
        decoder = TokenDecoder(config)
        decoder.push(0.0, before(events, tokenizer))
        decoder.push(1.0, ids)
        decoded = decoder.finish()
        assert decoded.num_invalid == 0 and decoded.num_dropped == 0
        assert np.all(decoded.notes.onset_s >= 0)
        times = [event.value for event in events if event.type == "shift"]
        assert 0 not in times
    expected = {"shift", "pitch", "velocity", "tie", "program", "drum"}
    if config.onsets_only:
        expected = {"shift", "pitch"}
    if config.program_granularity == "flat":
        expected.remove("program")
    if not config.use_ties:
        expected -= {"tie"}
    if instruments == "drums":
        expected -= {"pitch", "program"}
    if instruments == "violin":
        expected -= {"drum"}
    assert seen == expected


def before(events, tokenizer):
    """A segment that begins each pitch of each program that events name."""
    config, encode = tokenizer.config, tokenizer.codec.encode
    ids = [encode(Event("tie", 0))] if config.use_ties else []
    if config.onsets_only:
        return ids
    program, notes = 0, set()
    for event in events:
        if event.type == "program":
            program = event.value
        if event.type == "pitch":
            notes.add((program, event.value))
    ids.append(encode(Event("velocity", 1)))
    for program, pitch in sorted(notes):
        ids += [encode(Event("program", program)), encode(Event("pitch", pitch))]
    return ids


@st.composite
def some_notes(draw):
    """Notes of few pitches and programs, so that they meet; times between steps."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 1200),
                st.integers(1, 800),
                st.sampled_from([0, 60, 61, 127]),
                st.integers(1, 127),
                st.sampled_from([0, 3, 40, 127]),
                st.booleans(),
            ),
            max_size=20,
        )
    )
    columns = zip(*rows, strict=True) if rows else [()] * 6
    onset, length, *others = map(np.array, columns)
    return Notes(onset / 400, (onset + length) / 400, *others)


def prepared(notes: Notes, config: TokenizerConfig, instruments) -> Notes:
    """Notes that tokens can hold, with the programs that they will have."""
    if instruments is not None:
        notes = notes.select(INSTRUMENTS[instruments])
    size = {"flat": 128, "midi_class": 8, "full": 1}[config.program_granularity]
    program = notes.program // size * size
    columns = (notes.onset_s, notes.offset_s, notes.pitch, notes.velocity)
    return trim_overlaps(Notes(*columns, program, notes.is_drum))


FORBIDDEN = {}


def num_forbidden(grammar: Grammar, segments: list[np.ndarray]) -> int:
    """How many tokens of segments, given in model ids, are not allowed."""
    if grammar not in FORBIDDEN:

        @jax.jit
        def count(tokens_LxB):
            def step(state, tokens_B):
                allowed_B = grammar.allowed(state)[jnp.arange(8), tokens_B]
                wrong = jnp.sum(~allowed_B & (tokens_B > 0))
                return grammar.advance(state, tokens_B), wrong

            return jnp.sum(jax.lax.scan(step, grammar.init(8), tokens_LxB)[1])

        FORBIDDEN[grammar] = count
    longest = max(len(tokens_L) for tokens_L in segments)
    tokens_LxB = np.zeros((256 * -(-longest // 256), 8), np.int32)
    for row, tokens_L in enumerate(segments):
        tokens_LxB[: len(tokens_L), row] = tokens_L
    return int(FORBIDDEN[grammar](tokens_LxB))


@pytest.mark.parametrize(("name", "instruments"), CASES)
@settings(max_examples=20)
@given(notes=some_notes(), segment_frames=st.integers(75, 625))
def test_what_notes_are_written_as_is_allowed(name, instruments, notes, segment_frames):
    config = CONFIGS[name]
    tokenizer = Tokenizer(config)
    events = tokenizer.events(prepared(notes, config, instruments), 600)
    segments = [
        tokenizer.to_model_ids(tokenizer.segment(events, first, segment_frames))
        for first in range(0, 600, segment_frames)
    ]
    assert num_forbidden(Grammar(config, INSTRUMENTS.get(instruments)), segments) == 0


def spelled(text: str) -> list[int]:
    """Model ids of "program 0, velocity 1, pitch 60, eos"."""
    codec = Tokenizer(CONFIGS["short shifts"]).codec
    ids = []
    for item in text.split(", "):
        type, _, value = item.partition(" ")
        event = Event(type, int(value or 0))
        ids.append(EOS_ID if type == "eos" else NUM_SPECIAL_IDS + codec.encode(event))
    return ids


NOTE = "tie, program 0, velocity 1, pitch 60"


@pytest.mark.parametrize(
    "text",
    [
        "tie, eos",
        "program 0, pitch 60, pitch 50, program 3, pitch 60, tie, eos",
        # The program of the ties stays in force.
        "program 0, pitch 60, tie, velocity 0, pitch 60, eos",
        f"{NOTE}, velocity 0, pitch 60, eos",
        f"{NOTE}, pitch 60, velocity 0, pitch 60, eos",
        f"{NOTE}, drum 36, program 3, pitch 60, eos",
        f"{NOTE}, shift 3, pitch 61, shift 7, pitch 60, shift 7, shift 1, drum 36, eos",
        f"{NOTE}, shift 7, shift 7, pitch 61, shift 7, shift 7, shift 1, pitch 60, eos",
        "tie, velocity 1, drum 36, program 0, pitch 60, eos",
    ],
)
def test_allows(text):
    assert num_forbidden(Grammar(CONFIGS["short shifts"]), [spelled(text)]) == 0


@pytest.mark.parametrize(
    "text",
    [
        # No tie section; one without end; a second one; one that is not in order.
        "program 0, velocity 1",
        "eos",
        "program 0, pitch 60, eos",
        "tie, tie",
        f"{NOTE}, tie",
        "pitch 60",
        "shift 1",
        "drum 36",
        "program 0, tie",
        "program 0, pitch 60, pitch 60",
        "program 3, pitch 60, program 0",
        "program 0, pitch 60, program 0",
        # Half an event, and what is in force already.
        "tie, velocity 0",
        "tie, pitch 60",
        "tie, program 0, pitch 60",
        "tie, velocity 1, pitch 60",
        "tie, velocity 1, program 0",
        "tie, velocity 1, velocity 0",
        "tie, velocity 1, eos",
        "tie, program 0, program 3",
        "tie, program 0, eos",
        "tie, program 0, velocity 1, drum 36",
        f"{NOTE}, velocity 1",
        f"{NOTE}, program 0",
        # Silent pitches that end, drums that end.
        "tie, program 0, velocity 0",
        f"{NOTE}, velocity 0, pitch 61",
        f"{NOTE}, velocity 0, drum 36",
        f"{NOTE}, velocity 0, pitch 60, pitch 60",
        f"{NOTE}, velocity 0, pitch 60, drum 36",
        f"{NOTE}, program 3, velocity 0",
        "program 0, pitch 60, tie, velocity 0, pitch 60, pitch 60",
        # Time stands still or goes back, runs of shifts, nothing after one.
        f"{NOTE}, shift 0",
        f"{NOTE}, shift 3, pitch 61, shift 3",
        f"{NOTE}, shift 3, pitch 61, shift 2",
        f"{NOTE}, shift 3, shift 4",
        f"{NOTE}, shift 7, pitch 61, shift 7, pitch 60",
        f"{NOTE}, shift 3, eos",
    ],
)
def test_forbids_the_last(text):
    grammar = Grammar(CONFIGS["short shifts"])
    tokens = spelled(text)
    assert num_forbidden(grammar, [np.array(tokens)]) == 1
    assert num_forbidden(grammar, [np.array(tokens[:-1] or [0])]) == 0


def test_specials_are_forbidden():
    grammar = Grammar(CONFIGS["mt3"])
    state = grammar.init(1)
    assert grammar.allowed(state).shape == (1, 3 + grammar.codec.num_classes)
    assert not grammar.allowed(state)[0, [0, 1, 2]].any()


def test_families_stand_for_programs():
    """Violin and cello are one for a model that knows families only."""
    config = CONFIGS["midi_class"]
    grammar = Grammar(config, Instruments(frozenset({41, 42, 127}), drums=False))
    state = grammar.init(1)
    first, last = grammar.codec.ranges["program"]
    allowed_R = np.asarray(grammar.allowed(state))[0, 3 + first : 3 + last + 1]
    assert np.flatnonzero(allowed_R).tolist() == [40, 120]


def test_rules_are_one_value():
    """Equal grammars share compiled programs."""
    config = CONFIGS["mt3"]
    violin = INSTRUMENTS["violin"]
    assert Grammar(config, violin) == Grammar(TokenizerConfig(), violin)
    assert hash(Grammar(config, violin)) == hash(Grammar(TokenizerConfig(), violin))


def test_refuses_instruments():
    with pytest.raises(ValueError, match="can't tell instruments"):
        Grammar(CONFIGS["onsets"], INSTRUMENTS["drums"])
    with pytest.raises(ValueError, match="no instruments are allowed"):
        Grammar(CONFIGS["mt3"], Instruments(frozenset(), drums=False))

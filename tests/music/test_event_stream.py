"""The stream of tokens of a performance: round trips, order, what it cannot hold."""

from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.music.event_stream import EventStream
from mt3x.music.notes import Notes
from mt3x.music.vocabulary import EOS_ID, PAD_ID, VocabConfig

STREAM = EventStream()


@st.composite
def performances(draw, longest_s: float = 30.0) -> Notes:
    """Notes of several programs, drums among them, that meet and overlap."""
    note = st.tuples(
        st.floats(0, longest_s), st.floats(0.001, 6), st.integers(57, 63),
        st.integers(1, 127), st.sampled_from([0, 40]), st.booleans(),
    )  # fmt: skip
    columns = list(zip(*draw(st.lists(note, max_size=25)), strict=True)) or [()] * 6
    onset_s, duration_s, *rest = columns
    return Notes(onset_s, np.add(onset_s, duration_s), *rest)


def rounded(notes: Notes, stream: EventStream) -> Notes:
    """Playable notes as tokens tell them: in whole steps, velocities in bins."""
    notes, codec = stream.playable(notes), stream.tokenizer.codec
    rate = stream.vocab.steps_per_second
    onset_s, offset_s = np.rint([notes.onset_s * rate, notes.offset_s * rate]) / rate
    return replace(
        notes,
        onset_s=onset_s,
        offset_s=np.maximum(offset_s, onset_s + 0.01),
        velocity=codec.bin_to_velocity(codec.velocity_to_bin(notes.velocity)),
    )


def assert_same_notes(ours: Notes, theirs: Notes):
    def columns(notes):
        table = np.round(np.array(astuple(notes))[:6], 6)
        return table[:, np.lexsort(table)]  # notes of one step have no order

    np.testing.assert_allclose(columns(ours), columns(theirs), atol=2e-6)


@settings(max_examples=60)
@given(
    performances(),
    st.builds(
        EventStream,
        st.builds(
            VocabConfig,
            st.sampled_from([50, 100]),
            st.sampled_from([1, 100, 1000]),
            st.sampled_from([1, 32, 127]),
        ),
        st.sampled_from([21, 60]),
    ),
)
def test_notes_to_tokens_to_notes(notes, stream):
    tokens = stream.encode(notes)
    assert tokens.dtype == np.int32
    assert tokens.max() < stream.vocab_size
    assert_same_notes(stream.decode(tokens), rounded(notes, stream))


@pytest.mark.parametrize("file", ["data/prelude.mid", "golden/pedal.mid"])
def test_pieces_to_tokens_to_pieces(file):
    notes = Notes.from_midi(Path(__file__).parents[1] / file)
    decoded = STREAM.decode(STREAM.encode(notes))
    assert len(decoded) > 20
    assert_same_notes(decoded, rounded(notes, STREAM))


@settings(max_examples=30)
@given(performances())
def test_tokens_to_notes_to_tokens(notes):
    """What has been through tokens once gives the same tokens again."""
    once = STREAM.decode(STREAM.encode(notes))
    tokens = STREAM.encode(once)
    assert STREAM.encode(STREAM.decode(tokens)).tolist() == tokens.tolist()


def spelled(tokens) -> str:
    tokenizer = STREAM.tokenizer
    events = map(tokenizer.codec.decode, tokenizer.from_model_ids(tokens))
    return " ".join(f"{event.type}{event.value}" for event in events)


def test_shifts_count_from_the_event_before():
    notes = Notes([0.1, 0.5, 3.0], [0.5, 0.75, 3.2], [60, 64, 60], [64, 64, 127])
    assert spelled(STREAM.encode(notes)) == (
        "shift10 velocity17 pitch60 shift40 velocity0 pitch60 velocity17 pitch64 "
        "shift25 velocity0 pitch64 "
        "shift100 shift100 shift25 velocity32 pitch60 shift20 velocity0 pitch60"
    )


def test_a_late_note_takes_no_more_tokens_than_an_early_one():
    """What comes after hours costs what comes after seconds."""
    tune = Notes([0.0, 0.5], [0.4, 0.9], [60, 62])
    twice = Notes.concatenate([tune, tune.shift(1.0)])
    num_extra = len(STREAM.encode(twice)) - len(STREAM.encode(tune))
    hours = Notes.concatenate([tune.shift(i) for i in range(7200)])
    assert len(STREAM.encode(hours)) == len(STREAM.encode(tune)) + 7199 * num_extra


def test_drums_other_programs_and_pitches_out_of_range():
    notes = Notes(
        [0.0, 0.0, 0.0, 1.0, 1.5],
        [1.0, 1.0, 1.0, 3.0, 2.0],
        [36, 20, 109, 60, 60],
        program=[0, 0, 0, 40, 0],
        is_drum=[True, False, False, False, False],
    )
    decoded = STREAM.decode(STREAM.encode(notes))
    assert decoded.pitch.tolist() == [60, 60]
    assert decoded.offset_s.tolist() == [1.5, 2.0]
    assert not decoded.program.any()


def test_nothing():
    assert STREAM.encode(Notes.empty()).tolist() == [EOS_ID]
    assert len(STREAM.decode([])) == len(STREAM.decode([EOS_ID])) == 0


def test_padding_and_what_comes_after_the_end():
    tokens = STREAM.encode(Notes([0.0], [1.0], [60]))
    padded = [PAD_ID, *tokens, PAD_ID, *tokens]
    assert STREAM.decode(padded).equals(STREAM.decode(tokens))


@pytest.mark.parametrize(
    "options", [{"lowest_pitch": 61, "highest_pitch": 60}, {"highest_pitch": 128}]
)
def test_a_range_of_pitches_that_is_none(options):
    with pytest.raises(ValueError, match="highest_pitch"):
        EventStream(**options)

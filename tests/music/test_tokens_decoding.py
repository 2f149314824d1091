"""Tokens read: round trips, and bad input."""

from dataclasses import astuple

import numpy as np
import pytest
import token_inputs as inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from token_notes import SOME, ids_of, split, words

from mt3x.music.notes import Notes
from mt3x.music.tokens import Tokenizer, trim_overlaps
from mt3x.music.vocabulary import EOS_ID, PAD_ID, TokenizerConfig, VocabConfig

# Round trips.


@st.composite
def performances(draw, programs=(0, 5, 40)) -> Notes:
    """Notes that tokens can hold: of one key they do not overlap."""
    note = st.tuples(
        st.floats(0, 8), st.floats(0.001, 4), st.integers(60, 63), st.integers(1, 127),
        st.sampled_from(programs), st.booleans(),
    )  # fmt: skip
    columns = list(zip(*draw(st.lists(note, max_size=25)), strict=True)) or [()] * 6
    onset_s, duration_s, *rest = columns
    return trim_overlaps(Notes(onset_s, np.add(onset_s, duration_s), *rest))


CONFIG = st.builds(
    TokenizerConfig,
    st.builds(
        VocabConfig,
        st.sampled_from([10, 100, 125]),
        st.sampled_from([1, 30, 204, 1000]),
        st.just(127),
    ),
    use_ties=st.booleans(),
    relative_shifts=st.booleans(),
)


def in_steps(notes: Notes, steps_per_second: int) -> Notes:
    """What tokens can tell: times in steps, no less than 10 ms, drums without end."""
    onset_s = np.rint(notes.onset_s * steps_per_second) / steps_per_second
    offset_s = np.rint(notes.offset_s * steps_per_second) / steps_per_second
    offset_s = np.where(notes.is_drum, 0, offset_s)
    return Notes(
        onset_s,
        np.maximum(offset_s, onset_s + 0.01),
        notes.pitch,
        notes.velocity,
        np.where(notes.is_drum, 0, notes.program),
        notes.is_drum,
    )


def assert_same_notes(ours: Notes, theirs: Notes):
    def columns(notes):
        """Sorted by all columns: notes of one step have no order."""
        table = np.array(astuple(notes))
        table[:2] = np.round(table[:2], 6)
        return table[:, np.lexsort(table)]

    np.testing.assert_allclose(columns(ours), columns(theirs), atol=2e-6)


@settings(max_examples=60)
@given(performances(), CONFIG, st.sampled_from([33, 256, 512, 2000]))
def test_notes_to_tokens_to_notes(notes, config, length):
    """Whatever the length of the segments: each note within one step, none invalid."""
    tokenizer = Tokenizer(config)
    decoded = tokenizer.decode(split(tokenizer, notes, 1100, length))
    assert (*decoded[1:],) == (0, 0)
    assert_same_notes(decoded.notes, in_steps(notes, config.vocab.steps_per_second))


@settings(max_examples=40)
@given(performances([0, 5]), performances([8, 40]), CONFIG)
def test_mixes_hold_the_notes_of_all(some, others, config):
    others = others[~others.is_drum]
    tokenizer = Tokenizer(config)
    parts = [split(tokenizer, notes, 1100, 500) for notes in (some, others)]
    mixed = [
        (start_s, tokenizer.merge([ids, more]))
        for (start_s, ids), (_, more) in zip(*parts, strict=True)
    ]
    decoded = tokenizer.decode(mixed)
    together = Notes.concatenate([some, others])
    assert (*decoded[1:],) == (0, 0)
    assert_same_notes(decoded.notes, in_steps(together, config.vocab.steps_per_second))


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(-5, 1500), max_size=60), max_size=4),
    st.sampled_from(list(inputs.CONFIGS.values())),
)
def test_any_ids_are_decoded(lists, config):
    tokenizer = Tokenizer(config)
    segments = [(2.048 * i, np.array(ids, int)) for i, ids in enumerate(lists)]
    notes, num_invalid, num_dropped = tokenizer.decode(segments)
    assert 0 <= num_invalid + num_dropped <= sum(map(len, lists))
    assert (notes.offset_s >= notes.onset_s + 0.0099).all()


# Bad input: tokens.


@pytest.mark.parametrize(
    ("events", "num_notes", "num_invalid"),
    [
        ([("velocity", 0), ("pitch", 60)], 0, 1),  # the end of a silent note
        ([("velocity", 0), ("drum", 60)], 0, 1),
        ([("tie", 0)], 0, 1),  # a second one
        ([("velocity", 1), ("pitch", 60), ("shift", 5), ("pitch", 60)], 2, 0),
        ([("shift", 5), ("drum", 36), ("shift", 2), ("drum", 36)], 1, 1),  # back
        ([("shift", 5), ("drum", 36), ("shift", 2), ("velocity", 0)], 1, 1),
        ([("pitch", 60)], 1, 0),  # velocity 100 is in force at first
    ],
)
def test_impossible_events_are_counted(events, num_notes, num_invalid):
    tokenizer = Tokenizer(TokenizerConfig())
    ids = ids_of(tokenizer, ("tie", 0), *events)
    decoded = tokenizer.decode([(0.0, ids)])
    assert (len(decoded.notes), decoded.num_invalid) == (num_notes, num_invalid)


def test_ties_of_silent_notes_and_double_ones_are_counted():
    tokenizer = Tokenizer(TokenizerConfig())
    first = ids_of(tokenizer, ("tie", 0), ("velocity", 1), ("pitch", 60))
    second = ids_of(
        tokenizer, ("pitch", 60), ("pitch", 60), ("pitch", 61), ("program", 3),
        ("pitch", 60), ("tie", 0), ("program", 0), ("shift", 5), ("velocity", 0),
        ("pitch", 60),
    )  # fmt: skip
    notes, num_invalid, _ = tokenizer.decode([(0.0, first), (2.0, second)])
    assert num_invalid == 3
    assert notes.offset_s.tolist() == [2.05]


def test_ids_out_of_range():
    tokenizer = Tokenizer(TokenizerConfig())
    num_classes = tokenizer.codec.num_classes
    ids = [-2, num_classes, *ids_of(tokenizer, ("tie", 0), ("drum", 36)), 10**12, -1]
    decoded = tokenizer.decode([(0.0, ids)])
    assert (len(decoded.notes), decoded.num_invalid) == (1, 4)
    for wrong in (-1, num_classes):
        for call in (tokenizer.to_model_ids, lambda ids: tokenizer.merge([ids])):
            with pytest.raises(ValueError, match=f"token 1 is {wrong}; codec ids are"):
                call([0, wrong])


def test_tie_section_without_end():
    """All its pitches count as listed: nothing begins or ends, nothing is lost."""
    tokenizer = Tokenizer(TokenizerConfig())
    first = ids_of(tokenizer, ("tie", 0), ("velocity", 1), ("pitch", 60))
    endless = ids_of(tokenizer, ("pitch", 60), ("shift", 9), ("velocity", 0))
    last = ids_of(tokenizer, ("pitch", 60), ("tie", 0), ("shift", 10), ("pitch", 60))
    segments = [(0.0, first), (1.0, endless), (2.0, last)]
    notes, num_invalid, num_dropped = tokenizer.decode(segments)
    assert (num_invalid, num_dropped) == (0, 0)
    assert (notes.onset_s.tolist(), notes.offset_s.tolist()) == ([0.0], [2.1])


def test_notes_that_are_not_tied_end_at_the_start():
    tokenizer = Tokenizer(TokenizerConfig())
    first = ids_of(tokenizer, ("tie", 0), ("velocity", 1), ("pitch", 60))
    last = ids_of(tokenizer, ("tie", 0))
    assert tokenizer.decode([(0.0, first), (2.0, last)]).notes.offset_s == [2.0]
    without = Tokenizer(TokenizerConfig(use_ties=False))
    # Without ties it would sound on; it ends with the last event.
    more = ids_of(without, ("shift", 7), ("drum", 36))
    notes = without.decode([(0.0, first[1:]), (2.0, more)]).notes
    assert notes.offset_s.tolist() == pytest.approx([2.07, 2.08])


def test_truncated_segments():
    """A segment cut short keeps the notes before the cut; the next one goes on."""
    tokenizer = Tokenizer(TokenizerConfig())
    segments = split(tokenizer, SOME, 500, 125)
    whole = tokenizer.decode(segments)
    for length in range(len(segments[0][1])):
        cut = [(0.0, segments[0][1][:length]), *segments[1:]]
        notes, num_invalid, _ = tokenizer.decode(cut)
        assert len(notes) <= len(whole.notes)
        assert num_invalid <= len(whole.notes)


def test_events_beyond_the_segment_are_dropped():
    tokenizer = Tokenizer(TokenizerConfig(use_ties=False))
    ids = ids_of(
        tokenizer, ("shift", 200), ("drum", 36), ("shift", 201), ("drum", 37),
        ("drum", 38),
    )  # fmt: skip
    notes, num_invalid, num_dropped = tokenizer.decode([(0.0, ids), (2.0, [])])
    assert notes.pitch.tolist() == [36]  # at the end itself it is kept
    assert (num_invalid, num_dropped) == (0, 3)
    assert tokenizer.decode([(0.0, ids)]).num_dropped == 0


def test_segments_come_in_any_order():
    tokenizer = Tokenizer(TokenizerConfig())
    segments = split(tokenizer, SOME, 500, 100)
    ours = tokenizer.decode(reversed(segments))
    assert ours.notes.equals(tokenizer.decode(segments).notes)
    assert ours.num_invalid == 0


def test_nothing():
    tokenizer = Tokenizer(TokenizerConfig())
    assert tokenizer.decode([]).notes.equals(Notes.empty())
    assert tokenizer.decode([(0.0, [])])[1:] == (0, 0)
    ids = tokenizer.segment(tokenizer.events(Notes.empty(), 1), 0, 256)
    assert words(tokenizer, ids) == "tie0"
    assert len(trim_overlaps(Notes.empty())) == 0
    assert tokenizer.merge([[]]).tolist() == ids.tolist()


def test_model_ids():
    tokenizer = Tokenizer(TokenizerConfig())
    assert tokenizer.to_model_ids([0, 1387]).tolist() == [3, 1390, EOS_ID]
    assert tokenizer.to_model_ids([], 4).tolist() == [EOS_ID]
    assert tokenizer.to_model_ids([5, 6, 7], 3).tolist() == [8, 9, 10]  # cut, no EOS
    assert tokenizer.to_model_ids([5, 6], 3).tolist() == [8, 9, EOS_ID]
    ids = [3, 1390, 1391, 1490, 5000, PAD_ID, 2, -7, EOS_ID, 9, EOS_ID]
    assert tokenizer.from_model_ids(ids).tolist() == [0, 1387, *[-2] * 6]
    assert tokenizer.from_model_ids([4, 0, 0]).tolist() == [1, -2, -2]  # no EOS
    assert tokenizer.from_model_ids([]).tolist() == []

"""Drafts: almost equal times are joined, and their notes get their true names."""

from dataclasses import replace

import numpy as np
import pytest

from mt3x.music.drafts import draft_of, draft_rows, revision
from mt3x.music.notes import Notes
from mt3x.music.tokens import Tokenizer
from mt3x.music.vocabulary import DRUM, EOS_ID, PROGRAM, TokenizerConfig


def notes(*rows):
    """Notes of (onset, offset, pitch, program), drums of program -1."""
    onset_s, offset_s, pitch, program = map(np.array, zip(*rows, strict=True))
    is_drum = program < 0
    velocity = np.full(len(rows), 80)
    return Notes(onset_s, offset_s, pitch, velocity, np.maximum(program, 0), is_drum)


def rows(found):
    program = np.where(found.is_drum, -1, found.program)
    columns = found.onset_s, found.offset_s, found.pitch, program
    return sorted(zip(*(c.tolist() for c in columns), strict=True))


def test_what_is_almost_together_is_together():
    draft = draft_of(
        notes((1.0, 1.5, 60, 0), (1.012, 2.0, 64, 0), (1.51, 2.0, 60, 0), (3, 4, 65, 0))
    )
    assert rows(draft) == [
        (1.006, 1.51, 60, 0),
        (1.006, 2.0, 64, 0),
        (1.51, 2.0, 60, 0),
        (3.0, 4.0, 65, 0),
    ]


def test_notes_may_end_early():
    heard = notes((1.0, 1.5, 60, 0), (2.0, 2.08, 62, 0), (3.0, 3.02, 64, 0))
    assert rows(draft_of(heard, 0.0625)) == [
        (1.0, 1.4375, 60, 0),
        (2.0, 2.05, 62, 0),
        (3.0, 3.02, 64, 0),
    ]


def test_short_notes_keep_a_length():
    draft = draft_of(notes((1.0, 1.01, 60, 0), (1.005, 1.5, 64, 0)))
    assert (draft.offset_s > draft.onset_s).all()
    assert len(draft) == 2


def test_notes_get_the_names_of_the_true_ones():
    draft = notes(
        (1.03, 1.53, 60, 40),
        (1.04, 1.4, 60, 41),  # one true note names one
        (2.0, 2.9, 62, 40),
        (2.2, 2.9, 70, 40),  # not there
        (2.5, 2.9, 70, 41),  # nor this, and no other of its program
        (3.0, 3.1, 42, -1),
        (3.01, 3.1, 38, -1),
        (3.02, 3.1, 36, -1),
        (3.5, 3.6, 36, -1),
    )
    true = notes(
        (1.0, 1.5, 60, 45),
        (2.02, 2.5, 62, 45),
        (2.44, 2.5, 70, 3),
        (2.0, 2.5, 72, 3),
        (2.99, 3.1, 38, -1),  # the same key is further away than another
        (3.01, 3.1, 44, -1),
    )
    assert rows(revision(true, draft)) == [
        (1.03, 1.53, 60, 45),
        (1.04, 1.4, 60, 41),
        (2.0, 2.9, 62, 45),
        (2.2, 2.9, 70, 45),
        (2.5, 2.9, 70, 41),
        (3.0, 3.1, 44, -1),
        (3.01, 3.1, 38, -1),
        (3.02, 3.1, 36, -1),
        (3.5, 3.6, 36, -1),
    ]


def test_a_note_does_not_end_another_by_its_new_name():
    draft = notes((1.0, 2.0, 60, 0), (1.5, 2.5, 60, 4), (3, 4, 36, -1), (3, 4, 38, -1))
    true = notes((1.0, 2.0, 60, 4), (1.5, 2.5, 60, 4), (3, 4, 38, -1))
    assert rows(revision(true, draft)) == rows(draft)


def test_a_draft_of_the_truth_is_its_own_revision():
    true = draft_of(notes((1.0, 1.5, 60, 0), (1.5, 1.9, 60, 3), (1.5, 1.6, 38, -1)))
    assert rows(revision(true, true)) == rows(true)
    assert rows(revision(true[:0], true)) == rows(true)
    assert not len(revision(true, draft_of(Notes.empty())))


def test_a_revision_has_the_drafts_tokens_but_for_names():
    """Whatever the programs and drums are, in whichever segment."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        onset_s = np.round(rng.uniform(0, 4, 60), 1)
        pitch, program = rng.integers(60, 66, 60), rng.integers(-1, 4, 60)
        lengths = rng.uniform(0.1, 1, 60)
        played = zip(onset_s, onset_s + lengths, pitch, program, strict=True)
        draft = draft_of(notes(*played))
        true = revision(draft[::-1], draft)
        assert rows(true) == rows(draft)
        others = replace(
            draft,
            program=(draft.program + 1) % 3,
            pitch=np.where(draft.is_drum, 125 - draft.pitch, draft.pitch),
        )
        revised = revision(others, draft)
        assert len(revised) == len(draft) and rows(revised) != rows(draft)
        tokenizer = Tokenizer(TokenizerConfig(by_pitch=True))
        codec = tokenizer.codec
        events = [tokenizer.events(n, 160, 31.25) for n in (draft, revised)]
        for first in range(0, 160, 40):
            old_L, new_L = (tokenizer.segment(e, first, 40) for e in events)
            is_same_L = old_L == new_L
            types_L, new_types_L = codec.split(old_L)[0], codec.split(new_L)[0]
            np.testing.assert_array_equal(types_L, new_types_L)
            assert np.isin(types_L[~is_same_L], [PROGRAM, DRUM]).all()


@pytest.mark.parametrize("num_columns", [1, 4])
def test_rows_hold_the_ids_of_a_segment_as_far_as_they_fit(num_columns):
    tokenizer = Tokenizer(TokenizerConfig())
    events = tokenizer.events(notes((0.1, 0.9, 60, 0), (1.1, 1.9, 64, 5)), 64, 31.25)
    ids_L = tokenizer.to_model_ids(tokenizer.segment(events, 32, 8))
    rows_TxK = draft_rows(events, tokenizer, 32, 8, num_columns)
    assert rows_TxK.shape == (8, num_columns) and rows_TxK.dtype == np.float32
    found = rows_TxK.ravel()[: len(ids_L)]
    np.testing.assert_array_equal(found, ids_L[: len(found)])
    assert (rows_TxK.ravel()[len(ids_L) :] == 0).all()
    assert (EOS_ID in rows_TxK) == (len(ids_L) <= rows_TxK.size)

"""Tokens of notes: segments, ties, mixes, notes that are hard to write."""

import itertools
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import token_inputs as inputs
from token_notes import SOME, ids_of, split, words

from mt3x.files import from_json
from mt3x.music.notes import Notes
from mt3x.music.tokens import Tokenizer, trim_overlaps
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            "tie0 shift10 program0 velocity1 pitch60 shift50 program40 pitch64 drum36 "
            "shift100 velocity0 pitch64 velocity1 pitch64 shift120 velocity0 pitch64 "
            "shift150 program0 velocity1 pitch62 shift152 velocity0 pitch62",
        ),
        (
            {"by_pitch": True},
            "tie0 shift10 program0 velocity1 pitch60 shift50 program40 pitch64 drum36 "
            "shift100 program40 velocity0 pitch64 program40 velocity1 pitch64 shift120 "
            "program40 velocity0 pitch64 shift150 program0 velocity1 pitch62 shift152 "
            "program0 velocity0 pitch62",
        ),
        (
            {"use_ties": False, "program_granularity": "flat"},
            "shift10 velocity1 pitch60 shift50 pitch64 drum36 shift100 velocity0 "
            "pitch64 velocity1 pitch64 shift120 velocity0 pitch64 shift150 velocity1 "
            "pitch62 shift152 velocity0 pitch62",
        ),
        (
            {"use_ties": False, "onsets_only": True},
            "shift10 pitch60 shift50 pitch36 pitch64 shift100 pitch64 shift150 pitch62",
        ),
    ],
)
def test_first_segment(options, expected):
    tokenizer = Tokenizer(TokenizerConfig(**options))
    events = tokenizer.events(SOME, 500)
    assert words(tokenizer, tokenizer.segment(events, 0, 250)) == expected


def test_ties_and_the_last_segment():
    tokenizer = Tokenizer(TokenizerConfig())
    events = tokenizer.events(SOME, 380)
    assert words(tokenizer, tokenizer.segment(events, 65, 60)) == (
        "program0 pitch60 program40 pitch64 tie0"  # 0.52 s to 1 s: nothing happens
    )
    # A note that ends in the first step still sounds, one that begins there does not.
    assert words(tokenizer, tokenizer.segment(events, 125, 10)) == (
        "program0 pitch60 program40 pitch64 tie0 velocity0 pitch64 velocity1 pitch64"
    )
    assert words(tokenizer, tokenizer.segment(events, 315, 10)) == "tie0"
    # The last segment has what follows the recording, as a note may ring on.
    short = tokenizer.events(SOME, 200)
    assert words(tokenizer, tokenizer.segment(short, 195, 99)) == (
        "program0 pitch60 tie0 shift94 velocity0 pitch60"
    )


def test_by_pitch_other_programs_change_no_order():
    programs = [0, 40, 3]
    tokenizer = Tokenizer(TokenizerConfig(by_pitch=True))
    for order in itertools.permutations(range(3)):
        notes = Notes(
            5 * [0.5],
            5 * [1.5],
            [60, 64, 67, 36, 42],
            5 * [90],
            [*(programs[k] for k in order), 0, 0],
            3 * [False] + 2 * [True],
        )
        events = tokenizer.events(notes, 250)
        first, second, third = (f"program{programs[k]}" for k in order)
        ties = f"{first} pitch60 {second} pitch64 {third} pitch67"
        assert words(tokenizer, tokenizer.segment(events, 0, 125)) == (
            f"tie0 shift50 {ties.replace(' ', ' velocity1 ', 1)} drum36 drum42"
        )
        assert words(tokenizer, tokenizer.segment(events, 125, 99)) == (
            f"{ties} tie0 shift50 {ties.replace(' ', ' velocity0 ', 1)}"
        )
    for other in ({"program_granularity": "flat"}, {"onsets_only": True}):
        with pytest.raises(ValueError, match="by_pitch"):
            TokenizerConfig(by_pitch=True, use_ties=False, **other)


def test_shifts_that_take_several_tokens():
    config = TokenizerConfig(VocabConfig(max_shift_steps=204), use_ties=False)
    tokenizer = Tokenizer(config)
    notes = Notes([0.0, 4.08, 4.08], [1.0, 5.0, 9.0], [60, 61, 62])
    ids = tokenizer.segment(tokenizer.events(notes, 2000), 0, 2000)
    assert words(tokenizer, ids) == (
        "program0 velocity1 pitch60 shift100 velocity0 pitch60 "
        "shift204 shift204 velocity1 pitch61 pitch62 "
        "shift204 shift204 shift92 velocity0 pitch61 "
        "shift204 shift204 shift204 shift204 shift84 pitch62"
    )


def test_mt3_ties_after_the_last_event():
    """MT3 goes on listing what sounded before it, until the end of the recording."""
    notes = Notes([0.0], [1.0], [60])
    for mt3_ties, expected in ((False, "tie0"), (True, "program0 pitch60 tie0")):
        tokenizer = Tokenizer(TokenizerConfig(mt3_ties=mt3_ties))
        ids = tokenizer.segment(tokenizer.events(notes, 500), 400, 100)
        assert words(tokenizer, ids) == expected


def test_mt3_ties_change_no_other_segment():
    for seed in range(20):
        notes, num_frames = inputs.recording(seed)
        last_s = max(notes.offset_s[~notes.is_drum].max(initial=0), notes.onset_s[-1])
        ours, theirs = (
            split(Tokenizer(TokenizerConfig(mt3_ties=mt3_ties)), notes, num_frames, 50)
            for mt3_ties in (False, True)
        )
        for (start_s, ids), (_, expected) in zip(ours, theirs, strict=True):
            if start_s <= last_s:
                assert ids.tolist() == expected.tolist()
            else:
                assert len(ids) == 1


def test_tie_sections_of_a_mix_become_one():
    tokenizer = Tokenizer(TokenizerConfig())
    parts = [
        ids_of(tokenizer, ("program", p), ("pitch", 60), ("tie", 0), *rest)
        for p, rest in (
            (40, [("shift", 9), ("velocity", 0), ("pitch", 60)]),
            (0, [("velocity", 0), ("pitch", 60)]),
            (40, []),
        )
    ]
    assert words(tokenizer, tokenizer.merge(parts)) == (
        "program0 pitch60 program40 pitch60 tie0 "
        "program0 velocity0 pitch60 shift9 program40 pitch60"
    )


def test_config_as_json():
    for config in inputs.CONFIGS.values():
        text = json.dumps(asdict(config))
        assert from_json(TokenizerConfig, json.loads(text)) == config


def test_starts_are_rounded_down_to_a_step():
    tokenizer = Tokenizer(TokenizerConfig(use_ties=False))
    ids = ids_of(tokenizer, ("shift", 3), ("velocity", 1), ("drum", 36))
    for start_s, onset_s in [(2.048, 2.07), (5 * 2.048, 10.27), (10.24, 10.27)]:
        assert tokenizer.decode([(start_s, ids)]).notes.onset_s == pytest.approx(
            onset_s
        )


# Bad input: notes.


def test_notes_without_length():
    notes = Notes([1.0, 2.0, 3.0], [1.0, 2.0, 3.5], [60, 36, 62], None, None, [0, 1, 0])
    for onsets_only, pitches in ((False, [36, 62]), (True, [36, 60, 62])):
        config = TokenizerConfig(use_ties=False, onsets_only=onsets_only)
        tokenizer = Tokenizer(config)
        decoded = tokenizer.decode(split(tokenizer, notes, 500, 500))
        assert sorted(decoded.notes.pitch) == pitches
        assert decoded.num_invalid == 0
    assert trim_overlaps(notes).pitch.tolist() == [62]


def test_notes_before_zero():
    notes = Notes(
        [-2.0, -1.0, -1.0, -0.5], [-1.0, 0.0, 0.5, -0.4], [60, 61, 62, 36], None, None,
        [False, False, False, True],
    )  # fmt: skip
    tokenizer = Tokenizer(TokenizerConfig())
    notes = tokenizer.decode(split(tokenizer, notes, 500, 500)).notes
    assert notes.equals(Notes([0.0], [0.5], [62], [127]))
    onsets = Tokenizer(TokenizerConfig(use_ties=False, onsets_only=True))
    assert len(onsets.segment(onsets.events(notes.shift(-1), 9), 0, 9)) == 0


def test_overlapping_notes():
    """As they are, the first end ends the second note; trimmed, all is right."""
    notes = Notes([0.0, 1.0], [2.0, 3.0], [60, 60])
    tokenizer = Tokenizer(TokenizerConfig())
    decoded = tokenizer.decode(split(tokenizer, notes, 500, 500))
    assert decoded.notes.offset_s.tolist() == [1.0, 2.0]
    assert decoded.num_invalid == 1
    trimmed = trim_overlaps(notes)
    assert trimmed.offset_s.tolist() == [1.0, 3.0]
    decoded = tokenizer.decode(split(tokenizer, trimmed, 500, 500))
    assert decoded.notes.offset_s.tolist() == [1.0, 3.0]
    assert decoded.num_invalid == 0


def test_trimming_keeps_other_instruments_apart():
    same = Notes([0, 0, 1, 1], [2] * 4, [60] * 4, None, [0, 5, 5, 5], [0, 0, 0, 1])
    assert trim_overlaps(same).offset_s.tolist() == [2, 1, 2, 2]
    apart = Notes([0, 5], [1, 6], [60, 60])
    assert trim_overlaps(apart).equals(apart)
    at_once = Notes([0, 0], [1, 2], [60, 60], [10, 20])
    assert trim_overlaps(at_once).velocity.tolist() == [20]


def test_seventeen_instruments():
    count = np.arange(17)
    notes = Notes(count * 0.1, count * 0.1 + 3, np.full(17, 60), None, count * 7)
    tokenizer = Tokenizer(TokenizerConfig())
    decoded = tokenizer.decode(split(tokenizer, notes, 800, 100))
    assert decoded.notes.program.tolist() == notes.program.tolist()
    family = Tokenizer(TokenizerConfig(program_granularity="midi_class"))
    programs = family.decode(split(family, notes[:1], 800, 800)).notes.program
    assert programs.tolist() == [0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"program_granularity": "class"}, "'class'; give one of flat, midi_class"),
        ({"onsets_only": True}, "onsets_only leaves out what use_ties needs"),
    ],
)
def test_bad_configs(options, message):
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(**options)


def test_bad_segments():
    tokenizer = Tokenizer(TokenizerConfig())
    with pytest.raises(ValueError, match="num_frames is 0"):
        tokenizer.events(SOME, 0)
    events = tokenizer.events(SOME, 100)
    for first, num_frames in ((-1, 5), (100, 5), (5, 0)):
        with pytest.raises(ValueError, match="the recording has 100"):
            tokenizer.segment(events, first, num_frames)
    with pytest.raises(ValueError, match="no segments to merge"):
        tokenizer.merge([])


def test_arguments_stay_as_they_are():
    tokenizer = Tokenizer(TokenizerConfig(program_granularity="midi_class"))
    events = tokenizer.events(SOME, 500)
    before = [column.copy() for column in events.rows]
    once = tokenizer.segment(events, 100, 100)
    tokenizer.merge([once, once])
    tokenizer.to_model_ids(once)
    assert tokenizer.segment(events, 100, 100).tolist() == once.tolist()
    for column, copy in zip(events.rows, before, strict=True):
        assert (column == copy).all()
    assert replace(events, num_frames=9).num_frames == 9

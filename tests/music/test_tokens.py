"""Tokens: parity with MT3 and its golden files, round trips, bad input."""

import itertools
import json
from dataclasses import asdict, astuple, replace
from pathlib import Path

import numpy as np
import pytest
import token_inputs as inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.files import from_json
from mt3x.music.notes import Notes
from mt3x.music.tokens import Tokenizer, trim_overlaps
from mt3x.music.vocabulary import EOS_ID, PAD_ID, Event, TokenizerConfig, VocabConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "tokens.npz"
NAMES = pytest.mark.parametrize("name", inputs.CONFIGS)
NUM_RECORDINGS = 60


@pytest.fixture(scope="module")
def mt3():
    """MT3's own code, where it is installed."""
    pytest.importorskip("mt3", reason="MT3 is not installed; golden files stand in")
    import mt3_reference

    return mt3_reference


def ids_of(tokenizer: Tokenizer, *events: tuple[str, int]) -> list[int]:
    return [tokenizer.codec.encode(Event(*event)) for event in events]


def words(tokenizer: Tokenizer, ids) -> str:
    """Ids as one readable line: `pitch60 shift3`."""
    events = map(tokenizer.codec.decode, ids)
    return " ".join(f"{event.type}{event.value}" for event in events)


def all_segments(tokenizer, recordings, spans) -> list[np.ndarray]:
    return [
        tokenizer.segment(tokenizer.events(*recording), *span)
        for recording, of_recording in zip(recordings, spans, strict=True)
        for span in of_recording
    ]


def split(tokenizer, notes, num_frames, length) -> list[tuple[float, np.ndarray]]:
    """All segments of a recording with their starts in seconds."""
    events = tokenizer.events(notes, num_frames)
    return [
        (first / 125, tokenizer.segment(events, first, length))
        for first in range(0, num_frames, length)
    ]


def has_long_shifts(tokenizer, ids) -> bool:
    """Whether a shift takes several tokens, which MT3 can not merge."""
    is_shift = ids <= tokenizer.config.vocab.max_shift_steps
    return bool((is_shift[1:] & is_shift[:-1]).any())


def assert_same_ids(name, ours, theirs):
    assert len(ours) == len(theirs)
    for index, pair in enumerate(zip(ours, theirs, strict=True)):
        assert pair[0].dtype == np.int32
        assert pair[0].tolist() == pair[1].tolist(), f"{name}, {index}"


def assert_same_mixes(name, segments, mixes, theirs):
    tokenizer = Tokenizer(inputs.CONFIGS[name])
    num_compared = 0
    for mix, expected in zip(mixes, theirs, strict=True):
        parts = [segments[index] for index in mix]
        if not any(has_long_shifts(tokenizer, part) for part in parts):
            assert tokenizer.merge(parts).tolist() == expected.tolist(), (name, mix)
            num_compared += 1
    assert num_compared or name == "fine"


# MT3.


@NAMES
def test_golden(name):
    config = inputs.CONFIGS[name]
    tokenizer = Tokenizer(config)
    with np.load(GOLDEN) as file:
        golden = {
            key.removeprefix(name + "/"): file[key]
            for key in file.files
            if key.startswith(name + "/")
        }
    theirs = {
        kind: np.split(golden[kind], np.cumsum(golden[kind + "_lengths"])[:-1])
        for kind in ("segments", "mixes")
    }
    recordings = inputs.recordings(inputs.NUM_GOLDEN)
    spans = inputs.spans(recordings)
    segments = all_segments(tokenizer, recordings, spans)
    assert_same_ids(name, segments, theirs["segments"])
    mixes = inputs.mixes(len(segments), inputs.NUM_GOLDEN)
    assert_same_mixes(name, segments, mixes, theirs["mixes"])
    for seed in range(inputs.NUM_GOLDEN):
        decoded = tokenizer.decode(inputs.random_segments(seed, config))
        assert np.array_equal(astuple(decoded.notes)[:6], golden[f"notes_{seed}"])
        assert (*decoded[1:],) == (*golden[f"counts_{seed}"],)


@NAMES
def test_parity_of_segments_and_mixes(mt3, name):
    config = inputs.CONFIGS[name]
    recordings = inputs.recordings(NUM_RECORDINGS)
    spans = inputs.spans(recordings)
    segments = all_segments(Tokenizer(config), recordings, spans)
    assert_same_ids(name, segments, mt3.segment_ids(recordings, spans, config))
    mixes = inputs.mixes(len(segments), 20)
    theirs = mt3.merged_ids(recordings, spans, mixes, config)
    assert_same_mixes(name, segments, mixes, theirs)


@NAMES
def test_parity_of_decoding(mt3, name):
    """Random ids, and segments of real notes with some ids lost, moved or changed."""
    config = inputs.CONFIGS[name]
    tokenizer = Tokenizer(config)
    for seed in range(NUM_RECORDINGS):
        rng = np.random.default_rng(seed)
        notes, num_frames = inputs.recording(seed)
        step_frames = 125 * 6  # whole steps at any rate
        corrupted = [
            (start_s, inputs.corrupt(ids, tokenizer.codec.num_classes, rng))
            for start_s, ids in split(tokenizer, notes, num_frames, step_frames)
        ]
        for segments in (inputs.random_segments(seed, config), corrupted):
            ours, theirs = tokenizer.decode(segments), mt3.decode(segments, config)
            assert ours.notes.equals(theirs[0]), seed
            assert ours[1:] == theirs[1:], seed


def test_parity_of_trimming(mt3):
    for seed in range(NUM_RECORDINGS):
        notes, _ = inputs.recording(seed)
        assert trim_overlaps(notes).equals(mt3.trim_overlaps(notes)), seed


# By hand.

SOME = Notes(
    [0.1, 0.5, 0.5, 1.0, 1.5],
    [2.5, 1.0, 0.6, 1.2, 1.52],
    [60, 64, 36, 64, 62],
    [100, 100, 90, 100, 50],
    [0, 40, 0, 40, 0],
    [False, False, True, False, False],
)


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

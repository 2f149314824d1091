"""Scores: golden triples, parity with direct calls of mir_eval, invariances."""

import copy
import tracemalloc

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.music import metrics
from mt3x.music.instrument_metrics import instrument_scores
from mt3x.music.metrics import (
    Cells,
    PrecisionRecallF1,
    Scores,
    integrated,
    match_notes,
    mean_scores,
    median_onset_shift,
    note_scores,
    pooled,
)
from mt3x.music.notes import Notes

KINDS = ("frame", "note", "note_offset", "note_offset_velocity")
REF = Notes(
    [0.0, 1.0, 2.0, 3.0], [0.5, 2.0, 3.0, 3.1], [60, 62, 64, 60], [20, 40, 80, 120]
)


def changed(
    onset=(0,) * 4, offset=(0,) * 4, pitch=(0,) * 4, velocity=(0,) * 4
) -> Notes:
    """REF with something added to its notes."""
    return Notes(
        REF.onset_s + onset,
        REF.offset_s + offset,
        REF.pitch + pitch,
        REF.velocity + velocity,
    )


def f1s(ref: Notes, est: Notes) -> list[float]:
    scores = note_scores(ref, est)
    return [getattr(scores, kind).f1 for kind in KINDS]


# Frames of REF: 25 + 50 + 50 + 5 = 130.
GOLDEN_F1 = {
    "itself": (REF, [1, 1, 1, 1]),
    "onset 50 ms late is found": (changed(onset=(0.05, 0, 0, 0)), [256 / 258, 1, 1, 1]),
    "onset 51 ms late is not": (
        changed(onset=(0.051, 0, 0, 0)),
        [2 * 127 / 257, 3 / 4, 3 / 4, 3 / 4],
    ),
    "offset 20 % early is found": (
        changed(offset=(0, -0.2, 0, 0)),
        [240 / 250, 1, 1, 1],
    ),
    "offset 21 % early is not": (
        changed(offset=(0, -0.21, 0, 0)),
        [2 * 120 / 250, 1, 3 / 4, 3 / 4],
    ),
    "short note has 50 ms": (changed(offset=(0, 0, 0, 0.05)), [260 / 263, 1, 1, 1]),
    "and no more": (changed(offset=(0, 0, 0, 0.061)), [260 / 263, 1, 3 / 4, 3 / 4]),
    "other pitch": (changed(pitch=(12, 0, 0, 0)), [2 * 105 / 260, 3 / 4, 3 / 4, 3 / 4]),
    "velocities on a line": (changed(velocity=(1, 2, 4, 6)), [1, 1, 1, 1]),
    "two notes missing": (REF[:2], [2 * 75 / 205, 4 / 6, 4 / 6, 4 / 6]),
    "a note twice": (Notes.concatenate([REF, REF[:1]]), [1, 8 / 9, 8 / 9, 8 / 9]),
}


@pytest.mark.parametrize("name", GOLDEN_F1)
def test_golden_f1(name):
    est, golden = GOLDEN_F1[name]
    assert f1s(REF, est) == pytest.approx(golden, abs=1e-12)


def test_precision_and_recall_are_not_swapped():
    scores = note_scores(REF, REF[:1])
    assert scores.note == PrecisionRecallF1(precision=1, recall=1 / 4, f1=2 / 5)
    assert scores.frame == PrecisionRecallF1(1, 25 / 130, 50 / 155)


def test_velocity_counts_only_where_it_fits():
    velocity = np.tile([30, 90], 10)
    ref = Notes(np.arange(20), np.arange(20) + 0.5, [60] * 20, velocity)
    wrong = velocity.copy()
    wrong[0] = 60
    est = Notes(ref.onset_s, ref.offset_s, ref.pitch, wrong)
    assert f1s(ref, est) == pytest.approx([1, 1, 1, 19 / 20])


def test_frames_are_rounded_to_the_nearest():
    ref = Notes([0.009], [0.051], [60])  # frames 0, 1, 2
    est = Notes([0.011], [0.049], [60])  # frame 1
    assert note_scores(ref, est).frame == PrecisionRecallF1(1, 1 / 3, 1 / 2)


def test_a_note_has_at_least_one_frame():
    click = Notes([0.1], [0.1], [60])
    assert f1s(click, click) == [1, 1, 1, 1]


def test_overlapping_notes_share_frames():
    overlapping = Notes([0, 0.5], [1, 2], [60, 60])
    assert note_scores(Notes([0], [2], [60]), overlapping).frame.f1 == 1


@pytest.mark.parametrize(
    "ref, est", [(REF, REF[:0]), (REF[:0], REF), (REF[:0], REF[:0])]
)
def test_empty_scores_zero(ref, est):
    assert note_scores(ref, est) == Scores(*[PrecisionRecallF1(0, 0, 0)] * 4)


def test_to_dict():
    numbers = note_scores(REF, REF).to_dict()
    assert list(numbers) == list(KINDS)
    assert numbers["note"] == {"precision": 1, "recall": 1, "f1": 1}


def test_means():
    good, bad = note_scores(REF, REF), note_scores(REF, REF[:1])
    mean = mean_scores([good, bad])
    assert mean.note == PrecisionRecallF1(1, 5 / 8, (1 + 2 / 5) / 2)
    assert mean.frame.recall == pytest.approx((1 + 25 / 130) / 2)
    with pytest.raises(ValueError, match="no pieces"):
        mean_scores([])


# Against mir_eval.


def performance(
    seed: int, num_notes: int, seconds: float = 20.0
) -> tuple[Notes, Notes]:
    """Notes dense enough that matches are ambiguous, and a blurred copy."""
    rng = np.random.default_rng(seed)
    onset_s = rng.uniform(0, seconds, num_notes)
    offset_s = onset_s + rng.exponential(0.3, num_notes) + 0.01
    pitch = rng.integers(58, 64, num_notes)
    velocity = rng.integers(1, 128, num_notes)
    est_onset_s = np.abs(onset_s + rng.normal(0, 0.04, num_notes))
    est_offset_s = np.maximum(
        offset_s + rng.normal(0, 0.1, num_notes), est_onset_s + 0.01
    )
    est_velocity = np.clip(velocity + rng.integers(-20, 20, num_notes), 1, 127)
    kept = rng.random(num_notes) < 0.8
    est = Notes(est_onset_s, est_offset_s, pitch, est_velocity)[kept]
    return Notes(onset_s, offset_s, pitch, velocity), est


def arrays(notes: Notes, with_velocity: bool = False) -> list[np.ndarray]:
    hz = mir_eval.util.midi_to_hz(notes.pitch.astype(float))
    intervals = np.stack([notes.onset_s, notes.offset_s], axis=1)
    return [intervals, hz, *([notes.velocity] if with_velocity else [])]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("num_notes", [3, 60, 500])
def test_notes_as_one_call_of_mir_eval(seed, num_notes):
    ref, est = performance(seed, num_notes)
    scores = note_scores(ref, est)
    whole, with_velocity = (
        mir_eval.transcription.precision_recall_f1_overlap,
        mir_eval.transcription_velocity.precision_recall_f1_overlap,
    )
    golden = {
        "note": whole(*arrays(ref), *arrays(est), offset_ratio=None),
        "note_offset": whole(*arrays(ref), *arrays(est)),
        "note_offset_velocity": with_velocity(*arrays(ref, True), *arrays(est, True)),
    }
    for kind, (*numbers, _) in golden.items():
        ours = getattr(scores, kind)
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(
            tuple(numbers)
        ), kind


TIMES = st.tuples(
    st.integers(0, 120), st.integers(1, 60), st.integers(60, 61), st.integers(1, 127)
)


@settings(max_examples=100)
@given(
    st.lists(TIMES, max_size=40),
    st.lists(TIMES, max_size=40),
    st.sampled_from([0.01, 0.05, 0.5]),
    st.sampled_from([None, 0.2]),
)
def test_pairs_are_those_of_mir_eval(ref_rows, est_rows, tolerance_s, offset_ratio):
    """Times lie on a grid, so that many notes are just as far apart as allowed."""
    ref, est = (
        Notes(
            [row[0] / 100 for row in rows],
            [(row[0] + row[1]) / 100 for row in rows],
            [row[2] for row in rows],
            [row[3] for row in rows],
        )
        for rows in (ref_rows, est_rows)
    )
    golden = mir_eval.transcription.match_notes(
        *arrays(ref),
        *arrays(est),
        onset_tolerance=tolerance_s,
        offset_ratio=offset_ratio,
        offset_min_tolerance=tolerance_s,
    )
    pairs = match_notes(ref, est, tolerance_s, offset_ratio, tolerance_s)
    assert pairs.tolist() == [list(pair) for pair in golden]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("offset_ratio", [None, 0.2])
def test_large_choices_have_as_many_pairs(monkeypatch, seed, offset_ratio):
    """Above a number of edges another algorithm takes over."""
    ref, est = performance(seed, 500)
    wanted = match_notes(ref, est, 0.05, offset_ratio)
    monkeypatch.setattr(metrics, "MOST_EDGES", 0)
    pairs = match_notes(ref, est, 0.05, offset_ratio)
    assert len(pairs) == len(wanted)
    for column in pairs.T:
        assert len(set(column)) == len(pairs)
    assert (ref.pitch[pairs[:, 0]] == est.pitch[pairs[:, 1]]).all()
    assert np.abs(ref.onset_s[pairs[:, 0]] - est.onset_s[pairs[:, 1]]).max() < 0.0501


def test_one_pair_that_moves_all_others():
    """mir_eval would recurse once for each of 3,000 notes that take another place.

    Estimated notes 1 to 3,000 begin with the reference note before theirs; the last one
    can only have the first of these.
    """
    number = 3000
    before = [(n, n + 1) for n in range(number)]
    edges = [*before, *((n + 1, n + 1) for n in range(number))]
    pairs = metrics._largest_matching(*np.array([*edges, (0, number + 1)]).T)
    assert len(pairs) == number + 1


def test_notes_that_all_begin_at_once_are_refused():
    notes = Notes(np.zeros(3000), np.ones(3000), [60] * 3000)
    with pytest.raises(ValueError, match="9000000 pairs of notes of one pitch"):
        note_scores(notes, notes)


@pytest.mark.parametrize("seed", range(4))
def test_frames_as_multipitch_of_mir_eval(seed):
    ref, est = performance(seed, 60)
    num_frames = 2000

    def pitches_of_frames(notes):
        frames = [[] for _ in range(num_frames)]
        for on, off, p in zip(notes.onset_s, notes.offset_s, notes.pitch, strict=True):
            first = round(on * 50)
            for frame in range(first, max(round(off * 50), first + 1)):
                frames[frame].append(p)
        return [mir_eval.util.midi_to_hz(np.unique(p).astype(float)) for p in frames]

    time_s = np.arange(num_frames) * 0.02
    golden = mir_eval.multipitch.evaluate(
        time_s, pitches_of_frames(ref), time_s, pitches_of_frames(est)
    )
    frame = note_scores(ref, est).frame
    assert frame.precision == pytest.approx(golden["Precision"])
    assert frame.recall == pytest.approx(golden["Recall"])


def test_long_pieces_take_little_memory():
    """Of a key with 20,000 notes, and where a note is 12 days late."""
    onset_s = np.append(np.arange(20_000) * 0.1, 1e6)
    notes = Notes(onset_s, onset_s + 0.09, [60] * len(onset_s))
    tracemalloc.start()
    scores = note_scores(notes, notes), integrated(notes, notes, 1000.0)
    by_instrument = instrument_scores(notes, notes)
    median_onset_shift(notes, notes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores[0].note_offset_velocity.f1 == scores[1].score.f1 == 1
    assert by_instrument["Frame F1"] == 1
    assert peak < 100e6


# What must not matter, and what must.


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 40), st.integers(-3, 3))
def test_swap_shift_and_disjoint_pitches(seed, num_notes, shift_frames):
    ref, est = performance(seed, num_notes, seconds=3)
    before = copy.deepcopy((ref, est))
    scores = note_scores(ref, est)

    swapped = note_scores(est, ref)
    assert swapped.note.precision == scores.note.recall
    assert swapped.frame.recall == scores.frame.precision

    # A whole number of frames, also to before zero.
    shift_s = shift_frames * 0.02
    shifted = note_scores(ref.shift(shift_s), est.shift(shift_s))
    assert shifted.note_offset.f1 == pytest.approx(scores.note_offset.f1)
    assert shifted.frame.f1 == pytest.approx(scores.frame.f1)

    # Notes that are found on both sides at pitches of their own add matches alone.
    more = Notes([0.5], [0.9], [100])
    wider = note_scores(Notes.concatenate([ref, more]), Notes.concatenate([est, more]))
    num_matched = scores.note.recall * len(ref)
    assert wider.note.recall * (len(ref) + 1) == pytest.approx(num_matched + 1)

    assert before[0].equals(ref) and before[1].equals(est)


def test_notes_before_zero():
    assert f1s(REF.shift(-2), REF.shift(-2)) == [1, 1, 1, 1]


def test_program_and_drum_are_not_looked_at():
    est = Notes(REF.onset_s, REF.offset_s, REF.pitch, REF.velocity, [5] * 4, [True] * 4)
    assert f1s(REF, est) == [1, 1, 1, 1]


# Onset shift.


@pytest.mark.parametrize("shift_s", [-0.14, -0.03, 0.0, 0.06, 0.14])
def test_median_onset_shift(shift_s):
    ref, _ = performance(0, 60)
    noise_s = np.random.default_rng(1).normal(0, 0.005, len(ref))
    est = Notes(ref.onset_s + noise_s, ref.offset_s + 1, ref.pitch).shift(shift_s)
    assert median_onset_shift(ref, est) == pytest.approx(shift_s, abs=0.002)


def test_shift_of_repeated_notes():
    """At 150 ms, a fast repetition also matches its neighbours."""
    onset_s = np.arange(40) * 0.1
    ref = Notes(onset_s, onset_s + 0.08, [60] * 40)
    est = ref.shift(0.02)[1:]
    assert median_onset_shift(ref, est) == pytest.approx(0.02)


@pytest.mark.parametrize("shift_s", [-4.2, -0.3, 0.3, 2.0])
def test_far_shifts_are_found_where_most_notes_agree(shift_s):
    ref, est = performance(0, 200, seconds=60)
    shift = median_onset_shift(ref, est.shift(shift_s))
    assert shift == pytest.approx(shift_s, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_notes_that_have_nothing_in_common_have_no_shift(seed):
    rng = np.random.default_rng(seed)
    ref, est = (
        Notes(onset_s, onset_s + 0.3, rng.integers(48, 80, 600))
        for onset_s in rng.uniform(0, 120, (2, 600))
    )
    assert median_onset_shift(ref, est) is None


@pytest.mark.parametrize("est", [REF[:0], REF.shift(10)])
def test_no_match_is_no_shift(est):
    assert median_onset_shift(REF, est) is None


# The integrated evaluation: all pitched instruments in one piano roll.


def dense_roll(notes: Notes, rate_hz: float, num_frames: int) -> np.ndarray:
    """The roll by its definition, from a frame to its notes."""
    frames_T = np.arange(num_frames)[:, None]
    begin_N = np.rint(notes.onset_s * rate_hz)
    end_N = np.maximum(np.rint(notes.offset_s * rate_hz), begin_N + 1)
    sounds_TxN = (begin_N <= frames_T) & (frames_T < end_N) & ~notes.is_drum
    return np.stack(
        [(sounds_TxN & (notes.pitch == p)).any(axis=1) for p in range(128)], axis=1
    )


def band_notes(rows) -> Notes:
    """(onset, duration, pitch, program, is_drum) in 10 ms."""
    onset, duration, pitch, program, is_drum = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    return Notes(
        onset / 100,
        (onset + duration) / 100,
        pitch,
        np.full(len(onset), 64),
        np.where(is_drum, 0, program),
        is_drum,
    )


ROWS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 60),
        st.sampled_from([0, 60, 61, 127]),
        st.sampled_from([0, 40]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
).map(band_notes)


@settings(max_examples=60)
@given(ROWS, ROWS, st.sampled_from([50.0, 62.5, 7.3]))
def test_integrated_is_scikit_learn_on_the_flattened_rolls(ref, est, rate_hz):
    sklearn = pytest.importorskip("sklearn.metrics")
    rolls = [dense_roll(n, rate_hz, 200).ravel() for n in (ref, est)]
    cells = integrated(ref, est, rate_hz)
    *numbers, _ = sklearn.precision_recall_fscore_support(
        *rolls, average="binary", zero_division=0
    )
    assert list(vars(cells.score).values()) == pytest.approx(numbers, abs=1e-12)
    matrix = sklearn.confusion_matrix(*rolls, labels=[False, True])
    assert list(vars(cells).values()) == [matrix[1, 1], matrix[0, 1], matrix[1, 0]]


def test_integrated_counts_a_cell_once_and_no_drums():
    piano, violin = REF[:1], Notes([0.2], [0.7], [60], [50], program=[40])
    drums = Notes([0.0], [0.9], [60], [50], is_drum=[True])
    ref = Notes.concatenate([piano, violin, drums])
    # 0 to 0.7 s and 0 to 0.5 s at pitch 60.
    assert integrated(ref, piano) == Cells(25, 0, 10)
    assert integrated(piano, ref) == Cells(25, 10, 0)
    assert integrated(ref, piano, 62.5) == Cells(31, 0, 13)
    assert integrated(drums, drums) == Cells(0, 0, 0)


def test_integrated_is_the_frame_score_without_drums():
    est = changed(onset=(0.05, 0, 0, 0), pitch=(0, 0, 1, 0))
    assert integrated(REF, est).score == note_scores(REF, est).frame


def test_integrated_of_nothing_is_zero_and_says_so():
    none = REF[:0]
    zero = PrecisionRecallF1(0, 0, 0)
    for ref, est, cells in [
        (none, none, Cells(0, 0, 0)),
        (REF, none, Cells(0, 0, 130)),
        (none, REF, Cells(0, 130, 0)),
    ]:
        assert integrated(ref, est) == cells
        assert cells.score == zero
    for rate_hz in (0, 1e7, float("nan")):
        with pytest.raises(ValueError, match=f"frame_rate_hz={rate_hz}"):
            integrated(REF, REF, rate_hz)


def test_pooled_adds_the_counts():
    pieces = [Cells(1, 0, 0), Cells(1, 2, 6)]
    assert pooled(pieces) == Cells(2, 2, 6)
    assert pooled(pieces).score == PrecisionRecallF1(0.5, 0.25, 1 / 3)
    assert pooled([]) == Cells(0, 0, 0)

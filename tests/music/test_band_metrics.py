"""Scores of bands: by hand, against mir_eval, and what must not matter."""

import copy

import mir_eval
import numpy as np
import pytest
import score_inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.music.band_metrics import (
    EXTRA,
    MISSED,
    TOTALS,
    BandScores,
    Counts,
    band_scores,
    confusion_matrix,
    mean_band_scores,
    pooled_band_scores,
    without_unisons,
)
from mt3x.music.instrument_classes import CLASSES, DRUM_CLASSES, FAMILIES
from mt3x.music.metrics import PrecisionRecallF1, integrated, note_scores
from mt3x.music.notes import Notes

VIOLIN, VIOLA, CELLO, TRUMPET, CLARINET, BASSOON, FLUTE = 40, 41, 42, 56, 71, 70, 73
KICK, SNARE, OTHER_SNARE, PEDAL_HAT, CLOSED_HAT, OPEN_HAT = 36, 38, 40, 44, 42, 46
COWBELL = 56  # of no class
EMPTY = Notes.empty()


def melody(pitches, programs, onset_s=None) -> Notes:
    """Notes of 0.5 s, one a second unless said otherwise."""
    onset_s = np.arange(len(pitches)) if onset_s is None else np.array(onset_s)
    return Notes(onset_s, onset_s + 0.5, pitches, None, programs)


def hits(keys, onset_s=None) -> Notes:
    onset_s = np.arange(len(keys)) if onset_s is None else np.array(onset_s)
    return Notes(onset_s, onset_s, keys, None, None, [True] * len(keys))


def totals(ref: Notes, est: Notes) -> dict[str, tuple[int, int, int]]:
    counts = band_scores(ref, est).totals
    return {k: (c.matched, c.num_ref, c.num_est) for k, c in counts.items()}


# By hand.


def test_unisons_are_one_note():
    """The second begins 50 ms after the first, the third 60 ms; the last another."""
    notes = Notes(
        [1.0, 1.05, 1.06, 1.0, 3.0],
        [1.5, 2.0, 1.8, 1.2, 3.5],
        [60, 60, 60, 61, 60],
        [50, 90, 70, 10, 20],
        [VIOLIN, FLUTE, FLUTE, VIOLIN, VIOLIN],
    )
    expected = Notes(
        [1.0, 1.06, 1.0, 3.0],
        [2.0, 1.8, 1.2, 3.5],
        [60, 60, 61, 60],
        [90, 70, 10, 20],
        [VIOLIN, FLUTE, VIOLIN, VIOLIN],
    )
    assert without_unisons(notes).equals(expected)
    by_program = without_unisons(notes, notes.program)
    # Of the flute's two notes the second is 10 ms after the first.
    onset_s = by_program.onset_s[by_program.program == FLUTE]
    assert list(onset_s) == [1.05] and len(by_program) == 4


def test_followers_count_from_the_first():
    """0, 40, 80, 120 ms: the third is too far from the first, and begins a note."""
    notes = melody([60] * 4, [0] * 4, [1.0, 1.04, 1.08, 1.12])
    assert list(without_unisons(notes).onset_s) == [1.0, 1.08]


def test_unisons_count_once_for_notes_and_once_for_each_class():
    """A unison of violin and flute is one note of the keyboard, and two by class.

    That of violin and viola, which are one class, is one for both.
    """
    ref = melody([60, 60, 62, 62], [VIOLIN, FLUTE, VIOLIN, VIOLA], [1, 1.01, 2, 2.02])
    found = totals(ref, ref)
    assert found["note"] == found["note_offset"] == (2, 2, 2)
    assert found["note_class"] == found["note_family"] == (3, 3, 3)
    # The flute is not heard.
    found = totals(ref, ref[ref.program != FLUTE])
    assert found["note"] == (2, 2, 2)
    assert found["note_class"] == (2, 3, 2)


def test_class_family_and_confusion():
    """Trumpet as clarinet, oboe as clarinet (one family), a missed and an extra one."""
    ref = melody([60, 62, 64, 65, 67], [VIOLIN, TRUMPET, 68, BASSOON, VIOLA])
    est = melody([60, 62, 64, 79, 67], [VIOLIN, CLARINET, CLARINET, FLUTE, VIOLIN])
    scores = band_scores(ref, est)
    assert scores.totals["note"] == Counts(4, 5, 5)
    assert scores.totals["note_class"] == Counts(2, 5, 5)
    assert scores.totals["note_family"] == Counts(3, 5, 5)
    assert scores.confusion == {
        "violin and viola": {"violin and viola": 2},
        "trumpet": {"clarinet": 1},
        "oboe and English horn": {"clarinet": 1},
        "bassoon": {MISSED: 1},
        EXTRA: {"flutes": 1},
    }
    assert scores.classes["clarinet"] == Counts(0, 0, 2)
    assert scores.classes["violin and viola"] == Counts(2, 2, 2)
    assert scores.families == {
        "strings": Counts(2, 2, 2),
        "brass": Counts(0, 1, 0),
        "reeds": Counts(1, 2, 2),
        "flutes": Counts(0, 0, 1),
    }
    names, matrix = confusion_matrix(scores.confusion)
    assert names == [
        "violin and viola",
        "trumpet",
        "oboe and English horn",
        "clarinet",
        "bassoon",
        "flutes",
    ]
    assert matrix.shape == (7, 7) and matrix.sum() == 6
    assert matrix[1, 3] == matrix[4, 6] == matrix[6, 5] == 1


def test_notes_of_one_class_are_matched_first():
    """Either note of the estimate may be the trumpet's; its own one is."""
    ref = melody([60], [TRUMPET], [1.0])
    est = melody([60, 60], [CLARINET, TRUMPET], [1.0, 1.04])
    assert band_scores(ref, est).confusion == {
        "trumpet": {"trumpet": 1},
        EXTRA: {"clarinet": 1},
    }


def test_drums_by_class():
    """Keys of a class are one; cowbells are left out; hats are one in the goal."""
    ref = hits([KICK, SNARE, PEDAL_HAT, OPEN_HAT, 49, COWBELL])
    est = hits([35, OTHER_SNARE, CLOSED_HAT, CLOSED_HAT, 51, COWBELL, COWBELL])
    scores = band_scores(ref, est)
    assert scores.drum_classes == {
        "kick": Counts(1, 1, 1),
        "snare": Counts(1, 1, 1),
        "closed hat": Counts(1, 1, 2),
        "open hat": Counts(0, 1, 0),
        "ride": Counts(0, 0, 1),
        "crash": Counts(0, 1, 0),
    }
    assert scores.totals["drums"] == Counts(3, 5, 5)
    assert scores.totals["kick_snare_hats"] == Counts(4, 4, 4)
    assert (scores.num_ref_left_out, scores.num_est_left_out) == (1, 2)
    assert scores.totals["note"].is_empty and scores.confusion == {}


def test_flams_are_two_hits():
    ref = hits([SNARE, SNARE], [1.0, 1.03])
    assert totals(ref, hits([SNARE], [1.01]))["drums"] == (1, 2, 1)


def test_drums_are_no_notes():
    ref = hits([KICK])
    est = Notes(ref.onset_s, ref.offset_s, ref.pitch)
    scores = band_scores(ref, est)
    assert scores.totals["drums"] == Counts(0, 1, 0)
    assert scores.totals["note"] == Counts(0, 0, 1)
    assert scores.confusion == {EXTRA: {"piano": 1}}


@pytest.mark.parametrize("found", CLASSES)
def test_all_programs_of_a_class_are_one(found):
    programs = list(found.programs)
    ref = melody([60] * len(programs), programs)
    est = melody([60] * len(programs), [found.program] * len(programs))
    scores = band_scores(ref, est)
    assert scores.classes == {found.name: Counts(*[len(programs)] * 3)}
    assert scores.families == {found.family: Counts(*[len(programs)] * 3)}


@pytest.mark.parametrize("found", DRUM_CLASSES)
def test_all_keys_of_a_drum_are_one(found):
    ref = hits(list(found.keys))
    scores = band_scores(ref, hits([found.key] * len(found.keys)))
    assert scores.drum_classes == {found.name: Counts(*[len(found.keys)] * 3)}
    is_pooled = found.name in ("kick", "snare", "closed hat", "open hat")
    assert scores.totals["kick_snare_hats"].matched == is_pooled * len(found.keys)


def test_nothing():
    scores = band_scores(EMPTY, EMPTY)
    assert set(scores.totals.values()) == {Counts(0, 0, 0)}
    assert mean_band_scores([scores]) == mean_band_scores([]) == {}
    names, matrix = confusion_matrix(scores.confusion)
    assert names == [] and matrix.tolist() == [[0]]
    assert Counts(0, 0, 0).score == PrecisionRecallF1(0, 0, 0)


# Several pieces.

BAND = Notes.concatenate([melody([60, 62], [VIOLIN, 33]), hits([KICK, SNARE])])


def test_means_leave_out_pieces_without_notes_or_drums():
    """Drums that are not heard, and drums where there are none, count."""
    solo = melody([60, 62, 64], [VIOLIN] * 3)
    pieces = [
        band_scores(BAND, BAND),
        band_scores(solo, solo[:1]),
        band_scores(hits([KICK]), EMPTY),
    ]
    means = mean_band_scores(pieces)
    assert means["note"] == PrecisionRecallF1(1, 2 / 3, 3 / 4)
    assert means["drums"] == PrecisionRecallF1(1 / 2, 1 / 2, 1 / 2)
    assert list(means) == list(TOTALS)
    assert "drums" not in mean_band_scores(pieces[1:2])
    invented = band_scores(solo, Notes.concatenate([solo, hits([KICK])]))
    assert mean_band_scores([invented])["drums"].f1 == 0


def test_pooled_counts_are_those_of_the_pieces_one_after_another():
    pairs = [score_inputs.piece(seed) for seed in range(4)]
    # By whole seconds, so that all times of notes stay what they are.
    later = [
        tuple(notes.shift(64.0 * i) for notes in pair) for i, pair in enumerate(pairs)
    ]
    ref, est = (Notes.concatenate(side) for side in zip(*later, strict=True))
    pooled = pooled_band_scores([band_scores(*pair) for pair in pairs])
    whole = band_scores(ref, est)
    whole_frames, pooled_frames = (x.totals.pop("frame") for x in (whole, pooled))
    assert pooled == whole
    # Frames of 20 ms are rounded by the time from the start.
    assert pooled_frames.matched == pytest.approx(whole_frames.matched, rel=0.02)
    assert pooled_band_scores([]) == BandScores(
        {}, {}, {}, {}, {}, num_ref_left_out=0, num_est_left_out=0
    )


# Against mir_eval.


@pytest.mark.parametrize("seed", range(5))
def test_a_single_instrument_has_mir_evals_scores(seed):
    ref, est = (without_unisons(x[~x.is_drum]) for x in score_inputs.piece(seed))
    ref, est = (
        Notes(x.onset_s, x.offset_s + 0.01, x.pitch, x.velocity, [VIOLIN] * len(x))
        for x in (ref, est)
    )
    scores = band_scores(ref, est)
    arrays = []
    for notes in (ref, est):
        arrays.append(np.stack([notes.onset_s, notes.offset_s], axis=1))
        arrays.append(mir_eval.util.midi_to_hz(notes.pitch))
    for name, offset_ratio in (("note", None), ("note_offset", 0.2)):
        theirs = mir_eval.transcription.precision_recall_f1_overlap(
            *arrays, onset_tolerance=0.05, offset_ratio=offset_ratio
        )[:3]
        score = scores.totals[name].score
        assert (score.precision, score.recall, score.f1) == pytest.approx(theirs)
        assert score == getattr(note_scores(ref, est), name)
    assert scores.totals["frame"].score == integrated(ref, est).score
    note = scores.totals["note"]
    assert note.matched > 10
    assert note == scores.totals["note_class"] == scores.totals["note_family"]
    assert scores.classes == {"violin and viola": note}


@pytest.mark.parametrize("seed", range(5))
def test_drums_have_mir_evals_scores(seed):
    rng = np.random.default_rng(seed)
    keys = np.array([KICK, SNARE, CLOSED_HAT, OPEN_HAT])
    ref, est = (
        hits(rng.choice(keys, 60), np.sort(rng.uniform(0, 10, 60))) for _ in range(2)
    )
    scores = band_scores(ref, est)
    counted = {"kick": [KICK], "snare": [SNARE], "closed hat": [42], "open hat": [46]}
    for name, members in counted.items():
        onsets = [x.onset_s[np.isin(x.pitch, members)] for x in (ref, est)]
        f1, precision, recall = mir_eval.onset.f_measure(*onsets, window=0.05)
        score = scores.drum_classes[name].score
        assert (score.f1, score.precision, score.recall) == pytest.approx(
            (f1, precision, recall)
        )
    matched = 0
    for members in ([KICK], [SNARE], [CLOSED_HAT, OPEN_HAT]):
        onsets = [x.onset_s[np.isin(x.pitch, members)] for x in (ref, est)]
        matched += len(mir_eval.util.match_events(*onsets, window=0.05))
    assert scores.totals["kick_snare_hats"] == Counts(matched, 60, 60)


# What must not matter.


@st.composite
def bands(draw) -> Notes:
    size = draw(st.integers(0, 25))

    def column(values):
        return draw(st.lists(values, min_size=size, max_size=size))

    onset_s = np.array(column(st.integers(0, 100))) * 0.02
    return Notes(
        onset_s,
        onset_s + 0.1,
        column(st.integers(36, 40)),
        None,
        column(st.sampled_from([0, VIOLIN, VIOLA, CELLO, CLARINET, FLUTE])),
        column(st.booleans()),
    )


@settings(deadline=None)
@given(bands(), bands())
def test_counts_agree_with_one_another(ref, est):
    before = copy.deepcopy((ref, est))
    scores = band_scores(ref, est)
    assert all(map(Notes.equals, before, (ref, est)))
    for counts in scores.totals.values():
        assert 0 <= counts.matched <= min(counts.num_ref, counts.num_est)
    # Sides swapped: precision and recall are.
    for name, counts in band_scores(est, ref).totals.items():
        swapped = Counts(counts.matched, counts.num_est, counts.num_ref)
        assert swapped == scores.totals[name]
    names, matrix = confusion_matrix(scores.confusion)
    assert np.trace(matrix[:-1, :-1]) == scores.totals["note_class"].matched
    assert matrix[:-1].sum() == scores.totals["note_class"].num_ref
    assert matrix[:, :-1].sum() == scores.totals["note_class"].num_est
    assert list(scores.classes) == names
    assert set(scores.families) <= set(FAMILIES)
    assert scores.totals["drums"].num_ref + scores.num_ref_left_out == ref.is_drum.sum()
    # Itself: all is right.
    for counts in band_scores(ref, ref).totals.values():
        assert counts.matched == counts.num_ref == counts.num_est


@settings(deadline=None)
@given(bands())
def test_unisons_removed_stay_removed(notes):
    notes = notes[~notes.is_drum]
    merged = without_unisons(notes)
    assert without_unisons(merged).equals(merged)
    for pitch in np.unique(merged.pitch):
        gaps_s = np.diff(merged.onset_s[merged.pitch == pitch])
        assert (np.around(gaps_s, 4) > 0.05).all()
    assert set(notes.pitch) == set(merged.pitch)

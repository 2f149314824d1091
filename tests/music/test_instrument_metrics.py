"""MT3's scores: its golden values and its code, by hand, and what must not matter."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import score_inputs as inputs

from mt3x.music.instrument_metrics import (
    has_instruments,
    instrument_scores,
    mean_instrument_scores,
)
from mt3x.music.instruments import Instruments
from mt3x.music.notes import Notes

GOLDEN = Path(__file__).parents[1] / "golden" / "scores.json"
TRACKS = {
    "Piano": Instruments(frozenset([0]), drums=False),
    "Violin": Instruments(frozenset([40]), drums=False),
    "Drums": Instruments(frozenset(), drums=True),
}
EMPTY = Notes.empty()


@pytest.fixture(scope="module")
def mt3():
    """MT3's own code, where it is installed."""
    pytest.importorskip("mt3", reason="MT3 is not installed; golden files stand in")
    import mt3_reference

    return mt3_reference


def lengthened(notes: Notes) -> Notes:
    """As MT3's frame scores leave the notes that are not drums."""
    is_short = (notes.offset_s - notes.onset_s < 0.05) & ~notes.is_drum
    return Notes(
        notes.onset_s,
        np.where(is_short, notes.onset_s + 0.05, notes.offset_s),
        notes.pitch,
        notes.velocity,
        notes.program,
        notes.is_drum,
    )


def is_sweep(name: str) -> bool:
    return name.startswith("Onset + offset") and name.endswith(
        ("(0.01)", "(0.02)", "(0.05)", "(0.1)", "(0.2)", "(0.5)")
    )


# MT3.


def test_golden():
    golden = json.loads(GOLDEN.read_text())
    for seed, values in enumerate(golden["pieces"]):
        scores = instrument_scores(*inputs.piece(seed))
        assert sorted(scores) == sorted(golden["names"])
        expected = dict(zip(golden["names"], values, strict=True))
        assert scores == pytest.approx(expected, abs=1e-8), seed


@pytest.mark.parametrize("onsets_only", [False, True])
@pytest.mark.parametrize("with_tracks", [False, True])
def test_parity(mt3, onsets_only, with_tracks):
    """Also of pieces where a side has only drums, or one program."""
    tracks = TRACKS if with_tracks else {}
    specs = tuple(
        mt3.note_sequences.TrackSpec(name, min(track.programs, default=0), track.drums)
        for name, track in tracks.items()
    )
    for seed in range(50):
        ref, est = inputs.piece(seed, num_notes=1 + 3 * seed)
        if seed % 10 == 1:
            ref = ref[ref.is_drum]
        elif seed % 10 == 2:
            est = est[est.is_drum]
        elif seed % 10 == 3:
            ref, est = ref[ref.program == 40], est[~est.is_drum]
        both = Notes.concatenate([ref, est])
        if not all(len(both.select(track)) for track in tracks.values()):
            continue  # MT3 fails at a track without notes
        ours = instrument_scores(ref, est, onsets_only, tracks)
        theirs = mt3.scores(ref, est, onsets_only, specs)
        assert sorted(ours) == sorted(theirs)
        sweep = mt3.tolerance_sweep(ref, est)
        assert ours == pytest.approx(theirs | sweep, abs=1e-12), seed
        # MT3's sweep is that of the notes its frame scores have lengthened.
        longer = instrument_scores(lengthened(ref), lengthened(est))
        for name in filter(is_sweep, ours):
            assert longer[name] == pytest.approx(theirs[name]), (seed, name)


# By hand.

REF = Notes(
    [0.0, 1.0, 2.0, 3.0],
    [0.5, 2.0, 3.0, 3.2],
    [60, 62, 64, 36],
    [100] * 4,
    [0, 5, 40, 0],
    [False, False, False, True],
)
PROGRAM, DRUM, NONDRUM = (
    "Onset + offset + program F1",
    "Drum onset F1",
    "Nondrum onset + offset + program F1",
)


def test_itself():
    assert set(instrument_scores(REF, REF).values()) == {1.0}


@pytest.mark.parametrize("pair", [(EMPTY, EMPTY), (REF, EMPTY), (EMPTY, REF)])
def test_nothing(pair):
    assert set(instrument_scores(*pair, tracks=TRACKS).values()) == {0.0}


def test_granularities():
    """Programs 0 and 5 are pianos, 40 and 48 are two families."""
    est = Notes(*(getattr(REF, name) for name in ("onset_s", "offset_s", "pitch")),
                REF.velocity, [5, 5, 48, 0], REF.is_drum)  # fmt: skip
    scores = instrument_scores(REF, est)
    assert scores["Onset + offset F1"] == 1
    for granularity, num_matched in (("flat", 3), ("midi_class", 2), ("full", 1)):
        assert scores[f"{NONDRUM} ({granularity})"] == pytest.approx(num_matched / 3)
        assert scores[f"{PROGRAM} ({granularity})"] == (num_matched + 1) / 4
        assert scores[f"{DRUM} ({granularity})"] == 1


def test_drums_are_one_instrument_without_ends():
    ref = Notes([1.0, 2.0], [1.5, 2.5], [36, 38], None, [0, 16], [True, True])
    est = Notes([1.0, 2.0], [1.01, 2.01], [36, 38], None, [0, 0], [True, True])
    scores = instrument_scores(ref, est)
    assert scores[f"{DRUM} (full)"] == scores[f"{PROGRAM} (full)"] == 1
    assert scores["Onset F1"] == scores["Frame F1"] == 0  # they leave drums out
    tracks = instrument_scores(ref, est, tracks=TRACKS)
    assert tracks["Drums/Onset F1"] == tracks["Drums/Frame F1"] == 1
    assert "Drums/Onset + offset F1" not in tracks
    # A drum is not a note of the same number.
    plain = instrument_scores(ref, Notes(est.onset_s, est.offset_s, est.pitch))
    assert plain[f"{PROGRAM} (flat)"] == 0


def test_notes_count_not_instruments():
    """Nine notes of one program found, one of another missed: 9 of 10."""
    onset_s = np.arange(10.0)
    ref = Notes(onset_s, onset_s + 0.5, [60] * 10, None, [0] * 9 + [40])
    scores = instrument_scores(ref, ref[:9])
    assert scores["Onset + offset + program recall (full)"] == pytest.approx(0.9)
    assert scores["Onset + offset + program precision (full)"] == 1


def test_frames():
    # 31.25 frames and 50 ms, which is 3.125 frames; floor of both ends.
    ref = Notes([0.0, 1.0, 3.0], [0.5, 1.001, 3.5], [60, 60, 60], [100, 100, 30])
    est = Notes([0.0], [0.5], [60])
    scores = instrument_scores(ref, est)
    assert scores["Frame Recall"] == pytest.approx(31 / (31 + 3))
    assert scores["Frame Precision"] == 1
    # Two quiet notes of one pitch are loud together.
    both = Notes([0.0, 0.0], [1.0, 0.5], [60, 60], [20, 20], [0, 40])
    assert instrument_scores(both, est)["Frame F1"] == 1


@pytest.mark.parametrize("seed", range(20))
def test_frames_as_rolls(seed):
    """The frame score by its definition, cell by cell."""
    ref, est = inputs.piece(seed, num_notes=40)
    rolls = []
    for notes in (ref[~ref.is_drum], est[~est.is_drum]):
        duration_s = np.maximum(notes.offset_s - notes.onset_s, 0.05)
        begin = np.floor(notes.onset_s * 62.5).astype(int)
        end = np.floor((notes.onset_s + duration_s) * 62.5).astype(int)
        first = min(begin.min(initial=0), 0)
        roll_TxP = np.zeros((10_000, 128), int)
        for note in range(len(notes)):
            span = slice(begin[note] - first, end[note] - first)
            roll_TxP[span, notes.pitch[note]] += notes.velocity[note]
        rolls.append(roll_TxP)
    ref_TxP, est_TxP = rolls[0] > 30, rolls[1] > 0
    scores = instrument_scores(ref, est)
    hits = np.count_nonzero(ref_TxP & est_TxP)
    assert scores["Frame Precision"] == pytest.approx(hits / max(1, est_TxP.sum()))
    assert scores["Frame Recall"] == pytest.approx(hits / max(1, ref_TxP.sum()))


def test_sweep():
    ref = Notes([1.0], [2.0], [60])
    scores = instrument_scores(ref, ref.shift(0.03))
    assert [scores[f"Onset + offset F1 ({t})"] for t in (0.01, 0.02, 0.05, 0.5)] == [
        0,
        0,
        1,
        1,
    ]
    # 30 ms and 80 ms long: at 10 ms the ends are too far apart, lengthened or not.
    short = Notes([1.0], [1.03], [60])
    est = Notes([1.0], [1.05], [60])
    assert instrument_scores(short, est)["Onset + offset F1 (0.01)"] == 0


def test_arguments_are_not_changed():
    ref, est = inputs.piece(0)
    before = copy.deepcopy((ref, est))
    instrument_scores(ref, est, tracks=TRACKS)
    assert before[0].equals(ref) and before[1].equals(est)


def test_notes_before_zero_and_without_length():
    assert set(instrument_scores(REF.shift(-2), REF.shift(-2)).values()) == {1.0}
    dot = Notes([1.0], [1.0], [60])
    scores = instrument_scores(dot, dot)
    for name in ("Onset F1", f"{PROGRAM} (full)", "Onset + offset F1 (0.5)"):
        assert scores[name] == 0
    assert scores["Frame F1"] == 1


def test_mean():
    pieces = [instrument_scores(REF, REF), instrument_scores(REF, EMPTY)]
    assert set(mean_instrument_scores(pieces).values()) == {0.5}
    with pytest.raises(ValueError, match="no pieces to average"):
        mean_instrument_scores([])


def test_has_instruments():
    assert not has_instruments(EMPTY)
    assert not has_instruments(REF[:1])
    assert has_instruments(REF[:2])
    assert has_instruments(REF[3:])

"""The judge of moods: it learns, it is tested on pieces that it does not know."""

from dataclasses import replace

import numpy as np
import pytest

from mt3x.data.mood_pieces import MoodPiece
from mt3x.evaluation.mood_judge import MoodJudge, cross_validated, judge_features
from mt3x.music.notes import Notes

pytest.importorskip("sklearn")


def music(valence, arousal, rng):
    """Triads: major where pleasant; fast where excited, in any key."""
    third = 4 if valence > 0 else 3
    step_s = 0.5 * 2 ** (-1.5 * arousal) * rng.uniform(0.9, 1.1)
    pitch = rng.integers(48, 60) + np.array([0, third, 7, 12, 7, third])
    onset_s = np.arange(0, 10, step_s)
    return Notes(onset_s, onset_s + 2 * step_s, np.resize(pitch, len(onset_s)))


def clips(num_pieces, per_piece=2, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for piece in range(num_pieces):
        for mood in rng.uniform(-1, 1, (per_piece, 2)).tolist():
            found.append(MoodPiece(music(*mood, rng), *mood, str(piece), "a", "test"))
    return found


def correlations(x_Nx2, y_Nx2):
    return [np.corrcoef(x_Nx2[:, axis], y_Nx2[:, axis])[0, 1] for axis in range(2)]


def test_hears_the_moods_of_other_pieces():
    others = clips(20, seed=1)
    judged = MoodJudge(clips(40))([clip.notes for clip in others])
    wished = np.array([(clip.valence, clip.arousal) for clip in others])
    valence, arousal = correlations(wished, judged)
    assert valence > 0.6 and arousal > 0.9
    # Notes that are not music are judged too.
    assert np.isfinite(MoodJudge(others)([Notes.empty(), Notes([0], [1], [60])])).all()


def test_labels_are_ranked_within_each_source():
    few = clips(20)
    other = [
        replace(clip, valence=9 + clip.valence, arousal=clip.arousal / 9)
        for clip in few
    ]
    judged = [MoodJudge(some)([few[0].notes]) for some in (few, other)]
    np.testing.assert_allclose(*judged)
    # Two sources with the same music and other scales agree.
    mixed = few + [replace(clip, source="b") for clip in other]
    same = few + [replace(clip, source="b") for clip in few]
    judged = [MoodJudge(some)([few[0].notes]) for some in (mixed, same)]
    np.testing.assert_allclose(*judged)


def test_cross_validation_knows_no_piece():
    """Moods that are a piece's own, and not in its notes, cannot be heard."""
    rng = np.random.default_rng(0)
    moods = rng.uniform(-1, 1, (20, 2)).tolist()
    notes = [music(*rng.uniform(-1, 1, 2), rng) for _ in moods]
    same = [
        MoodPiece(notes[piece], *moods[piece], str(piece), "a", "test")
        for piece in np.repeat(range(20), 3)
    ]
    _, labels, judged = cross_validated(same)
    assert np.mean(correlations(labels, judged)) < 0.5
    assert min(correlations(labels, MoodJudge(same)([c.notes for c in same]))) > 0.9


def test_clips_without_a_mood_are_left_out():
    known = clips(10)
    unknown = MoodPiece(known[0].notes, np.nan, 0.5, "x", "a", "test")
    found, labels, judged = cross_validated([*known, unknown])
    assert len(found) == len(labels) == len(judged) == 20


def test_features_do_not_depend_on_key_or_beginning():
    notes = music(0.5, 0.5, np.random.default_rng(0))
    features = judge_features(notes)
    moved = judge_features(notes.transposed(5).shift(3))
    register = np.abs(features - moved) > 1e-9
    # Eleven bins of pitches and the means of pitch, bass and top.
    assert 0 < register.sum() <= 14
    assert judge_features(Notes.empty()).shape == features.shape


@pytest.mark.parametrize("num_pieces", [0, 1, 4])
def test_too_few_clips_are_an_error(num_pieces):
    with pytest.raises(ValueError, match=r"too few|cannot test"):
        cross_validated(clips(num_pieces, per_piece=3))

"""A judge of moods: boosted trees over what notes do.

It hears whether generated music has the mood that was asked for, and is to know nothing
of how the generator's labels came to be: it is fitted to clips of other pieces, has
none of the label model's profiles of keys, and is not linear. What it looks at are
histograms that stay the same when music is transposed (but for the register): intervals
over the bass, in the melody and in the bass, triads, durations, intervals between
onsets, velocities, the number of notes that sound.

scikit-learn's trees are taken since a judge has some hundred clips to learn from: a
recurrent network has too little there, and trees take a second.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from mt3x.data.mood_pieces import MoodPiece
from mt3x.music.moods import ranks
from mt3x.music.notes import Notes

__all__ = ["FOLDS", "MoodJudge", "cross_validated", "judge_features"]

FOLDS = 5
_RATE_HZ = 20  # of the roll
_TREES = {"n_estimators": 200, "learning_rate": 0.06, "max_depth": 3}
_DRAWS = {"subsample": 0.5, "max_features": 0.3, "random_state": 0}


class MoodJudge:
    """Trees for valence and for arousal, fitted to clips whose mood is known."""

    def __init__(self, clips: Sequence[MoodPiece]) -> None:
        """Fit the judge.

        Labels are ranked within each source, so that 0 is the middle of it: ratings of
        people are mostly pleasant, those of a model are what it was fitted to.

        Raises:
          ModuleNotFoundError: scikit-learn is missing.
          ValueError: there are too few clips with a mood.
        """
        if importlib.util.find_spec("sklearn") is None:
            raise ModuleNotFoundError(
                "a judge of moods needs scikit-learn: pip install 'mt3x[evaluate]'"
            )
        clips = _known(clips)
        if len(clips) < 10:
            raise ValueError(
                f"{len(clips)} clips with a mood are too few for a judge; give more"
            )
        self._fit(_features([clip.notes for clip in clips]), _labels(clips))

    def _fit(self, features_NxF: np.ndarray, labels_Nx2: np.ndarray) -> None:
        from sklearn.ensemble import GradientBoostingRegressor

        self._trees: list[Any] = [
            GradientBoostingRegressor(**_TREES, **_DRAWS).fit(features_NxF, labels_N)
            for labels_N in labels_Nx2.T
        ]

    def __call__(self, pieces: Sequence[Notes]) -> np.ndarray:
        """Return valence and arousal of N pieces [N, 2], about -1..1."""
        return self._judge(_features(pieces))

    def _judge(self, features_NxF: np.ndarray) -> np.ndarray:
        return np.stack([trees.predict(features_NxF) for trees in self._trees], 1)


def cross_validated(
    clips: Sequence[MoodPiece],
) -> tuple[list[MoodPiece], np.ndarray, np.ndarray]:
    """Return clips, their labels and what a judge says who has not seen their pieces.

    Pieces are dealt out to `FOLDS` judges, each fitted to what the others judge. Clips
    without a mood are left out.

    Returns:
      clips; labels [N, 2], ranked within each source; judged [N, 2].

    Raises:
      ModuleNotFoundError: scikit-learn is missing.
      ValueError: there are too few pieces with a mood.
    """
    judge = MoodJudge(clips)
    clips = _known(clips)
    _, piece_N = np.unique([clip.piece for clip in clips], return_inverse=True)
    if piece_N.max() < FOLDS:
        raise ValueError(
            f"clips of {piece_N.max() + 1} pieces cannot test a judge; give more"
        )
    fold_N = np.random.default_rng(0).permutation(piece_N.max() + 1)[piece_N] % FOLDS
    features_NxF = _features([clip.notes for clip in clips])
    labels_Nx2 = _labels(clips)
    judged_Nx2 = np.zeros_like(labels_Nx2)
    for fold in range(FOLDS):
        is_judged_N = fold_N == fold
        judge._fit(features_NxF[~is_judged_N], labels_Nx2[~is_judged_N])
        judged_Nx2[is_judged_N] = judge._judge(features_NxF[is_judged_N])
    return clips, labels_Nx2, judged_Nx2


def judge_features(notes: Notes) -> np.ndarray:
    """Return what a judge knows of notes; without any, zeros."""
    notes = notes[~notes.is_drum]
    if not len(notes):
        return np.zeros_like(judge_features(Notes([0], [1], [60])))
    notes = notes.shift(-notes.onset_s[0])
    length_s = notes.offset_s.max() + 1 / _RATE_HZ
    duration_s = np.maximum(notes.offset_s - notes.onset_s, 0.02)
    onset_s = np.unique(np.round(notes.onset_s, 2))
    interval_s = np.diff(onset_s)
    second_notes = np.bincount(notes.onset_s.astype(int))

    roll_TxP = _roll(notes)
    roll_TxP = roll_TxP[roll_TxP.any(axis=1)]
    bass_T = roll_TxP.argmax(axis=1)
    top_T = 127 - roll_TxP[:, ::-1].argmax(axis=1)
    frame, pitch = np.nonzero(roll_TxP)
    above = pitch - bass_T[frame]
    num_sounding_T = roll_TxP.sum(axis=1)
    steps, bass_steps = (line[line != 0] for line in map(np.diff, (top_T, bass_T)))

    class_C = np.bincount(pitch % 12, minlength=12) / len(pitch)
    shifted_CxC = np.stack([np.roll(class_C, -number) for number in range(12)])
    triads_2xC = np.cbrt(class_C * shifted_CxC[[4, 3]] * shifted_CxC[7])
    return np.concatenate(
        (
            _shares(above[above > 0] % 12, np.arange(13)),
            _shares(steps % 12, np.arange(13)),
            _shares(bass_steps % 12, np.arange(13)),
            shifted_CxC[1:7] @ class_C,
            np.sort(class_C),
            np.sort(triads_2xC, axis=1)[:, -4:].ravel(),
            _shares(np.log2(interval_s), np.arange(-5, 3)),
            _shares(np.log2(duration_s), np.arange(-5, 4)),
            _shares(notes.pitch, np.arange(20, 110, 8)),
            _shares(num_sounding_T, np.arange(1, 13)),
            _shares(notes.velocity, np.arange(1, 129, 16)),
            (
                len(notes) / length_s,
                len(onset_s) / length_s,
                len(roll_TxP) / _RATE_HZ / length_s,
                second_notes.std(),
                notes.velocity.mean(),
                notes.velocity.std(),
                notes.pitch.mean(),
                notes.pitch.std(),
                np.abs(steps).mean() if len(steps) else 0.0,
                bass_T.mean(),
                top_T.mean(),
                num_sounding_T.mean(),
            ),
        )
    )


def _known(clips: Sequence[MoodPiece]) -> list[MoodPiece]:
    return [clip for clip in clips if np.isfinite(clip.valence + clip.arousal)]


def _labels(clips: Sequence[MoodPiece]) -> np.ndarray:
    moods_Nx2 = np.array([(clip.valence, clip.arousal) for clip in clips])
    source_N = np.array([clip.source for clip in clips])
    for source in np.unique(source_N):
        inside_N = source_N == source
        for axis in range(2):
            moods_Nx2[inside_N, axis] = ranks(moods_Nx2[inside_N, axis])
    return moods_Nx2


def _features(pieces: Sequence[Notes]) -> np.ndarray:
    return np.array([judge_features(notes) for notes in pieces])


def _roll(notes: Notes) -> np.ndarray:
    """Return whether each pitch sounds in each frame [T, 128]."""
    first = (notes.onset_s * _RATE_HZ).astype(int)
    last = np.maximum(np.ceil(notes.offset_s * _RATE_HZ).astype(int), first + 1)
    change_TxP = np.zeros((last.max() + 1, 128), int)
    np.add.at(change_TxP, (first, notes.pitch), 1)
    np.add.at(change_TxP, (last, notes.pitch), -1)
    return change_TxP.cumsum(axis=0)[:-1] > 0


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of values in each bin; the outer ones have what is beyond."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return counts / max(counts.sum(), 1)

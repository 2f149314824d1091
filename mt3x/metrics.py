"""Scores of a transcription against reference notes, as the piano literature has them.

- frame: both note lists become rolls of 20 ms frames in which pitch p sounds from
  frame `round(onset * 50)` until before frame `round(offset * 50)`, at least one
  frame (the labels HPPNet and Onsets and Frames train on; round half to even).
  Precision, recall and F1 count (frame, pitch) cells, which is what
  `mir_eval.multipitch` counts for pitches on semitones.
- note: same pitch, onset within 50 ms (Bay et al. 2009; `mir_eval.transcription`).
- note_offset: and the offset within 20 % of the reference note's duration or 50 ms,
  whichever is more.
- note_offset_velocity: and the velocity within 0.1, after reference velocities are
  scaled to 0..1 over the piece and estimated ones fitted to them by a line
  (Hawthorne et al. 2018, arXiv:1710.11153; `mir_eval.transcription_velocity`).

Conventions: time differences are rounded to 0.1 ms before they are compared, as
mir_eval does. Programs and drum flags are not looked at. A note of zero length counts
as 1 ms long (mir_eval accepts none). Where reference or estimate is empty, or both,
the scores are 0: mir_eval's convention. Means over pieces are plain means of the
pieces' scores. Nothing here changes its arguments.

Notes of different pitch never match, so the matching is done pitch by pitch: the
scores are those of one call of mir_eval with all notes (tests compare them), at a
fraction of the time and memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import mir_eval
import numpy as np

from mt3x.notes import Notes

__all__ = [
    "PrecisionRecallF1",
    "Scores",
    "count_velocity_matches",
    "match_notes",
    "mean_scores",
    "median_onset_shift",
    "score",
]

FRAME_RATE_HZ = 50.0
ONSET_TOLERANCE_S = 0.05
OFFSET_RATIO = 0.2
OFFSET_MIN_TOLERANCE_S = 0.05
VELOCITY_TOLERANCE = 0.1
MAX_SHIFT_S = 0.15
"""The largest shift that `median_onset_shift` looks for."""
MIN_DURATION_S = 0.001


@dataclass(frozen=True)
class PrecisionRecallF1:
    """Each in 0..1."""

    precision: float
    recall: float
    f1: float

    @classmethod
    def from_counts(
        cls, num_matched: int, num_ref: int, num_est: int
    ) -> "PrecisionRecallF1":
        """Of matched, reference and estimated items; 0 where a count is 0."""
        if num_matched == 0:
            return cls(0.0, 0.0, 0.0)
        return cls(
            precision=num_matched / num_est,
            recall=num_matched / num_ref,
            f1=2 * num_matched / (num_ref + num_est),
        )


@dataclass(frozen=True)
class Scores:
    """The four scores of one piece, or their means (see the module's docstring)."""

    frame: PrecisionRecallF1
    note: PrecisionRecallF1
    note_offset: PrecisionRecallF1
    note_offset_velocity: PrecisionRecallF1

    def to_dict(self) -> dict[str, dict[str, float]]:
        """`{"frame": {"precision": ..., "recall": ..., "f1": ...}, "note": ...}`."""
        return {
            field.name: dict(vars(getattr(self, field.name))) for field in fields(self)
        }


def score(ref: Notes, est: Notes) -> Scores:
    """All four scores of the estimated notes `est` against the reference `ref`."""
    by_onset = match_notes(ref, est, ONSET_TOLERANCE_S, offset_ratio=None)
    by_offset = match_notes(ref, est, ONSET_TOLERANCE_S, offset_ratio=OFFSET_RATIO)
    num_by_velocity = count_velocity_matches(ref, est, by_offset)
    counts = len(ref), len(est)
    return Scores(
        frame=_frame_score(ref, est),
        note=PrecisionRecallF1.from_counts(len(by_onset), *counts),
        note_offset=PrecisionRecallF1.from_counts(len(by_offset), *counts),
        note_offset_velocity=PrecisionRecallF1.from_counts(num_by_velocity, *counts),
    )


def mean_scores(pieces: Sequence[Scores]) -> Scores:
    """The mean of every number over `pieces`, each piece counting the same.

    Raises:
      ValueError: there are no pieces.
    """
    if not pieces:
        raise ValueError("no pieces to average; score at least one")

    def mean(kind: str, number: str) -> float:
        return float(np.mean([getattr(getattr(p, kind), number) for p in pieces]))

    return Scores(
        *(
            PrecisionRecallF1(
                *(mean(kind.name, number.name) for number in fields(PrecisionRecallF1))
            )
            for kind in fields(Scores)
        )
    )


def median_onset_shift(ref: Notes, est: Notes) -> float:
    """How many seconds the estimated onsets come late, by the median matched note.

    Notes are matched within 50 ms once a first guess is taken off: the shift of at
    most 150 ms at which the most onsets of equal pitch fall together, the smallest of
    those that are as good, so that fast repetitions are not matched to a neighbour. 0
    where nothing matches.
    """
    guess_s = _coarse_shift(ref, est)
    pairs = match_notes(ref, est.shift(-guess_s), ONSET_TOLERANCE_S, offset_ratio=None)
    if len(pairs) == 0:
        return 0.0
    return float(np.median(est.onset_s[pairs[:, 1]] - ref.onset_s[pairs[:, 0]]))


def _coarse_shift(ref: Notes, est: Notes) -> float:
    parts = [np.zeros(0)]
    for pitch in np.intersect1d(ref.pitch, est.pitch):
        ref_onset_s = ref.onset_s[ref.pitch == pitch]
        est_onset_s = est.onset_s[est.pitch == pitch]
        # Estimated onsets first..last-1 are within reach of each reference onset.
        first = np.searchsorted(est_onset_s, ref_onset_s - MAX_SHIFT_S, side="left")
        last = np.searchsorted(est_onset_s, ref_onset_s + MAX_SHIFT_S, side="right")
        for onset_s, begin, end in zip(ref_onset_s, first, last, strict=True):
            parts.append(est_onset_s[begin:end] - onset_s)
    shift_s = np.sort(np.concatenate(parts))
    if len(shift_s) == 0:
        return 0.0
    # Half the tolerance, so that a shift stands out from half of itself.
    below = np.searchsorted(shift_s, shift_s - ONSET_TOLERANCE_S / 2, side="left")
    above = np.searchsorted(shift_s, shift_s + ONSET_TOLERANCE_S / 2, side="right")
    num_near = above - below
    best = shift_s[num_near == num_near.max()]
    return float(best[np.argmin(np.abs(best))])


def _frame_score(ref: Notes, est: Notes) -> PrecisionRecallF1:
    first, last = 0, 0
    for notes in (ref, est):
        if len(notes):
            begin_frame, end_frame = _frames(notes)
            first = min(first, int(begin_frame.min()))
            last = max(last, int(end_frame.max()))
    ref_TxP = _roll(ref, first, last)
    est_TxP = _roll(est, first, last)
    return PrecisionRecallF1.from_counts(
        int(np.count_nonzero(ref_TxP & est_TxP)),
        int(np.count_nonzero(ref_TxP)),
        int(np.count_nonzero(est_TxP)),
    )


def _frames(notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """First frame of each note and the frame after its last."""
    begin_frame = np.rint(notes.onset_s * FRAME_RATE_HZ).astype(np.int64)
    end_frame = np.rint(notes.offset_s * FRAME_RATE_HZ).astype(np.int64)
    return begin_frame, np.maximum(end_frame, begin_frame + 1)


def _roll(notes: Notes, first: int, last: int) -> np.ndarray:
    """Which pitches sound in the frames from `first` until before `last`."""
    roll_TxP = np.zeros((last - first, 128), bool)
    begin_frame, end_frame = _frames(notes)
    for begin, end, pitch in zip(begin_frame, end_frame, notes.pitch, strict=True):
        roll_TxP[begin - first : end - first, pitch] = True
    return roll_TxP


def match_notes(
    ref: Notes,
    est: Notes,
    onset_tolerance_s: float,
    offset_ratio: float | None,
    offset_min_tolerance_s: float = OFFSET_MIN_TOLERANCE_S,
) -> np.ndarray:
    """A largest matching as pairs of indices [matches, 2] into `ref` and `est`.

    Args:
      ref, est: notes; their programs are not looked at.
      onset_tolerance_s: how far onsets may be apart.
      offset_ratio: how far offsets may be apart, as a part of the reference note's
        duration; None: as far as they like.
      offset_min_tolerance_s: how far they may always be apart.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    # mir_eval takes no negative times.
    origin_s = min(ref.onset_s.min(initial=0.0), est.onset_s.min(initial=0.0))
    ref_intervals, est_intervals = _intervals(ref, origin_s), _intervals(est, origin_s)
    for pitch in np.intersect1d(ref.pitch, est.pitch):
        ref_index = np.flatnonzero(ref.pitch == pitch)
        est_index = np.flatnonzero(est.pitch == pitch)
        hz = mir_eval.util.midi_to_hz(np.float64(pitch))
        matching = mir_eval.transcription.match_notes(
            ref_intervals=ref_intervals[ref_index],
            ref_pitches=np.full(len(ref_index), hz),
            est_intervals=est_intervals[est_index],
            est_pitches=np.full(len(est_index), hz),
            onset_tolerance=onset_tolerance_s,
            offset_ratio=offset_ratio,  # pyright: ignore[reportArgumentType]
            offset_min_tolerance=offset_min_tolerance_s,
        )
        if matching:
            ref_found, est_found = np.array(matching).T
            pairs.append(np.stack([ref_index[ref_found], est_index[est_found]], axis=1))
    return np.concatenate(pairs)


def _intervals(notes: Notes, origin_s: float) -> np.ndarray:
    offset_s = np.maximum(notes.offset_s, notes.onset_s + MIN_DURATION_S)
    return np.stack([notes.onset_s, offset_s], axis=1) - origin_s


def count_velocity_matches(ref: Notes, est: Notes, pairs: np.ndarray) -> int:
    """How many matched pairs keep within the velocity tolerance.

    As `mir_eval.transcription_velocity.match_notes`, from a matching already made.
    """
    if len(pairs) == 0:
        return 0
    lowest = ref.velocity.min()
    ref_loudness = (ref.velocity - lowest) / max(1, ref.velocity.max() - lowest)
    ref_loudness = ref_loudness[pairs[:, 0]]
    est_velocity = est.velocity[pairs[:, 1]].astype(np.float64)
    design = np.stack([est_velocity, np.ones(len(pairs))], axis=1)
    line = np.linalg.lstsq(design, ref_loudness, rcond=None)[0]
    error = np.abs(design @ line - ref_loudness)
    return int(np.count_nonzero(error < VELOCITY_TOLERANCE))

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
- integrated: the frame score of all pitched instruments together, with its counts,
  see `integrated`.

Conventions: time differences are rounded to 0.1 ms before they are compared, as
mir_eval does. Programs and drum flags are not looked at, but by `integrated`. A note of
zero length counts as 1 ms long (mir_eval accepts none). Where reference or estimate is
empty, or both, the scores are 0: mir_eval's convention. Means over pieces are plain
means of the pieces' scores. Nothing here changes its arguments.

Only notes of one pitch with near onsets are compared, and rolls are counted without
being drawn: the scores are those of one call of mir_eval with all notes (tests compare
them), at a fraction of the time and memory.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields

import mir_eval
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from mt3x.music.notes import Notes

__all__ = [
    "Cells",
    "PrecisionRecallF1",
    "Scores",
    "Spans",
    "count_cells",
    "count_velocity_matches",
    "integrated",
    "match_notes",
    "mean_scores",
    "mean_triples",
    "median_onset_shift",
    "note_scores",
    "pooled",
]

FRAME_RATE_HZ = 50.0
MAX_FRAME_RATE_HZ = 1e6
ONSET_TOLERANCE_S = 0.05
OFFSET_RATIO = 0.2
OFFSET_MIN_TOLERANCE_S = 0.05
VELOCITY_TOLERANCE = 0.1
NEAR_SHIFT_S, MAX_SHIFT_S = 0.15, 5.0
"""How far `median_onset_shift` looks, first and then."""
MOST_FOR_GUESS = 1_000_000
"""How many pairs of notes it takes for a first guess, about."""
CHANCE_SIGMAS = 5.0
"""How many standard deviations above chance are none."""
SHORTEST_S = 0.001
MARGIN_S = 0.001
"""More than the rounding of time differences moves."""
MOST_PAIRS = 5_000_000
"""More pairs of near notes would take gigabytes; twenty hours of music have fewer."""
MOST_EDGES = 1_000_000
"""mir_eval's matching takes seconds for them."""

Spans = tuple[np.ndarray, np.ndarray]
"""The first frame of each note and the frame after its last."""


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
        """Divide counts of matched, reference and estimated items; 0 where one is 0."""
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
        """Return `{"frame": {"precision": ..., "recall": ..., "f1": ...}, ...}`."""
        return {
            field.name: dict(vars(getattr(self, field.name))) for field in fields(self)
        }


@dataclass(frozen=True)
class Cells:
    """How many (frame, pitch) cells of two piano rolls sound in both, or in one."""

    true_positives: int
    false_positives: int  # in the estimate alone
    false_negatives: int  # in the reference alone

    @property
    def score(self) -> PrecisionRecallF1:
        """From the counts: TP / (TP + FP) and so on; 0 where TP is 0."""
        return PrecisionRecallF1.from_counts(
            self.true_positives,
            num_ref=self.true_positives + self.false_negatives,
            num_est=self.true_positives + self.false_positives,
        )


def note_scores(ref: Notes, est: Notes) -> Scores:
    """Score the estimated notes `est` against the reference `ref`, in four ways."""
    by_onset = match_notes(ref, est, ONSET_TOLERANCE_S, offset_ratio=None)
    by_offset = match_notes(ref, est, ONSET_TOLERANCE_S, offset_ratio=OFFSET_RATIO)
    num_by_velocity = count_velocity_matches(ref, est, by_offset)
    counts = len(ref), len(est)
    return Scores(
        frame=_cells(ref, est, FRAME_RATE_HZ).score,
        note=PrecisionRecallF1.from_counts(len(by_onset), *counts),
        note_offset=PrecisionRecallF1.from_counts(len(by_offset), *counts),
        note_offset_velocity=PrecisionRecallF1.from_counts(num_by_velocity, *counts),
    )


def mean_scores(pieces: Sequence[Scores]) -> Scores:
    """Return the mean of every number over `pieces`, which count the same.

    Raises:
      ValueError: `pieces` is empty.
    """
    if not pieces:
        raise ValueError("no pieces to average; score at least one")

    return Scores(
        *(
            mean_triples([getattr(piece, kind.name) for piece in pieces])
            for kind in fields(Scores)
        )
    )


def mean_triples(pieces: Sequence[PrecisionRecallF1]) -> PrecisionRecallF1:
    """Return the mean of precision, of recall and of F1."""
    numbers_Nx3 = [(p.precision, p.recall, p.f1) for p in pieces]
    return PrecisionRecallF1(*map(float, np.mean(numbers_Nx3, axis=0)))


def integrated(ref: Notes, est: Notes, frame_rate_hz: float = FRAME_RATE_HZ) -> Cells:
    """Compare the piano rolls of all pitched instruments together, cell by cell.

    The integrated evaluation of Kim and Ahn, "Explore the feasibility of acoustic model
    augmented Transformer for multi-task music transcription", section 4.2. A cell is a
    frame and one of 128 pitches; instruments that share one count once. `.score` is
    what `sklearn.metrics.precision_recall_fscore_support` gives (average="binary",
    zero_division=0) for the flattened rolls. So with no reference, no estimate, or
    neither, precision, recall and F1 are 0; the counts tell which.

    Where it says more than the paper, or differs:

    - Eq. 1 and 2 are sums over frames of TP[t] / (TP[t] + FP[t]), which grow with the
      frames beyond 1 and which scikit-learn does not compute. Here numerator and
      denominator are summed over frames and pitches, as scikit-learn does.
    - Drums are left out: their keys are not pitches and their hits have no length. So
      it is in pretty_midi's piano rolls.
    - It states no frame rate. By default frames are those of the `frame` score, 20 ms,
      and notes fill them in the same way, so that the two are equal where there are no
      drums.

    Args:
      ref, est: the reference's and the estimated notes.
      frame_rate_hz: frames per second; MT3's own frame score has 62.5.

    Raises:
      ValueError: the frame rate is not in 0..10^6.
    """
    if not 0 < frame_rate_hz <= MAX_FRAME_RATE_HZ:
        raise ValueError(
            f"frame_rate_hz={frame_rate_hz} must be a positive number, at most "
            f"{MAX_FRAME_RATE_HZ:g}"
        )
    return _cells(ref[~ref.is_drum], est[~est.is_drum], frame_rate_hz)


def pooled(pieces: Sequence[Cells]) -> Cells:
    """Add up the cells of all pieces, as if they were one; long pieces weigh more."""
    return Cells(
        *(sum(getattr(p, count.name) for p in pieces) for count in fields(Cells))
    )


def median_onset_shift(ref: Notes, est: Notes) -> float | None:
    """Return how many seconds the estimated onsets come late (median of matches).

    Notes are matched within 50 ms once a first guess is taken off: the shift at which
    the most onsets of equal pitch fall together, the smallest of those that are as
    good, so that fast repetitions are not matched to a neighbour. It is looked for up
    to 150 ms, and where it cannot be told from chance there, up to 5 s.

    Returns:
      The shift; None where there is none: fewer than half of the notes match (of the
      side that has fewer), and no more of them than would by chance.
    """
    for reach_s in (NEAR_SHIFT_S, MAX_SHIFT_S):
        guess_s, stands_out = _coarse_shift(ref, est, reach_s)
        pairs = match_notes(
            ref, est.shift(-guess_s), ONSET_TOLERANCE_S, offset_ratio=None
        )
        # Far away, rhythms repeat: there it takes most of the notes.
        is_trusted = stands_out and reach_s == NEAR_SHIFT_S
        if len(pairs) and (is_trusted or 2 * len(pairs) >= min(len(ref), len(est))):
            return float(np.median(est.onset_s[pairs[:, 1]] - ref.onset_s[pairs[:, 0]]))
    return None


def _coarse_shift(ref: Notes, est: Notes, reach_s: float) -> tuple[float, bool]:
    """Return the best shift, and whether more notes agree on it than by chance."""
    # A part of many notes is enough for a guess.
    num_pairs = int(_ranges(ref, est, reach_s)[2].sum())
    ref = ref[:: 1 + num_pairs // MOST_FOR_GUESS]
    ref_near, est_near = _near(ref, est, reach_s)
    ref_onset_s, est_onset_s = ref.onset_s[ref_near], est.onset_s[est_near]
    shift_s = (est_onset_s - ref_onset_s)[
        (est_onset_s >= ref_onset_s - reach_s) & (est_onset_s <= ref_onset_s + reach_s)
    ]
    shift_s = np.sort(shift_s)
    if len(shift_s) == 0:
        return 0.0, False
    # Half the tolerance, so that a shift stands out from half of itself.
    below = np.searchsorted(shift_s, shift_s - ONSET_TOLERANCE_S / 2, side="left")
    above = np.searchsorted(shift_s, shift_s + ONSET_TOLERANCE_S / 2, side="right")
    num_near = above - below
    best = shift_s[num_near == num_near.max()]
    num_by_chance = len(shift_s) * ONSET_TOLERANCE_S / (2 * reach_s)
    stands_out = num_near.max() > num_by_chance + CHANCE_SIGMAS * np.sqrt(num_by_chance)
    return float(best[np.argmin(np.abs(best))]), bool(stands_out)


def _cells(ref: Notes, est: Notes, frame_rate_hz: float) -> Cells:
    ref_spans, est_spans = (_frames(notes, frame_rate_hz) for notes in (ref, est))
    return count_cells(ref, ref_spans, est, est_spans)


def count_cells(
    ref: Notes, ref_spans: Spans, est: Notes, est_spans: Spans, ref_loudness: int = 0
) -> Cells:
    """Count the cells of two piano rolls, which may be of any length.

    Args:
      ref, est: notes.
      ref_spans, est_spans: where their notes are.
      ref_loudness: what the velocities of a reference cell must add up to more than.
    """
    frame = np.concatenate([*ref_spans, *est_spans])
    pitch = np.concatenate([ref.pitch, ref.pitch, est.pitch, est.pitch])
    velocity = np.concatenate(
        [ref.velocity, -ref.velocity, est.velocity, -est.velocity]
    )
    is_ref = np.arange(len(frame)) < 2 * len(ref)
    order = np.lexsort((frame, pitch))
    frame, velocity, is_ref = frame[order], velocity[order], is_ref[order]
    # The changes of a pitch add up to 0, so that all pitches can follow one another.
    in_ref = np.cumsum(np.where(is_ref, velocity, 0)) > ref_loudness
    in_est = np.cumsum(np.where(is_ref, 0, velocity)) > 0
    num_frames = np.diff(frame, append=0)
    return Cells(
        true_positives=int(num_frames[in_ref & in_est].sum()),
        false_positives=int(num_frames[in_est & ~in_ref].sum()),
        false_negatives=int(num_frames[in_ref & ~in_est].sum()),
    )


def _frames(notes: Notes, frame_rate_hz: float) -> Spans:
    begin_frame = np.rint(notes.onset_s * frame_rate_hz).astype(np.int64)
    end_frame = np.rint(notes.offset_s * frame_rate_hz).astype(np.int64)
    return begin_frame, np.maximum(end_frame, begin_frame + 1)


def match_notes(
    ref: Notes,
    est: Notes,
    onset_tolerance_s: float,
    offset_ratio: float | None,
    offset_min_tolerance_s: float = OFFSET_MIN_TOLERANCE_S,
) -> np.ndarray:
    """Return a largest matching: pairs of indices [matches, 2] into `ref` and `est`.

    Args:
      ref, est: notes; their programs are not looked at.
      onset_tolerance_s: how far onsets may be apart.
      offset_ratio: how far offsets may be apart, as a part of the reference note's
        duration; None: as far as they like.
      offset_min_tolerance_s: how far they may always be apart.
    """
    ref_near, est_near = _near(ref, est, onset_tolerance_s)
    # The arithmetic is mir_eval's, so that what lies on a limit counts as there. It
    # takes no negative times.
    origin_s = min(ref.onset_s.min(initial=0.0), est.onset_s.min(initial=0.0))
    ref_Ex2 = _intervals(ref, origin_s)[ref_near]
    est_Ex2 = _intervals(est, origin_s)[est_near]
    distance_s_Ex2 = np.around(
        np.abs(ref_Ex2 - est_Ex2), mir_eval.transcription.N_DECIMALS
    )
    hits_E = distance_s_Ex2[:, 0] <= onset_tolerance_s
    if offset_ratio is not None:
        tolerance_s_E = offset_ratio * (ref_Ex2[:, 1] - ref_Ex2[:, 0])
        tolerance_s_E = np.maximum(tolerance_s_E, offset_min_tolerance_s)
        hits_E &= distance_s_Ex2[:, 1] <= tolerance_s_E
    return _largest_matching(ref_near[hits_E], est_near[hits_E])


def _near(ref: Notes, est: Notes, reach_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of all pairs of one pitch with onsets up to `reach_s` apart.

    Some are a little further apart. Reference notes are in order, then estimated ones.

    Raises:
      ValueError: there are too many, as of notes that all begin at once.
    """
    place_N, begin, count = _ranges(ref, est, reach_s)
    num_pairs = int(count.sum())
    if num_pairs > MOST_PAIRS:
        raise ValueError(
            f"{num_pairs} pairs of notes of one pitch begin within {reach_s:g} s; "
            "check that onsets are in seconds"
        )
    ref_near = np.repeat(np.arange(len(ref)), count)
    nth = np.arange(len(ref_near)) - np.repeat(np.cumsum(count) - count, count)
    return ref_near, place_N[np.repeat(begin, count) + nth]


def _ranges(
    ref: Notes, est: Notes, reach_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return estimated notes by pitch and onset, and those that are near to each `ref`.

    Returns:
      Indices of all estimated notes; where in them those begin that are near to a
      reference note; how many they are.
    """
    reach_s += MARGIN_S
    first = np.searchsorted(est.onset_s, ref.onset_s - reach_s, side="left")
    last = np.searchsorted(est.onset_s, ref.onset_s + reach_s, side="right")
    # Estimated notes by pitch, then in their order, as whole numbers.
    stride = len(est) + 1
    place_N = np.sort(est.pitch * np.int64(stride) + np.arange(len(est)))
    begin, end = (
        np.searchsorted(place_N, ref.pitch * np.int64(stride) + bound)
        for bound in (first, last)
    )
    return place_N % stride, begin, end - begin


def _largest_matching(ref_E: np.ndarray, est_E: np.ndarray) -> np.ndarray:
    """Return mir_eval's largest matching along E edges: pairs [matches, 2].

    Only notes with a choice are given to its algorithm: what it finds in one part of a
    graph does not depend on the others.
    """
    has_choice_E = (np.bincount(ref_E)[ref_E] > 1) | (np.bincount(est_E)[est_E] > 1)
    pairs = np.stack([ref_E, est_E], axis=1)
    chosen = _choose(pairs[has_choice_E])
    pairs = np.concatenate([pairs[~has_choice_E], chosen])
    return pairs[np.argsort(pairs[:, 0])]


def _choose(edges: np.ndarray) -> np.ndarray:
    """Return a largest matching along edges [E, 2]: pairs [matches, 2]."""
    if len(edges) <= MOST_EDGES:
        graph: dict[int, list[int]] = {}
        for ref, est in edges.tolist():
            graph.setdefault(est, []).append(ref)
        # None of its public functions takes edges. Where a change of one pair moves a
        # thousand others, it cannot go that deep.
        with suppress(RecursionError):
            chosen = list(mir_eval.util._bipartite_match(graph).items())
            return np.array(chosen, int).reshape(-1, 2)
    # As large, but where there are several, it may be another one.
    matrix = csr_array((np.ones(len(edges), bool), edges.T))
    est_of_ref = maximum_bipartite_matching(matrix, perm_type="column")
    matched = np.flatnonzero(est_of_ref >= 0)
    return np.stack([matched, est_of_ref[matched]], axis=1)


def _intervals(notes: Notes, origin_s: float) -> np.ndarray:
    offset_s = np.maximum(notes.offset_s, notes.onset_s + SHORTEST_S)
    return np.stack([notes.onset_s, offset_s], axis=1) - origin_s


def count_velocity_matches(ref: Notes, est: Notes, pairs: np.ndarray) -> int:
    """Count matched pairs that keep within the velocity tolerance.

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

"""Scores of a transcription of a band: its notes, who plays them, and its drums.

Each score is a count of matched, reference and estimated items (`Counts`), from which
come precision, recall and F1, and which adds up over pieces. `TOTALS` names them:

- note, note_offset, frame: all pitched notes together, whatever their instrument, as in
  `mt3x.music.metrics`. Unisons are one note: what begins within 50 ms of the first note
  of a pitch, from the first onset to the last offset.
- note_class, note_family: pitch and onset as in note, and the class of 24 or the family
  of 13 (`mt3x.music.instrument_classes`). Unisons in a class or a family are one note.
- drums: hits of the same class of 8 within 50 ms.
- kick_snare_hats: the hits of these three alone, closed and open hats being one.

Drums by keys that no class holds are left out, and counted. By class and family there
are counts of their own.

The confusion matrix counts the notes of each class by the class they are written as.
Notes of one class are matched first, as in note_class, which is its diagonal; then
those that are left, whatever their class. What has no partner then is missed or extra.

Matching, conventions and rounding are those of `mt3x.music.metrics`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mt3x.music.instrument_classes import (
    CLASS_OF_PROGRAM,
    CLASSES,
    DRUM_CLASS_OF_KEY,
    DRUM_CLASSES,
    FAMILIES,
    FAMILY_OF_CLASS,
)
from mt3x.music.metrics import (
    OFFSET_RATIO,
    ONSET_TOLERANCE_S,
    PrecisionRecallF1,
    integrated,
    match_notes,
    mean_triples,
)
from mt3x.music.notes import Notes

__all__ = [
    "EXTRA",
    "MISSED",
    "TOTALS",
    "BandScores",
    "Confusion",
    "Counts",
    "band_scores",
    "confusion_matrix",
    "mean_band_scores",
    "pooled_band_scores",
    "without_unisons",
]

TOTALS = (
    "note",
    "note_offset",
    "frame",
    "note_class",
    "note_family",
    "drums",
    "kick_snare_hats",
)
MISSED, EXTRA = "missed", "extra"
CLASS_ORDER = tuple(found.name for found in CLASSES)
DRUM_ORDER = tuple(found.name for found in DRUM_CLASSES)
FAMILY_OF_PROGRAM = FAMILY_OF_CLASS[CLASS_OF_PROGRAM]
POOLED_NAMES = ("kick", "snare", "hats")
POOLED = {"kick": 0, "snare": 1, "closed hat": 2, "open hat": 2}
# The last place is that of keys without a class, -1.
POOLED_OF_KEY = np.array([*(POOLED.get(name, -1) for name in DRUM_ORDER), -1])[
    DRUM_CLASS_OF_KEY
]
DECIMALS = 4  # of time differences in s, as mir_eval's

Confusion = dict[str, dict[str, int]]
"""How many notes of a reference's class (or `EXTRA`) are written as a class (or are
`MISSED`); zeros are left out."""


@dataclass(frozen=True)
class Counts:
    """How many items match, and how many there are on both sides."""

    matched: int
    num_ref: int
    num_est: int

    @property
    def score(self) -> PrecisionRecallF1:
        """From the counts; 0 where nothing matches."""
        return PrecisionRecallF1.from_counts(self.matched, self.num_ref, self.num_est)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing on either side."""
        return not self.num_ref + self.num_est

    @classmethod
    def sum(cls, parts: Iterable["Counts"]) -> "Counts":
        """Add up counts; of no parts, zeros."""
        rows = [(part.matched, part.num_ref, part.num_est) for part in parts]
        return cls(*map(sum, zip(*rows, strict=True))) if rows else cls(0, 0, 0)


@dataclass(frozen=True)
class BandScores:
    """Counts of a piece, or of several together."""

    totals: dict[str, Counts]  # by `TOTALS`
    # By the names of those that occur on either side.
    classes: dict[str, Counts]
    families: dict[str, Counts]
    drum_classes: dict[str, Counts]
    confusion: Confusion
    # Drums that no class holds.
    num_ref_left_out: int
    num_est_left_out: int


def band_scores(ref: Notes, est: Notes) -> BandScores:
    """Score the estimated notes `est` against the reference `ref`."""
    pitched = ref[~ref.is_drum], est[~est.is_drum]
    drums = ref[ref.is_drum], est[est.is_drum]
    confusion = _confusion(*pitched)
    classes = _of_classes(confusion)
    families = _family_counts(*pitched)
    drum_classes = _drum_counts(*drums, DRUM_CLASS_OF_KEY, DRUM_ORDER)
    pooled = _drum_counts(*drums, POOLED_OF_KEY, POOLED_NAMES)
    totals = {
        "note_class": classes,
        "note_family": families,
        "drums": drum_classes,
        "kick_snare_hats": pooled,
    }
    return BandScores(
        _note_counts(*map(without_unisons, pitched))
        | {name: Counts.sum(parts.values()) for name, parts in totals.items()},
        classes,
        families,
        drum_classes,
        confusion,
        *(int((DRUM_CLASS_OF_KEY[notes.pitch] < 0).sum()) for notes in drums),
    )


def mean_band_scores(pieces: Sequence[BandScores]) -> dict[str, PrecisionRecallF1]:
    """Return the means of `TOTALS` over the pieces, which count the same.

    A piece without pitched notes on both sides is in no mean of notes, one without
    drums in none of drums; names without any piece are left out.
    """
    means = {}
    for name in TOTALS:
        counts = [piece.totals[name] for piece in pieces]
        if scores := [count.score for count in counts if not count.is_empty]:
            means[name] = mean_triples(scores)
    return means


def pooled_band_scores(pieces: Sequence[BandScores]) -> BandScores:
    """Add up the counts of all pieces, as if they were one; long pieces weigh more."""
    confusion: Confusion = {}
    for row_name in (*CLASS_ORDER, EXTRA):
        rows = [piece.confusion.get(row_name, {}) for piece in pieces]
        row = {
            name: sum(row.get(name, 0) for row in rows)
            for name in (*CLASS_ORDER, MISSED)
        }
        if any(row.values()):
            confusion[row_name] = {name: count for name, count in row.items() if count}
    return BandScores(
        _added([piece.totals for piece in pieces], TOTALS),
        _added([piece.classes for piece in pieces], CLASS_ORDER),
        _added([piece.families for piece in pieces], FAMILIES),
        _added([piece.drum_classes for piece in pieces], DRUM_ORDER),
        confusion,
        sum(piece.num_ref_left_out for piece in pieces),
        sum(piece.num_est_left_out for piece in pieces),
    )


def confusion_matrix(confusion: Confusion) -> tuple[list[str], np.ndarray]:
    """Return the classes that occur, and whole numbers [classes + 1, classes + 1].

    Rows are classes of the reference and then what is extra, columns those of the
    estimate and then what is missed.
    """
    occurring = confusion.keys() | {name for row in confusion.values() for name in row}
    names = [name for name in CLASS_ORDER if name in occurring]
    matrix = [
        [confusion.get(row, {}).get(column, 0) for column in (*names, MISSED)]
        for row in (*names, EXTRA)
    ]
    return names, np.array(matrix)


def without_unisons(notes: Notes, group_N: np.ndarray | None = None) -> Notes:
    """Return notes, those of a pitch that begin within 50 ms of the first being one.

    It has the first one's onset and program, the last offset, and the loudest velocity.

    Args:
      notes: notes.
      group_N: the group of each note, a whole number; only those of one group are one.
    """
    if group_N is None:
        group_N = np.zeros(len(notes), int)
    order = np.lexsort((notes.onset_s, notes.pitch, group_N))
    onset_s, pitch, group = notes.onset_s[order], notes.pitch[order], group_N[order]
    is_near = np.zeros(len(order), bool)
    is_near[1:] = np.around(np.diff(onset_s), DECIMALS) <= ONSET_TOLERANCE_S
    is_near[1:] &= (pitch[1:] == pitch[:-1]) & (group[1:] == group[:-1])
    is_first = ~is_near
    # Where several follow one another closely, the first one decides.
    first_s = 0.0
    for i in np.flatnonzero(is_near):
        if is_first[i - 1]:
            first_s = onset_s[i - 1]
        is_first[i] = np.around(onset_s[i] - first_s, DECIMALS) > ONSET_TOLERANCE_S
    if is_first.all():
        return notes
    first = np.flatnonzero(is_first)
    return Notes(
        onset_s[first],
        np.maximum.reduceat(notes.offset_s[order], first),
        pitch[first],
        np.maximum.reduceat(notes.velocity[order], first),
        notes.program[order][first],
        notes.is_drum[order][first],
    )


def _note_counts(ref: Notes, est: Notes) -> dict[str, Counts]:
    sizes = len(ref), len(est)
    by_onset = match_notes(ref, est, ONSET_TOLERANCE_S, offset_ratio=None)
    by_offset = match_notes(ref, est, ONSET_TOLERANCE_S, offset_ratio=OFFSET_RATIO)
    cells = integrated(ref, est)
    return {
        "note": Counts(len(by_onset), *sizes),
        "note_offset": Counts(len(by_offset), *sizes),
        "frame": Counts(
            cells.true_positives,
            cells.true_positives + cells.false_negatives,
            cells.true_positives + cells.false_positives,
        ),
    }


def _match_within(
    ref: Notes, est: Notes, group_of_program: np.ndarray
) -> tuple[Notes, Notes, np.ndarray]:
    """Return both sides without unisons in a group, and a matching in each group."""
    ref, est = (
        without_unisons(notes, group_of_program[notes.program]) for notes in (ref, est)
    )
    ref_group, est_group = (group_of_program[notes.program] for notes in (ref, est))
    pairs = [np.zeros((0, 2), int)]
    for group in np.intersect1d(ref_group, est_group):
        ref_places = np.flatnonzero(ref_group == group)
        est_places = np.flatnonzero(est_group == group)
        found = match_notes(
            ref[ref_places], est[est_places], ONSET_TOLERANCE_S, offset_ratio=None
        )
        pairs.append(
            np.stack([ref_places[found[:, 0]], est_places[found[:, 1]]], axis=1)
        )
    return ref, est, np.concatenate(pairs)


def _confusion(ref: Notes, est: Notes) -> Confusion:
    ref, est, pairs = _match_within(ref, est, CLASS_OF_PROGRAM)
    ref_left = np.setdiff1d(np.arange(len(ref)), pairs[:, 0])
    est_left = np.setdiff1d(np.arange(len(est)), pairs[:, 1])
    found = match_notes(
        ref[ref_left], est[est_left], ONSET_TOLERANCE_S, offset_ratio=None
    )
    others = np.stack([ref_left[found[:, 0]], est_left[found[:, 1]]], axis=1)
    pairs = np.concatenate([pairs, others])
    ref_class, est_class = (CLASS_OF_PROGRAM[notes.program] for notes in (ref, est))
    missed, extra = np.delete(ref_class, pairs[:, 0]), np.delete(est_class, pairs[:, 1])
    # The number after the last class's stands for no partner.
    none = len(CLASSES)
    rows = [ref_class[pairs[:, 0]], missed, np.full(len(extra), none)]
    columns = [est_class[pairs[:, 1]], np.full(len(missed), none), extra]
    matrix = np.zeros((none + 1, none + 1), int)
    np.add.at(matrix, (np.concatenate(rows), np.concatenate(columns)), 1)
    return {
        row_name: {
            name: int(count)
            for name, count in zip((*CLASS_ORDER, MISSED), row, strict=True)
            if count
        }
        for row_name, row in zip((*CLASS_ORDER, EXTRA), matrix, strict=True)
        if row.any()
    }


def _of_classes(confusion: Confusion) -> dict[str, Counts]:
    names, matrix = confusion_matrix(confusion)
    counts = zip(
        np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0), strict=True
    )
    rows = (Counts(*map(int, count)) for count in counts)
    return dict(zip(names, rows, strict=False))


def _family_counts(ref: Notes, est: Notes) -> dict[str, Counts]:
    ref, est, pairs = _match_within(ref, est, FAMILY_OF_PROGRAM)
    ref_family, est_family = (FAMILY_OF_PROGRAM[notes.program] for notes in (ref, est))
    return _counts(FAMILIES, ref_family[pairs[:, 0]], ref_family, est_family)


def _drum_counts(
    ref: Notes, est: Notes, class_of_key: np.ndarray, names: Sequence[str]
) -> dict[str, Counts]:
    ref, est = (_as_pitches(notes, class_of_key) for notes in (ref, est))
    pairs = match_notes(ref, est, ONSET_TOLERANCE_S, offset_ratio=None)
    return _counts(names, ref.pitch[pairs[:, 0]], ref.pitch, est.pitch)


def _as_pitches(drums: Notes, class_of_key: np.ndarray) -> Notes:
    """Return hits with their class for a pitch, those of no class left out."""
    drum_class = class_of_key[drums.pitch]
    onset_s = drums.onset_s[drum_class >= 0]
    return Notes(onset_s, onset_s, drum_class[drum_class >= 0])


def _counts(names: Sequence[str], *groups: np.ndarray) -> dict[str, Counts]:
    """Count matched, reference and estimated items of each group by its name."""
    columns = [np.bincount(group, minlength=len(names)) for group in groups]
    rows = (Counts(*map(int, row)) for row in zip(*columns, strict=True))
    found = dict(zip(names, rows, strict=True))
    return {name: counts for name, counts in found.items() if not counts.is_empty}


def _added(
    pieces: Sequence[Mapping[str, Counts]], names: Sequence[str]
) -> dict[str, Counts]:
    """Add up counts of one name, in the order of `names`."""
    return {
        name: Counts.sum(piece[name] for piece in pieces if name in piece)
        for name in names
        if any(name in piece for piece in pieces)
    }

"""Scores of a transcription of several instruments, under the names MT3 reports.

The scores are those of Gardner et al. 2022 (arXiv:2111.03017), section 4, as MT3's code
computes them; each as precision, recall and F1:

- `Onset`: notes of the same pitch with onsets within 50 ms, whatever their program;
  `Onset + offset`: and offsets within 20 % of the duration or 50 ms; `Onset +
  velocity` and `Onset + offset + velocity`: and velocities as in `mt3x.music.metrics`.
- `Frame`: frames of 16 ms (62.5 a second) in which a pitch sounds, from frame
  floor(onset * 62.5) until before floor(offset * 62.5), where every note lasts 50 ms
  or more. Frames in which the velocities of a reference pitch, of all programs
  together, add up to 30 or less count as silent.
- `Onset + offset (T)`: with T seconds, 0.01 to 0.5, in place of both 50 ms.

All these leave drums out. Program-aware scores have them:

- `Onset + offset + program (G)`: notes must also agree in program, by granularity G
  as in `mt3x.music.tokens`; drums match drums and by their onsets alone. Matched notes
  are added up over instruments, so each counts by its number of notes.
- `Nondrum onset + offset + program (G)` and `Drum onset (G)`: the same for either.

A score is 0 where there is no note to find or none was found. Notes of zero length
are left out of all but the frames.

Differences from MT3's code:

- Its frame scores lengthen the short notes of both sides in place, which the
  tolerance sweep after them then sees. Here no score changes its arguments.
- Its drums of different programs do not match, though tokens give drums none. Here
  drums are one instrument.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mt3x.music.instruments import Instruments
from mt3x.music.metrics import (
    OFFSET_RATIO,
    ONSET_TOLERANCE_S,
    PrecisionRecallF1,
    Spans,
    count_cells,
    count_velocity_matches,
    match_notes,
)
from mt3x.music.notes import Notes

__all__ = ["has_instruments", "instrument_scores", "mean_instrument_scores"]

FRAME_RATE_HZ = 62.5
FRAME_MIN_DURATION_S = 0.05
FRAME_VELOCITY = 30
"""Where a reference pitch is this loud or less, it is taken for silent."""
TOLERANCES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
FAMILY_SIZES = {"flat": 128, "midi_class": 8, "full": 1}
"""How many programs make one instrument."""


def has_instruments(notes: Notes) -> bool:
    """Return whether there are drums or several programs."""
    return bool(notes.is_drum.any()) or len(np.unique(notes.program)) > 1


def instrument_scores(
    ref: Notes,
    est: Notes,
    onsets_only: bool = False,
    tracks: Mapping[str, Instruments] | None = None,
) -> dict[str, float]:
    """Return all of MT3's scores of one piece, by MT3's names (see above).

    Args:
      ref, est: the reference's and the estimated notes.
      onsets_only: leave out the scores of velocities and (except for the program-aware
        ones and the sweep) of offsets, as MT3 does for models of onsets.
      tracks: instruments to score by themselves, too, as `name/Onset F1` and so on;
        without offsets where they are drums alone.
    """
    drumless = ref[~ref.is_drum], est[~est.is_drum]
    scores = _track_scores(*drumless, not onsets_only, not onsets_only)
    for name, track in (tracks or {}).items():
        of_track = _track_scores(
            ref.select(track),
            est.select(track),
            with_offsets=not onsets_only and bool(track.programs),
            with_velocities=not onsets_only,
        )
        scores |= {f"{name}/{key}": value for key, value in of_track.items()}
    for granularity, family_size in FAMILY_SIZES.items():
        scores |= _program_scores(ref, est, granularity, family_size)
    drumless = _with_length(drumless[0]), _with_length(drumless[1])
    for tolerance_s in TOLERANCES_S:
        pairs = match_notes(*drumless, tolerance_s, OFFSET_RATIO, tolerance_s)
        scores |= _named("Onset + offset", len(pairs), drumless, f" ({tolerance_s})")
    return scores


def mean_instrument_scores(pieces: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of every score over `pieces`, which count the same.

    Raises:
      ValueError: `pieces` is empty.
    """
    if not pieces:
        raise ValueError("no pieces to average; score at least one")
    return {
        name: float(np.mean([piece[name] for piece in pieces])) for name in pieces[0]
    }


def _track_scores(
    ref: Notes, est: Notes, with_offsets: bool, with_velocities: bool
) -> dict[str, float]:
    """Return the scores that do not look at programs."""
    frame = _frame_score(ref, est)
    ref, est = _with_length(ref), _with_length(est)
    scores = {}
    for name, offset_ratio in (("Onset", None), ("Onset + offset", OFFSET_RATIO)):
        if offset_ratio is not None and not with_offsets:
            continue
        pairs = match_notes(ref, est, ONSET_TOLERANCE_S, offset_ratio)
        scores |= _named(name, len(pairs), (ref, est))
        if with_velocities:
            num_matched = count_velocity_matches(ref, est, pairs)
            scores |= _named(f"{name} + velocity", num_matched, (ref, est))
    return scores | {
        "Frame Precision": frame.precision,
        "Frame Recall": frame.recall,
        "Frame F1": frame.f1,
    }


def _program_scores(
    ref: Notes, est: Notes, granularity: str, family_size: int
) -> dict[str, float]:
    ref, est = _with_length(ref), _with_length(est)
    drums = ref[ref.is_drum], est[est.is_drum]
    others = ref[~ref.is_drum], est[~est.is_drum]
    ref_family, est_family = (notes.program // family_size for notes in others)
    num_drums = len(match_notes(*drums, ONSET_TOLERANCE_S, offset_ratio=None))
    num_others = sum(
        len(
            match_notes(
                others[0][ref_family == family],
                others[1][est_family == family],
                ONSET_TOLERANCE_S,
                OFFSET_RATIO,
            )
        )
        for family in np.intersect1d(ref_family, est_family)
    )
    name, suffix = "nset + offset + program", f" ({granularity})"
    return {
        **_named(f"O{name}", num_drums + num_others, (ref, est), suffix),
        **_named("Drum onset", num_drums, drums, suffix),
        **_named(f"Nondrum o{name}", num_others, others, suffix),
    }


def _named(
    name: str, num_matched: int, notes: tuple[Notes, Notes], suffix: str = ""
) -> dict[str, float]:
    score = PrecisionRecallF1.from_counts(num_matched, *map(len, notes))
    return {
        f"{name} precision{suffix}": score.precision,
        f"{name} recall{suffix}": score.recall,
        f"{name} F1{suffix}": score.f1,
    }


def _with_length(notes: Notes) -> Notes:
    return notes[notes.offset_s > notes.onset_s]


def _frame_score(ref: Notes, est: Notes) -> PrecisionRecallF1:
    # By its reference MT3 takes a track for drums; their notes all last 50 ms.
    are_drums = bool(ref.is_drum.all())
    ref_spans, est_spans = (_frames(notes, are_drums) for notes in (ref, est))
    return count_cells(ref, ref_spans, est, est_spans, FRAME_VELOCITY).score


def _frames(notes: Notes, are_drums: bool) -> Spans:
    is_short = notes.offset_s - notes.onset_s < FRAME_MIN_DURATION_S
    offset_s = np.where(
        is_short | are_drums, notes.onset_s + FRAME_MIN_DURATION_S, notes.offset_s
    )
    begin = np.floor(notes.onset_s * FRAME_RATE_HZ).astype(np.int64)
    return begin, np.floor(offset_s * FRAME_RATE_HZ).astype(np.int64)

"""Scores of the sustain pedal against a reference.

- down, up: frames of 20 ms in which the pedal is down, and those in which it is up.
- press, release: the pedal goes down, or up, within a tolerance.
- span: both, of one span (Kong et al. 2021, arXiv:2010.01815, call it event).
- last: a release that ends a note, within a tolerance. That is heard, and known where
  only key releases and ends of notes are (`heard_pedal`).

Events are matched one to one, as mir_eval does it. Scores are counts, which are to be
added up over pieces: in some the pedal moves once or never.
"""

from collections.abc import Mapping
from typing import NamedTuple

import mir_eval
import numpy as np

from mt3x.music.metrics import FRAME_RATE_HZ, PrecisionRecallF1
from mt3x.music.notes import Notes
from mt3x.music.performance import Performance

__all__ = [
    "TOLERANCES_S",
    "Counts",
    "heard_pedal",
    "heard_scores",
    "pedal_scores",
    "releases",
]

TOLERANCES_S = (0.05, 0.1)
# Notes whose sound ends so little after their key are not held by the pedal.
_HELD_S = 0.03
# Where a note ends so little before its key's next onset, that has ended it.
_STRUCK_S = 0.01
# Ends of notes that lie so near to each other are one release.
_ONE_RELEASE_S = 0.03


class Counts(NamedTuple):
    """How many events or frames match, of how many."""

    matched: int
    ref: int
    est: int

    def scores(self) -> PrecisionRecallF1:
        """Return the scores; 0 where nothing matches."""
        return PrecisionRecallF1.from_counts(*self)


def pedal_scores(
    ref_s: np.ndarray, est_s: np.ndarray, duration_s: float
) -> Mapping[str, Counts]:
    """Score spans of the pedal, K x 2 seconds; names are such as `span 50 ms`."""
    num_frames = round(duration_s * FRAME_RATE_HZ)
    ref_T, est_T = (_drawn(spans_s, num_frames) for spans_s in (ref_s, est_s))
    found = {"down": _frames(ref_T, est_T), "up": _frames(~ref_T, ~est_T)}
    for tolerance_s in TOLERANCES_S:
        name = f"{1000 * tolerance_s:.0f} ms"
        for column, kind in enumerate(("press", "release")):
            found[f"{kind} {name}"] = _events(
                ref_s[:, column], est_s[:, column], tolerance_s
            )
        found[f"span {name}"] = _spans(ref_s, est_s, tolerance_s)
    return found


def releases(notes: Notes, keys: Notes) -> np.ndarray:
    """Return the times when the pedal's release ends notes, in order.

    Args:
      notes: as they sound.
      keys: the same notes, up to the release of their keys.
    """
    held = notes.offset_s > keys.offset_s + _HELD_S
    # Others end because their key is struck again.
    held &= notes.offset_s < notes.next_onsets() - _STRUCK_S
    end_s = np.sort(notes.offset_s[held])
    return end_s[np.diff(end_s, prepend=-np.inf) > _ONE_RELEASE_S]


def heard_pedal(notes: Notes, keys: Notes) -> tuple[np.ndarray, np.ndarray]:
    """Return where notes and keys tell that the pedal is down, and where it is up.

    It is down from the first release of a key whose note sounds on until that ends, and
    up from there until the last release of a key whose note ends with it.

    Returns:
      Two arrays K x 2 of seconds; in what is in neither, nobody knows.
    """
    held = notes.offset_s > keys.offset_s + _HELD_S
    spans = np.stack([keys.offset_s[held], notes.offset_s[held]], axis=1)
    down_s = Performance(Notes.empty(), spans).pedal_s
    free_s = np.sort(keys.offset_s[~held])
    edges_s = np.concatenate([[0.0], down_s.ravel(), [np.inf]]).reshape(-1, 2)
    index = np.searchsorted(free_s, edges_s[:, 1]) - 1
    last_s = np.append(free_s, 0.0)[index]
    up_s = np.stack([edges_s[:, 0], np.maximum(last_s, edges_s[:, 0])], axis=1)
    return down_s, up_s[up_s[:, 1] > up_s[:, 0]]


def heard_scores(
    ref_notes: Notes, ref_keys: Notes, est: Performance
) -> Mapping[str, Counts]:
    """Score a pedal where the reference is notes and keys alone.

    Only frames that the reference knows count.
    """
    down_s, up_s = heard_pedal(ref_notes, ref_keys)
    last_s = max(down_s.max(initial=0.0), up_s.max(initial=0.0))
    num_frames = int(np.ceil(last_s * FRAME_RATE_HZ))
    ref_T, up_T, est_T = (_drawn(s, num_frames) for s in (down_s, up_s, est.pedal_s))
    up_T &= ~ref_T
    found = {
        "down": _frames(ref_T, est_T & (ref_T | up_T)),
        "up": _frames(up_T, ~est_T & (ref_T | up_T)),
    }
    ref_s, est_s = releases(ref_notes, ref_keys), releases(est.notes(), est.keys)
    for tolerance_s in TOLERANCES_S:
        name = f"last {1000 * tolerance_s:.0f} ms"
        found[name] = _events(ref_s, est_s, tolerance_s)
    return found


def _drawn(spans_s: np.ndarray, num_frames: int) -> np.ndarray:
    """Return which frames' centres lie in a span."""
    down_T = np.zeros(num_frames, bool)
    frames = np.ceil(spans_s * FRAME_RATE_HZ - 1e-9).astype(int)
    for start, stop in frames.tolist():
        down_T[max(start, 0) : max(stop, 0)] = True
    return down_T


def _frames(ref_T: np.ndarray, est_T: np.ndarray) -> Counts:
    return Counts(*(int(x_T.sum()) for x_T in (ref_T & est_T, ref_T, est_T)))


def _events(ref_s: np.ndarray, est_s: np.ndarray, tolerance_s: float) -> Counts:
    matched = mir_eval.util.match_events(np.sort(ref_s), np.sort(est_s), tolerance_s)
    return Counts(len(matched), len(ref_s), len(est_s))


def _spans(ref_s: np.ndarray, est_s: np.ndarray, tolerance_s: float) -> Counts:
    if not len(ref_s) or not len(est_s):
        return Counts(0, len(ref_s), len(est_s))
    matched = mir_eval.transcription.match_notes(
        ref_s,
        np.ones(len(ref_s)),
        est_s,
        np.ones(len(est_s)),
        onset_tolerance=tolerance_s,
        offset_ratio=0.0,
        offset_min_tolerance=tolerance_s,
    )
    return Counts(len(matched), len(ref_s), len(est_s))

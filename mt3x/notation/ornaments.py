"""Trills and grace notes: notes that are not counted in the bar."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from mt3x.music.notes import Notes

__all__ = ["Ornaments", "find_graces", "fold_trills"]

_TRILL_NOTES = 6
_TRILL_S = 0.11  # from one note of a trill to the next, at the most
_GRACE_S = 0.045  # what is nearer is a chord
_LONGEST_GRACE_S = 0.16


@dataclass(frozen=True)
class Ornaments:
    """Which notes ornament which, as indices of notes."""

    trills: frozenset[int] = frozenset()
    graces: dict[int, list[int]] = field(default_factory=dict)
    """By the note that is graced, those before it."""


def fold_trills(notes: Notes) -> tuple[Notes, Ornaments]:
    """Make one long note of each trill; return all notes, and which are trilled.

    A trill is six notes or more that alternate between neighbours, a semitone or two
    apart, nine or more in a second.
    """
    kept = np.ones(len(notes), bool)
    offset_s = notes.offset_s.copy()
    starts = []
    for run in _alternations(notes):
        first = run[0] if notes.pitch[run[0]] <= notes.pitch[run[1]] else run[1]
        kept[run] = False
        kept[first] = True
        offset_s[first] = max(offset_s[run[-1]], notes.onset_s[run[-1]])
        starts.append(first)
        if first != run[0]:
            # The trill begins where its upper note did.
            kept[first], kept[run[0]] = False, True
            starts[-1] = run[0]
            offset_s[run[0]] = offset_s[first]
    if not starts:
        return notes, Ornaments()
    index = np.cumsum(kept) - 1
    trilled = frozenset(int(index[i]) for i in starts)
    return replace(notes, offset_s=offset_s)[kept], Ornaments(trilled)


def _alternations(notes: Notes) -> list[list[int]]:
    """Return the longest runs of notes that alternate fast between two neighbours."""
    runs: list[list[int]] = []
    used: set[int] = set()
    for i in range(len(notes)):
        if i in used or notes.is_drum[i]:
            continue
        run = _run_from(i, notes)
        if len(run) >= _TRILL_NOTES:
            runs.append(run)
            used.update(run)
    return runs


def _run_from(i: int, notes: Notes) -> list[int]:
    run, step = [i], 0
    while True:
        last = run[-1]
        found = None
        for j in range(last + 1, len(notes)):
            if notes.onset_s[j] - notes.onset_s[last] > _TRILL_S:
                break
            move = int(notes.pitch[j]) - int(notes.pitch[last])
            same_hand = notes.program[j] == notes.program[i] and not notes.is_drum[j]
            wanted = move == -step if step else 1 <= abs(move) <= 2
            if same_hand and wanted and notes.onset_s[j] > notes.onset_s[last] + 0.02:
                found, step = j, move
                break
        if found is None:
            return run
        run.append(found)


def find_graces(notes: Notes, tick: np.ndarray, ornaments: Ornaments) -> Ornaments:
    """Return which notes are grace notes.

    A note is one where it is quantized to the tick of a later note of its instrument
    within an octave, though it was played before it and was short.
    """
    graces: dict[int, list[int]] = {}
    bounds = np.append(
        np.flatnonzero(np.diff(tick, prepend=tick[0] - 1)), len(tick)
    ).tolist()
    for begin, end in pairwise(bounds):
        if notes.onset_s[end - 1] - notes.onset_s[begin] <= _GRACE_S:
            continue
        for i in range(begin, end):
            main = _graced(i, end, notes)
            if main is not None and i not in ornaments.trills:
                graces.setdefault(main, []).append(i)
    # What graces a grace note graces its main note.
    owner = {i: main for main, others in graces.items() for i in others}
    found: dict[int, list[int]] = {}
    for i in sorted(owner):
        main = owner[i]
        while main in owner:
            main = owner[main]
        found.setdefault(main, []).append(i)
    return replace(ornaments, graces=found)


def _graced(i: int, end: int, notes: Notes) -> int | None:
    """Return the first note before `end` that note `i` is a grace note of."""
    short_s = notes.offset_s[i] - notes.onset_s[i]
    if notes.is_drum[i]:
        return None
    for j in range(i + 1, end):
        gap_s = notes.onset_s[j] - notes.onset_s[i]
        step = abs(int(notes.pitch[j]) - int(notes.pitch[i]))
        same = notes.program[j] == notes.program[i] and not notes.is_drum[j]
        # Thirds that ring on are broken chords.
        near = 1 <= step <= (4 if short_s <= gap_s + 0.05 else 2)
        if _GRACE_S < gap_s <= _LONGEST_GRACE_S and near and same:
            return j
    return None

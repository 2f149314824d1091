"""Drafts: what was heard before, as tokens of segments, for a model that revises it."""

from dataclasses import replace

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.tokens import Events, Tokenizer, trim_overlaps

_TOGETHER_S = 0.02  # events within so many seconds of the first of them are one
_LEAST_S = 0.05  # what is left of a note that ends early
_NEAR_S = 0.05  # how far a note may be from the same of a draft


def draft_of(notes: Notes, early_s: float = 0.0) -> Notes:
    """Return what was heard with beginnings and ends together that are almost so.

    They move to the median of the beginnings among them, or of all.

    Args:
      notes: as they were heard.
      early_s: seconds by which notes end before that, but no sooner than they are
        50 ms long.
    """
    least_s = np.minimum(notes.offset_s, notes.onset_s + _LEAST_S)
    offset_s = np.maximum(notes.offset_s - early_s, least_s)
    notes = trim_overlaps(replace(notes, offset_s=offset_s))
    time_E = np.concatenate([notes.onset_s, notes.offset_s])
    order = np.argsort(time_E, kind="stable")
    sorted_E, moved_E, begin = time_E[order], time_E.copy(), 0
    while begin < len(order):
        last_s = sorted_E[begin] + _TOGETHER_S
        end = int(np.searchsorted(sorted_E, last_s, side="right"))
        some = order[begin:end]
        onsets = some[some < len(notes)]
        moved_E[some] = np.median(time_E[onsets if len(onsets) else some])
        begin = end
    onset_s, offset_s = np.split(moved_E, 2)
    # A note that nothing would be left of ends as it did.
    offset_s = np.where(offset_s > onset_s, offset_s, notes.offset_s)
    kept = (offset_s > onset_s) | notes.is_drum
    offset_s = np.maximum(offset_s, onset_s)
    moved = replace(notes[kept], onset_s=onset_s[kept], offset_s=offset_s[kept])
    return trim_overlaps(moved)


def revision(notes: Notes, draft: Notes) -> Notes:
    """Return a draft with the names that its notes should have: programs and drum keys.

    A note that was heard within 50 ms of a true one of its pitch takes its program, a
    drum the key of the nearest hit, of the same key if there is one. Each true note
    names one. Others are named as most of their program are; drums stay as they are.
    Notes that would meet another of their new name on its key keep the old one.

    Args:
      notes: as they should be.
      draft: from `draft_of`.
    """
    if not len(draft) or not len(notes):
        return draft
    match_D = _matches(notes, draft)
    is_found_D = match_D >= 0
    program_D, pitch_D = draft.program.copy(), draft.pitch.copy()
    for program in np.unique(draft.program[is_found_D & ~draft.is_drum]):
        is_its_D = ~draft.is_drum & (draft.program == program)
        names = notes.program[match_D[is_its_D & is_found_D]]
        program_D[is_its_D] = np.bincount(names).argmax()
    program_D[is_found_D] = notes.program[match_D[is_found_D]]
    pitch_D[is_found_D] = notes.pitch[match_D[is_found_D]]
    program_D[draft.is_drum] = draft.program[draft.is_drum]
    while (meets_D := _meets(draft, program_D, pitch_D)).any():
        program_D = np.where(meets_D, draft.program, program_D)
        pitch_D = np.where(meets_D, draft.pitch, pitch_D)
    return replace(draft, program=program_D, pitch=pitch_D)


def _meets(draft: Notes, program_D: np.ndarray, pitch_D: np.ndarray) -> np.ndarray:
    """Return which notes by new names sound together with another, on its key."""
    order = np.lexsort((draft.onset_s, pitch_D, program_D, draft.is_drum))
    key_D = np.stack([draft.is_drum, program_D, pitch_D])[:, order]
    onset_s, offset_s = draft.onset_s[order], draft.offset_s[order]
    ends_s = np.where(draft.is_drum[order], np.nextafter(onset_s, np.inf), offset_s)
    meets_next = (key_D[:, 1:] == key_D[:, :-1]).all(axis=0)
    meets_next &= onset_s[1:] < ends_s[:-1]
    meets_D = np.zeros(len(draft), bool)
    meets_D[order[:-1]] = meets_next
    meets_D[order[1:]] |= meets_next
    return meets_D & ((program_D != draft.program) | (pitch_D != draft.pitch))


def _matches(notes: Notes, draft: Notes) -> np.ndarray:
    """Return which true note each of the draft is: D, -1 for none."""
    apart_NxD = np.abs(notes.onset_s[:, None] - draft.onset_s)
    both_drums_NxD = notes.is_drum[:, None] & draft.is_drum
    same_pitch_NxD = notes.pitch[:, None] == draft.pitch
    same_kind_NxD = notes.is_drum[:, None] == draft.is_drum
    may_NxD = (apart_NxD <= _NEAR_S) & same_kind_NxD & (same_pitch_NxD | both_drums_NxD)
    note_P, draft_P = np.nonzero(may_NxD)
    apart_P = apart_NxD[note_P, draft_P] + np.where(
        same_pitch_NxD[note_P, draft_P], 0.0, _NEAR_S
    )
    match_D, is_taken_N = np.full(len(draft), -1), np.zeros(len(notes), bool)
    for pair in np.argsort(apart_P, kind="stable"):
        n, d = note_P[pair], draft_P[pair]
        if match_D[d] < 0 and not is_taken_N[n]:
            match_D[d], is_taken_N[n] = n, True
    return match_D


def draft_rows(
    events: Events,
    tokenizer: Tokenizer,
    first_frame: int,
    num_frames: int,
    num_columns: int,
) -> np.ndarray:
    """Return a segment's draft, an equal share for each of its frames: TxK float32.

    Read row by row these are its model ids, and zeros after the end marker. What does
    not fit is cut off.

    Args:
      events: `tokenizer.events` of a draft.
      tokenizer: how it is written.
      first_frame: where the segment begins.
      num_frames: of the segment, T.
      num_columns: K.
    """
    ids_M = np.zeros(num_frames * num_columns, np.float32)
    ids_L = tokenizer.segment(events, first_frame, num_frames)
    ids_L = tokenizer.to_model_ids(ids_L, len(ids_M))
    ids_M[: len(ids_L)] = ids_L
    return ids_M.reshape(num_frames, num_columns)

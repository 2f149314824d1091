"""Notes as frames that a beat model sees, and beats as the frames that it learns."""

import numpy as np

from mt3x.music.beats import Beats
from mt3x.music.instrument_classes import DRUM_CLASS_OF_KEY, DRUM_CLASSES
from mt3x.music.notes import Notes
from mt3x.music.rolls import LOWEST_PITCH, NUM_PITCHES

__all__ = [
    "BEAT_RATE_HZ",
    "CLIP_BEATS",
    "NUM_INPUTS",
    "NUM_SLOTS",
    "NUM_SLOT_INPUTS",
    "beat_targets",
    "loudness",
    "notes_to_frames",
    "notes_to_slots",
]

BEAT_RATE_HZ = 50
_NUM_DRUMS = len(DRUM_CLASSES)
_NUM_SUMMARIES = 3
_MIDDLE = 72  # pitch: what is lower is bass, the more the lower
NUM_SLOTS = 4
"""Parts of a beat."""
CLIP_BEATS = 128
"""Beats of a training clip; those of a quicker one are cut off."""
NUM_INPUTS = 2 * NUM_PITCHES + _NUM_DRUMS + _NUM_SUMMARIES
"""Onsets of 88 keys, weighted by loudness; by length; drums; and three summaries."""
_HARMONY_LAGS, _BASS_LAGS = (1, 2, 3, 4, 8), (1, 2, 4)
NUM_SLOT_INPUTS = NUM_INPUTS + len(_HARMONY_LAGS) + len(_BASS_LAGS) + 1
"""Besides, at beats: likeness of harmony and bass to beats before, and the tempo."""

_LENGTH_S = 0.1
_TYPICAL_S = 0.6  # between beats
_LEAST_DEVIATION = 8.0  # of velocities: a piece with less is played evenly


def notes_to_frames(
    notes: Notes, start_frame: int, num_frames: int, loudness_N: np.ndarray
) -> np.ndarray:
    """Return what a beat model sees of a part of a piece: float32, T x `NUM_INPUTS`.

    Frame t is centred on (start_frame + t) / 50 s. An onset between two frames is in
    both, in shares, so that its time is not lost.

    Args:
      notes: of the piece, or of the part and its surroundings.
      start_frame, num_frames: the part.
      loudness_N: of `loudness`; that of the whole piece.
    """
    frames_TxF = np.zeros((num_frames, NUM_INPUTS), np.float32)
    exact_N = notes.onset_s * BEAT_RATE_HZ - start_frame
    near_N = (exact_N > -1) & (exact_N < num_frames)
    exact_N, first_N = exact_N[near_N], np.floor(exact_N[near_N]).astype(int)
    for column_N, value_N, used_N in _columns(notes[near_N], loudness_N[near_N]):
        for frame_N in (first_N, first_N + 1):
            used_in_N = used_N & (frame_N >= 0) & (frame_N < num_frames)
            share_N = 1 - np.abs(exact_N - frame_N)
            at = (frame_N[used_in_N], column_N[used_in_N])
            np.add.at(frames_TxF, at, (share_N * value_N)[used_in_N])
    return frames_TxF


def notes_to_slots(
    notes: Notes, beat_s: np.ndarray, loudness_N: np.ndarray
) -> np.ndarray:
    """Return what a beat model sees at K beats: K x `NUM_SLOTS` x `NUM_SLOT_INPUTS`.

    Slots are quarters of a beat; the first one is centred on the beat.

    Args:
      notes, loudness_N: as for `notes_to_frames`.
      beat_s: K >= 2 beats.
    """
    slots_KxSxF = np.zeros((len(beat_s), NUM_SLOTS, NUM_SLOT_INPUTS), np.float32)
    beats = Beats(beat_s, np.ones(len(beat_s), int), 1)
    slots_KxSxF[..., NUM_INPUTS:-1] = _likeness(notes, beats)
    interval_s = np.diff(beat_s, append=2 * beat_s[-1] - beat_s[-2])
    slots_KxSxF[..., -1] = np.log2(interval_s / _TYPICAL_S)[:, None]
    slot_N = np.floor(NUM_SLOTS * beats.beat_at(notes.onset_s) + 0.5).astype(int)
    inside_N = (slot_N >= 0) & (slot_N < NUM_SLOTS * len(beat_s))
    beat_N, slot_N = np.divmod(slot_N[inside_N], NUM_SLOTS)
    for column_N, value_N, used_N in _columns(notes[inside_N], loudness_N[inside_N]):
        at = (beat_N[used_N], slot_N[used_N], column_N[used_N])
        np.add.at(slots_KxSxF, at, value_N[used_N])
    return slots_KxSxF


def _likeness(notes: Notes, beats: Beats) -> np.ndarray:
    """Return how alike slots are to those some beats before: K x `NUM_SLOTS` x lags.

    Of what sounds, the cosine of pitch classes, and whether the lowest key is the same.
    """
    num = len(beats) * NUM_SLOTS
    notes = notes[~notes.is_drum]
    ends = [
        np.floor(NUM_SLOTS * beats.beat_at(time_s) + 0.5).astype(int)
        for time_s in (notes.onset_s, notes.offset_s)
    ]
    first_N, last_N = ends[0], np.maximum(ends[1], ends[0] + 1)
    change_IxP = np.zeros((num + 1, 128), np.int32)
    np.add.at(change_IxP, (np.clip(first_N, 0, num), notes.pitch), 1)
    np.add.at(change_IxP, (np.clip(last_N, 0, num), notes.pitch), -1)
    sounds_IxP = np.cumsum(change_IxP[:-1], axis=0) > 0
    classes_IxC = np.pad(sounds_IxP, ((0, 0), (0, 4))).reshape(num, 11, 12).sum(axis=1)
    size_I = np.sqrt(np.square(classes_IxC).sum(axis=1))
    classes_IxC = classes_IxC / np.maximum(size_I, 1)[:, None]
    lowest_I = np.where(size_I > 0, sounds_IxP.argmax(axis=1), -1)
    found_IxL = np.zeros((num, len(_HARMONY_LAGS) + len(_BASS_LAGS)), np.float32)
    for column, lag in enumerate(_HARMONY_LAGS):
        then = classes_IxC[: max(num - lag * NUM_SLOTS, 0)]
        found_IxL[lag * NUM_SLOTS :, column] = (
            classes_IxC[lag * NUM_SLOTS :] * then
        ).sum(axis=1)
    for column, lag in enumerate(_BASS_LAGS, start=len(_HARMONY_LAGS)):
        then = lowest_I[: max(num - lag * NUM_SLOTS, 0)]
        found_IxL[lag * NUM_SLOTS :, column] = (lowest_I[lag * NUM_SLOTS :] == then) & (
            then >= 0
        )
    return found_IxL.reshape(len(beats), NUM_SLOTS, -1)


def _columns(
    notes: Notes, loudness_N: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return inputs, what each note adds to them, and whether it does."""
    pitch_N, is_drum_N = notes.pitch, notes.is_drum
    length_s = np.minimum(notes.offset_s - notes.onset_s, 5.0)
    long_N = np.log1p(length_s / _LENGTH_S)
    key_N = np.clip(pitch_N - LOWEST_PITCH, 0, NUM_PITCHES - 1)
    drum_N = DRUM_CLASS_OF_KEY[pitch_N]
    all_N = np.ones(len(notes), bool)
    summary_N = np.full(len(notes), 2 * NUM_PITCHES + _NUM_DRUMS)
    low_N = (_MIDDLE - pitch_N) / 24
    return [
        (key_N, loudness_N, ~is_drum_N),
        (NUM_PITCHES + key_N, long_N, ~is_drum_N),
        (2 * NUM_PITCHES + drum_N, loudness_N, is_drum_N & (drum_N >= 0)),
        (summary_N, 0.3 * all_N, all_N),
        (summary_N + 1, 0.3 * long_N, ~is_drum_N),
        (summary_N + 2, low_N, ~is_drum_N & (low_N > 0)),
    ]


def loudness(velocity: np.ndarray) -> np.ndarray:
    """Return how loud notes are among those of a piece: 1 as most are, 0.3 to 1.7."""
    if not len(velocity):
        return np.zeros(0)
    deviation = max(float(velocity.std()), _LEAST_DEVIATION)
    return 1 + 0.35 * np.clip((velocity - velocity.mean()) / deviation, -2, 2)


def beat_targets(beats: Beats, num_frames: int) -> np.ndarray:
    """Return targets of beats and downbeats, float32 [T, 3].

    A beat is 1 in its frame and one half in those beside it. The third column is 1
    from the first beat to the last: what lies outside is not known.
    """
    targets_Tx3 = np.zeros((num_frames, 3), np.float32)
    frame = np.round(beats.time_s * BEAT_RATE_HZ).astype(int)
    for column, frames in enumerate((frame, frame[beats.position == 1])):
        for step, value in ((-1, 0.5), (1, 0.5), (0, 1.0)):
            near = frames + step
            near = near[(near >= 0) & (near < num_frames)]
            targets_Tx3[near, column] = np.maximum(targets_Tx3[near, column], value)
    targets_Tx3[max(frame[0], 0) : max(frame[-1] + 1, 0), 2] = 1
    return targets_Tx3

"""Rolls of keys and pedal -> what the hands and the foot did."""

from dataclasses import dataclass, replace

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.options import check_fields
from mt3x.music.performance import Performance
from mt3x.music.rolls import LOWEST_PITCH, NUM_PITCHES

__all__ = ["PedalDecodingConfig", "find_pedal", "performance_of"]

# A key is held for so long at least.
_LEAST_KEY_S = 0.03
# Where the sound of a note ends by so little after the pedal is released, its release
# has ended it.
_PEDAL_END_S = 0.08


@dataclass(frozen=True)
class PedalDecodingConfig:
    """How the rolls of keys and pedal are read."""

    # The pedal is down where its roll is above this probability.
    pedal_threshold: float = 0.5
    # A key is held by hand as long as its roll is above this probability.
    key_threshold: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self, pedal_threshold=(0, 1), key_threshold=(0, 1))


def find_pedal(
    pedal_Tx3: np.ndarray, frame_rate_hz: float, threshold: float = 0.5
) -> np.ndarray:
    """Return when the pedal goes down and up, K x 2 seconds.

    Times lie between frames, where the line through two of them crosses the threshold.
    """
    p_T = np.concatenate([[0.0], pedal_Tx3[:, 0].astype(np.float64), [0.0]])
    turns = np.flatnonzero(np.diff(p_T > threshold))
    before, after = p_T[turns], p_T[turns + 1]
    frames = turns - 1 + (threshold - before) / (after - before)
    last = max(len(pedal_Tx3) - 1, 0)
    return np.clip(frames, 0, last).reshape(-1, 2) / frame_rate_hz


def performance_of(
    notes: Notes,
    key_TxP: np.ndarray,
    pedal_Tx3: np.ndarray,
    frame_rate_hz: float,
    config: PedalDecodingConfig,
) -> Performance:
    """Return keys and pedal that make notes sound as they do.

    While the pedal is down, a released key cannot be heard: its release is a guess from
    how such music is played. Where the pedal is up, the key is held as long as the note
    sounds.

    Args:
      notes: of a piano, as they sound.
      key_TxP: probabilities that keys are held by hand.
      pedal_Tx3: see `mt3x.music.pedal_rolls`.
      frame_rate_hz: of both.
      config: how they are read.
    """
    pedal_s = find_pedal(pedal_Tx3, frame_rate_hz, config.pedal_threshold)
    if not len(pedal_s):
        return Performance(notes, pedal_s)
    release_s = _releases(notes, key_TxP, frame_rate_hz, config.key_threshold)
    # The last pedal that began before the sound ended.
    index = np.searchsorted(pedal_s[:, 0], notes.offset_s) - 1
    down_s, up_s = pedal_s[index.clip(0)].T
    holds = (index >= 0) & (notes.offset_s <= up_s + _PEDAL_END_S)
    # Before that the pedal was up, and the key was held.
    earliest_s = np.maximum(notes.onset_s + _LEAST_KEY_S, down_s)
    key_up_s = np.minimum(np.maximum(release_s, earliest_s), notes.offset_s)
    keys = replace(notes, offset_s=np.where(holds, key_up_s, notes.offset_s))
    return Performance(keys, pedal_s)


def _releases(
    notes: Notes, key_TxP: np.ndarray, frame_rate_hz: float, threshold: float
) -> np.ndarray:
    """Return when the roll falls below the threshold first after each onset."""
    release_s = notes.offset_s.copy()
    onset = notes.onset_s * frame_rate_hz
    for key in np.unique(notes.pitch - LOWEST_PITCH).tolist():
        if not 0 <= key < NUM_PITCHES:
            continue
        p_T = np.append(key_TxP[:, key].astype(np.float64), 0.0)
        below = np.flatnonzero(p_T <= threshold)
        mine = np.flatnonzero(notes.pitch == key + LOWEST_PITCH)
        # The roll rises at the onset, a little late at times.
        first = np.minimum(np.ceil(onset[mine]).astype(int) + 1, len(p_T) - 1)
        frame = below[np.searchsorted(below, first)]
        above, under = p_T[np.maximum(frame - 1, 0)], p_T[frame]
        falls = above > threshold
        part = np.divide(
            above - threshold, above - under, out=np.full(len(frame), 0.5), where=falls
        )
        release_s[mine] = (frame + part - 0.5) / frame_rate_hz
    return release_s

"""Rolls of keys and pedal -> what the hands and the foot did."""

from dataclasses import dataclass, replace

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.options import check_fields
from mt3x.music.performance import Performance
from mt3x.music.roll_decoder import onset_shift
from mt3x.music.rolls import LOWEST_PITCH, NUM_PITCHES

__all__ = ["PedalDecodingConfig", "find_pedal", "performance_of"]

# A key is held for so long at least.
_LEAST_KEY_S = 0.03
# Where the sound of a note ends by so little after the pedal is released, its release
# has ended it.
_PEDAL_END_S = 0.08
# A peak of releases is that of a span's end where it lies so near.
_NEAR_FRAMES = 5.0
# Within so many frames the pedal is down again after a short release.
_LONGEST_LIFT_FRAMES = 25.0


@dataclass(frozen=True)
class PedalDecodingConfig:
    """How the rolls of keys and pedal are read."""

    # The pedal is down where its roll is above this probability.
    pedal_threshold: float = 0.5
    # It is released, or pressed, at peaks above this probability.
    release_threshold: float = 0.25
    # A key is held by hand as long as its roll is above this probability.
    key_threshold: float = 0.5

    def __post_init__(self) -> None:
        check_fields(
            self,
            pedal_threshold=(0, 1),
            release_threshold=(0, 1),
            key_threshold=(0, 1),
        )


def find_pedal(
    pedal_Tx3: np.ndarray, frame_rate_hz: float, config: PedalDecodingConfig
) -> np.ndarray:
    """Return when the pedal goes down and up, K x 2 seconds.

    It is down where the first column is above the threshold; times lie between frames,
    where the line through two of them crosses it. A peak of the releases' column near
    an end is that end. One that lies inside is a short release, which the first column
    bridges: the pedal goes down again at the next peak of the presses' column.
    """
    p_T = np.concatenate([[0.0], pedal_Tx3[:, 0].astype(np.float64), [0.0]])
    turns = np.flatnonzero(np.diff(p_T > config.pedal_threshold))
    before, after = p_T[turns], p_T[turns + 1]
    crossing = turns - 1 + (config.pedal_threshold - before) / (after - before)
    press, release = (
        _peaks(pedal_Tx3[:, column], config.release_threshold) for column in (1, 2)
    )
    frames: list[tuple[float, float]] = []
    for down, up in crossing.reshape(-1, 2).tolist():
        near = release[np.abs(release - up) < _NEAR_FRAMES]
        if len(near):
            up = float(near[np.argmin(np.abs(near - up))])
        inside = (release > down + _NEAR_FRAMES) & (release < up - _NEAR_FRAMES)
        for lifted in release[inside].tolist():
            again = press[(press > lifted) & (press < lifted + _LONGEST_LIFT_FRAMES)]
            again = float(again[0]) if len(again) else lifted + _NEAR_FRAMES
            if down < lifted and again < up:
                frames.append((down, lifted))
                down = again
        frames.append((down, up))
    last = max(len(pedal_Tx3) - 1, 0)
    pedal_s = np.clip(np.array(frames).reshape(-1, 2), 0, last) / frame_rate_hz
    return pedal_s[pedal_s[:, 1] > pedal_s[:, 0]]


def _peaks(p_T: np.ndarray, threshold: float) -> np.ndarray:
    """Return local maxima above a threshold, in frames and parts of them."""
    padded = np.concatenate([[0.0], p_T.astype(np.float64), [0.0]])
    before, here, after = padded[:-2], padded[1:-1], padded[2:]
    at = np.flatnonzero((here > threshold) & (here >= before) & (here > after))
    return at + onset_shift("parabola", before[at], here[at], after[at])


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
    pedal_s = find_pedal(pedal_Tx3, frame_rate_hz, config)
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

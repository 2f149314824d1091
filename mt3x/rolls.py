"""Notes to and from piano rolls: onset, frame, offset and velocity over 88 keys.

A roll has one row per frame (frame `t` is centred on `t / frame_rate_hz` seconds) and
one column per piano key, from A0 (MIDI 21) to C8 (MIDI 108).
"""

from dataclasses import dataclass

import numpy as np

from mt3x.notes import Notes

LOWEST_PITCH = 21
NUM_PITCHES = 88


@dataclass(frozen=True)
class Rolls:
    """Four arrays of one shape TxP; velocity is MIDI velocity / 128."""

    onset_TxP: np.ndarray
    frame_TxP: np.ndarray
    offset_TxP: np.ndarray
    velocity_TxP: np.ndarray
    frame_rate_hz: float = 50.0


@dataclass(frozen=True)
class RollLabelConfig:
    """How notes become training targets."""

    # Frames per second; the features' sample rate over their hop.
    frame_rate_hz: float = 50.0
    # 0: the onset marks its nearest frame (HPPNet). r > 0: a triangle of this half
    # width around the exact onset, so that neighbours tell where in between it lies.
    onset_radius_frames: float = 0.0


def notes_to_rolls(
    notes: Notes, num_frames: int, config: RollLabelConfig, start_s: float = 0.0
) -> Rolls:
    """Draw the training targets of a clip that begins at `start_s`.

    Labels follow Onsets and Frames (Hawthorne et al. 2018) as HPPNet uses them: the
    frame roll is 1 from the onset's frame up to the offset's (at least one frame), the
    offset roll is 1 in the frame after, velocity is spread over the note's frames.
    With `onset_radius_frames` r > 0 the onset is max(0, 1 - |t - onset| / r) (Kong et
    al. 2021, arXiv:2010.01815, eq. 3), and the frames in front of the onset that it
    covers carry the velocity as well.

    Args:
      notes: notes in seconds; pitches off the keyboard and drums are left out.
      num_frames: number of rows T.
      config: label conventions.
      start_s: time of row 0 in the notes' seconds.

    Returns:
      Rolls of float32 arrays TxP.
    """
    shape = (num_frames, NUM_PITCHES)
    onset_TxP, frame_TxP, offset_TxP, velocity_TxP = np.zeros((4, *shape), np.float32)
    rate, radius = config.frame_rate_hz, config.onset_radius_frames
    key = notes.pitch - LOWEST_PITCH
    # + 1: the offset mark and the soft onset reach past the note's own frames.
    margin_s = (radius + 1) / rate
    end_s = start_s + num_frames / rate
    wanted = (key >= 0) & (key < NUM_PITCHES) & ~notes.is_drum
    wanted &= (notes.onset_s < end_s + margin_s) & (notes.offset_s > start_s - margin_s)

    onset_frames = (notes.onset_s[wanted] - start_s) * rate
    first = np.round(onset_frames).astype(int)
    last = np.round((notes.offset_s[wanted] - start_s) * rate).astype(int)
    last = np.maximum(last, first + 1)
    level = notes.velocity[wanted] / 128.0
    for p, exact, begin, end, v in zip(
        key[wanted], onset_frames, first, last, level, strict=True
    ):
        if end > 0:
            frame_TxP[max(begin, 0) : end, p] = 1
            velocity_TxP[max(begin, 0) : end, p] = v
        if 0 <= end < num_frames:
            offset_TxP[end, p] = 1
        if radius > 0:
            low = max(int(np.ceil(exact - radius)), 0)
            near = np.arange(low, min(int(np.floor(exact + radius)) + 1, num_frames))
            soft = 1 - np.abs(near - exact) / radius
            onset_TxP[near, p] = np.maximum(onset_TxP[near, p], soft)
            velocity_TxP[low : max(begin, low), p] = v
        elif 0 <= begin < num_frames:
            onset_TxP[begin, p] = 1
    # A key struck again has sounded until then: the new onset is no offset.
    offset_TxP[(onset_TxP > 0) & (offset_TxP > 0) & (frame_TxP > 0)] = 0
    return Rolls(onset_TxP, frame_TxP, offset_TxP, velocity_TxP, rate)

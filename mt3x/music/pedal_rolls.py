"""The sustain pedal and key releases in frames, as models are trained on them.

A pedal roll Tx3 has the columns of `PEDAL_COLUMNS`; frame `t` is centred on
`t / frame_rate_hz` seconds. A key roll TxP tells which keys are held by hand.
"""

import numpy as np

__all__ = ["PEDAL_COLUMNS", "PEDAL_ROLLS", "pedal_to_roll"]

PEDAL_ROLLS = ("key", "pedal")
PEDAL_COLUMNS = ("down", "press", "release")
# Presses and releases mark their neighbours, too, less the further away (frames).
_RADIUS = 3.0


def pedal_to_roll(
    pedal_s: np.ndarray, num_frames: int, frame_rate_hz: float
) -> np.ndarray:
    """Draw the training targets of the pedal.

    Args:
      pedal_s: K x 2 seconds, when the pedal goes down and up.
      num_frames: number of rows T.
      frame_rate_hz: frames per second.

    Returns:
      float32 Tx3: 1 while the pedal is down; triangles of three frames' half width
      around each press and each release (after Kong et al. 2021, arXiv:2010.01815).
    """
    frames_Kx2 = pedal_s * frame_rate_hz
    pedal_Tx3 = np.zeros((num_frames, len(PEDAL_COLUMNS)), np.float32)
    for down, up in frames_Kx2.tolist():
        start, stop = (max(int(np.ceil(frame)), 0) for frame in (down, up))
        pedal_Tx3[start:stop, 0] = 1
        for column, frame in ((1, down), (2, up)):
            low = max(int(np.ceil(frame - _RADIUS)), 0)
            near = np.arange(low, min(int(frame + _RADIUS) + 1, num_frames))
            soft = 1 - np.abs(near - frame) / _RADIUS
            pedal_Tx3[near, column] = np.maximum(pedal_Tx3[near, column], soft)
    return pedal_Tx3

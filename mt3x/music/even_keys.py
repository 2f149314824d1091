"""Velocities of a piano whose keys are not equally loud.

Struck alike, neighbouring keys of a real piano sound several dB apart: strings,
hammers, the soundboard and the microphone's place see to that. A model that hears a key
too loud hears it so all through the recording, and a player does not play one key
louder than those around it all the time. So the velocity v of note i is taken as that
of the notes around it, plus what is its key's own, plus a rest:

    v_i - mean of v around i = u_key(i) - mean of u around i + rest

Around are notes near in time and in pitch (Gaussian weights). The u of the 88 keys are
found by ridge regression, which leaves keys of few notes nearly as they are, and are
taken off. Some of the rest is an error of hearing, and is taken off as well.
"""

from dataclasses import replace

import numpy as np

from mt3x.music.notes import Notes

NEAR_S = 1.0
"""Standard deviation of the weights in time."""
NEAR_SEMITONES = 3.0
"""Standard deviation of the weights in pitch."""
PRIOR_NOTES = 2.0
"""The ridge: a key of so many notes loses about half of its u."""
NOISE = 0.15
"""Share of the rest that is not the player's."""

_STEP_S = 0.25


def even_keys(notes: Notes) -> Notes:
    """Take off what each key is louder than those around it, and some of the rest.

    Args:
      notes: of one piano, in any order.

    Returns:
      The same notes with other velocities, 1 to 127.
    """
    if not len(notes):
        return notes
    pitch_K, key_N = np.unique(notes.pitch, return_inverse=True)
    velocity_N = notes.velocity.astype(np.float64)
    step_N = np.floor((notes.onset_s - notes.onset_s.min()) / _STEP_S).astype(int)

    # Counts and sums of velocities on a grid, smoothed over time.
    grids_2xTxK = np.zeros((2, step_N.max() + 1, len(pitch_K)))
    np.add.at(grids_2xTxK[0], (step_N, key_N), 1.0)
    np.add.at(grids_2xTxK[1], (step_N, key_N), velocity_N)
    near_KxK = _gaussian((pitch_K[:, None] - pitch_K) / NEAR_SEMITONES)
    count_NxK, sum_NxK = _smooth(grids_2xTxK)[:, step_N] * near_KxK[key_N]
    weight_N = count_NxK.sum(axis=1)
    rest_N = velocity_N - sum_NxK.sum(axis=1) / weight_N

    design_NxK = -count_NxK / weight_N[:, None]
    design_NxK[np.arange(len(notes)), key_N] += 1.0
    normal_KxK = design_NxK.T @ design_NxK + PRIOR_NOTES * np.eye(len(pitch_K))
    own_K = np.linalg.solve(normal_KxK, design_NxK.T @ rest_N)
    rest_N -= design_NxK @ own_K
    even_N = velocity_N - own_K[key_N] - NOISE * rest_N
    even_N = np.clip(np.round(even_N), 1, 127)
    return replace(notes, velocity=even_N.astype(np.int32))


def _gaussian(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x**2)


def _smooth(grids_2xTxK: np.ndarray) -> np.ndarray:
    """Gaussian weights over time, zero outside."""
    reach = int(3 * NEAR_S / _STEP_S)
    taps = _gaussian(np.arange(-reach, reach + 1) * _STEP_S / NEAR_S)
    steps = grids_2xTxK.shape[1]
    padded = np.pad(grids_2xTxK, ((0, 0), (reach, reach), (0, 0)))
    parts = (tap * padded[:, t : t + steps] for t, tap in enumerate(taps))
    return sum(parts, start=np.zeros_like(grids_2xTxK))

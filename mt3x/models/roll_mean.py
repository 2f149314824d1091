"""The mean of the rolls that two models hear in one recording."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.music.rolls import ROLL_NAMES

# Probabilities have logarithms of odds from here to its complement.
_LEAST = 1e-6


def mean_rolls(
    own: Mapping[str, jax.Array],
    other: Mapping[str, jax.Array],
    step_frames: float,
    share: float,
) -> dict[str, jax.Array]:
    """Return the weighted means of rolls, at the frames of `own`.

    Of onsets, frames and offsets it is that of the logarithms of odds: a model that is
    sure outweighs one that is not. Of velocities it is that of the values.

    Args:
      own: the arrays by `ROLL_NAMES`, BxTxP.
      other: the same, of any number of frames; both begin with the recording.
      step_frames: frames of `other` in one of `own`.
      share: of `other` in the mean, 0 to 1.
    """
    means = {}
    for name in ROLL_NAMES:
        own_BxTxP = own[name]
        other_BxTxP = _resampled(other[name], own_BxTxP.shape[1], step_frames)
        if name == "velocity":
            means[name] = (1 - share) * own_BxTxP + share * other_BxTxP
        else:
            odds_BxTxP = (1 - share) * _odds(own_BxTxP) + share * _odds(other_BxTxP)
            means[name] = jax.nn.sigmoid(odds_BxTxP)
    return means


def _resampled(x_BxUxP: jax.Array, num_frames: int, step: float) -> jax.Array:
    """Return x between its frames, every `step` of them: BxTxP."""
    last = x_BxUxP.shape[1] - 1
    place_T = np.minimum(np.arange(num_frames) * step, last)
    before_T = np.floor(place_T).astype(int)
    after_T = np.minimum(before_T + 1, last)
    part_TxP = jnp.asarray(place_T - before_T, jnp.float32)[:, None]
    return (1 - part_TxP) * x_BxUxP[:, before_T] + part_TxP * x_BxUxP[:, after_T]


def _odds(probabilities: jax.Array) -> jax.Array:
    """Return the logarithms of odds."""
    clipped = jnp.clip(probabilities, _LEAST, 1 - _LEAST)
    return jnp.log(clipped) - jnp.log1p(-clipped)

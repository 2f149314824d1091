"""HPPNet's heads on the encoder of a token model: one network for tokens and rolls."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.hppnet import Heads
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES


class RollHeads(nn.Module):
    """HPPNet's heads on encoded frames, in the place of its trunk's features.

    A dense layer gives each of the piano's keys `channels` features; from there on all
    is HPPNet's (Wei et al. 2022, section 2.3).
    """

    channels: int
    dtype: Any

    @nn.compact
    def __call__(
        self, encoded_BxTxD: jax.Array, mask_BxT: jax.Array | None
    ) -> dict[str, jax.Array]:
        width = NUM_PITCHES * self.channels
        x = nn.relu(nn.Dense(width, dtype=self.dtype, name="keys")(encoded_BxTxD))
        x = x.reshape(*x.shape[:2], NUM_PITCHES, self.channels)
        rolls_GxBxTxP = Heads(self.channels, len(ROLL_NAMES), name="heads")(x, mask_BxT)
        rolls_GxBxTxP = jnp.clip(rolls_GxBxTxP, 1e-7, 1 - 1e-7)
        return dict(zip(ROLL_NAMES, rolls_GxBxTxP, strict=True))

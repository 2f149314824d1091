"""What HPPNet's paper tries in the place of frequency-grouped LSTMs (section 4.2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.lstm import both_ways, lstm, lstm_init, lstm_weights


class FlatHeads(nn.Module):
    """An LSTM for each head that reads all pitches at once: BxTxPxC -> GxBxTxP.

    Bidirectional, with `width` units each way: as many in all as the grouped one has
    for two pitches. A dense layer reads all of them for each pitch.
    """

    width: int
    num_heads: int

    @nn.compact
    def __call__(self, x_BxTxPxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
        batch, frames, pitches, channels = x_BxTxPxC.shape
        cells, width, size = self.num_heads, self.width, pitches * channels
        weights = lstm_weights(self, cells, width, size, x_BxTxPxC.dtype)
        shape = (2, cells, width, pitches)
        dense_DxGxHxP = self.param("dense_kernel", lstm_init(2 * width), shape)
        zeros = nn.initializers.zeros
        bias_GxP = self.param("dense_bias", zeros, (cells, pitches))
        x_TxDxCxN, keep = both_ways(x_BxTxPxC.reshape(batch, frames, 1, size), mask_BxT)
        h_TxDxGxHxN = lstm(x_TxDxCxN, *weights, keep).astype(jnp.float32)
        h_TxDxGxHxN = jnp.stack([h_TxDxGxHxN[:, 0], h_TxDxGxHxN[::-1, 1]], axis=1)
        logits = jnp.einsum("tdghn,dghp->gntp", h_TxDxGxHxN, dense_DxGxHxP)
        return nn.sigmoid(logits + bias_GxP[:, None, None])


class DenseHeads(nn.Module):
    """A dense layer for each head, which hears no other frame: BxTxPxC -> GxBxTxP."""

    num_heads: int

    @nn.compact
    def __call__(self, x_BxTxPxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
        del mask_BxT
        x = nn.Dense(self.num_heads, name="dense")(x_BxTxPxC.astype(jnp.float32))
        return nn.sigmoid(jnp.moveaxis(x, -1, 0))

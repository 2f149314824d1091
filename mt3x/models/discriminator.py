"""The discriminator: does music sound real, and of the mood it was to have?

After Neves, Fornari and Florindo (ISMIR 2022, arXiv:2212.11134) and their code: tokens
are joined to patches of 16, bidirectional linear attention (Katharopoulos et al. 2020)
reads them with a row that stands for all, and scores are projections (Miyato and
Koyama 2018, arXiv:1802.05637): a linear one of the features, plus the features' product
with an embedding of the mood. Here positions are learnt, not rotary, and norms stand
before the layers, as in the generator.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models import linear_attention
from mt3x.models.generator import ConditionalNorm, Mlp, Mood
from mt3x.music.options import check_fields

__all__ = ["Discriminator", "DiscriminatorConfig", "Scores"]

# With it scores have small gradients to begin with, as the penalty wants them.
_SCALE = 1 / 32


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Size of the discriminator."""

    patch: int = 16  # tokens
    num_layers: int = 2
    width: int = 128
    num_heads: int = 4
    mlp_width: int = 512
    mood_width: int = 64

    def __post_init__(self) -> None:
        check_fields(
            self,
            patch=(1, 4096),
            num_layers=(1, 64),
            width=(1, 8192),
            num_heads=(1, 1024),
            mlp_width=(1, 65536),
            mood_width=(1, 8192),
        )
        if self.width % self.num_heads:
            raise ValueError(
                f"num_heads={self.num_heads} must divide width={self.width}"
            )


class Scores(NamedTuple):
    """How real music seems, from minus to plus infinity."""

    whole_B: jax.Array
    patches_BxP: jax.Array


class _Attention(nn.Module):
    """Heads of bidirectional linear attention."""

    num_heads: int

    @nn.compact
    def __call__(self, x_BxPxD: jax.Array, mask_BxP: jax.Array) -> jax.Array:
        width = x_BxPxD.shape[-1]
        heads = (*x_BxPxD.shape[:2], self.num_heads, width // self.num_heads)
        query, key, value = (
            nn.Dense(width, use_bias=False, name=name)(x_BxPxD).reshape(heads)
            for name in ("query", "key", "value")
        )
        out = linear_attention.bidirectional(query, key, value, mask_BxP)
        return nn.Dense(width, use_bias=False, name="out")(out.reshape(x_BxPxD.shape))


class Discriminator(nn.Module):
    """Tokens, one-hot or soft, and moods to scores."""

    config: DiscriminatorConfig

    @nn.compact
    def __call__(
        self, tokens_BxTxV: jax.Array, mood_Bx2: jax.Array, mask_BxT: jax.Array
    ) -> Scores:
        """Return the scores.

        Args:
          tokens_BxTxV: weights of the tokens, of sum 1; T is a multiple of `patch`.
          mood_Bx2: as the generator's.
          mask_BxT: 0 for padding, which is not seen.
        """
        config = self.config
        batch, length = mask_BxT.shape
        count = length // config.patch
        condition = Mood(config.mood_width, name="mood")(mood_Bx2)
        tokens_BxTxV = tokens_BxTxV * mask_BxT[..., None]
        x = nn.Dense(config.width, use_bias=False, name="tokens")(tokens_BxTxV)
        x = x.reshape(batch, count, config.patch * config.width)
        x = nn.Dense(config.width, name="patches")(x)
        rows = nn.initializers.normal(0.02)
        start_1xD = self.param("start", rows, (1, config.width))
        positions_PxD = self.param("positions", rows, (count, config.width))
        start = jnp.broadcast_to(start_1xD, (batch, 1, config.width))
        x = jnp.concatenate([start, x + positions_PxD], axis=1)
        mask_BxP = mask_BxT.reshape(batch, count, config.patch).max(axis=-1)
        mask = jnp.pad(mask_BxP, ((0, 0), (1, 0)), constant_values=1)
        for n in range(config.num_layers):
            y = ConditionalNorm(name=f"attention_norm_{n}")(x, condition)
            x += _Attention(config.num_heads, name=f"attention_{n}")(y, mask)
            y = ConditionalNorm(name=f"mlp_norm_{n}")(x, condition)
            x += Mlp(config.mlp_width, name=f"mlp_{n}")(y)
        x = ConditionalNorm(name="norm")(x, condition)
        return Scores(
            _Projection(name="whole")(x[:, :1], condition)[:, 0],
            _Projection(name="each")(x[:, 1:], condition),
        )


class _Projection(nn.Module):
    """A linear score and the product with an embedding of the condition."""

    @nn.compact
    def __call__(self, x_BxPxD: jax.Array, condition_Bx1xC: jax.Array) -> jax.Array:
        wished = nn.Dense(x_BxPxD.shape[-1], name="wish")(condition_Bx1xC)
        score_BxP = nn.Dense(1, name="score")(x_BxPxD)[..., 0]
        return _SCALE * (score_BxP + jnp.sum(wished * x_BxPxD, axis=-1))

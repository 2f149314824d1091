"""MT3's network: a T5 1.1 encoder-decoder from spectrogram frames to event tokens.

Gardner et al. 2022, "MT3: Multi-task multitrack music transcription"
(arXiv:2111.03017), and Hawthorne et al. 2021 (arXiv:2107.09142). With the parameters
of a published checkpoint the logits are those of the authors' code: the encoder attends
everywhere, zero padding included, and the decoder to what came before. (Their code also
hides padding tokens after the end of a sequence from its other padding tokens, which
have no weight in the loss.) Acoustic stems (`mt3x.models.stem`) and heads for rolls
(`mt3x.models.roll_heads`) can be added; the other parameters stay as they are.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.decoder import Cache, Decoder
from mt3x.models.draft import DraftIds
from mt3x.models.encoder import Encoder
from mt3x.models.roll_heads import RollHeads
from mt3x.models.seq2seq_config import SIZES, Seq2SeqConfig

__all__ = ["SIZES", "Seq2Seq", "Seq2SeqConfig"]


class Seq2Seq(nn.Module):
    """The network: log-mel frames and the tokens so far to logits of the next token.

    Parameters are float32, and so are statistics, softmax and logits; all else is
    computed in `dtype`. With `roll_channels` there are heads for rolls, too.
    """

    config: Seq2SeqConfig = Seq2SeqConfig()
    dtype: Any = jnp.float32
    roll_channels: int | None = None
    draft_ids: DraftIds = DraftIds()

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.dtype, self.draft_ids)
        self.decoder = Decoder(self.config, self.dtype, self.draft_ids)
        if self.roll_channels is not None:
            self.roll_heads = RollHeads(self.roll_channels, self.dtype)

    def __call__(
        self,
        feats_BxTxF: jax.Array,
        decoder_inputs_BxL: jax.Array,
        deterministic: bool = True,
    ) -> jax.Array:
        """Return the logits of all positions at once, for training and scoring.

        Args:
          feats_BxTxF: features, config.input_depth bins of log-mel, and after them
            what the stem reads: a constant-Q transform's bins, or a band model's
            columns.
          decoder_inputs_BxL: int32 tokens, one later than the targets: 0 in front.
          deterministic: without dropout; with it, the rng "dropout" is needed.

        Returns:
          logits_BxLxV in float32; those at l depend on tokens up to l.
        """
        encoded_BxTxD = self.encoder(feats_BxTxF, deterministic)
        return self.decoder(encoded_BxTxD, decoder_inputs_BxL, deterministic)

    def with_rolls(
        self,
        feats_BxTxF: jax.Array,
        decoder_inputs_BxL: jax.Array,
        mask_BxT: jax.Array | None = None,
        deterministic: bool = True,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits of a call and the rolls; none where there are no heads."""
        encoded_BxTxD = self.encoder(feats_BxTxF, deterministic)
        logits = self.decoder(encoded_BxTxD, decoder_inputs_BxL, deterministic)
        if self.roll_channels is None:
            return logits, {}
        return logits, self.rolls(encoded_BxTxD, mask_BxT)

    def rolls(
        self, encoded_BxTxD: jax.Array, mask_BxT: jax.Array | None
    ) -> dict[str, jax.Array]:
        """Return a roll BxTxP, float32 in (0, 1), for each of HPPNet's `ROLL_NAMES`.

        Args:
          encoded_BxTxD: as from `encode`.
          mask_BxT: True at frames of audio; others are padding and change nothing.
        """
        if self.config.end_marker:
            encoded_BxTxD = encoded_BxTxD[:, :-1]
        return self.roll_heads(encoded_BxTxD, mask_BxT)

    def encode(self, feats_BxTxF: jax.Array, deterministic: bool = True) -> jax.Array:
        """Encode segments; return encoded_BxTxD, which `start` takes."""
        return self.encoder(feats_BxTxF, deterministic)

    def start(self, encoded_BxTxD: jax.Array, max_tokens: int) -> Cache:
        """Prepare decoding step by step.

        Args:
          encoded_BxTxD: encoded segments.
          max_tokens: how many steps a row may take.

        Returns:
          A cache; its leaves all have the batch on axis 0. A row starts again when its
          `frames` are replaced and its position is 0 again: what it holds of its own
          past beyond its position is never looked at.
        """
        return self.decoder.start(encoded_BxTxD, max_tokens)

    def step(
        self,
        cache: Cache,
        tokens_B: jax.Array,
        positions_B: jax.Array,
        length: int | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Take one token of each row and return the logits of the next.

        Args:
          cache: from `start` or the step before; may be donated.
          tokens_B: int32, 0 at position 0.
          positions_B: int32, of each row for itself.
          length: positions of the past that are looked at, all below it: a static
            number above every position, by default the cache's size. The fewer, the
            faster.

        Returns:
          logits_BxV in float32, and the cache with the tokens in it.
        """
        length = length or cache.max_tokens
        return self.decoder.step(cache, tokens_B, positions_B, length)

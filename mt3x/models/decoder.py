"""MT3's decoder: whole sequences and single steps (see `mt3x.models.seq2seq`)."""

import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.draft import Draft, DraftIds, Reviser, from_parts
from mt3x.models.encoder import attention, mlp
from mt3x.models.seq2seq_config import Seq2SeqConfig
from mt3x.models.transformer import (
    KeysValues,
    RMSNorm,
    dense,
    dropout,
    in_turn,
    sinusoids,
    with_remat,
)

# Positions in the first piece of a past. Most segments are shorter than two of these.
FIRST_PIECE = 256


class LayerCache(NamedTuple):
    """The arrays that a decoder layer keeps between steps.

    Its own past comes in pieces, so that a step reads the filled ones and no others:
    256 positions, then as many as all before, 256, 512 and so on.
    """

    past: tuple[KeysValues, ...]
    frames: KeysValues

    @property
    def max_tokens(self) -> int:
        return sum(piece.keys_BxHxKxC.shape[2] for piece in self.past)


class Cache(NamedTuple):
    """What the decoder keeps between steps."""

    layers: tuple[LayerCache, ...]
    draft: Draft | None

    @property
    def max_tokens(self) -> int:
        return self.layers[0].max_tokens


def _pieces(max_tokens: int) -> list[int]:
    """Return the sizes of the pieces of a past."""
    ends = [0, FIRST_PIECE]
    while ends[-1] < max_tokens:
        ends.append(2 * ends[-1])
    ends[-1] = max_tokens
    return [end - begin for begin, end in itertools.pairwise(ends)]


class DecoderLayer(nn.Module):
    config: Seq2SeqConfig
    dtype: Any

    def setup(self) -> None:
        self.pre_self_attention_layer_norm = RMSNorm(self.dtype)
        self.self_attention = attention(self.config, self.dtype)
        self.pre_cross_attention_layer_norm = RMSNorm(self.dtype)
        self.encoder_decoder_attention = attention(self.config, self.dtype)
        self.pre_mlp_layer_norm = RMSNorm(self.dtype)
        self.mlp = mlp(self.config, self.dtype)
        self.drop = dropout(self.config.dropout_rate)

    def __call__(
        self, x_BxLxD: jax.Array, encoded_BxTxD: jax.Array, deterministic: bool
    ) -> jax.Array:
        y = self.pre_self_attention_layer_norm(x_BxLxD)
        y = self.self_attention(y, y, True, deterministic)
        x_BxLxD += self.drop(y, deterministic)
        y = self.pre_cross_attention_layer_norm(x_BxLxD)
        y = self.encoder_decoder_attention(y, encoded_BxTxD, False, deterministic)
        x_BxLxD += self.drop(y, deterministic)
        y = self.mlp(self.pre_mlp_layer_norm(x_BxLxD), deterministic)
        return x_BxLxD + self.drop(y, deterministic)

    def start(self, encoded_BxTxD: jax.Array, max_tokens: int) -> LayerCache:
        heads, channels = self.config.num_heads, self.config.head_dim
        shapes = [
            (len(encoded_BxTxD), heads, size, channels) for size in _pieces(max_tokens)
        ]
        return LayerCache(
            past=tuple(
                KeysValues(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
                for shape in shapes
            ),
            frames=self.encoder_decoder_attention.keys_values(encoded_BxTxD),
        )

    def step(
        self, x_BxD: jax.Array, cache: LayerCache, positions_B: jax.Array, length: int
    ) -> tuple[jax.Array, LayerCache]:
        sizes = [piece.keys_BxHxKxC.shape[2] for piece in cache.past]
        begins = itertools.accumulate(sizes, initial=0)
        filled = sum(begin < length for begin in itertools.islice(begins, len(sizes)))
        y = self.pre_self_attention_layer_norm(x_BxD)
        past = self.self_attention.append(cache.past[:filled], y, positions_B)
        x_BxD += self.self_attention.step(y, past, positions_B)
        y = self.pre_cross_attention_layer_norm(x_BxD)
        x_BxD += self.encoder_decoder_attention.step(y, [cache.frames])
        x_BxD += self.mlp(self.pre_mlp_layer_norm(x_BxD), True)
        return x_BxD, cache._replace(past=past + cache.past[filled:])


class Decoder(nn.Module):
    config: Seq2SeqConfig
    dtype: Any
    draft_ids: DraftIds

    def setup(self) -> None:
        config = self.config
        self.token_embedder = nn.Embed(
            config.vocab_size,
            config.emb_dim,
            dtype=self.dtype,
            embedding_init=nn.initializers.normal(1.0),
        )
        layer = with_remat(DecoderLayer, config.remat, static=3)
        self.layers = [
            layer(config, self.dtype, name=f"layers_{n}")
            for n in range(config.num_decoder_layers)
        ]
        self.decoder_norm = RMSNorm(self.dtype)
        lecun_normal, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        self.logits_dense = dense(
            config.vocab_size,
            jnp.float32,
            zeros if config.draft_columns else lecun_normal,
        )
        if config.draft_columns:
            self.reviser = Reviser(
                config.emb_dim, config.vocab_size, self.draft_ids, self.dtype
            )
        self.drop = dropout(config.dropout_rate)

    def __call__(
        self, encoded_BxTxD: jax.Array, tokens_BxL: jax.Array, deterministic: bool
    ) -> jax.Array:
        encoded_BxTxD, draft = self._read(encoded_BxTxD, tokens_BxL.shape[1])
        x_BxLxD = self.token_embedder(tokens_BxL).astype(jnp.float32)
        x_BxLxD += sinusoids(*x_BxLxD.shape[1:])
        if draft is not None:
            draft = draft._replace(written_BxL=tokens_BxL)
            x_BxLxD += self.reviser.inputs(draft)
        x_BxLxD = self.drop(x_BxLxD, deterministic).astype(self.dtype)
        x_BxLxD = in_turn(
            self,
            self.config.scan_layers,
            self.layers,
            x_BxLxD,
            encoded_BxTxD,
            deterministic,
        )
        x_BxLxD = self.drop(self.decoder_norm(x_BxLxD), deterministic)
        logits_BxLxV = self.logits_dense(x_BxLxD)
        if draft is not None:
            logits_BxLxV = self.reviser(logits_BxLxV, draft)
        return logits_BxLxV

    def start(self, encoded_BxTxD: jax.Array, max_tokens: int) -> Cache:
        encoded_BxTxD, draft = self._read(encoded_BxTxD, max_tokens)
        layers = tuple(layer.start(encoded_BxTxD, max_tokens) for layer in self.layers)
        return Cache(layers, draft)

    def step(
        self, cache: Cache, tokens_B: jax.Array, positions_B: jax.Array, length: int
    ) -> tuple[jax.Array, Cache]:
        table = jnp.asarray(sinusoids(cache.max_tokens, self.config.emb_dim))
        x_BxD = self.token_embedder(tokens_B).astype(jnp.float32) + table[positions_B]
        draft = cache.draft and cache.draft.write(tokens_B, positions_B)
        if draft is not None:
            x_BxD += self.reviser.inputs(draft.at(positions_B))[:, 0]
        x_BxD = x_BxD.astype(self.dtype)
        after = []
        for layer, before in zip(self.layers, cache.layers, strict=True):
            x_BxD, layer_cache = layer.step(x_BxD, before, positions_B, length)
            after.append(layer_cache)
        x_BxD = self.decoder_norm(x_BxD)
        logits_BxV = self.logits_dense(x_BxD)
        if draft is not None:
            logits_BxV = self.reviser(logits_BxV[:, None], draft.at(positions_B))[:, 0]
        return logits_BxV, Cache(tuple(after), draft)

    def _read(
        self, encoded_BxTxD: jax.Array, max_tokens: int
    ) -> tuple[jax.Array, Draft | None]:
        """Return what the layers attend to, and the draft, if any."""
        columns = self.config.draft_columns
        if not columns:
            return encoded_BxTxD, None
        encoded_BxTxD, parts = jnp.split(encoded_BxTxD, [self.config.emb_dim], axis=-1)
        num_frames = (encoded_BxTxD.shape[1] - self.config.end_marker) // (columns + 1)
        length = columns * num_frames
        encoded_BxMxD, ids_BxM = encoded_BxTxD[:, -length:], from_parts(parts)
        draft = self.reviser.read(encoded_BxMxD, ids_BxM[:, -length:], max_tokens)
        return encoded_BxTxD, draft

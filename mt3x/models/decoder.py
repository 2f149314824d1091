"""MT3's decoder: whole sequences and single steps (see `mt3x.models.seq2seq`)."""

import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.encoder import attention, mlp
from mt3x.models.pointer import Past, Pointer, PointerCache, Recall, TokenHistory
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
    pointer: PointerCache | None

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
    history: TokenHistory

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
        self.logits_dense = dense(
            config.vocab_size, jnp.float32, nn.initializers.lecun_normal()
        )
        if config.stem.pointer_channels:
            self.pointer = Pointer(
                config.stem.pointer_channels,
                config.emb_dim,
                config.vocab_size,
                self.history,
                self.dtype,
            )
        self.drop = dropout(config.dropout_rate)

    def __call__(
        self, encoded_BxTxD: jax.Array, tokens_BxL: jax.Array, deterministic: bool
    ) -> jax.Array:
        encoded_BxTxD, columns_BxTxH = self._split(encoded_BxTxD)
        x_BxLxD = self.token_embedder(tokens_BxL).astype(jnp.float32)
        x_BxLxD += sinusoids(*x_BxLxD.shape[1:])
        past = None
        if self.config.stem.pointer_channels:
            past = self.history.read(tokens_BxL)
            x_BxLxD += self._known(past)
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
        if past is not None:
            memory = self.pointer.memory(encoded_BxTxD, columns_BxTxH)
            logits_BxLxV += self.pointer(x_BxLxD, self.history.recall(past), memory)
        return logits_BxLxV

    def start(self, encoded_BxTxD: jax.Array, max_tokens: int) -> Cache:
        encoded_BxTxD, columns_BxTxH = self._split(encoded_BxTxD)
        layers = tuple(layer.start(encoded_BxTxD, max_tokens) for layer in self.layers)
        pointer = None
        if self.config.stem.pointer_channels:
            memory = self.pointer.memory(encoded_BxTxD, columns_BxTxH)
            pointer = PointerCache(memory, self.history.start(len(encoded_BxTxD)))
        return Cache(layers, pointer)

    def step(
        self, cache: Cache, tokens_B: jax.Array, positions_B: jax.Array, length: int
    ) -> tuple[jax.Array, Cache]:
        table = jnp.asarray(sinusoids(cache.max_tokens, self.config.emb_dim))
        x_BxD = self.token_embedder(tokens_B).astype(jnp.float32) + table[positions_B]
        pointer = cache.pointer
        if pointer is not None:
            past = self.history.advance(pointer.past, tokens_B, positions_B)
            pointer = pointer._replace(past=past)
            x_BxD += self._known(past)
        x_BxD = x_BxD.astype(self.dtype)
        after = []
        for layer, before in zip(self.layers, cache.layers, strict=True):
            x_BxD, layer_cache = layer.step(x_BxD, before, positions_B, length)
            after.append(layer_cache)
        x_BxD = self.decoder_norm(x_BxD)
        logits_BxV = self.logits_dense(x_BxD)
        if pointer is not None:
            recall = self.history.recall(pointer.past)
            recall_Bx1 = Recall(*(array[:, None] for array in recall))
            logits_BxV += self.pointer(x_BxD[:, None], recall_Bx1, pointer.frames)[:, 0]
        return logits_BxV, Cache(tuple(after), pointer)

    def _known(self, past: Past) -> jax.Array:
        """Return what the pointer adds to the embeddings of tokens: [..., D]."""
        settings = self.token_embedder(past.settings).astype(jnp.float32)
        return self.pointer.known(self.history.recall(past), settings)

    def _split(self, encoded_BxTxD: jax.Array) -> list[jax.Array]:
        """Return the encoder's frames, and what the pointer reads: none without one."""
        return jnp.split(encoded_BxTxD, [self.config.emb_dim], axis=-1)

"""MT3's network: a T5 1.1 encoder-decoder from spectrogram frames to event tokens.

Gardner et al. 2022, "MT3: Multi-task multitrack music transcription"
(arXiv:2111.03017), and Hawthorne et al. 2021 (arXiv:2107.09142). With the parameters
of a published checkpoint the logits are those of the authors' code: the encoder attends
everywhere, zero padding included, and the decoder to what came before. (Their code also
hides padding tokens after the end of a sequence from its other padding tokens, which
have no weight in the loss.) Acoustic stems (`mt3x.models.stem`) and heads for rolls
(`mt3x.models.roll_heads`) can be added; the other parameters stay as they are.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.pointer import Pointer, PointerCache, TokenHistory, waves
from mt3x.models.roll_heads import RollHeads
from mt3x.models.stem import ConvModule, StemConfig, make_network
from mt3x.models.transformer import (
    MLP,
    REMAT_POLICIES,
    Attention,
    KeysValues,
    RMSNorm,
    dense,
    dropout,
    in_turn,
    sinusoids,
    with_remat,
)
from mt3x.music.options import check_fields

ACTIVATIONS = (
    *("linear", "gelu", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu"),
    *("swish", "sigmoid", "hard_sigmoid", "hard_swish", "soft_sign", "softplus"),
    *("tanh", "hard_tanh"),
)
"""Of the MLPs: functions of flax.linen, and none."""
# Positions in the first piece of a past. Most segments are shorter than two of these.
FIRST_PIECE = 256


@dataclass(frozen=True)
class Seq2SeqConfig:
    """The layer sizes; the defaults are MT3's (T5 1.1 small)."""

    # Rows of the embedding: ids of the vocabulary rounded up to a multiple of 128.
    vocab_size: int = 1536
    emb_dim: int = 512
    num_heads: int = 6
    head_dim: int = 64
    num_encoder_layers: int = 8
    num_decoder_layers: int = 8
    mlp_dim: int = 1024
    # Of ACTIVATIONS; the products of all of them are taken.
    mlp_activations: tuple[str, ...] = ("gelu", "linear")
    dropout_rate: float = 0.1
    # Feature bins of a frame.
    input_depth: int = 512
    # What the backward pass recomputes to save memory, of REMAT_POLICIES.
    remat: str = "none"
    # Compile one layer and loop over all: compiles faster, stores the same parameters.
    scan_layers: bool = False
    # Convolutions before, beside or inside of the encoder.
    stem: StemConfig = field(default_factory=StemConfig)
    # A learned vector after the frames: 511 of them fill 512 positions.
    end_marker: bool = False

    def __post_init__(self) -> None:
        if self.remat not in REMAT_POLICIES:
            raise ValueError(
                f"remat must be one of {', '.join(REMAT_POLICIES)}, "
                f"found {self.remat!r}"
            )
        if not self.mlp_activations:
            raise ValueError("mlp_activations are none: give one or more")
        for activation in self.mlp_activations:
            if activation not in ACTIVATIONS:
                raise ValueError(
                    f"mlp_activations: {activation!r} is none of "
                    f"{', '.join(ACTIVATIONS)}"
                )
        check_fields(
            self,
            vocab_size=(1, 2**17),
            emb_dim=(1, 16_384),
            num_heads=(1, 256),
            head_dim=(1, 4096),
            num_encoder_layers=(1, 128),
            num_decoder_layers=(1, 128),
            mlp_dim=(1, 65_536),
            dropout_rate=(0, 0.99),
            input_depth=(1, 4096),
        )
        if self.stem.reads_mel and self.input_depth % 4:
            raise ValueError(
                f"input_depth={self.input_depth} must be a multiple of 4, as the stem "
                "pools bins by 2 twice"
            )


SIZES = {
    "small": Seq2SeqConfig(),
    "base": Seq2SeqConfig(
        emb_dim=768,
        num_heads=12,
        num_encoder_layers=12,
        num_decoder_layers=12,
        mlp_dim=2048,
    ),
}


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


def _attention(config: Seq2SeqConfig, dtype: Any) -> Attention:
    return Attention(
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        width=config.emb_dim,
        dropout_rate=config.dropout_rate,
        dtype=dtype,
    )


def _mlp(config: Seq2SeqConfig, dtype: Any) -> MLP:
    return MLP(
        hidden_dim=config.mlp_dim,
        activations=config.mlp_activations,
        dropout_rate=config.dropout_rate,
        dtype=dtype,
    )


class EncoderLayer(nn.Module):
    config: Seq2SeqConfig
    dtype: Any

    def setup(self) -> None:
        self.pre_attention_layer_norm = RMSNorm(self.dtype)
        self.attention = _attention(self.config, self.dtype)
        self.has_conv = self.config.stem.mode == "conformer"
        if self.has_conv:
            self.pre_conv_layer_norm = RMSNorm(self.dtype)
            self.conv = ConvModule(
                self.config.emb_dim, self.config.stem.kernel_frames, self.dtype
            )
        self.pre_mlp_layer_norm = RMSNorm(self.dtype)
        self.mlp = _mlp(self.config, self.dtype)
        self.drop = dropout(self.config.dropout_rate)

    def __call__(self, x_BxTxD: jax.Array, deterministic: bool) -> jax.Array:
        y = self.pre_attention_layer_norm(x_BxTxD)
        y = self.attention(y, y, False, deterministic)
        x_BxTxD += self.drop(y, deterministic)
        if self.has_conv:
            y = self.conv(self.pre_conv_layer_norm(x_BxTxD))
            x_BxTxD += self.drop(y, deterministic)
        y = self.mlp(self.pre_mlp_layer_norm(x_BxTxD), deterministic)
        return x_BxTxD + self.drop(y, deterministic)


class DecoderLayer(nn.Module):
    config: Seq2SeqConfig
    dtype: Any

    def setup(self) -> None:
        self.pre_self_attention_layer_norm = RMSNorm(self.dtype)
        self.self_attention = _attention(self.config, self.dtype)
        self.pre_cross_attention_layer_norm = RMSNorm(self.dtype)
        self.encoder_decoder_attention = _attention(self.config, self.dtype)
        self.pre_mlp_layer_norm = RMSNorm(self.dtype)
        self.mlp = _mlp(self.config, self.dtype)
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


class Encoder(nn.Module):
    config: Seq2SeqConfig
    dtype: Any

    def setup(self) -> None:
        config = self.config
        self.continuous_inputs_projection = dense(
            config.emb_dim, self.dtype, nn.initializers.lecun_normal()
        )
        if config.stem.has_network:
            self.stem = make_network(config.stem, config.input_depth, self.dtype)
        if config.stem.mode == "parallel":
            # Zero at first: the encoder starts as one without a stem.
            self.stem_projection = dense(
                config.emb_dim, self.dtype, nn.initializers.zeros
            )
        if config.end_marker:
            self.end = self.param("end", nn.initializers.normal(1.0), (config.emb_dim,))
        layer = with_remat(EncoderLayer, config.remat, static=2)
        self.layers = [
            layer(config, self.dtype, name=f"layers_{n}")
            for n in range(config.num_encoder_layers)
        ]
        self.encoder_norm = RMSNorm(self.dtype)
        self.drop = dropout(config.dropout_rate)
        self.drop_end = nn.Dropout(config.dropout_rate)

    def __call__(self, feats_BxTxF: jax.Array, deterministic: bool) -> jax.Array:
        config = self.config
        x_BxTxD = self._project(feats_BxTxF, deterministic).astype(jnp.float32)
        if config.end_marker:
            end_Bx1xD = jnp.broadcast_to(self.end, (len(x_BxTxD), 1, len(self.end)))
            x_BxTxD = jnp.concatenate([x_BxTxD, end_Bx1xD], axis=1)
        x_BxTxD += sinusoids(*x_BxTxD.shape[1:])
        x_BxTxD = self.drop(x_BxTxD, deterministic).astype(self.dtype)
        x_BxTxD = in_turn(self, config.scan_layers, self.layers, x_BxTxD, deterministic)
        x_BxTxD = self.drop_end(self.encoder_norm(x_BxTxD), deterministic)
        if not config.stem.pointer_channels:
            return x_BxTxD
        # What the decoder's pointer reads travels with the frames.
        columns_BxTxH = feats_BxTxF[..., config.input_depth :].astype(self.dtype)
        after = x_BxTxD.shape[1] - columns_BxTxH.shape[1]
        columns_BxTxH = jnp.pad(columns_BxTxH, [(0, 0), (0, after), (0, 0)])
        return jnp.concatenate([x_BxTxD, columns_BxTxH], axis=-1)

    def _project(self, feats_BxTxF: jax.Array, deterministic: bool) -> jax.Array:
        stem = self.config.stem
        mel_BxTxF, rest_BxTxF = jnp.split(
            feats_BxTxF, [self.config.input_depth], axis=-1
        )
        if not stem.has_network:
            return self.continuous_inputs_projection(mel_BxTxF)
        read_BxTxF = mel_BxTxF if stem.reads_mel else rest_BxTxF
        stem_BxTxF = self.stem(read_BxTxF, deterministic)
        if stem.mode == "before":
            return self.continuous_inputs_projection(stem_BxTxF)
        x_BxTxD = self.continuous_inputs_projection(mel_BxTxF)
        return x_BxTxD + self.stem_projection(stem_BxTxF)


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
                config.vocab_size,
                self.history,
                self.dtype,
            )
            init = nn.initializers.lecun_normal()
            self.pointer_time = dense(config.emb_dim, jnp.float32, init)
            self.pointer_settings = dense(config.emb_dim, jnp.float32, init)
        self.drop = dropout(config.dropout_rate)

    def __call__(
        self, encoded_BxTxD: jax.Array, tokens_BxL: jax.Array, deterministic: bool
    ) -> jax.Array:
        encoded_BxTxD, columns_BxTxH = self._split(encoded_BxTxD)
        x_BxLxD = self.token_embedder(tokens_BxL).astype(jnp.float32)
        x_BxLxD += sinusoids(*x_BxLxD.shape[1:])
        latest_BxLxK = self.history.latest(tokens_BxL)
        if self.config.stem.pointer_channels:
            x_BxLxD += self._holding(latest_BxLxK)
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
        if self.config.stem.pointer_channels:
            memory = self.pointer.memory(encoded_BxTxD, columns_BxTxH)
            struck_BxLx3xN = self.history.struck(tokens_BxL, latest_BxLxK)
            struck_BxLx3xN = jax.lax.cummax(struck_BxLx3xN, axis=1)
            recent_BxLx3xN = self.history.recent(struck_BxLx3xN, latest_BxLxK)
            logits_BxLxV += self.pointer(x_BxLxD, latest_BxLxK, recent_BxLx3xN, memory)
        return logits_BxLxV

    def start(self, encoded_BxTxD: jax.Array, max_tokens: int) -> Cache:
        encoded_BxTxD, columns_BxTxH = self._split(encoded_BxTxD)
        layers = tuple(layer.start(encoded_BxTxD, max_tokens) for layer in self.layers)
        pointer = None
        if self.config.stem.pointer_channels:
            memory = self.pointer.memory(encoded_BxTxD, columns_BxTxH)
            shape = len(encoded_BxTxD), len(self.history.kinds)
            latest_BxK = jnp.zeros(shape, jnp.int32)
            struck_Bx3xN = self.history.struck(latest_BxK[:, 0], latest_BxK)
            pointer = PointerCache(memory, latest_BxK, struck_Bx3xN)
        return Cache(layers, pointer)

    def step(
        self, cache: Cache, tokens_B: jax.Array, positions_B: jax.Array, length: int
    ) -> tuple[jax.Array, Cache]:
        table = jnp.asarray(sinusoids(cache.max_tokens, self.config.emb_dim))
        x_BxD = self.token_embedder(tokens_B).astype(jnp.float32) + table[positions_B]
        pointer = cache.pointer
        if pointer is not None:
            pointer = pointer.advance(self.history, tokens_B, positions_B)
            x_BxD += self._holding(pointer.latest_BxK)
        x_BxD = x_BxD.astype(self.dtype)
        after = []
        for layer, before in zip(self.layers, cache.layers, strict=True):
            x_BxD, layer_cache = layer.step(x_BxD, before, positions_B, length)
            after.append(layer_cache)
        x_BxD = self.decoder_norm(x_BxD)
        logits_BxV = self.logits_dense(x_BxD)
        if pointer is not None:
            recent_Bx3xN = self.history.recent(pointer.struck_Bx3xN, pointer.latest_BxK)
            now = x_BxD, pointer.latest_BxK, recent_Bx3xN
            x_Bx1xD, latest_Bx1xK, recent_Bx1x3xN = (array[:, None] for array in now)
            copied_Bx1xV = self.pointer(
                x_Bx1xD, latest_Bx1xK, recent_Bx1x3xN, pointer.frames
            )
            logits_BxV += copied_Bx1xV[:, 0]
        return logits_BxV, Cache(tuple(after), pointer)

    def _holding(self, latest: jax.Array) -> jax.Array:
        """Return what `TokenHistory.latest` says as a vector: [..., K] -> [..., D]."""
        time = self.pointer_time(waves(self.history.frames(latest)))
        settings = self.token_embedder(latest[..., 1:]).astype(jnp.float32)
        settings = settings.reshape(*time.shape[:-1], -1)
        return time + self.pointer_settings(settings)

    def _split(self, encoded_BxTxD: jax.Array) -> list[jax.Array]:
        """Return the encoder's frames, and what the pointer reads: none without one."""
        return jnp.split(encoded_BxTxD, [self.config.emb_dim], axis=-1)


class Seq2Seq(nn.Module):
    """The network: log-mel frames and the tokens so far to logits of the next token.

    Parameters are float32, and so are statistics, softmax and logits; all else is
    computed in `dtype`. With `roll_channels` there are heads for rolls, too.
    """

    config: Seq2SeqConfig = Seq2SeqConfig()
    dtype: Any = jnp.float32
    roll_channels: int | None = None
    history: TokenHistory = TokenHistory()

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.dtype)
        self.decoder = Decoder(self.config, self.dtype, self.history)
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
        encoded_BxTxD = encoded_BxTxD[..., : self.config.emb_dim]
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

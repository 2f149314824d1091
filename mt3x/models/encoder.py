"""MT3's encoder (see `mt3x.models.seq2seq`)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.draft import DraftEmbedding, DraftIds, to_parts
from mt3x.models.seq2seq_config import Seq2SeqConfig
from mt3x.models.stem import ConvModule, make_network
from mt3x.models.transformer import (
    MLP,
    Attention,
    RMSNorm,
    dense,
    dropout,
    in_turn,
    sinusoids,
    with_remat,
)


def attention(config: Seq2SeqConfig, dtype: Any) -> Attention:
    """Return the attention of a layer."""
    return Attention(
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        width=config.emb_dim,
        dropout_rate=config.dropout_rate,
        dtype=dtype,
    )


def mlp(config: Seq2SeqConfig, dtype: Any) -> MLP:
    """Return the feed-forward block of a layer."""
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
        self.attention = attention(self.config, self.dtype)
        self.has_conv = self.config.stem.mode == "conformer"
        if self.has_conv:
            self.pre_conv_layer_norm = RMSNorm(self.dtype)
            self.conv = ConvModule(
                self.config.emb_dim, self.config.stem.kernel_frames, self.dtype
            )
        self.pre_mlp_layer_norm = RMSNorm(self.dtype)
        self.mlp = mlp(self.config, self.dtype)
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


class Encoder(nn.Module):
    config: Seq2SeqConfig
    dtype: Any
    draft_ids: DraftIds

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
        if config.draft_columns:
            self.draft = DraftEmbedding(
                config.emb_dim, config.vocab_size, self.draft_ids, self.dtype
            )
        layer = with_remat(EncoderLayer, config.remat, static=2)
        self.layers = [
            layer(config, self.dtype, name=f"layers_{n}")
            for n in range(config.num_encoder_layers)
        ]
        self.encoder_norm = RMSNorm(self.dtype)
        self.drop = dropout(config.dropout_rate)
        self.drop_end = nn.Dropout(config.dropout_rate)

    def __call__(self, feats_BxTxF: jax.Array, deterministic: bool) -> jax.Array:
        """Return BxTxD; of a draft its tokens follow, and their ids in columns."""
        config = self.config
        num_bins = feats_BxTxF.shape[-1] - config.draft_columns
        feats_BxTxF, draft_BxTxK = jnp.split(feats_BxTxF, [num_bins], axis=-1)
        x_BxTxD = self._project(feats_BxTxF, deterministic).astype(jnp.float32)
        if config.end_marker:
            end_Bx1xD = jnp.broadcast_to(self.end, (len(x_BxTxD), 1, len(self.end)))
            x_BxTxD = jnp.concatenate([x_BxTxD, end_Bx1xD], axis=1)
        x_BxTxD += sinusoids(*x_BxTxD.shape[1:])
        ids_BxM = draft_BxTxK.reshape(len(x_BxTxD), -1).astype(jnp.int32)
        if config.draft_columns:
            draft_BxMxD = self.draft(ids_BxM, feats_BxTxF)
            x_BxTxD = jnp.concatenate([x_BxTxD, draft_BxMxD], axis=1)
        x_BxTxD = self.drop(x_BxTxD, deterministic).astype(self.dtype)
        x_BxTxD = in_turn(self, config.scan_layers, self.layers, x_BxTxD, deterministic)
        x_BxTxD = self.drop_end(self.encoder_norm(x_BxTxD), deterministic)
        if not config.draft_columns:
            return x_BxTxD
        parts = to_parts(ids_BxM, self.dtype)
        before = x_BxTxD.shape[1] - parts.shape[1]
        parts = jnp.pad(parts, [(0, 0), (before, 0), (0, 0)])
        return jnp.concatenate([x_BxTxD, parts], axis=-1)

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

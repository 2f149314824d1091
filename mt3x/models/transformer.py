"""The parts of a T5 1.1 encoder-decoder, for whole sequences and for single steps.

T5 1.1 (Raffel et al. 2020, arXiv:1910.10683, and Shazeer 2020, arXiv:2002.05202 for the
gated feed-forward block) as MT3 uses it (Gardner et al. 2022, arXiv:2111.03017): no
biases, RMS norm in front of each block, no relative positions, and attention logits
that are not divided by sqrt(head_dim): the initialiser of the queries is, instead.
Names and shapes of the parameters are those of MT3's published checkpoints.

B batch, L queries, K keys, H heads, C channels of a head, D width.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def sinusoids(num_positions: int, width: int) -> np.ndarray:
    """Fixed position embeddings, float32 num_positions x width.

    Sines in the first half of the channels and cosines in the second, with wavelengths
    from 2 pi to 20000 pi in geometric progression (Vaswani et al. 2017, section 3.5;
    the halves and the last wavelength are tensor2tensor's).
    """
    half = width // 2
    scales = np.exp(np.arange(half) * -np.log(10000.0) / (half - 1))
    angles = np.arange(num_positions)[:, None] * scales
    table = np.zeros((num_positions, width), np.float32)
    table[:, :half], table[:, half : 2 * half] = np.sin(angles), np.cos(angles)
    return table


def dense(features: int, dtype: Any, init: Any, name: str | None = None) -> nn.Dense:
    """A linear map without bias."""
    return nn.Dense(features, use_bias=False, dtype=dtype, kernel_init=init, name=name)


def dropout(rate: float) -> nn.Dropout:
    """Dropout of a channel at all positions of a sequence at once, as MT3 has it."""
    return nn.Dropout(rate, broadcast_dims=(-2,))


class RMSNorm(nn.Module):
    """T5's layer norm: without mean and bias (Zhang & Sennrich 2019), in float32."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return (x * jax.lax.rsqrt(mean_square + 1e-6) * scale).astype(self.dtype)


class KeysValues(NamedTuple):
    """Keys and values as a step of decoding reads them: both with a long last axis."""

    keys_BxHxCxK: jax.Array
    values_BxHxKxC: jax.Array


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2), logits not scaled."""

    num_heads: int
    head_dim: int
    width: int
    dropout_rate: float
    dtype: Any

    def setup(self) -> None:
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")

        def query_init(*args: Any) -> jax.Array:
            return init(*args) / np.float32(np.sqrt(self.head_dim))

        joined = self.num_heads * self.head_dim
        self.query = dense(joined, self.dtype, query_init)
        self.key = dense(joined, self.dtype, init)
        self.value = dense(joined, self.dtype, init)
        self.out = dense(self.width, self.dtype, init)
        # MT3 drops attention weights of a head and key for all queries alike: the
        # same as to drop the values of this head and key, which costs less.
        self.drop = nn.Dropout(self.dropout_rate, broadcast_dims=(-1,))

    def __call__(
        self,
        x_BxLxD: jax.Array,
        memory_BxKxD: jax.Array,
        causal: bool,
        deterministic: bool,
    ) -> jax.Array:
        """Attend from every position of x to all of memory, or to those before it."""
        query_BxLxHxC = self._split(self.query(x_BxLxD))
        keys_BxKxHxC = self._split(self.key(memory_BxKxD))
        values_BxKxHxC = self._split(self.value(memory_BxKxD))
        # It mixes bfloat16 with float32 and is not made for strict promotion.
        with jax.numpy_dtype_promotion("standard"):
            mixed_BxLxHxC = jax.nn.dot_product_attention(
                query_BxLxHxC,
                keys_BxKxHxC,
                self.drop(values_BxKxHxC, deterministic),
                scale=1.0,
                is_causal=causal,
            )
        return self.out(mixed_BxLxHxC.reshape(*x_BxLxD.shape[:2], -1))

    def keys_values(self, memory_BxKxD: jax.Array) -> KeysValues:
        """What `step` needs of a memory."""
        keys_BxKxHxC = self._split(self.key(memory_BxKxD))
        values_BxKxHxC = self._split(self.value(memory_BxKxD))
        return KeysValues(
            keys_BxKxHxC.transpose(0, 2, 3, 1), values_BxKxHxC.transpose(0, 2, 1, 3)
        )

    def append(
        self, memory: KeysValues, x_BxD: jax.Array, positions_B: jax.Array
    ) -> KeysValues:
        """Write each row's key and value at the row's own position."""
        rows = jnp.arange(x_BxD.shape[0])
        keys_BxHxC = self._split(self.key(x_BxD))
        values_BxHxC = self._split(self.value(x_BxD))
        return KeysValues(
            memory.keys_BxHxCxK.at[rows, :, :, positions_B].set(keys_BxHxC),
            memory.values_BxHxKxC.at[rows, :, positions_B].set(values_BxHxC),
        )

    def step(
        self,
        x_BxD: jax.Array,
        memory: KeysValues,
        visible_BxK: jax.Array | None = None,
    ) -> jax.Array:
        """Attend from one position of each row to the visible part of its memory."""
        query_BxHxC = self._split(self.query(x_BxD))
        logits_BxHxK = jnp.einsum(
            "bhc,bhck->bhk",
            query_BxHxC,
            memory.keys_BxHxCxK,
            preferred_element_type=jnp.float32,
        )
        if visible_BxK is not None:
            lowest = jnp.finfo(jnp.float32).min
            logits_BxHxK = jnp.where(visible_BxK[:, None], logits_BxHxK, lowest)
        weights_BxHxK = jax.nn.softmax(logits_BxHxK).astype(x_BxD.dtype)
        mixed_BxHxC = jnp.einsum("bhk,bhkc->bhc", weights_BxHxK, memory.values_BxHxKxC)
        return self.out(mixed_BxHxC.reshape(x_BxD.shape[0], -1))

    def _split(self, joined: jax.Array) -> jax.Array:
        return joined.reshape(*joined.shape[:-1], self.num_heads, self.head_dim)


class MLP(nn.Module):
    """Feed-forward block; with several activations their products (gated)."""

    hidden_dim: int
    activations: tuple[str, ...]
    dropout_rate: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        init = nn.initializers.lecun_normal()
        gates = []
        for n, activation in enumerate(self.activations):
            name = "wi" if len(self.activations) == 1 else f"wi_{n}"
            hidden = dense(self.hidden_dim, self.dtype, init, name)(x)
            gates.append(
                hidden if activation == "linear" else getattr(nn, activation)(hidden)
            )
        hidden = gates[0]
        for gate in gates[1:]:
            hidden = hidden * gate
        hidden = dropout(self.dropout_rate)(hidden, deterministic)
        return dense(x.shape[-1], self.dtype, init, "wo")(hidden)

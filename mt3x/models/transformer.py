"""The parts of a T5 1.1 encoder-decoder, for whole sequences and for single steps.

T5 1.1 (Raffel et al. 2020, arXiv:1910.10683, and Shazeer 2020, arXiv:2002.05202 for the
gated feed-forward block) as MT3 uses it (Gardner et al. 2022, arXiv:2111.03017): no
biases, RMS norm before each block, no relative positions, and attention logits
that are not divided by sqrt(head_dim): the initialiser of the queries is, instead.
Names and shapes of the parameters are those of MT3's published checkpoints.

B batch, L queries, K keys, H heads, C channels of a head, D width.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mt3x.models.platform import platform

# What the backward pass recomputes of a layer: nothing, all but matrix products with
# parameters, or all.
REMAT_POLICIES: Mapping[str, Any] = {
    "none": None,
    "minimal": jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
    "full": jax.checkpoint_policies.nothing_saveable,
}


def sinusoids(num_positions: int, width: int) -> np.ndarray:
    """Return fixed position embeddings, float32 num_positions x width.

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
    """Return a linear map without bias."""
    return nn.Dense(features, use_bias=False, dtype=dtype, kernel_init=init, name=name)


def dropout(rate: float) -> nn.Dropout:
    """Drop a channel at all positions of a sequence at once, as MT3 does."""
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


def attend(
    query_BxLxHxC: jax.Array,
    keys_BxKxHxC: jax.Array,
    values_BxKxHxC: jax.Array,
    causal: bool,
) -> jax.Array:
    """Attend with logits as they are: mixed values BxLxHxC; softmax in float32.

    On accelerators it is JAX's own. On a CPU that is slower than two matrix products: a
    training step of the small model on 2 x 1024 tokens takes 13.1 s with it and 9.0 s
    with these.
    """
    if platform() != "cpu":
        # It mixes bfloat16 with float32 and is not made for strict promotion.
        with jax.numpy_dtype_promotion("standard"):
            return jax.nn.dot_product_attention(
                query_BxLxHxC, keys_BxKxHxC, values_BxKxHxC, scale=1.0, is_causal=causal
            )
    logits_BxHxLxK = jnp.einsum(
        "blhc,bkhc->bhlk",
        query_BxLxHxC,
        keys_BxKxHxC,
        preferred_element_type=jnp.float32,
    )
    if causal:
        seen_LxK = jnp.tril(jnp.ones(logits_BxHxLxK.shape[2:], bool))
        logits_BxHxLxK = jnp.where(seen_LxK, logits_BxHxLxK, -jnp.inf)
    weights_BxHxLxK = jax.nn.softmax(logits_BxHxLxK).astype(values_BxKxHxC.dtype)
    return jnp.einsum("bhlk,bkhc->blhc", weights_BxHxLxK, values_BxKxHxC)


class KeysValues(NamedTuple):
    """The keys and values of K positions."""

    keys_BxHxKxC: jax.Array
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
        mixed_BxLxHxC = attend(
            query_BxLxHxC,
            keys_BxKxHxC,
            self.drop(values_BxKxHxC, deterministic),
            causal,
        )
        return self.out(mixed_BxLxHxC.reshape(*x_BxLxD.shape[:2], -1))

    def keys_values(self, memory_BxKxD: jax.Array) -> KeysValues:
        """Return what `step` needs of a memory."""
        keys_BxKxHxC = self._split(self.key(memory_BxKxD))
        values_BxKxHxC = self._split(self.value(memory_BxKxD))
        return KeysValues(keys_BxKxHxC.swapaxes(1, 2), values_BxKxHxC.swapaxes(1, 2))

    def append(
        self, past: Sequence[KeysValues], x_BxD: jax.Array, positions_B: jax.Array
    ) -> tuple[KeysValues, ...]:
        """Write each row's key and value at its own position of the past's pieces."""
        rows_B = jnp.arange(len(x_BxD))
        key_BxHxC = self._split(self.key(x_BxD))
        value_BxHxC = self._split(self.value(x_BxD))
        if len(x_BxD) == 1:
            # XLA's CPU backend would copy the past instead of writing a single row into
            # it. The same row twice is written in place.
            twice = partial(jnp.repeat, repeats=2, axis=0)
            rows_B, positions_B = twice(rows_B), twice(positions_B)
            key_BxHxC, value_BxHxC = twice(key_BxHxC), twice(value_BxHxC)

        def write(array_BxHxKxC: jax.Array, new_BxHxC: jax.Array, first: int):
            # Positions of other pieces fall outside of this one and are dropped.
            at = array_BxHxKxC.at[rows_B, :, positions_B - first]
            return at.set(new_BxHxC, mode="drop", wrap_negative_indices=False)

        after, first = [], 0
        for keys_BxHxKxC, values_BxHxKxC in past:
            keys_values = KeysValues(
                write(keys_BxHxKxC, key_BxHxC, first),
                write(values_BxHxKxC, value_BxHxC, first),
            )
            after.append(keys_values)
            first += keys_BxHxKxC.shape[2]
        return tuple(after)

    def step(
        self,
        x_BxD: jax.Array,
        memory: Sequence[KeysValues],
        last_B: jax.Array | None = None,
    ) -> jax.Array:
        """Attend from one position of each row to a memory in pieces, up to `last_B`.

        The pieces are not joined, nor is anything cut from them: on a CPU such a copy
        takes longer than the attention.
        """
        query_BxHxC = self._split(self.query(x_BxD))
        logits = [
            jnp.einsum(
                "bhc,bhkc->bhk",
                query_BxHxC,
                keys_BxHxKxC,
                preferred_element_type=jnp.float32,
            )
            for keys_BxHxKxC, _ in memory
        ]
        logits_BxHxK = jnp.concatenate(logits, axis=-1)
        if last_B is not None:
            seen_BxK = jnp.arange(logits_BxHxK.shape[-1]) <= last_B[:, None]
            logits_BxHxK = jnp.where(seen_BxK[:, None], logits_BxHxK, -jnp.inf)
        weights_BxHxK = jax.nn.softmax(logits_BxHxK).astype(x_BxD.dtype)
        mixed_BxHxC, first = jnp.zeros_like(query_BxHxC), 0
        for _, values_BxHxKxC in memory:
            piece_BxHxK = weights_BxHxK[..., first : first + values_BxHxKxC.shape[2]]
            mixed_BxHxC += jnp.einsum("bhk,bhkc->bhc", piece_BxHxK, values_BxHxKxC)
            first += values_BxHxKxC.shape[2]
        return self.out(mixed_BxHxC.reshape(len(x_BxD), -1))

    def _split(self, joined: jax.Array) -> jax.Array:
        return joined.reshape(*joined.shape[:-1], self.num_heads, self.head_dim)


class MLP(nn.Module):
    """The feed-forward block; with several activations their products (gated)."""

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


def with_remat(layer: type[nn.Module], name: str, static: int) -> type[nn.Module]:
    """Return a layer with a backward pass that recomputes what REMAT_POLICIES says.

    Args:
      layer: a class of modules.
      name: of the policy.
      static: which argument of its call is not an array; the module itself counts.
    """
    policy = REMAT_POLICIES[name]
    if policy is None:
        return layer
    return nn.remat(layer, policy=policy, static_argnums=(static,))


def in_turn(
    module: nn.Module, scan: bool, layers: Sequence[Any], x: jax.Array, *args: Any
) -> jax.Array:
    """Apply layers one after the other, unrolled or as one scan over their parameters.

    The scan stacks the parameters when it is applied: they are stored as without it.
    """
    if module.is_initializing() or not scan:
        for layer in layers:
            x = layer(x, *args)
        return x
    params = [layer.variables["params"] for layer in layers]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    layer = layers[0].clone(parent=None)
    rng = module.make_rng("dropout") if module.has_rng("dropout") else None

    def body(x, inputs):
        params, n = inputs
        rngs = None if rng is None else {"dropout": jax.random.fold_in(rng, n)}
        return layer.apply({"params": params}, x, *args, rngs=rngs), None

    return jax.lax.scan(body, x, (stacked, jnp.arange(len(layers))))[0]

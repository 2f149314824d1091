"""Linear attention (Katharopoulos et al. 2020, arXiv:2006.16236).

A query's weight for a key is the product of their feature maps, so that sums over the
past fit in a matrix a head: memory does not grow with the length, and a token costs the
same wherever it stands. Divisors are sums too: values get a column of ones.

Here each head may forget: what lies n tokens back counts 0.5^(n / half-life), as in
retention (Sun et al. 2023, arXiv:2307.08621). That gives a sense of distance at any
length, where learnt positions end.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["bidirectional", "causal", "initial_state"]

_LEAST_SUM = 1e-6  # of weights, where all have underflowed


def feature_map(x: jax.Array) -> jax.Array:
    """Return elu(x) + 1, which is above 0 (eq. 7)."""
    return jax.nn.elu(x) + 1


def initial_state(batch: int, num_heads: int, head_width: int) -> jax.Array:
    """Return the sums over no tokens, state_BxHxDxE, with E = D + 1."""
    return jnp.zeros((batch, num_heads, head_width, head_width + 1))


def causal(
    query_BxTxHxD: jax.Array,
    key_BxTxHxD: jax.Array,
    value_BxTxHxD: jax.Array,
    state_BxHxDxE: jax.Array,
    half_lives_H: Sequence[float],
    chunk: int,
) -> tuple[jax.Array, jax.Array]:
    """Attend to each token and those before it (eqs. 8 to 12).

    Inside a chunk it is a masked product, between chunks the state; a chunk of one
    token is the recurrent form (eqs. 18 to 20). The result is the same for all chunks.

    Args:
      query_BxTxHxD, key_BxTxHxD, value_BxTxHxD: before the feature map.
      state_BxHxDxE: of the tokens before; from `initial_state` or this function.
      half_lives_H: in tokens; 0: the head does not forget.
      chunk: tokens in a chunk.

    Returns:
      out_BxTxHxD, and the state after the last token.
    """
    batch, length, num_heads, width = query_BxTxHxD.shape
    decay_H = np.array([0.5 ** (1 / n) if n else 1.0 for n in half_lives_H])
    query_BxTxHxD = feature_map(query_BxTxHxD)
    key_BxTxHxD = feature_map(key_BxTxHxD)
    value_BxTxHxE = _with_ones(value_BxTxHxD)
    count, rest = divmod(length, chunk)
    parts = []
    if count:
        whole = count * chunk
        chunks = tuple(
            x[:, :whole].reshape(batch, count, chunk, num_heads, -1).swapaxes(0, 1)
            for x in (query_BxTxHxD, key_BxTxHxD, value_BxTxHxE)
        )
        state_BxHxDxE, out = jax.lax.scan(
            lambda state, qkv: _one_chunk(state, qkv[0], qkv[1], qkv[2], decay_H),
            state_BxHxDxE,
            chunks,
        )
        parts.append(out.swapaxes(0, 1).reshape(batch, whole, num_heads, width + 1))
    if rest:
        begin = length - rest
        state_BxHxDxE, out = _one_chunk(
            state_BxHxDxE,
            query_BxTxHxD[:, begin:],
            key_BxTxHxD[:, begin:],
            value_BxTxHxE[:, begin:],
            decay_H,
        )
        parts.append(out)
    return _divided(jnp.concatenate(parts, axis=1)), state_BxHxDxE


def _one_chunk(
    state_BxHxDxE: jax.Array,
    query_BxCxHxD: jax.Array,
    key_BxCxHxD: jax.Array,
    value_BxCxHxE: jax.Array,
    decay_H: np.ndarray,
) -> tuple[jax.Array, jax.Array]:
    """Return the state after a chunk, and its sums, not yet divided."""
    dtype, at_C = query_BxCxHxD.dtype, np.arange(query_BxCxHxD.shape[1])
    back_CxC = at_C[:, None] - at_C
    near_HxCxC = np.tril(decay_H[:, None, None] ** np.maximum(back_CxC, 0))
    seen_CxHx1 = (decay_H ** (at_C[:, None] + 1))[..., None]
    kept_CxHx1 = (decay_H ** (len(at_C) - 1 - at_C[:, None]))[..., None]
    left_Hx1x1 = (decay_H ** len(at_C))[:, None, None]
    scores = jnp.einsum("bihd,bjhd->bhij", query_BxCxHxD, key_BxCxHxD)
    out = jnp.einsum("bhij,bjhe->bihe", scores * _as(near_HxCxC, dtype), value_BxCxHxE)
    out += jnp.einsum(
        "bihd,bhde->bihe",
        query_BxCxHxD * _as(seen_CxHx1, dtype),
        state_BxHxDxE.astype(dtype),
    )
    added_BxHxDxE = jnp.einsum(
        "bjhd,bjhe->bhde", key_BxCxHxD * _as(kept_CxHx1, dtype), value_BxCxHxE
    )
    state = state_BxHxDxE * _as(left_Hx1x1, state_BxHxDxE.dtype)
    return state + added_BxHxDxE.astype(state.dtype), out


def bidirectional(
    query_BxTxHxD: jax.Array,
    key_BxTxHxD: jax.Array,
    value_BxTxHxD: jax.Array,
    mask_BxT: jax.Array,
) -> jax.Array:
    """Attend to all tokens whose mask is 1 (eqs. 5 and 6); return out_BxTxHxD."""
    key = feature_map(key_BxTxHxD) * mask_BxT[..., None, None]
    state = jnp.einsum("bthd,bthe->bhde", key, _with_ones(value_BxTxHxD))
    query = feature_map(query_BxTxHxD)
    return _divided(jnp.einsum("bthd,bhde->bthe", query, state))


def _with_ones(value_BxTxHxD: jax.Array) -> jax.Array:
    ones = jnp.ones((*value_BxTxHxD.shape[:-1], 1), value_BxTxHxD.dtype)
    return jnp.concatenate([value_BxTxHxD, ones], axis=-1)


def _divided(sums_BxTxHxE: jax.Array) -> jax.Array:
    return sums_BxTxHxE[..., :-1] / (sums_BxTxHxE[..., -1:] + _LEAST_SUM)


def _as(array: np.ndarray, dtype: jnp.dtype) -> jax.Array:
    return jnp.asarray(array, dtype)

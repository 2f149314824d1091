"""Linear attention against its formulas, in parallel and token by token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models import linear_attention

HALF_LIVES = (0.0, 2.0, 30.0)
LENGTH = 11


def inputs(seed=0):
    shape = (2, LENGTH, len(HALF_LIVES), 4)
    return jax.random.normal(jax.random.key(seed), (3, *shape))


def features(x):
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def averages(query, key, value, weights_HxTxT):
    """Means of values, weighted by products of features and these weights."""
    products = np.einsum("bihd,bjhd->bhij", features(query), features(key))
    weights = products * weights_HxTxT
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("bhij,bjhd->bihd", weights, value)


@pytest.mark.parametrize("chunk", [1, 4, 11, 64])
def test_causal_attention_is_a_mean_of_the_past_that_fades(chunk):
    x = inputs()
    state = linear_attention.initial_state(2, len(HALF_LIVES), 4)
    found, _ = linear_attention.causal(*x, state, HALF_LIVES, chunk)
    back = np.arange(LENGTH)[:, None] - np.arange(LENGTH)
    fading = [0.5 ** (np.maximum(back, 0) / n) if n else back**0.0 for n in HALF_LIVES]
    want = averages(*np.asarray(x, np.float64), np.tril(np.stack(fading)))
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_the_state_stands_for_all_tokens_before():
    x = inputs()
    empty = linear_attention.initial_state(2, len(HALF_LIVES), 4)
    whole, after = linear_attention.causal(*x, empty, HALF_LIVES, 4)
    first, state = linear_attention.causal(*x[:, :, :5], empty, HALF_LIVES, 4)
    rest, same = linear_attention.causal(*x[:, :, 5:], state, HALF_LIVES, 4)
    joined = jnp.concatenate([first, rest], axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-5)
    np.testing.assert_allclose(same, after, atol=1e-5)
    assert same.shape == empty.shape


def test_bidirectional_attention_is_a_mean_of_all_that_is_known():
    x = inputs()
    mask = np.array([[1] * LENGTH, [1] * 3 + [0] * (LENGTH - 3)], np.float32)
    found = linear_attention.bidirectional(*x, jnp.asarray(mask))
    want = averages(*np.asarray(x, np.float64), mask[:, None, None, :])
    np.testing.assert_allclose(found, want, atol=1e-5)

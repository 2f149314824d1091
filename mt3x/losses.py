"""Losses as sums: the caller divides once, over all devices and microbatches."""

import jax
import jax.numpy as jnp


def binary_cross_entropy(
    probabilities: jax.Array, targets: jax.Array, positive_weight: float = 1.0
) -> jax.Array:
    """Sum of -w y log p - (1 - y) log(1 - p) (HPPNet eq. 2).

    Args:
      probabilities: any shape, inside (0, 1).
      targets: the same shape, in [0, 1].
      positive_weight: w.
    """
    positive = positive_weight * targets * jnp.log(probabilities)
    return -jnp.sum(positive + (1 - targets) * jnp.log1p(-probabilities))


def masked_squared_error(
    predictions: jax.Array, targets: jax.Array, weights: jax.Array
) -> jax.Array:
    """Sum of w (y - p)^2 (HPPNet eq. 6, where w is the onset roll)."""
    return jnp.sum(weights * jnp.square(targets - predictions))

"""Losses as sums: the caller divides once, over all devices and microbatches."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class LossSums(NamedTuple):
    """The losses of a batch, as an objective gives them."""

    total: jax.Array
    weight: jax.Array  # what the caller divides the total by
    parts: Mapping[str, tuple[jax.Array, jax.Array]]  # name -> (sum, weight)
    # Leaves that take the place of the parameters' after the update, as a nested dict:
    # the running statistics of batch norm, and parameters that do not learn.
    statistics: Mapping[str, Any] = {}


def over_devices(total: jax.Array) -> jax.Array:
    """Return a sum over all devices, where each computes the loss of its own part."""
    axes = jax.sharding.get_abstract_mesh().manual_axes
    return jax.lax.psum(total, "data") if "data" in axes else total


def binary_cross_entropy(
    probabilities: jax.Array, targets: jax.Array, positive_weight: float = 1.0
) -> jax.Array:
    """Sum -w y log p - (1 - y) log(1 - p) (HPPNet eq. 2).

    Args:
      probabilities: any shape, inside (0, 1).
      targets: the same shape, in [0, 1].
      positive_weight: w.
    """
    positive = positive_weight * targets * jnp.log(probabilities)
    return -jnp.sum(positive + (1 - targets) * jnp.log1p(-probabilities))


def masked_squared_error(
    predictions_BxTxP: jax.Array,
    targets_BxTxP: jax.Array,
    weights_BxTxP: jax.Array,
    mean_weight: float = 1.0,
) -> jax.Array:
    """Sum w (y - p)^2 (HPPNet eq. 6, where w is the onset roll).

    Of each clip's mean error the square counts `mean_weight` instead of 1.
    """
    error_BxTxP = targets_BxTxP - predictions_BxTxP
    total = jnp.sum(weights_BxTxP * jnp.square(error_BxTxP))
    if mean_weight == 1:
        return total
    weight_B = jnp.maximum(jnp.sum(weights_BxTxP, axis=(1, 2)), 1e-6)
    sum_B = jnp.sum(weights_BxTxP * error_BxTxP, axis=(1, 2))
    return total - (1 - mean_weight) * jnp.sum(jnp.square(sum_B) / weight_B)


def cross_entropy(
    logits_BxLxV: jax.Array,
    targets_BxL: jax.Array,
    weights_BxL: jax.Array,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Sum w (-sum_v q log p) and w z log^2 Z, as T5X does.

    p is the softmax of the logits and Z its divisor; q is 1 - s at the target and
    s / (V - 1) elsewhere. The entropy of q is taken off, so that a perfect prediction
    costs 0. The second sum keeps Z near 1 (T5X's and Mesh TensorFlow's z-loss).

    Args:
      logits_BxLxV: float32.
      targets_BxL: ids.
      weights_BxL: w; 0 for padding.
      z_loss: z.
      label_smoothing: s.
    """
    log_z_BxL = jax.nn.logsumexp(logits_BxLxV, axis=-1)
    log_p_BxLxV = logits_BxLxV - log_z_BxL[..., None]
    target_BxLx1 = targets_BxL[..., None]
    log_p_BxL = jnp.take_along_axis(log_p_BxLxV, target_BxLx1, axis=-1)[..., 0]
    loss_BxL = -log_p_BxL
    if label_smoothing:
        rest = label_smoothing / (logits_BxLxV.shape[-1] - 1)
        others_BxL = jnp.sum(log_p_BxLxV, axis=-1) - log_p_BxL
        entropy = -(1 - label_smoothing) * math.log(1 - label_smoothing)
        entropy -= label_smoothing * math.log(rest)
        loss_BxL = (1 - label_smoothing) * loss_BxL - rest * others_BxL - entropy
    penalty_BxL = z_loss * jnp.square(log_z_BxL)
    return jnp.sum(weights_BxL * loss_BxL), jnp.sum(weights_BxL * penalty_BxL)

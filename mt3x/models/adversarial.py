"""The equations of adversarial training on tokens.

Numbers are those of Neves, Fornari and Florindo, "Generating music with sentiment using
Transformer-GANs" (ISMIR 2022, arXiv:2212.11134).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = [
    "gradient_penalty",
    "inverse_temperature",
    "relativistic_loss",
    "straight_through",
]

_LEAST_SQUARE = 1e-12  # of a norm, so that it has a gradient


def relativistic_loss(better: jax.Array, worse: jax.Array) -> jax.Array:
    """Return -log sigmoid(better - worse) of each pair of scores.

    With scores of real music as the better ones it is the discriminator's loss (eq. 2,
    RSGAN: Jolicoeur-Martineau 2018, arXiv:1807.00734), with those of fakes the
    generator's (eq. 3). Both are means over pairs.
    """
    return jax.nn.softplus(worse - better)


def gradient_penalty(
    score: Callable[[jax.Array], jax.Array],
    real_BxTxV: jax.Array,
    fake_BxTxV: jax.Array,
    share_B: jax.Array,
) -> jax.Array:
    """Return (|gradient of the score| - 1)^2 of each example (eq. 4, WGAN-GP).

    Gulrajani et al. 2017, arXiv:1704.00028. The authors' code takes the generator's
    logits as fakes; the equation's fakes, which these are, come from the distribution
    of fakes: one-hot.

    Args:
      score: gives the sum of the scores of inputs BxTxV, of each example alone.
      real_BxTxV, fake_BxTxV: the ends of a straight line for each example.
      share_B: where on it, 0..1; 1 is real.
    """
    share_Bx1x1 = share_B[:, None, None]
    mixed_BxTxV = share_Bx1x1 * real_BxTxV + (1 - share_Bx1x1) * fake_BxTxV
    gradient_BxTxV = jax.grad(score)(mixed_BxTxV)
    square_B = jnp.sum(jnp.square(gradient_BxTxV), axis=(1, 2))
    return jnp.square(jnp.sqrt(square_B + _LEAST_SQUARE) - 1)


def straight_through(
    logits: jax.Array, noise: jax.Array, inverse_temperature: jax.Array
) -> jax.Array:
    """Return one-hot samples (eq. 5) whose gradient is that of soft ones (eq. 6).

    Jang et al. 2017, arXiv:1611.01144. Equation 6 has the probabilities' logarithms,
    as eq. 5 and its source have, and not the probabilities.

    Args:
      logits: [..., V].
      noise: of Gumbel's distribution, the same shape.
      inverse_temperature: 1/tau, which broadcasts with them.
    """
    noisy = jax.nn.log_softmax(logits) + noise
    soft = jax.nn.softmax(inverse_temperature * noisy)
    hard = jax.nn.one_hot(jnp.argmax(noisy, axis=-1), logits.shape[-1])
    return jax.lax.stop_gradient(hard - soft) + soft


def inverse_temperature(progress: jax.Array, least: float) -> jax.Array:
    """Return 1/tau = (1/tau_min)^(n/N) (after eq. 6).

    Args:
      progress: n/N, from 0 to 1.
      least: tau_min.
    """
    return (1 / least) ** progress

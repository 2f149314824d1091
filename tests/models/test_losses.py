"""Cross-entropy against its definition, and T5X's where that is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models.losses import cross_entropy, masked_squared_error

RNG = np.random.default_rng(0)
LOGITS_BXLXV = RNG.normal(size=(3, 5, 11)).astype(np.float32) * 3
TARGETS_BXL = RNG.integers(11, size=(3, 5))
WEIGHTS_BXL = (RNG.random((3, 5)) < 0.7).astype(np.float32)


def by_definition(logits_V, target, z_loss, smoothing):
    """Loss and penalty of one position, in float64."""
    logits_V = logits_V.astype(np.float64)
    z = np.exp(logits_V).sum()
    log_p_V = logits_V - np.log(z)
    q_V = np.full(11, smoothing / 10)
    q_V[target] = 1 - smoothing
    entropy = -np.sum(q_V[q_V > 0] * np.log(q_V[q_V > 0]))
    return -np.sum(q_V * log_p_V) - entropy, z_loss * np.log(z) ** 2


@pytest.mark.parametrize(("z_loss", "smoothing"), [(0, 0), (1e-2, 0), (1e-2, 0.1)])
def test_cross_entropy(z_loss, smoothing):
    loss, penalty = cross_entropy(
        LOGITS_BXLXV, TARGETS_BXL, WEIGHTS_BXL, z_loss, smoothing
    )
    want = np.zeros(2)
    for b, t in np.ndindex(3, 5):
        one = by_definition(LOGITS_BXLXV[b, t], TARGETS_BXL[b, t], z_loss, smoothing)
        want += WEIGHTS_BXL[b, t] * np.array(one)
    np.testing.assert_allclose([loss, penalty], want, rtol=1e-5)


def test_cross_entropy_is_t5x():
    t5x_losses = pytest.importorskip("t5x.losses")
    with jax.numpy_dtype_promotion("standard"):
        total, penalty, _ = t5x_losses.compute_weighted_cross_entropy(
            LOGITS_BXLXV, TARGETS_BXL, WEIGHTS_BXL, 0.1, 1e-2, None
        )
    ours = cross_entropy(LOGITS_BXLXV, TARGETS_BXL, WEIGHTS_BXL, 1e-2, 0.1)
    # T5X's first sum holds the penalty already.
    np.testing.assert_allclose(ours, [total - penalty, penalty], rtol=1e-5)


def test_padding_changes_nothing():
    noise_BxLxV = LOGITS_BXLXV + 5 * (1 - WEIGHTS_BXL)[..., None] * LOGITS_BXLXV
    np.testing.assert_allclose(
        cross_entropy(noise_BxLxV, TARGETS_BXL, WEIGHTS_BXL, 1e-2),
        cross_entropy(LOGITS_BXLXV, TARGETS_BXL, WEIGHTS_BXL, 1e-2),
        rtol=1e-6,
    )


def test_large_logits_stay_finite():
    logits_1x1xV = jnp.array([[[1e4, 0.0, -1e4]]])
    loss, _ = cross_entropy(logits_1x1xV, jnp.array([[1]]), jnp.ones((1, 1)))
    assert float(loss) == pytest.approx(1e4)


def test_weight_of_the_mean_of_velocity_errors():
    """A clip that is louder all through costs so much of what it would."""
    rng = np.random.default_rng(3)
    predicted, target = rng.random((2, 2, 4, 88))
    onset = rng.random((2, 4, 88)) * [[[1.0]], [[0.5]]]

    def error(mean_weight, louder):
        predictions = predicted + np.reshape(louder, (2, 1, 1))
        return float(masked_squared_error(predictions, target, onset, mean_weight))

    difference, count = predicted - target, onset.sum(axis=(1, 2))
    np.testing.assert_allclose(error(1.0, [0, 0]), (onset * difference**2).sum(), 1e-5)
    mean = (onset * difference).sum(axis=(1, 2)) / count
    level = -mean + [0.2, 0.0]
    within = error(1.0, -mean)
    np.testing.assert_allclose(error(0.0, level), within, 1e-5)
    want = within + 0.1 * 0.2**2 * count[0]
    np.testing.assert_allclose(error(0.1, level), want, 1e-5)

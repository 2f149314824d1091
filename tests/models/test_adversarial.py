"""The equations of adversarial training, against NumPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models import adversarial


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_relativistic_loss_is_eqs_2_and_3():
    real, fake = np.array([0.3, -2.0, 5.0]), np.array([1.1, -2.5, -10.0])
    of_d = adversarial.relativistic_loss(jnp.asarray(real), jnp.asarray(fake))
    of_g = adversarial.relativistic_loss(jnp.asarray(fake), jnp.asarray(real))
    np.testing.assert_allclose(of_d, -np.log(sigmoid(real - fake)), rtol=1e-4)
    np.testing.assert_allclose(of_g, -np.log(sigmoid(fake - real)), rtol=1e-4)


def test_gradient_penalty_is_eq_4():
    rng = np.random.default_rng(0)
    real, fake, weights = rng.normal(size=(3, 2, 3, 4))
    share = np.array([0.25, 1.0])

    def score(x):
        return np.sum(np.sin(x) * weights, axis=(1, 2))

    mixed = share[:, None, None] * real + (1 - share)[:, None, None] * fake
    gradient, step = np.zeros_like(mixed), 1e-6
    for index in np.ndindex(*mixed.shape):
        moved = [mixed.copy(), mixed.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        higher, lower = (score(x)[index[0]] for x in moved)
        gradient[index] = (higher - lower) / (2 * step)
    want = (np.sqrt((gradient**2).sum(axis=(1, 2))) - 1) ** 2
    found = adversarial.gradient_penalty(
        lambda x: jnp.sum(jnp.sin(x) * jnp.asarray(weights, jnp.float32)),
        *(jnp.asarray(x, jnp.float32) for x in (real, fake, share)),
    )
    np.testing.assert_allclose(found, want, rtol=1e-4)


def test_a_flat_score_has_a_penalty_with_a_gradient():
    ends = jnp.ones((2, 3, 4)), jnp.zeros((2, 3, 4))

    def penalty(weight):
        share_B = jnp.full(2, 0.5)
        score = lambda x: weight * jnp.sum(x)  # noqa: E731
        return adversarial.gradient_penalty(score, *ends, share_B).sum()

    value, gradient = jax.value_and_grad(penalty)(0.0)
    assert float(value) == pytest.approx(2, abs=1e-4)
    assert np.isfinite(gradient)


def test_samples_are_eq_5():
    p = np.array([0.1, 0.6, 0.3])
    logits = jnp.broadcast_to(jnp.log(p) + 7.0, (4000, 3))
    noise = jax.random.gumbel(jax.random.key(0), logits.shape)
    drawn = np.asarray(adversarial.straight_through(logits, noise, jnp.float32(3)))
    np.testing.assert_allclose(drawn.max(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(drawn.sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(
        drawn.argmax(axis=-1), np.argmax(np.log(p) + noise, axis=-1)
    )
    np.testing.assert_allclose(drawn.mean(axis=0), p, atol=0.03)


@pytest.mark.parametrize("cold", [1.0, 4.0])
def test_gradients_of_samples_are_those_of_eq_6(cold):
    rng = np.random.default_rng(1)
    logits, noise, weights = rng.normal(size=(3, 5))

    def soft(logits):
        noisy = logits - np.log(np.exp(logits).sum()) + noise
        p = np.exp(cold * noisy)
        return (p / p.sum()) @ weights

    step = 1e-6 * np.eye(5)
    want = [(soft(logits + d) - soft(logits - d)) / 2e-6 for d in step]
    found = jax.grad(
        lambda x: (
            adversarial.straight_through(
                x, jnp.asarray(noise, jnp.float32), jnp.float32(cold)
            )
            @ jnp.asarray(weights, jnp.float32)
        )
    )(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-5)


def test_the_temperature_falls_to_its_least():
    progress = jnp.array([0.0, 0.25, 1.0])
    found = adversarial.inverse_temperature(progress, 1e-2)
    np.testing.assert_allclose(found, [1, 100**0.25, 100], rtol=1e-5)

"""The discriminator: its scores, and what it does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models.discriminator import Discriminator, DiscriminatorConfig

CONFIG = DiscriminatorConfig(
    patch=4, num_layers=2, width=8, num_heads=2, mlp_width=16, mood_width=4
)
MODEL = Discriminator(CONFIG)
TOKENS = jax.random.normal(jax.random.key(0), (2, 12, 5))
MOOD = jnp.array([[0.5, -1.0], [-0.2, 0.9]])
MASK = jnp.array([[1.0] * 12, [1.0] * 6 + [0.0] * 6])


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1), TOKENS, MOOD, MASK)


def test_there_is_a_score_of_the_whole_and_of_each_patch(params):
    whole, patches = MODEL.apply(params, TOKENS, MOOD, MASK)
    assert (whole.shape, patches.shape) == ((2,), (2, 3))
    assert np.isfinite(whole).all()


def test_all_patches_see_each_other_and_no_padding(params):
    def total(tokens):
        whole, patches = MODEL.apply(params, tokens, MOOD, MASK)
        return patches[:, 0].sum() + whole.sum()

    seen = np.abs(jax.grad(total)(TOKENS)).sum(axis=-1) > 0
    np.testing.assert_array_equal(seen, MASK > 0)


def test_scores_depend_on_the_mood(params):
    scores = MODEL.apply(params, TOKENS, MOOD, MASK)
    others = MODEL.apply(params, TOKENS, MOOD[::-1], MASK)
    for one, other in zip(scores, others, strict=True):
        assert not np.allclose(one, other, atol=1e-4)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="num_heads=3 must divide width=128"):
        DiscriminatorConfig(num_heads=3)

"""The generator: in parallel and token by token, what it sees, and moods."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models.generator import Generator, GeneratorConfig

CONFIG = GeneratorConfig(
    num_layers=2,
    width=8,
    half_lives=(0.0, 8.0),
    mlp_width=16,
    mood_width=4,
    chunk=4,
    dropout=0.5,
)
MODEL = Generator(CONFIG)
TOKENS = jax.random.randint(jax.random.key(0), (2, 11), 3, CONFIG.vocab_size)
MOOD = jnp.array([[0.5, -1.0], [-0.2, 0.9]])


@pytest.fixture(scope="module")
def params():
    drawn = MODEL.init(jax.random.key(1), TOKENS[:, :1], MOOD)
    # Large enough that every part counts.
    leaves, tree = jax.tree.flatten(drawn)
    rngs = jax.random.split(jax.random.key(2), len(leaves))
    noise = [
        jax.random.normal(rng, x.shape) for rng, x in zip(rngs, leaves, strict=True)
    ]
    moved = [x + 0.3 * y for x, y in zip(leaves, noise, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.fixture(scope="module")
def logits(params):
    return MODEL.apply(params, TOKENS, MOOD)


def test_one_token_at_a_time_gives_the_same_as_all_at_once(params, logits):
    state, found = MODEL.initial_state(2), []
    step = jax.jit(lambda *x: MODEL.apply(params, *x, method=Generator.step))
    for t in range(TOKENS.shape[1]):
        one, state = step(TOKENS[:, t], MOOD, state)
        found.append(one)
    scale = np.abs(logits).max()
    np.testing.assert_allclose(jnp.stack(found, 1), logits, atol=1e-5 * scale)


def test_a_prompt_may_come_in_parts(params, logits):
    first, state = MODEL.apply(
        params, TOKENS[:, :5], MOOD, MODEL.initial_state(2), method=Generator.prefill
    )
    rest, after = MODEL.apply(
        params, TOKENS[:, 5:], MOOD, state, method=Generator.prefill
    )
    np.testing.assert_allclose(jnp.concatenate([first, rest], 1), logits, atol=1e-4)
    shapes = [jax.tree.map(jnp.shape, x) for x in (MODEL.initial_state(2), after)]
    assert shapes[0] == shapes[1]


def test_logits_depend_on_no_later_token(params, logits):
    changed = TOKENS.at[:, 6].set(5)
    found = MODEL.apply(params, changed, MOOD)
    np.testing.assert_array_equal(found[:, :6], logits[:, :6])
    assert not np.allclose(found[:, 6:], logits[:, 6:], atol=1e-2)


def test_moods_may_change(params, logits):
    steady = jnp.broadcast_to(MOOD[:, None], (2, 11, 2))
    np.testing.assert_allclose(
        MODEL.apply(params, TOKENS, steady), logits, rtol=1e-5, atol=1e-5
    )
    found = MODEL.apply(params, TOKENS, steady.at[:, 4:].multiply(-1))
    np.testing.assert_allclose(found[:, :4], logits[:, :4], rtol=1e-5, atol=1e-5)
    assert not np.allclose(found[:, 4], logits[:, 4], atol=1e-2)


@pytest.mark.parametrize("hidden", [[np.nan, 0.3], [0.1, np.nan], [np.nan, np.nan]])
def test_no_mood_is_a_mood_of_its_own(params, logits, hidden):
    none = MODEL.apply(params, TOKENS, jnp.full((2, 2), np.nan))
    found = MODEL.apply(params, TOKENS, jnp.array([hidden, [-0.2, 0.9]]))
    np.testing.assert_array_equal(found[0], none[0])
    neutral = MODEL.apply(params, TOKENS, jnp.zeros((2, 2)))
    assert not np.allclose(none, neutral, atol=1e-2)
    np.testing.assert_allclose(found[1], logits[1], rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda p: MODEL.apply(p, TOKENS, jnp.array([hidden] * 2)).sum())
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient(params)))


def test_dropout_is_for_training(params, logits):
    rngs = {"dropout": jax.random.key(0)}
    dropped = MODEL.apply(params, TOKENS, MOOD, train=True, rngs=rngs)
    assert not np.allclose(dropped, logits, atol=1e-2)
    np.testing.assert_array_equal(MODEL.apply(params, TOKENS, MOOD), logits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"half_lives": (1.0, 2.0, 3.0)}, "width=8 does not divide over the heads"),
        ({"half_lives": ()}, "width=8 does not divide over the heads"),
        ({"half_lives": (-1.0, 2.0)}, "half_lives"),
        ({"chunk": 0}, "chunk=0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)

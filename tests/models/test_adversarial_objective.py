"""What a generator is trained for: likelihood, fakes, and whose gradient is whose."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models.adversarial_objective import (
    AdversarialConfig,
    MusicConfig,
    MusicObjective,
    without_discriminator,
)
from mt3x.models.discriminator import DiscriminatorConfig
from mt3x.models.generator import Generator, GeneratorConfig
from mt3x.models.objectives import config_from_dict
from mt3x.models.weights_file import Weights
from mt3x.music.vocabulary import EOS_ID, NUM_SPECIAL_IDS

LIKELIHOOD = MusicConfig(
    GeneratorConfig(
        num_layers=1,
        width=8,
        half_lives=(4.0, 0.0),
        mlp_width=8,
        mood_width=4,
        chunk=4,
        dropout=0.0,
    )
)
GAN = dataclasses.replace(
    LIKELIHOOD,
    adversarial=AdversarialConfig(
        DiscriminatorConfig(
            patch=4, num_layers=1, width=8, num_heads=2, mlp_width=8, mood_width=4
        ),
        prime_tokens=3,
        fake_tokens=8,
    ),
)
RNG = jax.random.key(3)


@pytest.fixture(scope="module")
def params():
    return MusicObjective(GAN).init(jax.random.key(0))


def batch():
    rng = np.random.default_rng(0)
    size = LIKELIHOOD.model.vocab_size
    tokens = rng.integers(NUM_SPECIAL_IDS, size, (2, 12), dtype=np.int32)
    tokens[1, 8:] = EOS_ID, 0, 0, 0
    mood = np.array([[0.5, -0.5], [np.nan, np.nan]], np.float32)
    return {
        "tokens": jnp.asarray(tokens),
        "mood": jnp.asarray(mood),
        "progress": jnp.full(2, 0.5),
    }


def test_likelihood_is_that_of_the_music_without_its_end(params):
    given = batch()
    total, weight, parts, _ = MusicObjective(LIKELIHOOD).loss(params, given, RNG)
    tokens = np.asarray(given["tokens"])
    inputs = np.pad(tokens[:, :-1], ((0, 0), (1, 0)))
    logits = Generator(LIKELIHOOD.model).apply(
        {"params": params["generator"]}, inputs, given["mood"]
    )
    log_p = np.asarray(jax.nn.log_softmax(logits))
    known = tokens > EOS_ID
    assert float(weight) == known.sum() == 20
    want = -sum(log_p[b, t, tokens[b, t]] for b, t in np.argwhere(known))
    assert float(total) == pytest.approx(want, rel=1e-5)
    right = (log_p.argmax(axis=-1) == tokens)[known].mean()
    found, count = parts["accuracy"]
    assert float(found / count) == pytest.approx(right)


def test_fakes_are_what_the_generator_samples(params):
    objective, given = MusicObjective(GAN), batch()
    fake = objective._fakes(params["generator"], given, RNG)
    tokens = np.argmax(fake, axis=-1)
    np.testing.assert_allclose(np.max(fake, axis=-1), 1, atol=1e-5)
    assert (tokens >= NUM_SPECIAL_IDS).all()
    prime = given["tokens"][:, :3]
    heard = jnp.concatenate([jnp.zeros((2, 1), jnp.int32), prime, tokens[:, :-1]], 1)
    logits = objective.model.apply(
        {"params": params["generator"]}, heard, given["mood"]
    )[:, 3:]
    noise = jax.random.gumbel(RNG, (8, 2, logits.shape[-1])).swapaxes(0, 1)
    logits = logits.at[..., :NUM_SPECIAL_IDS].set(-1e9)
    np.testing.assert_array_equal(np.argmax(logits + noise, axis=-1), tokens)


@pytest.mark.by_hand
def test_each_loss_reaches_its_own_network_alone(params):
    objective, given = MusicObjective(GAN), batch()
    names = ("cross_entropy", "deceit", "discriminator", "penalty")

    def losses(params):
        parts = objective.loss(params, given, RNG).parts
        return jnp.stack([parts[name][0] for name in names])

    found = jax.jit(jax.jacrev(losses))(params)
    reached = {
        network: {
            name
            for index, name in enumerate(names)
            if any(np.any(leaf[index]) for leaf in jax.tree.leaves(gradient))
        }
        for network, gradient in found.items()
    }
    assert reached == {
        "generator": {"cross_entropy", "deceit"},
        "discriminator": {"discriminator", "penalty"},
    }


def test_the_loss_is_the_sum_of_its_parts(params):
    total, weight, parts, _ = MusicObjective(GAN).loss(params, batch(), RNG)
    mean = {name: float(value / count) for name, (value, count) in parts.items()}
    want = mean["cross_entropy"] + mean["deceit"] + mean["discriminator"]
    want += 10 * mean["penalty"]
    assert float(total / weight) == pytest.approx(want, rel=1e-5)
    assert 0 <= mean["told_apart"] <= 1


def test_nothing_is_drawn_without_a_key(params):
    found = MusicObjective(GAN).loss(params, batch())
    want = MusicObjective(LIKELIHOOD).loss(params, batch())
    assert found.parts.keys() == {"cross_entropy", "accuracy"}
    assert found.total == want.total


def test_padding_is_not_compared(params):
    objective, given = MusicObjective(GAN), batch()
    given["tokens"] = given["tokens"].at[1, 2:].set(0)
    found = objective.loss(params, given, RNG)
    assert float(found.parts["deceit"][1]) == 1
    changed = given | {"mood": given["mood"].at[1].set(0.9)}
    parts = objective.loss(params, changed, RNG).parts
    for name in ("deceit", "discriminator", "penalty"):
        np.testing.assert_allclose(parts[name][0], found.parts[name][0], rtol=1e-5)


def test_short_clips_are_refused(params):
    given = batch()
    given["tokens"] = given["tokens"][:, :10]
    with pytest.raises(ValueError, match="clips of 10 tokens are too short"):
        MusicObjective(GAN).loss(params, given, RNG)


def test_configurations_survive_json():
    for config in (LIKELIHOOD, GAN):
        assert config_from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="fake_tokens=8 must be a multiple"):
        AdversarialConfig(fake_tokens=8)


def test_the_discriminator_can_be_left_out(params):
    whole = Weights(params, GAN.to_dict(), {"step": "3"})
    alone = without_discriminator(whole)
    assert alone.params.keys() == {"generator"}
    assert config_from_dict(alone.config) == LIKELIHOOD
    drawn = MusicObjective(LIKELIHOOD).init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, alone.params, drawn)

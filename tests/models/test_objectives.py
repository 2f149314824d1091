"""The objective of token models: config, features of padding, loss, start and step."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL, SMALL_TOKENS, random_params

from mt3x.models.features import LogMelConfig
from mt3x.models.objectives import (
    PianoConfig,
    PianoObjective,
    TokensConfig,
    TokensObjective,
    config_from_dict,
)
from mt3x.models.seq2seq import SIZES
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig

CONFIG = dataclasses.replace(
    SMALL_TOKENS,
    model=dataclasses.replace(SMALL_TOKENS.model, input_depth=32),
    features=LogMelConfig(num_bins=32, fft_samples=512),
    num_frames=8,
    max_tokens=6,
)
PARAMS = random_params(CONFIG)


def batch(num_frames=(8, 5), num_tokens=(6, 3)):
    rng = np.random.default_rng(0)
    frames_BxTxW = rng.normal(size=(2, 8, 128)).astype(np.float32)
    targets_BxL = rng.integers(3, 1391, size=(2, 6), dtype=np.int32)
    weights_BxL = (np.arange(6) < np.array(num_tokens)[:, None]).astype(np.int32)
    targets_BxL *= weights_BxL
    return {
        "encoder_input_tokens": frames_BxTxW,
        "encoder_num_frames": np.array(num_frames, np.int32),
        "decoder_target_tokens": targets_BxL,
        "decoder_input_tokens": np.pad(targets_BxL, ((0, 0), (1, 0)))[:, :-1],
        "decoder_loss_weights": weights_BxL,
    }


def row(values, b):
    return {name: value[b : b + 1] for name, value in values.items()}


@pytest.fixture(scope="module")
def loss():
    return jax.jit(TokensObjective(CONFIG).loss)


def test_heads_weigh_what_the_config_says():
    params, rng = random_params(SMALL), np.random.default_rng(0)
    heads = ("onset", "frame", "offset", "velocity")
    values = {name: jnp.asarray(rng.random((1, 4, 88)), jnp.float32) for name in heads}
    values["samples"] = jnp.asarray(rng.normal(size=(1, 4 * 320)), jnp.float32)

    def sums(**weights):
        config = dataclasses.replace(SMALL, **weights)
        return jax.jit(PianoObjective(config).loss)(params, values)

    one = sums()
    for head in ("onset", "velocity"):
        error, count = one.parts[head]
        three = sums(**{f"{head}_weight": 3.0})
        assert error / count > 0.01
        expected = one.total / one.weight + 2 * error / count
        np.testing.assert_allclose(three.total / three.weight, expected, rtol=1e-5)

    def velocity_error(mean_weight):
        return sums(velocity_mean_weight=mean_weight).parts["velocity"][0]

    whole, half, none = map(velocity_error, (1.0, 0.5, 0.0))
    np.testing.assert_allclose(whole - half, (whole - none) / 2, rtol=1e-3)
    assert whole > half


def test_older_piano_models_have_no_weights_of_heads():
    values = SMALL.to_dict()
    for name in ("velocity_weight", "velocity_mean_weight", "onset_weight"):
        del values[name]
    assert config_from_dict(values) == SMALL


@pytest.mark.parametrize("config", [CONFIG, SMALL, TokensConfig(), PianoConfig()])
def test_json_is_a_config(config):
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_configs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"1536 embeddings.*1664"):
        TokensConfig(tokens=TokenizerConfig(VocabConfig(num_velocity_bins=127)))
    with pytest.raises(ValueError, match=r"512 features.*64"):
        TokensConfig(features=LogMelConfig(num_bins=64))
    values = CONFIG.to_dict()
    with pytest.raises(ValueError, match=r"'piano'.*'tokens'"):
        TokensConfig.from_dict(values | {"objective": "piano"})
    with pytest.raises(ValueError, match=r"'tokens'.*'piano'"):
        PianoConfig.from_dict(values)
    with pytest.raises(ValueError, match=r"'opera'.*none of piano, band, tokens"):
        config_from_dict(values | {"objective": "opera"})
    with pytest.raises(ValueError, match=r"does not fit this version.*wrong"):
        TokensConfig.from_dict(values | {"wrong": 1})


def test_loss_is_a_sum_over_target_tokens(loss):
    both, weight, parts, _ = loss(PARAMS, batch())
    assert weight == 9
    rows = [loss(PARAMS, row(batch(), b)) for b in (0, 1)]
    np.testing.assert_allclose(both, rows[0][0] + rows[1][0], rtol=1e-5)
    np.testing.assert_allclose(
        both, parts["cross_entropy"][0] + parts["z_loss"][0], rtol=1e-6
    )
    assert 0 <= parts["accuracy"][0] <= parts["accuracy"][1] == 9


def test_what_lies_in_padding_changes_nothing(loss):
    noisy = batch()
    noisy["encoder_input_tokens"][1, 5:] = 0
    loud = {name: value.copy() for name, value in noisy.items()}
    loud["decoder_target_tokens"][1, 3:] = 7
    loud["decoder_input_tokens"][1, 4:] = 7
    np.testing.assert_allclose(loss(PARAMS, loud)[0], loss(PARAMS, noisy)[0], rtol=1e-6)
    feats_BxTxF = TokensObjective(CONFIG).features(
        jnp.asarray(noisy["encoder_input_tokens"]), jnp.array([8, 5])
    )
    assert not np.any(feats_BxTxF[1, 5:])
    assert np.all(feats_BxTxF[1, :5])


def test_integer_samples_are_fractions_of_full_scale():
    objective = TokensObjective(CONFIG)
    frames_BxTxW = np.arange(-512, 512, dtype=np.int16).reshape(1, 8, 128)
    num_frames_B = jnp.array([8])
    as_floats = jnp.asarray(frames_BxTxW, jnp.float32) / 32768
    np.testing.assert_allclose(
        objective.features(jnp.asarray(frames_BxTxW), num_frames_B),
        objective.features(as_floats, num_frames_B),
        rtol=1e-5,
    )


def test_dropout_follows_the_key(loss):
    exact = loss(PARAMS, batch())[0]
    drawn = [loss(PARAMS, batch(), jax.random.key(k))[0] for k in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({float(exact), float(drawn[0]), float(drawn[2])}) == 3


def test_steps_give_the_logits_that_the_loss_sees():
    objective = TokensObjective(CONFIG)
    values = batch()
    frames_BxTxW = jnp.asarray(values["encoder_input_tokens"])
    num_frames_B = jnp.asarray(values["encoder_num_frames"])
    tokens_BxL = jnp.asarray(values["decoder_input_tokens"])
    whole_BxLxV = objective.model.apply(
        {"params": PARAMS},
        objective.features(frames_BxTxW, num_frames_B),
        tokens_BxL,
    )
    cache = jax.jit(objective.start)(PARAMS, frames_BxTxW, num_frames_B)
    step = jax.jit(objective.step)
    for position in range(6):
        positions_B = jnp.full(2, position)
        logits_BxV, cache = step(PARAMS, cache, tokens_BxL[:, position], positions_B)
        np.testing.assert_allclose(
            logits_BxV, whole_BxLxV[:, position], rtol=1e-4, atol=1e-4
        )


def test_sizes_are_the_published_ones():
    for model, num_params in [("small", 45_896_704), ("base", 200_980_992)]:
        config = TokensConfig(model=SIZES[model])
        shapes = jax.eval_shape(TokensObjective(config).init, jax.random.key(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == num_params

"""Heads for rolls on a token model: shapes, masks, losses and their weights."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL_ROLLS, random_params

from mt3x.models import batch_norm
from mt3x.models.features import LogMelConfig
from mt3x.models.objectives import (
    RollsConfig,
    TokensConfig,
    TokensObjective,
    config_from_dict,
)
from mt3x.models.piano_objective import roll_losses
from mt3x.models.roll_heads import RollHeads
from mt3x.music.rolls import ROLL_NAMES, RollLabelConfig

PLAIN = dataclasses.replace(
    SMALL_ROLLS,
    model=dataclasses.replace(SMALL_ROLLS.model, input_depth=16, end_marker=True),
    features=LogMelConfig(num_bins=16, fft_samples=256),
    num_frames=6,
    max_tokens=4,
    rolls=None,
)
CONFIG = dataclasses.replace(
    PLAIN, rolls=RollsConfig(channels=2, weights=(1.0, 2.0, 3.0, 4.0))
)
PARAMS = random_params(CONFIG)


@pytest.fixture(scope="module", autouse=True)
def compile_fast():
    """Here compiling takes most of the time, and what is compiled runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def batch():
    rng = np.random.default_rng(0)
    rolls = {name: rng.random((2, 6, 88)).astype(np.float32) for name in ROLL_NAMES}
    rolls["onset"] = (rolls["onset"] > 0.9).astype(np.float32)
    for roll in rolls.values():
        roll[1, 4:] = 0.0
    return {
        "encoder_input_tokens": rng.normal(size=(2, 6, 128)).astype(np.float32),
        "encoder_num_frames": np.array([6, 4], np.int32),
        "decoder_input_tokens": np.ones((2, 4), np.int32),
        "decoder_target_tokens": rng.integers(3, 99, (2, 4)).astype(np.int32),
        "decoder_loss_weights": np.ones((2, 4), np.int32),
        **rolls,
    }


def test_loss_is_hppnets_beside_the_tokens():
    data = batch()
    sums = jax.jit(TokensObjective(CONFIG).loss)(PARAMS, data)
    tokens = jax.jit(TokensObjective(PLAIN).loss)(PARAMS, data)
    rolls = jax.jit(TokensObjective(CONFIG).predict_rolls)(
        PARAMS, data["encoder_input_tokens"], data["encoder_num_frames"]
    )
    assert set(rolls) == set(ROLL_NAMES)
    assert {roll.shape for roll in rolls.values()} == {(2, 6, 88)}
    assert all(not np.any(roll[1, 4:]) for roll in rolls.values())
    cut = {name: jnp.concatenate([r[0], r[1, :4]]) for name, r in rolls.items()}
    target = {
        name: np.concatenate([data[name][0], data[name][1, :4]]) for name in ROLL_NAMES
    }
    want = roll_losses(cut, target, jnp.float32(10 * 88), 2.0)
    total = tokens.total
    for factor, name in zip((1.0, 2.0, 3.0, 4.0), ROLL_NAMES, strict=True):
        np.testing.assert_allclose(sums.parts[name], want[name], rtol=1e-4)
        total += factor * want[name][0] / want[name][1] * tokens.weight
    np.testing.assert_allclose(sums.total, total, rtol=1e-5)
    none = dataclasses.replace(CONFIG.rolls, weights=(0.0,) * 4)
    without = TokensObjective(dataclasses.replace(CONFIG, rolls=none))
    alone = jax.jit(without.loss)(PARAMS, data)
    np.testing.assert_allclose(alone.total, tokens.total, rtol=1e-6)


def test_padding_changes_no_other_frame():
    heads = RollHeads(4, jnp.float32)
    rng = np.random.default_rng(0)
    encoded = rng.normal(size=(1, 5, 6)).astype(np.float32)
    params = heads.init(jax.random.key(0), encoded, None)
    run = jax.jit(heads.apply)
    mask = np.arange(5)[None] < 3
    short = run(params, encoded[:, :3], mask[:, :3])
    other = encoded + ~mask[..., None] * np.float32(9)
    for changed in (encoded, other):
        rolls = run(params, changed, mask)
        for name in ROLL_NAMES:
            np.testing.assert_allclose(rolls[name][:, :3], short[name], atol=1e-6)
    half = RollHeads(4, jnp.bfloat16).apply(params, encoded.astype(jnp.bfloat16), None)
    assert {roll.dtype for roll in half.values()} == {jnp.dtype(jnp.float32)}


def test_json_is_a_config_and_old_ones_are_read():
    values = json.loads(json.dumps(CONFIG.to_dict()))
    assert config_from_dict(values) == CONFIG
    old = TokensConfig().to_dict()
    for name in ("stem_features", "rolls", "band"):
        del old[name]
    for name in ("stem", "end_marker"):
        del old["model"][name]
    assert config_from_dict(json.loads(json.dumps(old))) == TokensConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 3}, "channels=3 must be even"),
        ({"channels": 0}, "channels=0 must be even and at least 2"),
        ({"weights": (1.0, 2.0)}, "must be 4 numbers of 0 or more: of onset"),
        ({"weights": (1.0, 2.0, 3.0, -1.0)}, "must be 4 numbers of 0 or more"),
    ],
)
def test_bad_configs(changes, message):
    with pytest.raises(ValueError, match=message):
        RollsConfig(**changes)


def test_labels_have_the_features_rate():
    slow = RollsConfig(labels=RollLabelConfig(frame_rate_hz=50.0))
    with pytest.raises(ValueError, match=r"125\.0 frames per second .* rolls 50\.0"):
        TokensConfig(rolls=slow)


def test_statistics_are_new_in_training_alone():
    objective, data = TokensObjective(CONFIG), batch()
    found = jax.jit(objective.loss)(PARAMS, data, jax.random.key(0)).statistics
    shapes = jax.tree.map(jnp.shape, batch_norm.variables(PARAMS)["batch_stats"])
    assert jax.tree.map(jnp.shape, found) == shapes
    assert jax.eval_shape(objective.loss, PARAMS, data).statistics == {}

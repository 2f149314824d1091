"""Small models with random weights, for tests that need one that runs."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from mt3x.checkpoints import flatten, save_weights
from mt3x.models.hppnet import HPPNetConfig
from mt3x.models.seq2seq import Seq2SeqConfig
from mt3x.models.stem import StemConfig
from mt3x.objectives import (
    PianoConfig,
    PianoObjective,
    RollsConfig,
    TokensConfig,
    TokensObjective,
)

SMALL_TOKENS = TokensConfig(
    model=Seq2SeqConfig(
        emb_dim=16,
        num_heads=2,
        head_dim=8,
        num_encoder_layers=1,
        num_decoder_layers=1,
        mlp_dim=16,
    ),
    num_frames=32,
    max_tokens=24,
)
# With convolutions and batch norm in front of the encoder, and heads for rolls; without
# ties, so that any sequence of tokens makes notes.
SMALL_ROLLS = dataclasses.replace(
    SMALL_TOKENS,
    model=dataclasses.replace(
        SMALL_TOKENS.model, stem=StemConfig("before", channels=(4, 4, 8))
    ),
    tokens=dataclasses.replace(SMALL_TOKENS.tokens, use_ties=False),
    rolls=RollsConfig(channels=4),
)
SMALL = PianoConfig(model=HPPNetConfig(channels=4, stem_channels=4))


def random_params(config: PianoConfig | TokensConfig = SMALL) -> dict:
    """Parameters drawn by NumPy: compiling `init` would take longer than the tests.

    The variances among running statistics are positive.
    """
    kind = PianoObjective if isinstance(config, PianoConfig) else TokensObjective
    shapes = jax.eval_shape(kind(config).init, jax.random.key(0))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.uniform(-0.4, 0.4, leaf.shape).astype(np.float32)
        return values + 1 if path[-1].key == "var" else values

    return jax.tree_util.tree_map_with_path(draw, shapes)


def save_small_weights(path: Path, config: PianoConfig | TokensConfig = SMALL) -> Path:
    save_weights(path, random_params(config), config.to_dict())
    return path


def assert_params_equal(found, expected, atol=1e-6):
    found, expected = flatten(found), flatten(expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=atol)

"""A small piano model with random weights, for tests that need one that runs."""

from pathlib import Path

import jax
import numpy as np

from mt3x.checkpoints import save_weights
from mt3x.models.hppnet import HPPNetConfig
from mt3x.objectives import PianoConfig, PianoObjective

SMALL = PianoConfig(model=HPPNetConfig(channels=4, stem_channels=4))


def random_params(config: PianoConfig = SMALL) -> dict:
    """Parameters drawn by NumPy: compiling `init` would take longer than the tests."""
    shapes = jax.eval_shape(PianoObjective(config).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.uniform(-0.4, 0.4, leaf.shape).astype(np.float32), shapes
    )


def save_small_weights(path: Path, config: PianoConfig = SMALL) -> Path:
    save_weights(path, random_params(), config.to_dict())
    return path

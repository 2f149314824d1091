"""Batches without data, and the optimizers that the models are trained with."""

from typing import Any

import numpy as np

from mt3x.training.optimizers import OptimizerConfig

# Tokens: as MT3's authors trained it. Rolls: the trainer's default.
OPTIMIZERS = {
    "tokens": OptimizerConfig(
        name="adafactor",
        learning_rate=1e-3,
        schedule="constant",
        gradient_clip_norm=None,
    ),
    "rolls": OptimizerConfig(),
}


def random_batch(config: Any, batch_size: int, num_frames: int) -> dict[str, Any]:
    """A training batch of noise with random notes, as a model's `batch_spec` has it."""
    rng = np.random.default_rng(0)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name in ("samples", "encoder_input_tokens"):
            return rng.normal(0.0, 0.1, shape)
        if name == "encoder_num_frames":
            return np.full(shape, config.num_frames)
        if name == "decoder_loss_weights":
            return np.ones(shape)
        if name.startswith("decoder_"):
            return rng.integers(3, 1300, shape)
        return rng.random(shape) < 0.03

    return {
        name: draw(name, spec.shape).astype(spec.dtype)
        for name, spec in config.batch_spec(batch_size, num_frames).items()
    }

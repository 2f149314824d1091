"""What the golden updates of Adafactor were made from."""

import math
from typing import Any

import numpy as np

# Of mt3x.models.seq2seq.Seq2SeqConfig and mt3.network.T5Config: matrices with both axes
# of 128 and more, which are factored, and others.
NETWORK = {
    "emb_dim": 128,
    "num_heads": 2,
    "head_dim": 64,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "mlp_dim": 120,
}
STEPS = 6
LEARNING_RATE = 0.05
WARMUP_STEPS = 3
# Every such number of a parameter is stored.
EVERY = 397
# Schedules of T5X: name, its factors.
SCHEDULES = {
    "constant": "constant",
    "warmup": "constant * linear_warmup",
    "rsqrt": "constant * rsqrt_decay",
}
SCHEDULE_STEPS = (1, 2, 3, 4, 100)


def arrays(shapes: Any, seed: int) -> Any:
    """A tree of these shapes, the same on every machine.

    The RMS differs by orders of magnitude: with seed 0, parameters, some is below the
    least scale of a step, and with others, gradients, some is above what is clipped.
    """
    rng = np.random.default_rng(seed)

    def draw(node: Any) -> Any:
        if hasattr(node, "shape"):
            size = 10 ** rng.normal(-2.0, 1.0)
            return (size * rng.normal(0.0, 1.0, node.shape)).astype(np.float32)
        return {name: draw(node[name]) for name in sorted(node)}

    return draw(shapes)


def some(tree: Any, path: str = "") -> dict[str, np.ndarray]:
    """Some numbers of each parameter by its path."""
    if hasattr(tree, "shape"):
        first = min(7, math.prod(tree.shape) - 1)
        return {path[1:]: np.asarray(tree).ravel()[first::EVERY]}
    return {
        name: values
        for key in sorted(tree)
        for name, values in some(tree[key], f"{path}/{key}").items()
    }

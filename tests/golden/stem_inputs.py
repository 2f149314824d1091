"""Inputs and weights for the golden file of the acoustic stem."""

import numpy as np

BATCH, FRAMES, BINS, WIDTH = 2, 6, 12, 5
CHANNELS = (3, 4, 6)


def feats_BxTxF() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=(BATCH, FRAMES, BINS)).astype(np.float32)


def params() -> dict:
    """The stem's parameters by mt3x's names, running statistics among them."""
    rng = np.random.default_rng(2)

    def draw(*shape: int, mean: float = 0.0) -> np.ndarray:
        return (mean + rng.uniform(-0.4, 0.4, shape)).astype(np.float32)

    tree: dict = {}
    for n, (before, after) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False)):
        tree[f"block_{n}"] = {
            "kernel": draw(3, 3, before, after),
            "norm": {
                "scale": draw(after, mean=1.0),
                "bias": draw(after),
                "mean": draw(after),
                "var": draw(after, mean=1.0),
            },
        }
    inputs = CHANNELS[-1] * BINS // 4
    tree["out"] = {"kernel": draw(inputs, WIDTH), "bias": draw(WIDTH)}
    return tree

"""A step function for tests of decoding: random logits for each history of tokens."""

import numpy as np

NUM_TOKENS = 11
NUM_HISTORIES = 211
SEEDS_B = np.arange(3, 12, dtype=np.int32)
MAX_TOKENS = 12
# Beams and alpha.
CASES = [(2, 0.6), (4, 0.0), (4, 0.6), (5, 2.0)]


def table() -> np.ndarray:
    """Logits of each history; EOS is less likely than most."""
    logits = np.random.default_rng(7).normal(size=(NUM_HISTORIES, NUM_TOKENS)) * 2
    logits[:, 1] -= 1.0
    return logits.astype(np.float32)


def after(history_B, tokens_B):
    """The histories with one more token; for NumPy and JAX."""
    return (history_B * 31 + tokens_B * 7 + 1) % NUM_HISTORIES

"""What the golden logits of MT3's network were made from."""

from typing import Any

import numpy as np

INPUT_DEPTH = 512
# mt3.network.T5Config
NETWORK = {
    "emb_dim": 8,
    "num_heads": 2,
    "head_dim": 4,
    "num_encoder_layers": 1,
    "num_decoder_layers": 2,
    "mlp_dim": 12,
    "mlp_activations": ("gelu", "linear"),
}
STEP = 4321
# Every such column of the logits is stored.
EVERY = 16


def feats() -> np.ndarray:
    """Features BxTxF."""
    rng = np.random.default_rng(1)
    return rng.normal(-5.0, 3.0, (2, 8, INPUT_DEPTH)).astype(np.float32)


def tokens() -> np.ndarray:
    """Inputs of the decoder BxL."""
    tokens_BxL = np.random.default_rng(2).integers(1, 1536, (2, 12), dtype=np.int32)
    tokens_BxL[:, 0] = 0
    return tokens_BxL


def moved(params: Any) -> Any:
    """A tree of parameters with noise added to each, the same on every machine."""
    rng = np.random.default_rng(3)

    def move(node: Any) -> Any:
        if isinstance(node, np.ndarray):
            return node + rng.normal(0.0, 0.2, node.shape).astype(np.float32)
        return {name: move(node[name]) for name in sorted(node)}

    return move(params)

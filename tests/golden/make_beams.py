"""Write beams.npz: what T5X's decoders find for the step function of beam_inputs.py.

    python tests/golden/make_beams.py

Run where t5x is installed (https://github.com/google-research/t5x, main branch).
"""

from pathlib import Path

import beam_inputs as inputs
import jax.numpy as jnp
import numpy as np
from t5x import decoding


def t5x_tokens_to_logits(table):
    def tokens_to_logits(state):
        history = inputs.after(state.cache["history"], state.cur_token[:, 0])
        return table[history], {"history": history}

    return tokens_to_logits


def beams(num_beams: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Best sequence of each row and its score."""
    tokens_BxKxL, scores_BxK = decoding.beam_search(
        inputs=jnp.zeros((len(inputs.SEEDS_B), inputs.MAX_TOKENS), jnp.int32),
        cache={"history": jnp.asarray(inputs.SEEDS_B)},
        tokens_to_logits=t5x_tokens_to_logits(jnp.asarray(inputs.table())),
        eos_id=1,
        num_decodes=num_beams,
        alpha=alpha,
    )
    return np.asarray(tokens_BxKxL[:, -1]), np.asarray(scores_BxK[:, -1])


def greedy() -> tuple[np.ndarray, np.ndarray]:
    """The likeliest token at each step and the sum of log-probabilities."""
    tokens_Bx1xL, scores_Bx1 = decoding.temperature_sample(
        inputs=jnp.zeros((len(inputs.SEEDS_B), inputs.MAX_TOKENS), jnp.int32),
        cache={"history": jnp.asarray(inputs.SEEDS_B)},
        tokens_to_logits=t5x_tokens_to_logits(jnp.asarray(inputs.table())),
        eos_id=1,
        temperature=0.0,
        topk=0,
        rescale_log_probs=False,
    )
    return np.asarray(tokens_Bx1xL[:, 0]), np.asarray(scores_Bx1[:, 0])


def golden() -> dict[str, np.ndarray]:
    arrays = dict(zip(("greedy_tokens", "greedy_scores"), greedy(), strict=True))
    for number, case in enumerate(inputs.CASES):
        arrays[f"tokens_{number}"], arrays[f"scores_{number}"] = beams(*case)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("beams.npz"), **golden())

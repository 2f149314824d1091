"""A decoding step of a token model against the floor that memory sets.

    python bench/token_steps.py [--size small] [--rows 16]

Each step reads all weights of the decoder once for all rows, and what the rows keep of
their segment and of the tokens so far. The floor is the time that these bytes take at
the speed of adding up a long array. A ratio of 1 would be the floor itself.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from timing import limit_threads

limit_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mt3x.models.objectives import TokensConfig, TokensObjective  # noqa: E402
from mt3x.models.seq2seq import SIZES  # noqa: E402

# Positions that a program is compiled for, as in `mt3x.inference.decoding`.
LENGTH = 256
STEPS = 64


def seconds(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median time of a call, after one to warm up."""
    times_s = []
    for _ in range(repeats + 1):
        begin_s = time.perf_counter()
        jax.block_until_ready(call())
        times_s.append(time.perf_counter() - begin_s)
    return float(np.median(times_s[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--rows", type=int, default=16)
    args = parser.parse_args()
    config = TokensConfig(model=SIZES[args.size], num_frames=256, max_tokens=LENGTH)
    objective = TokensObjective(config)
    params = jax.jit(objective.init)(jax.random.key(0))
    shape = (args.rows, config.num_frames, config.features.hop_samples)
    frames_BxTxW = np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
    num_frames_B = np.full(args.rows, config.num_frames, np.int32)
    cache = jax.jit(objective.start)(params, frames_BxTxW, num_frames_B)

    @jax.jit
    def decode(params: Any, cache: Any) -> Any:
        def step(n: jax.Array, carry: Any) -> Any:
            cache, tokens_B = carry
            positions_B = jnp.full(args.rows, n, jnp.int32)
            logits, cache = objective.step(params, cache, tokens_B, positions_B, LENGTH)
            return cache, jnp.argmax(logits, axis=-1).astype(jnp.int32)

        start = cache, jnp.zeros(args.rows, jnp.int32)
        return jax.lax.fori_loop(LENGTH - STEPS, LENGTH, step, start)[1]

    step_s = seconds(partial(decode, params, cache)) / STEPS
    arrays = jax.tree.leaves((params["decoder"], cache))
    size = sum(array.nbytes for array in arrays)
    long = jnp.ones(2**26, jnp.float32)
    bytes_per_s = long.nbytes / seconds(partial(jax.jit(jnp.sum), long))
    floor_s = size / bytes_per_s
    print(
        f"{args.size}, {args.rows} rows: {1e3 * step_s:.1f} ms a step; "
        f"{size / 2**20:.0f} MiB at {bytes_per_s / 1e9:.0f} GB/s take "
        f"{1e3 * floor_s:.1f} ms; ratio {step_s / floor_s:.1f}"
    )


if __name__ == "__main__":
    main()

"""Heads: one scan for four heads and both directions against eight single LSTMs.

    python bench/lstm.py

A ratio above 1 says that the fused scan is faster. Both see the 88 pitches of clips of
5.12 s; the single LSTMs are plain scans with JAX's own gradient.
"""

import argparse

from timing import limit_threads, median_times, report

limit_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mt3x.models.lstm import lstm  # noqa: E402

PITCHES = 88


def fused(x_TxCxN: jax.Array, weights: tuple[jax.Array, ...]) -> jax.Array:
    """Hidden states TxDxGxHxN of D = 2 directions and G heads."""
    both_TxDxCxN = jnp.stack([x_TxCxN, x_TxCxN[::-1]], axis=1)
    keep_TxDxN = jnp.ones((len(x_TxCxN), 2, x_TxCxN.shape[2]))
    return lstm(both_TxDxCxN, *weights, keep_TxDxN)


def single(x_TxCxN: jax.Array, weights: tuple[jax.Array, ...]) -> jax.Array:
    """The same from one scan per head and direction, sequences first."""
    input_kernels, recurrent_kernels, biases = weights
    x_TxNxC = x_TxCxN.swapaxes(1, 2)
    rows = []
    for d in range(2):
        turned = x_TxNxC[::-1] if d else x_TxNxC
        for g in range(input_kernels.shape[1]):
            hidden_TxNxH = scan(
                turned, input_kernels[d, g], recurrent_kernels[d, g], biases[d, g]
            )
            rows.append(hidden_TxNxH.swapaxes(1, 2))
    stacked = jnp.stack(rows, axis=1)
    return stacked.reshape(len(stacked), 2, -1, *stacked.shape[2:])


def scan(x_TxNxC, input_kernel_KxC, recurrent_kernel_KxH, bias_K):
    inputs_TxNxK = x_TxNxC @ input_kernel_KxC.T + bias_K
    zeros = jnp.zeros((x_TxNxC.shape[1], recurrent_kernel_KxH.shape[1]))

    def step(state, inputs_NxK):
        h, c = state
        i, f, g, o = jnp.split(inputs_NxK + h @ recurrent_kernel_KxH.T, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return jax.lax.scan(step, (zeros, zeros), inputs_TxNxK)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, nargs="+", default=[48, 128])
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, {args.batch} x {args.frames} frames")
    rng = np.random.default_rng(0)
    for channels in args.channels:
        width = channels // 2
        shapes = ((4 * width, channels), (4 * width, width), (4 * width,))
        weights = tuple(
            jnp.asarray(rng.normal(scale=0.1, size=(2, 4, *shape)), jnp.float32)
            for shape in shapes
        )
        sequences = args.batch * PITCHES
        x = rng.normal(size=(args.frames, channels, sequences))
        x = jnp.asarray(x, jnp.float32)
        np.testing.assert_allclose(fused(x, weights), single(x, weights), atol=1e-4)
        for title, wrap in (("forward", forward), ("forward and gradient", gradient)):
            calls = {
                "fused": wrap(fused, x, weights),
                "single": wrap(single, x, weights),
            }
            times_s = median_times(calls, args.repeats)
            report(f"{title}, {channels} channels", times_s, "fused", "single")


def forward(function, x, weights):
    run = jax.jit(function)
    return lambda: jax.block_until_ready(run(x, weights))


def gradient(function, x, weights):
    run = jax.jit(jax.value_and_grad(lambda *a: (function(*a) ** 2).sum(), (0, 1)))
    return lambda: jax.block_until_ready(run(x, weights))


if __name__ == "__main__":
    main()

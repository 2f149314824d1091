"""Gradients of HPPNet's convolutions: `conv2d` against XLA's own.

    python bench/convolution.py

Times of an input's and a kernel's gradient together, for a clip of 4 s through the
layers of HPPNet-tiny. A ratio above 1 says that `conv2d` is faster.
"""

import argparse

from timing import limit_threads, median_times, report

limit_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mt3x.models.layers import conv2d  # noqa: E402

# Name: bins, channels in and out, kernel, dilation.
LAYERS = {
    "stem, 7 x 7": (352, 16, 16, (7, 7), 1),
    "octave, 1 x 3": (352, 48, 48, (1, 3), 48),
    "semitone, 1 x 3": (88, 48, 48, (1, 3), 12),
    "time, 5 x 1": (88, 48, 48, (5, 1), 1),
}


def plain(x_BxTxFxC: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x_BxTxFxC,
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        rhs_dilation=(1, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def gradients(function, x, kernel, dilation):
    def loss(x, kernel):
        return (function(x, kernel, dilation) ** 2).sum()

    run = jax.jit(jax.grad(loss, (0, 1)))
    return lambda: jax.block_until_ready(run(x, kernel))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, {args.frames} frames")
    rng = np.random.default_rng(0)
    for title, (bins, c_in, c_out, size, dilation) in LAYERS.items():
        x = jnp.asarray(rng.normal(size=(1, args.frames, bins, c_in)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(*size, c_in, c_out)) * 0.05, jnp.float32)
        calls = {
            "conv2d": gradients(conv2d, x, kernel, dilation),
            "XLA": gradients(plain, x, kernel, dilation),
        }
        for ours, theirs in zip(calls["conv2d"](), calls["XLA"](), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-2)
        report(title, median_times(calls, args.repeats), "conv2d", "XLA")


if __name__ == "__main__":
    main()

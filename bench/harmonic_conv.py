"""Harmonic convolution: one fused operation against eight, forward and with gradient.

    python bench/harmonic_conv.py

A ratio above 1 says that the fused one is faster.
"""

import argparse

from timing import limit_threads, median_times, report

limit_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mt3x.models.layers import harmonic_conv, harmonic_shifts  # noqa: E402

SHIFTS = harmonic_shifts(48, 8)


def eight(x_BxTxFxC: jax.Array, kernels_Nx3xCxD: jax.Array) -> jax.Array:
    """The authors' form: eight dilated convolutions, summed."""
    return sum(
        jax.lax.conv_general_dilated(
            x_BxTxFxC,
            kernel_3xCxD[None],
            window_strides=(1, 1),
            padding="SAME",
            rhs_dilation=(1, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for kernel_3xCxD, dilation in zip(kernels_Nx3xCxD, SHIFTS[2::2], strict=True)
    )


def fused(x_BxTxFxC: jax.Array, kernels_Nx3xCxD: jax.Array) -> jax.Array:
    """The same parameters through `harmonic_conv`."""
    centre = kernels_Nx3xCxD[:, 1].sum(axis=0)[None]
    sides = kernels_Nx3xCxD[:, ::2].reshape(-1, *kernels_Nx3xCxD.shape[2:])
    return harmonic_conv(x_BxTxFxC, jnp.concatenate([centre, sides]), SHIFTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, nargs="+", default=[48, 128])
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, {args.frames} frames x 352 bins x 16")
    rng = np.random.default_rng(0)
    for channels in args.channels:
        x = jnp.asarray(rng.normal(size=(1, args.frames, 352, 16)), jnp.float32)
        kernels = rng.normal(scale=0.05, size=(8, 3, 16, channels))
        kernels = jnp.asarray(kernels, jnp.float32)
        np.testing.assert_allclose(fused(x, kernels), eight(x, kernels), atol=1e-4)
        for title, wrap in (("forward", forward), ("forward and gradient", gradient)):
            calls = {
                "fused": wrap(fused, x, kernels),
                "eight": wrap(eight, x, kernels),
            }
            times_s = median_times(calls, args.repeats)
            report(f"{title}, {channels} channels", times_s, "fused", "eight")


def forward(function, x, kernels):
    run = jax.jit(function)
    return lambda: jax.block_until_ready(run(x, kernels))


def gradient(function, x, kernels):
    run = jax.jit(jax.value_and_grad(lambda *a: (function(*a) ** 2).sum(), (0, 1)))
    return lambda: jax.block_until_ready(run(x, kernels))


if __name__ == "__main__":
    main()

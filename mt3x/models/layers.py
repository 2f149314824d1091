"""Layers with a forward and a backward pass that suit both CPUs and accelerators.

Activations are channels last: B clips, T frames, F frequency bins, C channels.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp

from mt3x.models.platform import platform

# Frames per step of the harmonic convolution's loop: on a CPU a few, so that the
# gathered harmonics of a step stay in the cache; elsewhere all of them at once.
_CPU_ROWS = 4
# Numbers in the patches of a step of a kernel's gradient on a CPU, a megabyte.
_CPU_PATCHES = 2**18


def _convolve(
    x_BxTxFxC: jax.Array, kernel_HxWxCxD: jax.Array, dilation: int
) -> jax.Array:
    height, frames = len(kernel_HxWxCxD), x_BxTxFxC.shape[1]
    if kernel_HxWxCxD.shape[2] == 1 and platform() == "cpu":
        # Frames side by side as channels: twice as fast as a single channel.
        around = (height // 2, height // 2)
        padded = jnp.pad(x_BxTxFxC, ((0, 0), around, (0, 0), (0, 0)))
        rows = [padded[:, i : i + frames] for i in range(height)]
        x_BxTxFxC = jnp.concatenate(rows, axis=-1)
        kernel_HxWxCxD = kernel_HxWxCxD.transpose(2, 1, 0, 3)
    return jax.lax.conv_general_dilated(
        x_BxTxFxC,
        kernel_HxWxCxD,
        window_strides=(1, 1),
        padding="SAME",
        rhs_dilation=(1, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _contract(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return a^T b with all axes except for the last flattened."""
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    return jax.lax.dot_general(a, b, (((0,), (0,)), ((), ())))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d(
    x_BxTxFxC: jax.Array, kernel_HxWxCxD: jax.Array, dilation: int = 1
) -> jax.Array:
    """Convolve, same-padded, the taps along frequency `dilation` bins apart.

    The same as `lax.conv_general_dilated`, but on a CPU the kernel's gradient is a sum
    over blocks of frames of one matrix product each: XLA's own takes three times as
    long for few channels, and up to ten times for many.
    """
    return _convolve(x_BxTxFxC, kernel_HxWxCxD, dilation)


def _conv2d_forward(x, kernel, dilation):
    return _convolve(x, kernel, dilation), (x, kernel)


def _conv2d_backward(dilation, residuals, g_BxTxFxD):
    x_BxTxFxC, kernel_HxWxCxD = residuals
    # Odd kernels and stride 1: the input's gradient is the turned kernel's convolution.
    turned = kernel_HxWxCxD[::-1, ::-1].swapaxes(2, 3)
    grad_x = _convolve(g_BxTxFxD, turned, dilation)
    if platform() == "cpu":
        size = kernel_HxWxCxD.shape[:2]
        return grad_x, _kernel_gradient(x_BxTxFxC, g_BxTxFxD, size, dilation)
    _, pullback = jax.vjp(lambda k: _convolve(x_BxTxFxC, k, dilation), kernel_HxWxCxD)
    return grad_x, pullback(g_BxTxFxD)[0]


def _kernel_gradient(
    x_BxTxFxC: jax.Array, g_BxTxFxD: jax.Array, size: tuple[int, int], dilation: int
) -> jax.Array:
    """Return a convolution's gradient with respect to its kernel of `size` HxW."""
    (height, width), (batch, frames, bins, channels) = size, x_BxTxFxC.shape
    # The patches of all bins of a few frames: as many as stay in the cache.
    patch = height * width * channels
    rows = max(1, min(frames, _CPU_PATCHES // (batch * bins * patch)))
    fill = -frames % rows
    around = (height // 2, height // 2 + fill), (width // 2 * dilation,) * 2
    padded = jnp.pad(x_BxTxFxC, ((0, 0), *around, (0, 0)))
    g_BxTxFxD = jnp.pad(g_BxTxFxD, ((0, 0), (0, fill), (0, 0), (0, 0)))

    def add_block(total_DxK, first):
        def cut(array, num):
            return jax.lax.dynamic_slice_in_dim(array, first, num, axis=1)

        window = cut(padded, rows + height - 1)
        patches = [
            window[:, i : i + rows, j : j + bins]
            for i in range(height)
            for j in range(0, width * dilation, dilation)
        ]
        patches = jnp.concatenate(patches, axis=-1)
        # The few rows on the left: the other way round takes half as long again.
        return total_DxK + _contract(cut(g_BxTxFxD, rows), patches), None

    zero = jnp.zeros((g_BxTxFxD.shape[-1], patch), g_BxTxFxD.dtype)
    total_DxK, _ = jax.lax.scan(add_block, zero, jnp.arange(0, frames, rows))
    return jnp.asarray(total_DxK).T.reshape(height, width, channels, -1)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


@jax.custom_vjp
def depthwise_conv(x_BxTxD: jax.Array, kernel_KxD: jax.Array) -> jax.Array:
    """Convolve along time, same-padded, each channel with a kernel of its own.

    out[t] = sum over k of x[t + k - K // 2] * kernel[k], zero outside. XLA's grouped
    convolution takes forty times as long on a CPU, and its own gradient of these sums
    recomputes them in each product that reads it.
    """
    size, frames = len(kernel_KxD), x_BxTxD.shape[1]
    padded = _pad_time(x_BxTxD, size)
    taps = [padded[:, k : k + frames] * kernel_KxD[k] for k in range(size)]
    return sum(taps[1:], start=taps[0])


def _pad_time(x_BxTxD: jax.Array, size: int) -> jax.Array:
    return jnp.pad(x_BxTxD, ((0, 0), (size // 2, size // 2), (0, 0)))


def _depthwise_forward(x_BxTxD, kernel_KxD):
    return depthwise_conv(x_BxTxD, kernel_KxD), (x_BxTxD, kernel_KxD)


def _depthwise_backward(residuals, g_BxTxD):
    x_BxTxD, kernel_KxD = residuals
    batch, frames, width = x_BxTxD.shape
    padded = _pad_time(x_BxTxD, len(kernel_KxD))
    ones = jnp.ones((batch * frames,), g_BxTxD.dtype)

    def tap(k):
        # The sum over frames as a product: faster on a CPU than a reduction.
        part_BxTxD = jax.lax.dynamic_slice_in_dim(padded, k, frames, axis=1)
        return ones @ (part_BxTxD * g_BxTxD).reshape(-1, width)

    grad_kernel = jax.lax.map(tap, jnp.arange(len(kernel_KxD)))
    return depthwise_conv(g_BxTxD, kernel_KxD[::-1]), grad_kernel


depthwise_conv.defvjp(_depthwise_forward, _depthwise_backward)


def max_pool(x_BxTxFxC: jax.Array, size: int) -> jax.Array:
    """Return the maximum of `size` bins that lie side by side.

    The gradient goes to the bin that won the comparisons. That of `jnp.max` goes to
    bins that equal the maximum, and is wrong where a compiler computes bins twice and
    rounds them in two ways, as XLA does on several CPU devices without optimisation.
    """
    batch, frames, bins, _ = x_BxTxFxC.shape
    parts = x_BxTxFxC.reshape(batch, frames, bins // size, size, -1)
    rest = (parts[:, :, :, n] for n in range(1, size))
    return reduce(lambda a, b: jnp.where(a < b, b, a), rest, parts[:, :, :, 0])


def harmonic_shifts(bins_per_octave: int, num_harmonics: int) -> tuple[int, ...]:
    """Return offsets in bins of 0 and of harmonics 2..n+1, below and above.

    HPPNet eq. 1: harmonic k lies round(bins_per_octave log2 k) bins up.
    """
    up = [round(bins_per_octave * math.log2(k + 2)) for k in range(num_harmonics)]
    return (0, *(shift for d in up for shift in (-d, d)))


def even_shifts(bins_per_octave: int, count: int) -> tuple[int, ...]:
    """Return offsets in bins as `harmonic_shifts`, but half an octave apart."""
    up = [bins_per_octave // 2 * (k + 1) for k in range(count)]
    return (0, *(shift for d in up for shift in (-d, d)))


def _gather(x_RxFxC: jax.Array, shifts: Sequence[int]) -> jax.Array:
    """Return each bin's harmonics side by side: RxFxKC, zero outside of the range."""
    reach = max(abs(shift) for shift in shifts)
    bins = x_RxFxC.shape[1]
    padded = jnp.pad(x_RxFxC, ((0, 0), (reach, reach), (0, 0)))
    parts = [padded[:, reach + shift : reach + shift + bins] for shift in shifts]
    return jnp.concatenate(parts, axis=-1)


def _row_blocks(x_BxTxFxC: jax.Array) -> jax.Array:
    """Return frames of all clips as NxRxFxC, zero frames filling the last block."""
    rows_RxFxC = x_BxTxFxC.reshape(-1, *x_BxTxFxC.shape[2:])
    size = _CPU_ROWS if platform() == "cpu" else len(rows_RxFxC)
    fill = -len(rows_RxFxC) % size
    rows_RxFxC = jnp.pad(rows_RxFxC, ((0, fill), (0, 0), (0, 0)))
    return rows_RxFxC.reshape(-1, size, *rows_RxFxC.shape[1:])


def _from_blocks(blocks_NxRxFxC: jax.Array, batch: int, frames: int) -> jax.Array:
    rows = blocks_NxRxFxC.reshape(-1, *blocks_NxRxFxC.shape[2:])
    return rows[: batch * frames].reshape(batch, frames, *rows.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def harmonic_conv(
    x_BxTxFxC: jax.Array, kernel_KxCxD: jax.Array, shifts: tuple[int, ...]
) -> jax.Array:
    """Sum bins at fixed distances, each through its own CxD matrix.

    out[f] = sum over k of x[f + shifts[k]] @ kernel[k], zero outside of the range.
    HPPNet's eight parallel dilated convolutions (section 2.2) are this one linear map,
    their centre taps added up. It is computed as gather and one matrix product, in
    blocks of frames that fit the cache on a CPU.
    """
    return _harmonic_forward(x_BxTxFxC, kernel_KxCxD, shifts)[0]


def _harmonic_forward(x, kernel, shifts):
    matrix = kernel.reshape(-1, kernel.shape[-1])
    blocks = jax.lax.map(lambda rows: _gather(rows, shifts) @ matrix, _row_blocks(x))
    return _from_blocks(blocks, *x.shape[:2]), (x, kernel)


def _harmonic_backward(shifts, residuals, g_BxTxFxD):
    x_BxTxFxC, kernel_KxCxD = residuals
    channels, bins = kernel_KxCxD.shape[1], x_BxTxFxC.shape[2]
    matrix_KCxD = kernel_KxCxD.reshape(-1, kernel_KxCxD.shape[-1])
    reach = max(abs(shift) for shift in shifts)

    def block(grad_KCxD, rows):
        x_RxFxC, g_RxFxD = rows
        grad_KCxD += _contract(_gather(x_RxFxC, shifts), g_RxFxD)
        spread = jnp.pad(g_RxFxD @ matrix_KCxD.T, ((0, 0), (reach, reach), (0, 0)))
        grad_x = sum(
            spread[
                :,
                reach - shift : reach - shift + bins,
                k * channels : (k + 1) * channels,
            ]
            for k, shift in enumerate(shifts)
        )
        return grad_KCxD, grad_x

    grad_KCxD, blocks = jax.lax.scan(
        block,
        jnp.zeros_like(matrix_KCxD),
        (_row_blocks(x_BxTxFxC), _row_blocks(g_BxTxFxD)),
    )
    grad_x = _from_blocks(jnp.asarray(blocks), *x_BxTxFxC.shape[:2])
    return grad_x, grad_KCxD.reshape(kernel_KxCxD.shape)


harmonic_conv.defvjp(_harmonic_forward, _harmonic_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def by_frames(
    function: Callable[[Any, jax.Array], jax.Array],
    weights: Any,
    x_BxTxFxC: jax.Array,
) -> jax.Array:
    """Return function(weights, x_BxTxFxC); the function sees each frame by itself.

    On a CPU, where no gradient is taken, it is computed in blocks of frames: what lies
    between its layers then stays in the cache and takes no memory.
    """
    if platform() != "cpu":
        return function(weights, x_BxTxFxC)
    blocks = jax.lax.map(
        lambda rows_RxFxC: function(weights, rows_RxFxC[None])[0],
        _row_blocks(x_BxTxFxC),
    )
    return _from_blocks(jnp.asarray(blocks), *x_BxTxFxC.shape[:2])


def _by_frames_forward(function, weights, x):
    return jax.vjp(function, weights, x)


def _by_frames_backward(function, pullback, g):
    del function
    return pullback(g)


by_frames.defvjp(_by_frames_forward, _by_frames_backward)


def instance_norm(
    x_BxTxFxC: jax.Array, mask_BxT: jax.Array | None = None, epsilon: float = 1e-5
) -> jax.Array:
    """Bring each clip and channel to zero mean and unit variance, without parameters.

    Ulyanov et al. 2016 (arXiv:1607.08022). With a mask only the marked frames count,
    and the others become zero, as the padding of the next convolution is.
    """
    x = x_BxTxFxC.astype(jnp.float32)
    weight = 1.0 if mask_BxT is None else mask_BxT[:, :, None, None].astype(x.dtype)
    count = jnp.sum(jnp.broadcast_to(weight, (*x.shape[:2], 1, 1)), (1, 2))
    total = jnp.maximum(count, 1.0)[..., None, None] * x.shape[2]

    def mean_of(values: jax.Array) -> jax.Array:
        return jnp.sum(values * weight, axis=(1, 2), keepdims=True) / total

    # The mean of the squares in the same pass: faster than that of the differences.
    mean = mean_of(x)
    var = jnp.maximum(mean_of(jnp.square(x)) - jnp.square(mean), 0.0)
    normed = (x - mean) * jax.lax.rsqrt(var + epsilon) * weight
    return normed.astype(x_BxTxFxC.dtype)

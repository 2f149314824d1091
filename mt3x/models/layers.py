"""Layers with a forward and a backward pass that suit both CPUs and accelerators.

Activations are channels last: B clips, T frames, F frequency bins, C channels.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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


@jax.custom_vjp
def lstm(
    x_TxDxCxN: jax.Array,
    input_kernel_DxGxKxC: jax.Array,
    recurrent_kernel_DxGxKxH: jax.Array,
    bias_DxGxK: jax.Array,
    keep_TxDxN: jax.Array,
) -> jax.Array:
    """Run many LSTMs in one scan: D directions of time, G cells that share their input.

    Hochreiter & Schmidhuber 1997 with forget gates, in PyTorch's order of the K = 4H
    gates (input, forget, cell, output). The N sequences lie along the last axis, so
    that gates are sliced without a copy. The backward pass is written out: it keeps the
    gates' values and nothing else, and takes half the time of JAX's own on a CPU.

    Args:
      x_TxDxCxN: N sequences of T steps with C inputs, turned round for a direction
        that runs back in time.
      input_kernel_DxGxKxC: weights of the inputs.
      recurrent_kernel_DxGxKxH: weights of the state.
      bias_DxGxK: biases.
      keep_TxDxN: 1 at steps that count, 0 where the state is to be reset.

    Returns:
      Hidden states TxDxGxHxN.
    """
    weights = _twice_the_cells_gate(
        input_kernel_DxGxKxC, recurrent_kernel_DxGxKxH, bias_DxGxK
    )

    def step(state, inputs):
        state, _ = _lstm_step(weights, state, *inputs)
        return state, state[0]

    zeros = _lstm_zeros(x_TxDxCxN, recurrent_kernel_DxGxKxH)
    return jax.lax.scan(step, (zeros, zeros), (x_TxDxCxN, keep_TxDxN))[1]


def _twice_the_cells_gate(*weights: jax.Array) -> tuple[jax.Array, ...]:
    """Return weights with those of the third gate doubled, or gradients likewise.

    tanh(x) = 2 sigmoid(2 x) - 1, so that one function gives all four gates at once.
    """
    quarters = np.array([1, 1, 2, 1], np.float32)

    def double(array: jax.Array) -> jax.Array:
        factors = np.repeat(quarters, array.shape[2] // 4)
        return array * factors.reshape(-1, *[1] * (array.ndim - 3)).astype(array.dtype)

    return tuple(double(array) for array in weights)


def _lstm_zeros(x_TxDxCxN, recurrent_kernel_DxGxKxH):
    directions, cells, _, width = recurrent_kernel_DxGxKxH.shape
    return jnp.zeros((directions, cells, width, x_TxDxCxN.shape[-1]), x_TxDxCxN.dtype)


def _lstm_step(weights, state, x_DxCxN, keep_DxN):
    """Return ((h, c), gates) of a step, the gates after their sigmoids."""
    (input_kernel, recurrent_kernel, bias), (h, c) = weights, state
    gates = jnp.einsum("dgkc,dcn->dgkn", input_kernel, x_DxCxN)
    gates += jnp.einsum("dgkh,dghn->dgkn", recurrent_kernel, h) + bias[..., None]
    gates = jax.nn.sigmoid(gates)
    i, f, g, o = jnp.split(gates, 4, axis=2)
    c = (f * c + i * (2 * g - 1)) * keep_DxN[:, None, None]
    # Where the state is reset, tanh(0) makes h zero too.
    return (o * jnp.tanh(c), c), gates


def _lstm_forward(x, input_kernel, recurrent_kernel, bias, keep):
    weights = _twice_the_cells_gate(input_kernel, recurrent_kernel, bias)

    def step(state, inputs):
        state, gates = _lstm_step(weights, state, *inputs)
        return state, (*state, gates)

    zeros = _lstm_zeros(x, recurrent_kernel)
    h, c, gates = jax.lax.scan(step, (zeros, zeros), (x, keep))[1]
    return h, (x, weights, keep, h, c, gates)


def _lstm_backward(residuals, grad_h_TxDxGxHxN):
    x, weights, keep, h, c, gates = residuals
    directions, cells, size, width = weights[1].shape  # size: 4 width
    # Both turned here, once: products in the loop then read rows.
    input_DxCxGK = weights[0].reshape(directions, cells * size, -1).swapaxes(1, 2)
    recurrent_DxGxHxK = weights[1].swapaxes(2, 3)

    def step(carry, inputs):
        grad_gates, (grad_input, grad_recurrent, grad_bias), (grad_h, grad_c) = carry
        x, keep, h_before, c_before, c, gates, grad_out = inputs
        i, f, g, o = jnp.split(gates, 4, axis=2)
        grad_h += grad_out
        level = jnp.tanh(c)
        grad_c = (grad_c + grad_h * o * (1 - level**2)) * keep[:, None, None]
        parts = (
            grad_c * (2 * g - 1) * i * (1 - i),
            grad_c * c_before * f * (1 - f),
            grad_c * i * 2 * g * (1 - g),
            grad_h * level * o * (1 - o),
        )
        if platform() == "cpu":
            # Written in place: XLA computes a concatenation twice, and slowly.
            for n, part in enumerate(parts):
                grad_gates = jax.lax.dynamic_update_slice_in_dim(
                    grad_gates, part, n * width, axis=2
                )
        else:
            grad_gates = jnp.concatenate(parts, axis=2)
        flat_DxGKxN = grad_gates.reshape(directions, cells * size, -1)
        of_input = jnp.einsum("dkn,dcn->dkc", flat_DxGKxN, x)
        sums = (
            grad_input + of_input.reshape(grad_input.shape),
            grad_recurrent + jnp.einsum("dgkn,dghn->dgkh", grad_gates, h_before),
            grad_bias + grad_gates.sum(axis=-1),
        )
        grad_x = jnp.einsum("dck,dkn->dcn", input_DxCxGK, flat_DxGKxN)
        grad_h = jnp.einsum("dghk,dgkn->dghn", recurrent_DxGxHxK, grad_gates)
        return (grad_gates, sums, (grad_h, grad_c * f)), grad_x

    zeros = _lstm_zeros(x, weights[1])
    h_before = jnp.concatenate([zeros[None], h[:-1]])
    c_before = jnp.concatenate([zeros[None], c[:-1]])
    nothing = jnp.zeros_like(gates[0]), jax.tree.map(jnp.zeros_like, weights)
    inputs = (x, keep, h_before, c_before, c, gates, grad_h_TxDxGxHxN)
    (_, sums, _), grad_x = jax.lax.scan(
        step, (*nothing, (zeros, zeros)), inputs, reverse=True
    )
    return grad_x, *_twice_the_cells_gate(*sums), jnp.zeros_like(keep)


lstm.defvjp(_lstm_forward, _lstm_backward)


@jax.custom_vjp
def lstm_sums(
    readout_DxGxH: jax.Array,
    x_TxDxCxN: jax.Array,
    input_kernel_DxGxKxC: jax.Array,
    recurrent_kernel_DxGxKxH: jax.Array,
    bias_DxGxK: jax.Array,
    keep_TxDxN: jax.Array,
) -> jax.Array:
    """Return weighted sums of the hidden states of `lstm`, float32: TxDxGxN.

    Where no gradient is taken, the states themselves are never kept.
    """
    weights = _twice_the_cells_gate(
        input_kernel_DxGxKxC, recurrent_kernel_DxGxKxH, bias_DxGxK
    )

    def step(state, inputs):
        state, _ = _lstm_step(weights, state, *inputs)
        return state, _read(readout_DxGxH, state[0])

    zeros = _lstm_zeros(x_TxDxCxN, recurrent_kernel_DxGxKxH)
    return jax.lax.scan(step, (zeros, zeros), (x_TxDxCxN, keep_TxDxN))[1]


def _read(readout_DxGxH, h):
    return jnp.einsum("dgh,...dghn->...dgn", readout_DxGxH, h.astype(jnp.float32))


def _lstm_sums_forward(readout, *inputs):
    h, residuals = _lstm_forward(*inputs)
    return _read(readout, h), (readout, h, residuals)


def _lstm_sums_backward(residuals, grad_TxDxGxN):
    readout, h, inner = residuals
    grad_readout = jnp.einsum("tdgn,tdghn->dgh", grad_TxDxGxN, h.astype(jnp.float32))
    grad_h = (grad_TxDxGxN[:, :, :, None] * readout[..., None]).astype(h.dtype)
    return grad_readout, *_lstm_backward(inner, grad_h)


lstm_sums.defvjp(_lstm_sums_forward, _lstm_sums_backward)

"""Many LSTMs in one scan, with a forward and a backward pass that suit CPUs."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mt3x.models.platform import platform


def lstm_init(width: int) -> Any:
    """Return the initializer of an LSTM's weights, PyTorch's: up to width^-0.5."""
    uniform = nn.initializers.uniform(scale=2 * width**-0.5)
    return lambda rng, shape: uniform(rng, shape) - width**-0.5


def lstm_weights(
    module: nn.Module, cells: int, width: int, channels: int, dtype: Any
) -> tuple[jax.Array, ...]:
    """Return the weights that `lstm` takes for both directions, of a module's own."""
    init, shape = lstm_init(width), (2, cells, 4 * width)
    # Two biases, as PyTorch has them, so that checkpoints map one to one.
    input_bias = module.param("input_bias", init, shape)
    recurrent_bias = module.param("recurrent_bias", init, shape)
    weights = (
        module.param("input_kernel", init, (*shape, channels)),
        module.param("recurrent_kernel", init, (*shape, width)),
        input_bias + recurrent_bias,
    )
    return tuple(weight.astype(dtype) for weight in weights)


def both_ways(
    x_BxTxPxC: jax.Array, mask_BxT: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Return what `lstm` takes of rows in time, forth and back: x_TxDxCxN, keep_TxDxN.

    The rows P of all clips are the sequences N.
    """
    batch, frames, pitches, channels = x_BxTxPxC.shape
    if mask_BxT is None:
        mask_BxT = jnp.ones((batch, frames), bool)
    keep_TxN = jnp.repeat(mask_BxT.T, pitches, axis=1).astype(x_BxTxPxC.dtype)
    x_TxCxN = x_BxTxPxC.transpose(1, 3, 0, 2).reshape(frames, channels, -1)
    return (
        jnp.stack([x_TxCxN, x_TxCxN[::-1]], axis=1),
        jnp.stack([keep_TxN, keep_TxN[::-1]], axis=1),
    )


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
    return _scan(
        lambda h: h,
        x_TxDxCxN,
        input_kernel_DxGxKxC,
        recurrent_kernel_DxGxKxH,
        bias_DxGxK,
        keep_TxDxN,
    )


def _scan(read, x, input_kernel, recurrent_kernel, bias, keep):
    """Return read(h) of the hidden states h of all steps; nothing else is kept."""
    weights = _twice_the_cells_gate(input_kernel, recurrent_kernel, bias)

    def step(state, inputs):
        state, _ = _lstm_step(weights, state, *inputs)
        return state, read(state[0])

    zeros = _lstm_zeros(x, recurrent_kernel)
    return jax.lax.scan(step, (zeros, zeros), (x, keep))[1]


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
    return _scan(
        partial(_read, readout_DxGxH),
        x_TxDxCxN,
        input_kernel_DxGxKxC,
        recurrent_kernel_DxGxKxH,
        bias_DxGxK,
        keep_TxDxN,
    )


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

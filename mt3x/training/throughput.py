"""How fast training goes, and how much of the hardware it uses.

Model FLOPs utilisation (Chowdhery et al. 2022, arXiv:2204.02311, appendix B) is what
the matrix products of a step would take at the hardware's peak, as a part of what the
step took. Only products of matrices and convolutions count, and what is computed a
second time to save memory (remat) does not.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Peak TFLOP/s of one device of JAX (a core of TPU v2 and v3, else a chip), without
# sparsity: of bfloat16, and of float32 at JAX's default precision, which is bfloat16's
# on a TPU and TF32 on an NVIDIA GPU. The longest name that a device's kind begins with
# holds. Sources: cloud.google.com/tpu/docs/{v3,v4,v5e,v5p,v6e}; v2 Jouppi et al. 2020,
# "A domain-specific supercomputer for training deep neural networks", table 3; NVIDIA's
# data sheets of A10, A100, H100, H200, L4 and L40S (half of what they give with
# sparsity) and T4, which has units for neither bfloat16 nor TF32.
PEAK_TFLOPS: Mapping[str, tuple[float, float]] = {
    "TPU v2": (23.0, 23.0),
    "TPU v3": (61.5, 61.5),
    "TPU v4": (275.0, 275.0),
    "TPU v5 lite": (197.0, 197.0),
    "TPU v5e": (197.0, 197.0),
    "TPU v5": (459.0, 459.0),
    "TPU v6 lite": (918.0, 918.0),
    "TPU v6e": (918.0, 918.0),
    "NVIDIA A100": (312.0, 156.0),
    "NVIDIA H100 PCIe": (756.5, 378.0),
    "NVIDIA H100": (989.5, 494.5),
    "NVIDIA H200": (989.5, 494.5),
    "NVIDIA L4": (121.0, 60.5),
    "NVIDIA L40S": (362.0, 183.0),
    "NVIDIA A10": (125.0, 62.5),
    "Tesla T4": (8.1, 8.1),
}


def peak_flops(kinds: Sequence[str], dtype: str) -> float | None:
    """Return the FLOP/s of all devices; None where one is not in `PEAK_TFLOPS`.

    Args:
      kinds: `device_kind` of each.
      dtype: bfloat16 or float32, what the model computes in.
    """
    total = 0.0
    for kind in kinds:
        known = [name for name in PEAK_TFLOPS if re.match(rf"{name}\b", kind)]
        if not known:
            return None
        bfloat16, float32 = PEAK_TFLOPS[max(known, key=len)]
        total += 1e12 * (bfloat16 if dtype == "bfloat16" else float32)
    return total


class Throughput:
    """The rates over the steps since the last reading.

    The first batch starts the clock and counts for nothing: its step compiles.
    """

    def __init__(
        self,
        flops_per_step: float | None = None,
        peak_flops: float | None = None,
        sample_rate_hz: float | None = None,
    ) -> None:
        """Start with no step counted.

        Args:
          flops_per_step: of the whole batch, from `matmul_flops`.
          peak_flops: of all devices.
          sample_rate_hz: of the audio in a batch.
        """
        self.flops_per_step = flops_per_step
        self.peak_flops = peak_flops
        self.sample_rate_hz = sample_rate_hz
        self._begin_s: float | None = None
        self._reset()

    def _reset(self) -> None:
        self._steps = self._examples = 0
        self._audio_s = self._waited_s = self._paused_s = 0.0
        self._tokens: Any = None  # a sum on the device, read when it is asked for

    def count(self, batch: Mapping[str, Any]) -> None:
        """Count a step that was started with this batch (arrays of the whole batch)."""
        if self._begin_s is None:
            self._begin_s = time.perf_counter()
            self._reset()
            return
        self._steps += 1
        self._examples += len(next(iter(batch.values())))
        for name in ("samples", "encoder_input_tokens"):
            if self.sample_rate_hz and name in batch:
                self._audio_s += math.prod(batch[name].shape) / self.sample_rate_hz
        if "decoder_target_tokens" in batch:
            is_token_BxL = batch["decoder_target_tokens"] > 0
            count = jnp.sum(is_token_BxL, dtype=jnp.float32)
            self._tokens = count if self._tokens is None else self._tokens + count

    def waited(self, seconds: float) -> None:
        """Count seconds in which training stood still for want of data."""
        self._waited_s += seconds

    def watch(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches; the time that they take counts as waiting."""
        stream = iter(batches)
        while True:
            begin_s = time.perf_counter()
            try:
                batch = next(stream)
            except StopIteration:
                return
            self.waited(time.perf_counter() - begin_s)
            yield batch

    def paused(self, seconds: float) -> None:
        """Leave seconds out in which something else was done, such as validation."""
        self._paused_s += seconds

    def read(self) -> dict[str, float]:
        """Return the rates since the last reading; none where no step was counted.

        Call it when the steps are done, not just started. `step_s` and `data_wait_s`
        are seconds for each step, tokens are without padding.
        """
        now_s = time.perf_counter()
        if self._begin_s is None or not self._steps:
            return {}
        elapsed_s = max(now_s - self._begin_s - self._paused_s, 1e-9)
        rates = {
            "step_s": elapsed_s / self._steps,
            "data_wait_s": self._waited_s / self._steps,
            "examples_per_s": self._examples / elapsed_s,
        }
        if self._tokens is not None:
            rates["tokens_per_s"] = float(self._tokens) / elapsed_s
        if self._audio_s:
            rates["audio_s_per_s"] = self._audio_s / elapsed_s
        if self.flops_per_step and self.peak_flops:
            flops_per_s = self.flops_per_step * self._steps / elapsed_s
            rates["flops_utilization"] = flops_per_s / self.peak_flops
        self._begin_s = now_s
        self._reset()
        return rates


def matmul_flops(function: Callable[..., Any], *args: Any) -> float:
    """Count the FLOPs of a function's matrix products and convolutions, on all devices.

    They are counted in the program as JAX traces it: XLA's cost analysis counts the
    body of a loop once, and does not see into the libraries that it calls on a GPU.

    Args:
      function: jitted or not; with gradients or not.
      *args: its arguments, or ShapeDtypeStructs in their place.
    """
    return _flops(jax.make_jaxpr(function)(*args).jaxpr)


def _flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if "rematted_computation" in str(equation.source_info.name_stack):
            continue  # the second time
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _dot_flops(equation)
        elif name == "conv_general_dilated":
            total += _conv_flops(equation)
        elif name == "cond":
            total += max(_flops(branch.jaxpr) for branch in params["branches"])
        else:
            inner = sum(_flops(part) for part in _jaxprs(params))
            if inner and name == "while":
                raise ValueError(
                    "cannot count the products of a while loop, as its turns are "
                    "not known; write it as a scan"
                )
            total += inner * params.get("length", 1) if name == "scan" else inner
    return total


def _jaxprs(params: Mapping[str, Any]) -> Iterator[Any]:
    for value in params.values():
        value = getattr(value, "jaxpr", value)  # a closed one has the open one inside
        if hasattr(value, "eqns"):
            yield value


def _dot_flops(equation: Any) -> float:
    left, _ = (var.aval.shape for var in equation.invars)
    (contracted, _), _ = equation.params["dimension_numbers"]
    out = equation.outvars[0].aval.shape
    return 2.0 * math.prod(out) * math.prod(left[axis] for axis in contracted)


def _conv_flops(equation: Any) -> float:
    """Count products, but not with padding and with zeros between dilated inputs."""
    params = equation.params
    numbers = params["dimension_numbers"]
    left, right = (var.aval.shape for var in equation.invars)
    out = equation.outvars[0].aval.shape
    batch, features, *out_space = (out[axis] for axis in numbers.out_spec)
    _, in_features, *taps = (right[axis] for axis in numbers.rhs_spec)
    total = 2.0 * batch * features * in_features
    for axis, (positions, kernel, size) in enumerate(
        zip(out_space, taps, (left[a] for a in numbers.lhs_spec[2:]), strict=True)
    ):
        dilation = params["lhs_dilation"][axis]
        read = (
            np.arange(positions)[:, None] * params["window_strides"][axis]
            + np.arange(kernel) * params["rhs_dilation"][axis]
            - params["padding"][axis][0]
        )
        inside = (read >= 0) & (read % dilation == 0) & (read // dilation < size)
        total *= int(inside.sum())
    return total

"""What the parts of `bench/accelerator.py` share: sizes, time that is left, rows.

A part prints a JSON object a line: the table that it belongs to, and a row of it. It
begins no case that would not end in its time, judged by those before.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import median_times

from mt3x.inference.windows import WindowConfig
from mt3x.models import hppnet, seq2seq
from mt3x.models.objectives import ModelConfig, PianoConfig, TokensConfig
from mt3x.training.throughput import peak_flops

MT3 = "MT3 small"
DOES_NOT_FIT = "does not fit"


@dataclass(frozen=True)
class Scale:
    """How large all that is measured is."""

    models: dict[str, ModelConfig]
    # Of the arithmetic; the first one's largest costs are shown.
    dtypes: Sequence[str] = ("bfloat16", "float32")
    # Of HPPNet's clips; 8 s, as gin/experiments/piano_gpu.gin has them.
    clip_frames: int = 400
    # Batches of HPPNet and MT3, those that matter most first.
    piano_batches: Sequence[int] = (16, 64, 4)
    token_batches: Sequence[int] = (32, 128, 8)
    # Of losses beside the CPU's.
    loss_frames: int = 100
    loss_tokens: int = 256
    # Audio that is transcribed, windows of HPPNet and of the token model.
    audio_s: float = 600.0
    window: WindowConfig | None = None
    # Segments decoded side by side, and the tokens of each.
    decoding_batches: Sequence[int] = (64, 256, 16, 1)
    num_tokens: int = 256
    # Matrix of the measured peak.
    matrix: int = 8192
    # Of steps that are timed together.
    turn_s: float = 0.7

    def only(self, models: Sequence[str] | None, dtypes: Sequence[str]) -> "Scale":
        """The same for some of the models and types only."""
        chosen = {name: self.models[name] for name in models or self.models}
        return dataclasses.replace(self, models=chosen, dtypes=dtypes)


FULL = Scale(
    {
        "HPPNet tiny": PianoConfig(model=hppnet.SIZES["tiny"]),
        MT3: TokensConfig(model=seq2seq.SIZES["small"]),
        "HPPNet base": PianoConfig(model=hppnet.SIZES["base"]),
        "HPPNet sp": PianoConfig(model=hppnet.SIZES["sp"]),
    }
)
_FEW = {"channels": 4, "stem_channels": 2}
# The same programs, so small that a CPU runs all of them in a minute.
SMALL = Scale(
    {
        "HPPNet tiny": PianoConfig(model=hppnet.HPPNetConfig(**_FEW)),
        "HPPNet base": PianoConfig(model=hppnet.HPPNetConfig(**_FEW | {"channels": 6})),
        MT3: TokensConfig(
            model=seq2seq.Seq2SeqConfig(
                emb_dim=32, num_heads=2, num_encoder_layers=1, num_decoder_layers=1
            ),
            num_frames=32,
            max_tokens=32,
        ),
        "HPPNet sp": PianoConfig(
            model=hppnet.HPPNetConfig(**_FEW, subnets=hppnet.SP_SUBNETS)
        ),
    },
    clip_frames=16,
    piano_batches=(1, 2),
    token_batches=(2, 4),
    loss_frames=16,
    loss_tokens=16,
    audio_s=6.0,
    window=WindowConfig(64, context_frames=8, fade_frames=4, short_frames=(32,)),
    decoding_batches=(4, 1),
    num_tokens=16,
    matrix=256,
    turn_s=0.05,
)


class Clock:
    """The time that a part has left."""

    def __init__(self, end_s: float) -> None:
        self._end_s = end_s  # as time.time() tells it
        self._longest_s = 0.0

    def cases(self, cases: Sequence[Any]) -> Iterator[Any]:
        """Yield cases as long as there is time for one like the longest so far."""
        for done, case in enumerate(cases):
            begin_s = time.time()
            if begin_s + self._longest_s > self._end_s:
                left = len(cases) - done
                emit("notes", note=f"no time for the last {left} cases, from {case} on")
                return
            yield case
            self._longest_s = max(self._longest_s, time.time() - begin_s)


def emit(table: str, **row: Any) -> None:
    print(json.dumps({"table": table, "row": row}), flush=True)


@contextmanager
def explained(table: str, **row: Any) -> Iterator[None]:
    """Make a row of an error; all other cases can still be measured."""
    try:
        yield
    except Exception as error:
        emit(table, **row, note=explanation(error))


def explanation(error: Exception) -> str:
    if is_out_of_memory(error):
        return DOES_NOT_FIT
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        "resource_exhausted" in text or "out of memory" in text
    )


def random_like(shapes: Any, device: Any = None, deviation: float = 0.05) -> Any:
    """Arrays of these shapes, small numbers, without a program that draws them.

    They lie on the device, or as the shapes' shardings say.
    """
    rng = np.random.default_rng(1)

    def draw(leaf: Any) -> Any:
        array = np.zeros(leaf.shape, leaf.dtype)
        if deviation and np.issubdtype(leaf.dtype, np.floating):
            array += rng.normal(0.0, deviation, leaf.shape).astype(leaf.dtype)
        return jax.device_put(array, leaf.sharding or device)

    return jax.tree.map(draw, shapes)


def random_params(objective: Any, device: Any) -> Any:
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0)))
    return random_like(shapes, device)


def median_s(call: Callable[[], object], repeats: int = 3) -> float:
    """Median seconds of a call that waits for its result, after one to warm up."""
    return median_times({"": call}, repeats)[""]


def measure_device(scale: Scale, clock: Clock) -> None:
    """What the device is, and what it reaches."""
    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    emit(
        "device",
        kind=device.device_kind,
        platform=device.platform,
        devices=len(jax.devices()),
        memory_gib=limit / 2**30 if limit else None,
        jax=jax.__version__,
    )
    for dtype in clock.cases(scale.dtypes):
        x_NxN = jnp.ones((scale.matrix, scale.matrix), dtype)
        product = jax.jit(lambda x: x @ (x @ (x @ (x @ x))))
        time_s = median_s(lambda x=x_NxN, run=product: run(x).block_until_ready(), 5)
        known = peak_flops([device.device_kind], dtype)
        emit(
            "peak",
            dtype=dtype,
            data_sheet_tflops=known / 1e12 if known else None,
            matmul_tflops=4 * 2 * scale.matrix**3 / time_s / 1e12,
        )

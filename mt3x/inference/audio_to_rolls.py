"""Samples in, rolls out: a piano model over recordings of any length.

Audio is cut into overlapping windows (`mt3x.inference.windows`), batched through the
model and joined as it comes, so that memory does not grow with the length of a
recording.
"""

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.inference.windows import Stitcher, Window, WindowConfig, cut_windows
from mt3x.models.objectives import PianoConfig, PianoObjective
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES, Rolls

# Windows at once: more than one fills an accelerator, but only costs memory on a CPU.
BATCH_SIZES = {"cpu": 1, "gpu": 16, "tpu": 16}
# Batches that are computed side by side: a CPU's second core takes one while the first
# runs the LSTMs of another, and an accelerator need not wait for results to be fetched.
AT_ONCE = 2
# A window with its loudest sample below this (-80 dB of full scale) is silent. The
# features are relative to the window's maximum, and would make notes of dither.
SILENCE = 1e-4


class AudioToRolls:
    """A piano model on a device."""

    def __init__(
        self,
        config: PianoConfig,
        params: Any,
        device: Any,
        precision: str = "float32",
        batch_size: int | None = None,
        window: WindowConfig | None = None,
    ) -> None:
        """Put the model on the device.

        Args:
          config: the model's.
          params: its parameters.
          device: where to compute.
          precision: of the network's arithmetic, `float32` or `bfloat16`.
          batch_size: windows at once; by default 1 on a CPU, 16 elsewhere.
          window: how recordings are cut.
        """
        self.config = config
        self.window = window or WindowConfig()
        self._device = device
        self._batch_size = batch_size or BATCH_SIZES[device.platform]
        self._params = jax.device_put(params, device)
        self._predict = _compiled(config, precision)
        self._starting = threading.Lock()
        # Shared by all recordings that are transcribed at the same time.
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[Rolls]:
        """Turn consecutive blocks samples_S into consecutive rolls."""
        windows = cut_windows(blocks, self.config.features.hop_samples, self.window)
        stitcher = Stitcher(self.window)
        for window, rolls in self._predicted(windows):
            yield stitcher.push(window, rolls)

    def _predicted(self, windows: Iterable[Window]) -> Iterator[tuple[Window, Rolls]]:
        """Yield the rolls of each window; the next ones are computed meanwhile."""
        running: deque[tuple[list[Window], Future[list[np.ndarray]]]] = deque()
        try:
            for batch in _batched(windows, self._batch_size):
                running.append((batch, self._pool.submit(self._compute, batch)))
                if len(running) > AT_ONCE:
                    yield from self._results(*running.popleft())
            while running:
                yield from self._results(*running.popleft())
        finally:
            for _, future in running:
                future.cancel()

    def _compute(self, batch: list[Window]) -> list[np.ndarray]:
        """Return a batch's rolls BxTxP. All batches but single windows are full."""
        size = 1 if len(batch) == 1 else self._batch_size
        length, hop = len(batch[0].samples_S), self.config.features.hop_samples
        if all(_is_silent(window) for window in batch):
            return [np.zeros((size, length // hop, NUM_PITCHES), np.float32)] * 4
        samples_BxS = np.zeros((size, length), np.float32)
        for b, window in enumerate(batch):
            samples_BxS[b] = window.samples_S
        inputs: list[np.ndarray] = [samples_BxS]
        # Only a short recording, which is a single window, is padded.
        num_samples = batch[0].num_frames * hop
        if num_samples < length:
            inputs.append(np.array([num_samples], np.int32))
        # One thread compiles, and the others wait for it.
        with self._starting:
            predicted = self._predict(
                self._params, *jax.device_put(inputs, self._device)
            )
        return [np.asarray(predicted[name], np.float32) for name in ROLL_NAMES]

    def _results(
        self, batch: list[Window], future: Future[list[np.ndarray]]
    ) -> Iterator[tuple[Window, Rolls]]:
        arrays = future.result()
        frame_rate_hz = self.config.features.frame_rate_hz
        for b, window in enumerate(batch):
            rolls = [array_BxTxP[b] for array_BxTxP in arrays]
            if _is_silent(window):
                rolls = [np.zeros_like(array_TxP) for array_TxP in rolls]
            yield window, Rolls(*rolls, frame_rate_hz=frame_rate_hz)


def _is_silent(window: Window) -> bool:
    return bool(np.abs(window.samples_S).max() < SILENCE)


@functools.lru_cache(maxsize=8)
def _compiled(config: PianoConfig, precision: str) -> Callable[..., Any]:
    """Return a model's prediction, compiled once for all that share it."""
    return jax.jit(PianoObjective(config, jnp.dtype(precision)).predict)


def _batched(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    batch: list[Window] = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

"""Samples in, rolls out: a model with rolls over recordings of any length.

Audio is cut into overlapping windows (`mt3x.inference.windows`), batched through the
model and joined as it comes, so that memory does not grow with the length of a
recording.
"""

import functools
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.inference.quiet import QuietCuts, with_noise
from mt3x.inference.windows import Stitcher, Window, WindowConfig, cut_windows
from mt3x.models.objectives import ModelConfig, make_objective
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES, Rolls

# Windows at once: more than one fills an accelerator, but only costs memory on a CPU.
BATCH_SIZES = {"cpu": 1, "gpu": 16, "tpu": 16}
# Batches that are computed side by side: a CPU's second core takes one while the first
# runs the LSTMs of another, and an accelerator need not wait for results to be fetched.
AT_ONCE = 2
# A window with its loudest sample below this (-80 dB of full scale) is silent. The
# features are relative to the window's maximum, and would make notes of dither.
SILENCE = 1e-4
# A recording that is no louder throughout, but louder than this, may still be music.
LOWEST = 3e-6


class ArrayShape(NamedTuple):
    """The rows that an array has in a frame, and their shape."""

    rows: int
    shape: tuple[int, ...]


class AudioToArrays:
    """A model on a device; its prediction is arrays by name, all of them over time."""

    # How recordings are cut by default.
    usual_window = WindowConfig()

    def __init__(
        self,
        config: Any,
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
        self.window = window or self.usual_window
        self._shapes = self.shapes()
        self._device = device
        self._batch_size = batch_size or BATCH_SIZES[device.platform]
        self._params = jax.device_put(params, device)
        self._predict = _compiled(config, precision)
        self._starting = threading.Lock()
        # Shared by all recordings that are transcribed at the same time.
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def shapes(self) -> Mapping[str, ArrayShape]:
        """Return what is wanted of the prediction."""
        raise NotImplementedError

    def arrays(self, blocks: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Turn consecutive blocks samples_S into consecutive arrays by name."""
        features = self.config.features
        cuts = QuietCuts(features.hop_samples, features.frame_rate_hz)
        windows = cut_windows(cuts.kept(blocks), features.hop_samples, self.window)
        rows = {name: found.rows for name, found in self._shapes.items()}
        stitcher = Stitcher(self.window, rows)
        predicted = self._predicted(self._heard(windows))
        parts = (stitcher.push(window, arrays) for window, arrays in predicted)
        yield from cuts.restored(parts, rows)

    def predict(self, window: Window) -> dict[str, np.ndarray]:
        """Return the arrays by name of one window, all of its rows."""
        if _is_silent(window):
            window = window._replace(samples_S=np.zeros_like(window.samples_S))
        return {name: array[0] for name, array in self._compute([window]).items()}

    def _heard(self, windows: Iterable[Window]) -> Iterator[Window]:
        """Pass windows on; warn where all that there was is too quiet."""
        loudest = 0.0
        for window in windows:
            loudest = max(loudest, _loudest(window))
            yield window
        if LOWEST < loudest < SILENCE:
            warnings.warn(
                f"the recording is silent: its loudest sample is {loudest:.0e} of full "
                "scale; make it louder if there is music in it",
                stacklevel=2,
            )

    def _predicted(
        self, windows: Iterable[Window]
    ) -> Iterator[tuple[Window, dict[str, np.ndarray]]]:
        """Yield the arrays of each window; the next ones are computed meanwhile."""
        running: deque[tuple[list[Window], Future[dict[str, np.ndarray]]]] = deque()
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

    def _compute(self, batch: list[Window]) -> dict[str, np.ndarray]:
        """Return a batch's arrays. All batches but single windows are full."""
        size = 1 if len(batch) == 1 else self._batch_size
        length, hop = len(batch[0].samples_S), self.config.features.hop_samples
        if all(_is_silent(window) for window in batch):
            return {
                name: np.zeros((size, length // hop * rows, *shape), np.float32)
                for name, (rows, shape) in self._shapes.items()
            }
        samples_BxS = np.zeros((size, length), np.float32)
        for b, window in enumerate(batch):
            samples_BxS[b] = with_noise(window.samples_S, hop, window.num_frames)
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
        return {name: np.asarray(predicted[name], np.float32) for name in self._shapes}

    def _results(
        self, batch: list[Window], future: Future[dict[str, np.ndarray]]
    ) -> Iterator[tuple[Window, dict[str, np.ndarray]]]:
        predicted = future.result()
        for b, window in enumerate(batch):
            arrays = {name: array[b] for name, array in predicted.items()}
            if _is_silent(window):
                arrays = {name: np.zeros_like(array) for name, array in arrays.items()}
            yield window, arrays


class AudioToRolls(AudioToArrays):
    """A piano model on a device."""

    def shapes(self) -> Mapping[str, ArrayShape]:
        return dict.fromkeys(ROLL_NAMES, ArrayShape(1, (NUM_PITCHES,)))

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[Rolls]:
        """Turn consecutive blocks samples_S into consecutive rolls."""
        for arrays in self.arrays(blocks):
            yield Rolls.from_names(arrays, self.config.features.frame_rate_hz)


class PedalRolls(NamedTuple):
    """Consecutive rolls with those of keys and pedal (`mt3x.music.pedal_rolls`)."""

    rolls: Rolls
    key_TxP: np.ndarray
    pedal_Tx3: np.ndarray


class AudioToPedalRolls(AudioToArrays):
    """A piano model with heads for key releases and pedal, on a device."""

    def shapes(self) -> Mapping[str, ArrayShape]:
        keys, pedal = ArrayShape(1, (NUM_PITCHES,)), ArrayShape(1, (3,))
        return {**dict.fromkeys((*ROLL_NAMES, "key"), keys), "pedal": pedal}

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[PedalRolls]:
        """Turn consecutive blocks samples_S into consecutive rolls."""
        for arrays in self.arrays(blocks):
            rolls = Rolls.from_names(arrays, self.config.features.frame_rate_hz)
            yield PedalRolls(rolls, arrays["key"], arrays["pedal"])


def _is_silent(window: Window) -> bool:
    return _loudest(window) < SILENCE


def _loudest(window: Window) -> float:
    return float(np.abs(window.samples_S).max())


@functools.lru_cache(maxsize=8)
def _compiled(config: ModelConfig, precision: str) -> Callable[..., Any]:
    """Return a model's prediction, compiled once for all that share it."""
    objective: Any = make_objective(config, jnp.dtype(precision))
    return jax.jit(objective.predict)


def _batched(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    batch: list[Window] = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

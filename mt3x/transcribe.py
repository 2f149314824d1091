"""Recordings in, notes out: `Transcriber`.

Audio is streamed, cut into overlapping windows (`mt3x.windows`), batched through the
model, joined and decoded as it comes, so that memory does not grow with the length of a
recording (but for its notes).
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mt3x import checkpoints
from mt3x.audio import Source, stream_audio
from mt3x.features import cqt
from mt3x.notes import Notes
from mt3x.objectives import PianoConfig, PianoObjective
from mt3x.plot import Spectrogram
from mt3x.rolls import ROLL_NAMES, RollDecoder, Rolls
from mt3x.windows import Stitcher, Window, WindowConfig, cut_windows

Device = Literal["cpu", "gpu", "tpu"]
Precision = Literal["float32", "bfloat16"]

# Windows at once: more than one fills an accelerator, but only costs memory on a CPU.
BATCH_SIZES = {"cpu": 1, "gpu": 16, "tpu": 16}
# A window whose loudest sample is below this (-80 dB of full scale) is silent. The
# features are relative to the window's maximum, and would make notes of dither.
SILENCE = 1e-4
# A picture of a long recording has no more spectrogram frames than this.
MAX_SPECTROGRAM_FRAMES = 8192


class Transcriber:
    """Transcribes piano recordings.

    Example:
      >>> transcriber = Transcriber()
      >>> notes = transcriber("recording.mp3")
      >>> notes.to_midi("recording.mid")
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        onset_threshold: float | None = None,
        frame_threshold: float | None = None,
        device: Device | None = None,
        precision: Precision = "float32",
        batch_size: int | None = None,
        window: WindowConfig | None = None,
    ) -> None:
        """Load a model; it is compiled when it is first used.

        Args:
          checkpoint: a weights file or run folder; by default the package's weights.
          onset_threshold, frame_threshold: probabilities from 0 to 1 that replace the
            checkpoint's (see `mt3x.rolls.RollDecodingConfig`).
          device: where to run; by default JAX's choice, an accelerator if it has one.
          precision: of the network's arithmetic.
          batch_size: windows at once; by default 1 on a CPU, 16 elsewhere.
          window: how recordings are cut.

        Raises:
          OSError: the checkpoint cannot be read.
          ValueError: it is of another model, or an option is out of range.
        """
        _use_compilation_cache()
        weights = checkpoints.load(None if checkpoint is None else Path(checkpoint))
        source = checkpoint or checkpoints.DEFAULT_WEIGHTS
        self.config = _piano_config(weights.config, source)
        changes = {
            "onset_threshold": onset_threshold,
            "frame_threshold": frame_threshold,
        }
        self.decoding = dataclasses.replace(
            self.config.decoding,
            **{name: value for name, value in changes.items() if value is not None},
        )
        self.window = window or WindowConfig()
        self._device = _find_device(device)
        self._batch_size = batch_size or BATCH_SIZES[self._device.platform]
        objective = PianoObjective(self.config)
        checkpoints.check_params(
            weights.params,
            jax.eval_shape(lambda: objective.init(jax.random.key(0))),
            source,
        )
        self._params = jax.device_put(weights.params, self._device)
        self._predict = _compiled(self.config, precision)

    @property
    def sample_rate_hz(self) -> int:
        """The rate the model hears at."""
        return self.config.features.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Rows of the rolls per second."""
        return self.config.features.frame_rate_hz

    def __call__(
        self,
        audio: Source | np.ndarray,
        sample_rate_hz: int | None = None,
        on_rolls: Callable[[Rolls], None] | None = None,
    ) -> Notes:
        """Transcribe a recording.

        Args:
          audio: a file (path, bytes or open file; see `mt3x.audio`), or its samples:
            samples_S or samples_SxC, float in -1..1.
          sample_rate_hz: of the samples; only for those.
          on_rolls: called with the rolls of each part of the recording when it is
            done, for progress and for keeping them.

        Raises:
          OSError: the file cannot be opened.
          ValueError: it holds no audio, damaged audio, or samples that are not finite;
            one line that names the file and the remedy.
        """
        decoder = RollDecoder(self.decoding, self.frame_rate_hz)
        parts = []
        for rolls in self.stream_rolls(audio, sample_rate_hz):
            parts.append(decoder.push(rolls))
            if on_rolls is not None:
                on_rolls(rolls)
        return Notes.concatenate([*parts, decoder.finish()])

    def rolls(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Rolls:
        """The model's output for a whole recording: probabilities, and velocity / 128.

        Frame t is centred on t / frame_rate_hz; four numbers a frame and key are
        kept, a quarter of a gigabyte an hour. Arguments and errors are those of a call.
        """
        return Rolls.concatenate(list(self.stream_rolls(audio, sample_rate_hz)))

    def stream_rolls(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Iterator[Rolls]:
        """As `rolls`, in consecutive parts and bounded memory."""
        blocks = _checked_blocks(audio, sample_rate_hz, self.sample_rate_hz)
        windows = cut_windows(blocks, self.config.features.hop_samples, self.window)
        stitcher = Stitcher(self.window)
        for window, rolls in self._predicted(windows):
            yield stitcher.push(window, rolls)

    def spectrogram(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Spectrogram:
        """A recording's constant-Q levels, as a background for `Notes.plot`.

        Long recordings get fewer frames per second (the loudest of several each).
        """
        features = self.config.features
        blocks = _checked_blocks(audio, sample_rate_hz, self.sample_rate_hz)
        parts: list[np.ndarray] = []
        num_done = 0
        for window in cut_windows(blocks, features.hop_samples, self.window):
            samples_1xS = jax.device_put(window.samples_S[None], self._device)
            end = window.num_frames
            if not window.is_last:
                end -= self.window.context_frames
            mags_TxF = np.asarray(_cqt(samples_1xS, config=features)[0])
            mags_TxF = mags_TxF[num_done - window.first_frame : end]
            level_db_TxF = 20 * np.log10(np.maximum(mags_TxF, SILENCE))
            # Half precision is enough for a picture: 130 MB an hour.
            parts.append(level_db_TxF.astype(np.float16))
            num_done = window.first_frame + end
        level_db_TxF = np.concatenate(parts)
        pool = -(-num_done // MAX_SPECTROGRAM_FRAMES)
        starts = np.arange(0, num_done, pool)
        level_db_TxF = np.maximum.reduceat(level_db_TxF, starts, axis=0)
        return Spectrogram(
            level_db_TxF.astype(np.float32),
            frame_rate_hz=self.frame_rate_hz / pool,
            lowest_pitch=69 + 12 * math.log2(features.fmin_hz / 440),
            bins_per_semitone=features.bins_per_octave / 12,
        )

    def _predicted(self, windows: Iterable[Window]) -> Iterator[tuple[Window, Rolls]]:
        """Rolls of each window; the next batch is computed while one is handed out."""
        running: tuple[list[Window], Any] | None = None
        for batch in _batched(windows, self._batch_size):
            started = batch, self._start(batch)
            if running is not None:
                yield from self._results(*running)
            running = started
        if running is not None:
            yield from self._results(*running)

    def _start(self, batch: list[Window]) -> Any:
        """Begin to compute a batch's rolls. All batches but single windows are full."""
        size = 1 if len(batch) == 1 else self._batch_size
        length = len(batch[0].samples_S)
        samples_BxS = np.zeros((size, length), np.float32)
        for b, window in enumerate(batch):
            samples_BxS[b] = window.samples_S
        inputs: list[np.ndarray] = [samples_BxS]
        # Only a short recording, which is a single window, is padded.
        num_samples = batch[0].num_frames * self.config.features.hop_samples
        if num_samples < length:
            inputs.append(np.array([num_samples], np.int32))
        return self._predict(self._params, *jax.device_put(inputs, self._device))

    def _results(
        self, batch: list[Window], predicted: dict[str, jax.Array]
    ) -> Iterator[tuple[Window, Rolls]]:
        arrays = [np.asarray(predicted[name], np.float32) for name in _PREDICTED]
        for b, window in enumerate(batch):
            rolls = [array_BxTxP[b] for array_BxTxP in arrays]
            if np.abs(window.samples_S).max() < SILENCE:
                rolls = [np.zeros_like(array_TxP) for array_TxP in rolls]
            yield window, Rolls(*rolls, frame_rate_hz=self.frame_rate_hz)


# The model's outputs, in the order of the fields of `Rolls`.
_PREDICTED = tuple(name.removesuffix("_TxP") for name in ROLL_NAMES)


_cqt = jax.jit(cqt, static_argnames="config")


@functools.lru_cache(maxsize=8)
def _compiled(config: PianoConfig, precision: Precision) -> Callable[..., Any]:
    """A model's prediction, compiled once for all transcribers that share it."""
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


def _checked_blocks(
    audio: Source | np.ndarray, sample_rate_hz: int | None, target_hz: int
) -> Iterator[np.ndarray]:
    """A file's or an array's samples at the target rate; none at all are an error."""
    if isinstance(audio, np.ndarray):
        name = "the array of samples"
        blocks = iter([_resampled(audio, sample_rate_hz, target_hz)])
    elif sample_rate_hz is not None:
        raise ValueError("sample_rate_hz is for arrays: a file has its own rate")
    else:
        name = str(getattr(audio, "name", "audio data" if _is_bytes(audio) else audio))
        blocks = stream_audio(audio, target_hz)
    empty = True
    for block_S in blocks:
        empty = empty and not len(block_S)
        yield block_S
    if empty:
        raise ValueError(f"{name} has no samples; give a recording that is not empty")


def _is_bytes(audio: Source) -> bool:
    return isinstance(audio, bytes)


def _resampled(
    samples: np.ndarray, sample_rate_hz: int | None, target_hz: int
) -> np.ndarray:
    """An array of one or more channels as mono float32 at the target rate."""
    if sample_rate_hz is None:
        raise ValueError("samples come without a rate: give sample_rate_hz")
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2):
        raise ValueError(
            f"samples are {samples.dtype} of shape {samples.shape}: give floats in "
            "-1..1, samples_S or samples_SxC"
        )
    mono_S = samples if samples.ndim == 1 else samples.mean(axis=1)
    if not np.isfinite(mono_S).all():
        raise ValueError("some samples are NaN or infinite: repair the recording")
    mono_S = mono_S.astype(np.float32)
    if sample_rate_hz == target_hz or not len(mono_S):
        return mono_S
    import soxr

    return soxr.resample(mono_S, sample_rate_hz, target_hz)


def _piano_config(
    config: dict[str, Any], source: str | os.PathLike[str]
) -> PianoConfig:
    try:
        return PianoConfig.from_dict(config)
    except ValueError as error:
        raise ValueError(f"{source}: {error}; give one of a piano model") from error


def _find_device(device: Device | None) -> Any:
    try:
        return jax.devices(device)[0]
    except RuntimeError as error:
        there = ", ".join(sorted({d.platform for d in jax.devices()}))
        raise ValueError(
            f"JAX finds no {device}, only {there}: choose that, or install JAX for it"
        ) from error


def _use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, for quick starts.

    `MT3X_CACHE` names another folder, or is `off`. A folder that JAX was given already
    stays.
    """
    choice = os.environ.get("MT3X_CACHE", "")
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore
    if choice == "off" or given is not None:
        return
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(choice or Path(home) / "mt3x" / "jax")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Store everything: a start compiles a few small programs besides the model.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

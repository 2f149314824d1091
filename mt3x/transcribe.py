"""Recordings in, notes out: `Transcriber`.

Audio is streamed through a model, piece by piece: a piano model gives rolls
(`mt3x.audio_to_rolls`), a token model event tokens (`mt3x.audio_to_tokens`), and both
are decoded to notes as they come, so that memory does not grow with the length of a
recording (but for its notes).
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from mt3x import checkpoints, compilation_cache, spectrogram
from mt3x.audio import Source, stream_audio
from mt3x.audio_to_rolls import AudioToRolls
from mt3x.audio_to_tokens import AudioToTokens
from mt3x.decoding import DecodingConfig
from mt3x.features import CQTConfig
from mt3x.grammar import Grammar
from mt3x.instruments import Instruments
from mt3x.notes import Notes
from mt3x.objectives import (
    PianoConfig,
    PianoObjective,
    TokensObjective,
    config_from_dict,
)
from mt3x.plot import Spectrogram
from mt3x.rolls import RollDecoder, RollDecodingConfig, Rolls
from mt3x.windows import WindowConfig

Device = Literal["cpu", "gpu", "tpu"]
Precision = Literal["float32", "bfloat16"]


class Transcriber:
    """Transcribes recordings of piano, or of what a checkpoint is trained for.

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
        instruments: Instruments | None = None,
        constrain: bool = False,
        beams: int | None = None,
        device: Device | None = None,
        precision: Precision = "float32",
        batch_size: int | None = None,
        window: WindowConfig | None = None,
    ) -> None:
        """Load a model; it is compiled when it is first used.

        Args:
          checkpoint: a weights file, checkpoint or run folder; by default the
            package's weights, a piano model.
          onset_threshold, frame_threshold: probabilities from 0 to 1 that replace the
            checkpoint's (see `mt3x.rolls.RollDecodingConfig`); of piano models.
          instruments: those that there are; of token models, whose decoder can then
            choose no others (and may take what others play for theirs; to pick some
            of all that is played, select from the notes).
          constrain: choose only tokens that make sense (see `mt3x.grammar`); of token
            models.
          beams: width of the beam search; of token models, by default 1, which takes
            the likeliest token.
          device: where to run; by default JAX's choice, an accelerator if it has one.
          precision: of the network's arithmetic.
          batch_size: windows or segments at once; by default 1 and 16 on a CPU, 16 and
            64 elsewhere.
          window: how recordings are cut; of piano models.

        Raises:
          OSError: the checkpoint cannot be read.
          ValueError: it is not mt3x's, or an option is out of range or of the other
            kind of model.
        """
        compilation_cache.use()
        weights = checkpoints.load(None if checkpoint is None else Path(checkpoint))
        source = checkpoint or checkpoints.DEFAULT_WEIGHTS
        try:
            self.config = config_from_dict(weights.config)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        self._device = _find_device(device)
        piano_options = {
            "onset_threshold": onset_threshold,
            "frame_threshold": frame_threshold,
            "window": window,
        }
        token_options = {
            "instruments": instruments,
            "constrain": constrain or None,
            "beams": beams,
        }
        model = self._device, precision, batch_size
        if isinstance(self.config, PianoConfig):
            _refuse(token_options, source, "a piano model", "token models")
            thresholds = onset_threshold, frame_threshold
            self.decoding = _with_thresholds(self.config, *thresholds)
            _check_params(weights.params, PianoObjective(self.config), source)
            self._model = AudioToRolls(self.config, weights.params, *model, window)
        else:
            _refuse(piano_options, source, "a token model", "piano models")
            self.decoding = DecodingConfig(self.config.max_tokens, num_beams=beams or 1)
            _check_params(weights.params, TokensObjective(self.config), source)
            grammar = None
            if constrain or instruments is not None:
                grammar = Grammar(self.config.tokens, instruments)
            self._model = AudioToTokens(
                self.config, weights.params, *model, self.decoding, grammar
            )

    @property
    def sample_rate_hz(self) -> int:
        """The rate the model hears at."""
        return self.config.features.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Frames of features, and rows of the rolls of piano models, per second."""
        return self.config.features.frame_rate_hz

    @property
    def has_rolls(self) -> bool:
        """Whether the model is a piano model."""
        return isinstance(self._model, AudioToRolls)

    def __call__(
        self,
        audio: Source | np.ndarray,
        sample_rate_hz: int | None = None,
        on_rolls: Callable[[Rolls], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Notes:
        """Transcribe a recording.

        Args:
          audio: a file (path, bytes or open file; see `mt3x.audio`), or its samples:
            samples_S or samples_SxC, float in -1..1.
          sample_rate_hz: of the samples; only for those.
          on_rolls: called with the rolls of each part of the recording when it is
            done; of piano models.
          on_progress: called with the seconds of each part of the recording when it
            is done.

        Raises:
          OSError: the file cannot be opened.
          ValueError: it holds no audio, damaged audio, or samples that are not finite;
            one line that names the file and the remedy.
        """
        on_progress = on_progress or (lambda seconds: None)
        if isinstance(self._model, AudioToTokens):
            blocks = _checked_blocks(audio, sample_rate_hz, self.sample_rate_hz)
            return self._model.decode(blocks, on_progress).notes
        assert isinstance(self.decoding, RollDecodingConfig)
        decoder = RollDecoder(self.decoding, self.frame_rate_hz)
        parts = []
        for rolls in self.stream_rolls(audio, sample_rate_hz):
            parts.append(decoder.push(rolls))
            if on_rolls is not None:
                on_rolls(rolls)
            on_progress(rolls.num_frames / rolls.frame_rate_hz)
        return Notes.concatenate([*parts, decoder.finish()])

    def rolls(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Rolls:
        """A piano model's output for a whole recording: probabilities, velocity / 128.

        Frame t is centred on t / frame_rate_hz; four numbers a frame and key are
        kept, a quarter of a gigabyte an hour. Arguments and errors are those of a call.
        """
        return Rolls.concatenate(list(self.stream_rolls(audio, sample_rate_hz)))

    def stream_rolls(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Iterator[Rolls]:
        """As `rolls`, in consecutive parts and bounded memory."""
        if not isinstance(self._model, AudioToRolls):
            raise ValueError(
                "a token model has no rolls; use a piano model's checkpoint"
            )
        return self._model(_checked_blocks(audio, sample_rate_hz, self.sample_rate_hz))

    def spectrogram(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Spectrogram:
        """A recording's constant-Q levels, as a background for `Notes.plot`.

        Long recordings get fewer frames per second (the loudest of several each).
        """
        features, window = CQTConfig(), WindowConfig()
        if isinstance(self._model, AudioToRolls):
            features, window = self._model.config.features, self._model.window
        blocks = _checked_blocks(audio, sample_rate_hz, features.sample_rate_hz)
        return spectrogram.spectrogram(blocks, features, window, self._device)


def _with_thresholds(
    config: PianoConfig, onset_threshold: float | None, frame_threshold: float | None
) -> RollDecodingConfig:
    changes = {"onset_threshold": onset_threshold, "frame_threshold": frame_threshold}
    return dataclasses.replace(
        config.decoding,
        **{name: value for name, value in changes.items() if value is not None},
    )


def _refuse(
    options: dict[str, Any], source: Any, this_kind: str, other_kind: str
) -> None:
    """Raise where an option of the other kind of model is set."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"{source} is {this_kind}, and {name} is an option of {other_kind}: "
                "leave it out"
            )


def _check_params(params: Any, objective: Any, source: Any) -> None:
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0)))
    checkpoints.check_params(params, shapes, source)


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


def _find_device(device: Device | None) -> Any:
    try:
        return jax.devices(device)[0]
    except RuntimeError as error:
        there = ", ".join(sorted({d.platform for d in jax.devices()}))
        raise ValueError(
            f"JAX finds no {device}, only {there}: choose that, or install JAX for it"
        ) from error

"""Recordings in, notes out: `Transcriber`.

Audio is streamed through a model, piece by piece: a piano model gives rolls
(`mt3x.inference.audio_to_rolls`), a token model event tokens and, where it has heads
for them, rolls as well (`mt3x.inference.audio_to_tokens`). They are decoded to notes as
they come, so that memory does not grow with the length of a recording (but for its
notes).
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from mt3x.inference import spectrogram
from mt3x.inference.audio_to_rolls import AudioToRolls
from mt3x.inference.audio_to_tokens import AudioToTokens
from mt3x.inference.decoding import DecodingConfig
from mt3x.inference.grammar import Grammar
from mt3x.inference.onset_refiner import OnsetRefiner
from mt3x.inference.windows import WindowConfig
from mt3x.models import compilation_cache, weights_file
from mt3x.models.features import CQTConfig
from mt3x.models.objectives import (
    PianoConfig,
    TokensConfig,
    config_from_dict,
    make_objective,
)
from mt3x.music.audio import Source, stream_samples
from mt3x.music.instruments import Instruments
from mt3x.music.notes import Notes
from mt3x.music.plot import Spectrogram
from mt3x.music.roll_decoder import RollDecodingConfig, blocks_to_notes
from mt3x.music.rolls import Rolls

Device = Literal["cpu", "gpu", "tpu"]
Precision = Literal["float32", "bfloat16"]
Decoder = Literal["tokens", "rolls", "both"]

# Which models take an option: those of piano, or token models by their decoder.
_TAKERS = {
    "onset_threshold": ("piano models", "decoder rolls", "decoder both"),
    "frame_threshold": ("piano models", "decoder rolls"),
    "window": ("piano models",),
    "instruments": ("token models", "decoder both"),
    "constrain": ("token models", "decoder both"),
    "beams": ("token models", "decoder both"),
}


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
        decoder: Decoder | None = None,
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
          decoder: what notes are made from. `rolls`, the only one of piano models; of
            token models with heads for rolls all notes then have program 0, and there
            are no drums. `tokens`, by default the one of token models. `both`: from
            tokens, with onsets and velocities from the rolls (see
            `mt3x.inference.onset_refiner`).
          onset_threshold, frame_threshold: probabilities from 0 to 1 that replace the
            checkpoint's (see `mt3x.music.roll_decoder.RollDecodingConfig`); where rolls
            are decoded, and the first with `both`, too.
          instruments: those that there are; where tokens are decoded, of which no
            others can then be chosen (and may be taken for what others play; to pick
            some of all that is played, select from the notes).
          constrain: choose only tokens that make sense (see `mt3x.inference.grammar`);
          where
            tokens are decoded.
          beams: width of the beam search where tokens are decoded; by default 1, which
            takes the likeliest token.
          device: where to run; by default JAX's choice, an accelerator if it has one.
          precision: of the network's arithmetic.
          batch_size: windows or segments at once; by default 1 and 16 on a CPU, 16 and
            64 elsewhere.
          window: how recordings are cut; of piano models.

        Raises:
          OSError: the checkpoint cannot be read.
          ValueError: it is not mt3x's, or an option is out of range or of another
            kind of model or decoder.
        """
        compilation_cache.use()
        weights = weights_file.load(None if checkpoint is None else Path(checkpoint))
        source = checkpoint or weights_file.DEFAULT_WEIGHTS
        try:
            self.config = config_from_dict(weights.config)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        self._device = _find_device(device)
        self.decoder = _find_decoder(decoder, self.config, source)
        options = {
            "onset_threshold": onset_threshold,
            "frame_threshold": frame_threshold,
            "window": window,
            "instruments": instruments,
            "constrain": constrain or None,
            "beams": beams,
        }
        _check_options(options, self.config, self.decoder, source)
        self.roll_decoding = _roll_decoding(
            self.config, onset_threshold, frame_threshold
        )
        model = self._device, precision, batch_size
        _check_params(weights.params, make_objective(self.config), source)
        if isinstance(self.config, PianoConfig):
            self._model = AudioToRolls(self.config, weights.params, *model, window)
        else:
            grammar = None
            if constrain or instruments is not None:
                grammar = Grammar(self.config.tokens, instruments)
            decoding = DecodingConfig(self.config.max_tokens, num_beams=beams or 1)
            self._model = AudioToTokens(
                self.config, weights.params, *model, decoding, grammar
            )

    @property
    def sample_rate_hz(self) -> int:
        """The rate the model hears at."""
        return self.config.features.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Frames of features, and rows of rolls, per second."""
        return self.config.features.frame_rate_hz

    @property
    def is_piano_model(self) -> bool:
        """Whether the model gives rolls and no tokens."""
        return isinstance(self._model, AudioToRolls)

    @property
    def has_rolls(self) -> bool:
        """Whether the model gives rolls: a piano model, or one with heads for them."""
        return self.roll_decoding is not None

    def __call__(
        self,
        audio: Source | np.ndarray,
        sample_rate_hz: int | None = None,
        on_rolls: Callable[[Rolls], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Notes:
        """Transcribe a recording.

        Args:
          audio: a file (path, bytes or open file; see `mt3x.music.audio`), or its
          samples:
            samples_S or samples_SxC, float in -1..1.
          sample_rate_hz: of the samples; only for those.
          on_rolls: called with the rolls of each part of the recording when it is
            done; of decoders other than `tokens`.
          on_progress: called with the seconds of each part of the recording when it
            is done.

        Raises:
          OSError: the file cannot be opened.
          ValueError: it holds no audio, damaged audio, or samples that are not finite;
            one line that names the file and the remedy. Or the decoder has no rolls.
        """
        if on_rolls is not None and self.decoder == "tokens":
            raise ValueError("decoder 'tokens' has no rolls: choose 'rolls' or 'both'")
        on_rolls = on_rolls or (lambda rolls: None)
        on_progress = on_progress or (lambda seconds: None)
        if self.decoder == "rolls":
            return self._from_rolls(audio, sample_rate_hz, on_rolls, on_progress)
        assert isinstance(self._model, AudioToTokens)
        blocks = stream_samples(audio, sample_rate_hz, self.sample_rate_hz)
        if self.decoder == "tokens":
            return self._model.decode(blocks, on_progress).notes
        assert self.roll_decoding is not None
        refiner = OnsetRefiner(self.roll_decoding, self.frame_rate_hz)

        def take(rolls: Rolls) -> None:
            refiner.push(rolls)
            on_rolls(rolls)

        return refiner.finish(self._model.decode(blocks, on_progress, take).notes)

    def _from_rolls(
        self,
        audio: Source | np.ndarray,
        sample_rate_hz: int | None,
        on_rolls: Callable[[Rolls], None],
        on_progress: Callable[[float], None],
    ) -> Notes:
        assert self.roll_decoding is not None

        def blocks() -> Iterator[Rolls]:
            for rolls in self.stream_rolls(audio, sample_rate_hz):
                yield rolls
                on_rolls(rolls)
                on_progress(rolls.num_frames / rolls.frame_rate_hz)

        return blocks_to_notes(blocks(), self.roll_decoding, self.frame_rate_hz)

    def rolls(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Rolls:
        """The rolls of a whole recording: probabilities, and velocity / 128.

        Frame t is centred on t / frame_rate_hz; four numbers a frame and key are kept,
        a quarter of a gigabyte an hour at 50 frames per second. Arguments and errors
        are those of a call; the model must have rolls, whatever the decoder.
        """
        return Rolls.concatenate(list(self.stream_rolls(audio, sample_rate_hz)))

    def stream_rolls(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Iterator[Rolls]:
        """As `rolls`, in consecutive parts and bounded memory."""
        if not self.has_rolls:
            raise ValueError(
                "a token model without heads has no rolls; use a piano model's "
                "checkpoint, or that of a model trained with TokensConfig.rolls"
            )
        blocks = stream_samples(audio, sample_rate_hz, self.sample_rate_hz)
        if isinstance(self._model, AudioToRolls):
            return self._model(blocks)
        return self._model.rolls(blocks)

    def spectrogram(
        self, audio: Source | np.ndarray, sample_rate_hz: int | None = None
    ) -> Spectrogram:
        """A recording's constant-Q levels, as a background for `Notes.plot`.

        Long recordings get fewer frames per second (the loudest of several each).
        """
        features, window = CQTConfig(), WindowConfig()
        if isinstance(self._model, AudioToRolls):
            features, window = self._model.config.features, self._model.window
        blocks = stream_samples(audio, sample_rate_hz, features.sample_rate_hz)
        return spectrogram.spectrogram(blocks, features, window, self._device)


def _find_decoder(
    decoder: Decoder | None, config: PianoConfig | TokensConfig, source: Any
) -> Decoder:
    """The decoder that is asked for or the model's usual one."""
    if decoder is not None and decoder not in get_args(Decoder):
        raise ValueError(
            f"decoder is {decoder!r}: give one of {', '.join(get_args(Decoder))}"
        )
    if isinstance(config, PianoConfig):
        if decoder in ("tokens", "both"):
            raise ValueError(
                f"{source} is a piano model, which has no tokens: leave out decoder "
                f"{decoder!r}"
            )
        return "rolls"
    if decoder in ("rolls", "both") and config.rolls is None:
        raise ValueError(
            f"{source} is a token model without heads for rolls: leave out decoder "
            f"{decoder!r}, or train a model with TokensConfig.rolls"
        )
    return decoder or "tokens"


def _check_options(
    options: dict[str, Any],
    config: PianoConfig | TokensConfig,
    decoder: Decoder,
    source: Any,
) -> None:
    """Raise where an option of another kind of model or decoder is set."""
    if isinstance(config, PianoConfig):
        kind, taker = "piano model", "piano models"
    elif decoder == "tokens":
        kind, taker = "token model", "token models"
    else:
        kind, taker = f"token model with decoder {decoder}", f"decoder {decoder}"
    for name, value in options.items():
        if value is not None and taker not in _TAKERS[name]:
            raise ValueError(
                f"{source} is a {kind}, and {name} is an option of "
                f"{', '.join(_TAKERS[name])}: leave it out"
            )


def _roll_decoding(
    config: PianoConfig | TokensConfig,
    onset_threshold: float | None,
    frame_threshold: float | None,
) -> RollDecodingConfig | None:
    """How a model's rolls become notes; None where it has no rolls."""
    rolls = config.rolls if isinstance(config, TokensConfig) else config
    if rolls is None:
        return None
    changes = {"onset_threshold": onset_threshold, "frame_threshold": frame_threshold}
    return dataclasses.replace(
        rolls.decoding,
        **{name: value for name, value in changes.items() if value is not None},
    )


def _check_params(params: Any, objective: Any, source: Any) -> None:
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0)))
    weights_file.check_params(params, shapes, source)


def _find_device(device: Device | None) -> Any:
    try:
        return jax.devices(device)[0]
    except RuntimeError as error:
        there = ", ".join(sorted({d.platform for d in jax.devices()}))
        raise ValueError(
            f"JAX finds no {device}, only {there}: choose that, or install JAX for it"
        ) from error

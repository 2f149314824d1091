"""Recordings in, notes out: `Transcriber`.

Audio is streamed through a model, piece by piece: a piano model gives rolls
(`mt3x.inference.audio_to_rolls`), a band model rolls with instruments and drums
(`mt3x.inference.audio_to_band`), a token model event tokens and, where it has heads
for them, rolls as well (`mt3x.inference.audio_to_tokens`). They are decoded to notes as
they come, so that memory does not grow with the length of a recording (except for its
notes).
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import numpy.typing as npt

from mt3x.inference import spectrogram
from mt3x.inference.audio_to_rolls import AudioToRolls, PedalRolls
from mt3x.inference.readers import Model, PianoReader, make_reader
from mt3x.inference.windows import WindowConfig
from mt3x.models import weights_file
from mt3x.models.objectives import (
    BeatConfig,
    MusicConfig,
    PianoConfig,
    config_from_dict,
    make_objective,
)
from mt3x.models.platform import use_compilation_cache
from mt3x.music.audio import Source, rereadable, stream_samples
from mt3x.music.band_rolls import BandRolls
from mt3x.music.excerpts import excerpts
from mt3x.music.instruments import Instruments
from mt3x.music.notes import Notes
from mt3x.music.performance import Performance
from mt3x.music.plot import Spectrogram
from mt3x.music.roll_decoder import RollDecodingConfig
from mt3x.music.rolls import Rolls
from mt3x.music.tuning import estimate_tuning

Device = str
"""`cpu`, `gpu` or `tpu`; with a number one of several, as `gpu:1`."""
Precision = Literal["float32", "bfloat16"]
Decoder = Literal["tokens", "rolls", "both"]
Packaged = Literal["piano", "band"]

# Cents: what is found to be less off is left as it is, and more cannot be asked for.
LEAST_TUNING, MAX_TUNING = 10, 100
# What is listened to, to find a recording's tuning.
NUM_PARTS, PART_S = 3, 20.0


class Transcriber:
    """Transcribes recordings of piano, of bands, or of what a checkpoint is for.

    Example:
      >>> transcriber = Transcriber(model="band")
      >>> notes = transcriber("recording.mp3")
      >>> notes.to_midi("recording.mid")
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        model: Packaged | None = None,
        decoder: Decoder | None = None,
        onset_threshold: float | None = None,
        frame_threshold: float | None = None,
        drum_threshold: float | None = None,
        instruments: Instruments | None = None,
        constrain: bool = False,
        beams: int | None = None,
        tuning: float | Literal["auto"] = 0.0,
        device: Device | None = None,
        precision: Precision = "float32",
        batch_size: int | None = None,
        window: WindowConfig | None = None,
    ) -> None:
        """Load a model; it is compiled when it is first used.

        Args:
          checkpoint: a weights file, checkpoint or run folder; by default one of the
            package's models.
          model: which of them: `piano`, by default, or `band`, of all instruments.
          decoder: what notes are made from. `rolls`, the only one of piano and band
            models; of token models with heads for rolls all notes then have program 0,
            and there are no drums. `tokens`, by default the one of token models.
            `both`: from tokens, with onsets and velocities from the rolls (see
            `mt3x.inference.onset_refiner`).
          onset_threshold, frame_threshold: probabilities from 0 to 1 that replace the
            checkpoint's (see `mt3x.music.roll_decoder.RollDecodingConfig`); where rolls
            are decoded, and the first with `both`, too.
          drum_threshold: the same for all drums; of band models.
          instruments: those that there are; of band models, and where tokens are
            decoded. No others can then be chosen, and what others play may be taken
            for theirs. To pick some of all that is played, use `Notes.select`.
          constrain: choose only tokens that make sense, where tokens are decoded (see
            `mt3x.inference.grammar`).
          beams: width of the beam search where tokens are decoded; by default 1, which
            takes the likeliest token.
          tuning: cents that recordings are above A4 = 440 Hz, -100 to 100; they are
            resampled to 440 Hz. Or `auto`: each is listened to first, and resampled
            where it is 10 cents off or more.
          device: where to run: `cpu`, `gpu` or `tpu`, or one of several, as `gpu:1`;
            by default JAX's choice, an accelerator if it has one.
          precision: of the network's arithmetic.
          batch_size: windows or segments at once; by default 1 and 16 on a CPU, 16 and
            64 elsewhere.
          window: how recordings are cut; of piano and band models.

        Raises:
          OSError: the checkpoint cannot be read.
          ValueError: it is not mt3x's, or an option is out of range or of another
            kind of model or decoder.
        """
        use_compilation_cache()
        is_cents = isinstance(tuning, int | float) and abs(tuning) <= MAX_TUNING
        if tuning != "auto" and not is_cents:
            raise ValueError(
                f"tuning is {tuning!r}: give cents from -{MAX_TUNING} to {MAX_TUNING}, "
                "or 'auto'"
            )
        self._tuning: float | Literal["auto"] = tuning
        if checkpoint is not None and model is not None:
            raise ValueError(
                f"checkpoint {checkpoint} and model {model!r} are both given: "
                "leave out one"
            )
        source = weights_file.packaged(model or "piano")
        if checkpoint is not None:
            source = Path(checkpoint)
        weights = weights_file.load(source)
        try:
            config = config_from_dict(weights.config)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        if isinstance(config, BeatConfig | MusicConfig):
            raise ValueError(
                f"{source} is a {config.kind}, which reads notes and not audio: give "
                f"it to {config.user}"
            )
        self.config = config
        self._device = _find_device(device)
        # Drawing the parameters' shapes takes long, and the package's own are known.
        if checkpoint is not None:
            _check_params(weights.params, make_objective(self.config), source)
        loaded = Model(self.config, weights.params, self._device, precision, batch_size)
        options = {
            "onset_threshold": onset_threshold,
            "frame_threshold": frame_threshold,
            "drum_threshold": drum_threshold,
            "window": window,
            "instruments": instruments,
            "constrain": constrain,
            "beams": beams,
        }
        self.decoder, self._reader = make_reader(loaded, decoder, options, source)

    @property
    def sample_rate_hz(self) -> int:
        """The sample rate that the model hears at."""
        return self.config.features.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Frames of features, and rows of rolls, per second."""
        return self.config.features.frame_rate_hz

    @property
    def kind(self) -> str:
        """The kind of model: `piano model`, `band model` or `token model`."""
        return self.config.kind

    @property
    def roll_decoding(self) -> RollDecodingConfig | None:
        """How the model's rolls become notes; None where it has none."""
        return self._reader.roll_decoding

    @property
    def tuning(self) -> float | Literal["auto"]:
        """Cents that recordings are above 440 Hz, or `auto`."""
        return self._tuning

    @property
    def piano_model(self) -> AudioToRolls:
        """The piano model on its device.

        Raises:
          ValueError: the model is of another kind.
        """
        if not isinstance(self._reader, PianoReader):
            raise ValueError(
                f"live input needs a piano model, and this is a {self.kind}: leave out "
                "the checkpoint, or give a piano model's"
            )
        return self._reader.model

    @property
    def has_pedal(self) -> bool:
        """Whether the model tells pedal and key releases (`perform`)."""
        return isinstance(self.config, PianoConfig) and self.config.has_pedal

    @property
    def has_rolls(self) -> bool:
        """Whether the model gives rolls: token models without heads for them do not."""
        return self.roll_decoding is not None

    @property
    def instrument_names(self) -> Mapping[int, str]:
        """What the model calls programs, where not as General MIDI does."""
        return self._reader.instrument_names

    def __call__(
        self,
        audio: Source | npt.ArrayLike,
        sample_rate_hz: float | None = None,
        on_rolls: Callable[[Any], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Notes:
        """Transcribe a recording.

        Args:
          audio: a file (path, bytes or open file; see `mt3x.music.audio`), or
            samples (a list, or an array of NumPy, JAX, PyTorch and the like; see
            `mt3x.music.samples.as_samples`).
          sample_rate_hz: of the samples; only for those.
          on_rolls: called with the rolls of each part of the recording when it is
            done, `Rolls` or of band models `BandRolls`; of decoders other than
            `tokens`.
          on_progress: called with the seconds of each part of the recording when it
            is done.

        Raises:
          OSError: the file cannot be opened.
          ValueError: it holds no audio, damaged audio, or samples that are not finite;
            one line that names the file and the remedy. Or the decoder has no rolls.
        """
        ratio, blocks = self._tuned(audio, sample_rate_hz)
        on_progress = on_progress or (lambda seconds: None)
        if ratio == 1.0:
            return self._reader.transcribe(blocks, on_rolls, on_progress)
        notes = self._reader.transcribe(
            blocks,
            on_rolls and (lambda rolls: on_rolls(rolls.at_rate(ratio))),
            lambda seconds: on_progress(seconds / ratio),
        )
        return notes.stretched(1 / ratio)

    def perform(
        self,
        audio: Source | npt.ArrayLike,
        sample_rate_hz: float | None = None,
        on_rolls: Callable[[Any], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Performance:
        """Transcribe a piano recording to keys and pedal.

        Its `notes()` are, but for what the pedal adds, those of a call. Arguments and
        errors are those of a call.

        Raises:
          ValueError: also where the model has no heads for the pedal.
        """
        ratio, blocks = self._tuned(audio, sample_rate_hz)
        on_progress = on_progress or (lambda seconds: None)
        performance = self._reader.perform(
            blocks,
            on_rolls and (lambda rolls: on_rolls(rolls.at_rate(ratio))),
            lambda seconds: on_progress(seconds / ratio),
        )
        return performance.stretched(1 / ratio)

    def rolls(
        self, audio: Source | npt.ArrayLike, sample_rate_hz: float | None = None
    ) -> Rolls | BandRolls:
        """Return the rolls of a whole recording: probabilities, and velocity / 128.

        Frame t is centred on t / frame_rate_hz. Four numbers a frame and key are kept
        (`Rolls`), a quarter of a gigabyte an hour at 50 frames per second; of band
        models ten times as many (`BandRolls`), at 31.25 frames per second. Arguments
        and errors are those of a call; the model must have rolls, whatever the decoder.
        """
        parts: list[Any] = list(self.stream_rolls(audio, sample_rate_hz))
        return type(parts[0]).concatenate(parts)

    def stream_rolls(
        self, audio: Source | npt.ArrayLike, sample_rate_hz: float | None = None
    ) -> Iterator[Rolls | BandRolls]:
        """Yield what `rolls` returns in consecutive parts, in bounded memory."""
        ratio, blocks = self._tuned(audio, sample_rate_hz)
        parts = self._reader.rolls(blocks)
        return parts if ratio == 1.0 else (rolls.at_rate(ratio) for rolls in parts)

    def stream_pedal_rolls(
        self, audio: Source | npt.ArrayLike, sample_rate_hz: float | None = None
    ) -> Iterator[PedalRolls]:
        """Yield consecutive rolls with those of keys and pedal, in bounded memory.

        Arguments and errors are those of `perform`.
        """
        ratio, blocks = self._tuned(audio, sample_rate_hz)
        parts = self._reader.pedal_rolls(blocks)
        return (part._replace(rolls=part.rolls.at_rate(ratio)) for part in parts)

    def spectrogram(
        self, audio: Source | npt.ArrayLike, sample_rate_hz: float | None = None
    ) -> Spectrogram:
        """Return a recording's constant-Q levels, as a background for `Notes.plot`.

        Long recordings get fewer frames per second (the loudest of several each).
        """
        features, window = self._reader.spectrogram
        blocks = stream_samples(audio, sample_rate_hz, features.sample_rate_hz)
        return spectrogram.spectrogram(blocks, features, window, self._device)

    def _tuned(
        self, audio: Any, sample_rate_hz: float | None
    ) -> tuple[float, Iterator[np.ndarray]]:
        """Return how far frequencies are too high, and blocks where they are not."""
        cents, rate_hz = self._tuning, self.sample_rate_hz
        if isinstance(cents, str):
            audio = rereadable(audio)
            parts = excerpts(audio, sample_rate_hz, rate_hz, PART_S, NUM_PARTS)
            cents = estimate_tuning(parts, rate_hz)
            cents = cents if abs(cents) >= LEAST_TUNING else 0.0
        ratio = 2 ** (cents / 1200)
        return ratio, stream_samples(audio, sample_rate_hz, rate_hz * ratio)


def _check_params(params: Any, objective: Any, source: Any) -> None:
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0)))
    weights_file.check_params(params, shapes, source)


def _find_device(device: Device | None) -> Any:
    kind, _, number = (device or "").partition(":")
    try:
        devices = jax.devices(kind or None)
        return devices[int(number or 0)]
    except (IndexError, ValueError) as error:
        raise ValueError(
            f"there is no device {device}: give {kind}:0 to {kind}:{len(devices) - 1}"
        ) from error
    except RuntimeError as error:
        there = ", ".join(sorted({d.platform for d in jax.devices()}))
        raise ValueError(
            f"JAX finds no {device}, only {there}: choose that, or install JAX for it"
        ) from error

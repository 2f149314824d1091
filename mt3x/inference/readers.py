"""Readers: a model on a device, and how its output becomes notes.

A reader takes the samples of a recording and gives its notes. There is one for each
decoder of each kind of model (`READERS`), with its own options.
"""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mt3x.inference.audio_to_band import AudioToBand
from mt3x.inference.audio_to_rolls import AudioToPedalRolls, AudioToRolls, PedalRolls
from mt3x.inference.audio_to_tokens import AudioToTokens
from mt3x.inference.decoding import DecodingConfig
from mt3x.inference.grammar import Grammar
from mt3x.inference.onset_refiner import OnsetRefiner
from mt3x.inference.windows import WindowConfig
from mt3x.models.features import CQTConfig
from mt3x.models.objectives import BandConfig, PianoConfig, TokensConfig
from mt3x.music.band_decoder import band_notes, heard_notes
from mt3x.music.band_rolls import BandRolls
from mt3x.music.instrument_classes import CLASS_NAMES
from mt3x.music.instruments import Instruments
from mt3x.music.notes import Notes
from mt3x.music.pedal_decoder import performance_of
from mt3x.music.performance import Performance
from mt3x.music.roll_decoder import RollDecodingConfig, blocks_to_notes
from mt3x.music.rolls import Rolls

OnRolls = Callable[[Any], None]
OnProgress = Callable[[float], None]

_NO_PEDAL = (
    "only piano models tell pedal and key releases: leave out pedal events, or choose "
    "the piano model"
)


class Model(NamedTuple):
    """What runs, and where."""

    config: Any
    params: Any
    device: Any
    precision: str = "float32"
    batch_size: int | None = None  # windows or segments at once


class Reader(ABC):
    """Samples of a recording in, notes out; made of a `Model` and its `Options`."""

    # A dataclass: what can be chosen.
    Options: ClassVar[type]
    # How a spectrogram shows what the model hears.
    spectrogram = CQTConfig(), WindowConfig()
    # How rolls become notes; None where the model has none.
    roll_decoding: RollDecodingConfig | None
    # What programs are called, where not by their names of General MIDI.
    instrument_names: Mapping[int, str] = {}

    @abstractmethod
    def transcribe(
        self,
        blocks: Iterable[np.ndarray],
        on_rolls: OnRolls | None,
        on_progress: OnProgress,
    ) -> Notes:
        """Return the notes of consecutive samples_S at the features' rate.

        Args:
          blocks: the samples.
          on_rolls: called with the rolls of each part when it is done.
          on_progress: called with the seconds of each part when it is done.

        Raises:
          ValueError: `on_rolls` is given to a decoder without rolls.
        """

    def perform(
        self,
        blocks: Iterable[np.ndarray],
        on_rolls: OnRolls | None,
        on_progress: OnProgress,
    ) -> Performance:
        """Return what hands and foot do; arguments are those of `transcribe`.

        Raises:
          ValueError: the model does not tell.
        """
        del blocks, on_rolls, on_progress
        raise ValueError(_NO_PEDAL)

    def pedal_rolls(self, blocks: Iterable[np.ndarray]) -> Iterator[PedalRolls]:
        """Yield the consecutive rolls, of keys and pedal too, of consecutive samples_S.

        Raises:
          ValueError: the model does not tell.
        """
        del blocks
        raise ValueError(_NO_PEDAL)

    @abstractmethod
    def rolls(self, blocks: Iterable[np.ndarray]) -> Iterator[Any]:
        """Yield the consecutive `Rolls`, or `BandRolls`, of consecutive samples_S.

        Raises:
          ValueError: the model has none.
        """


@dataclass(frozen=True)
class RollOptions:
    """What can be chosen where notes are made from rolls."""

    onset_threshold: float | None = None
    frame_threshold: float | None = None


@dataclass(frozen=True)
class PianoOptions(RollOptions):
    """What can be chosen of a piano model."""

    window: WindowConfig | None = None


@dataclass(frozen=True)
class BandOptions(PianoOptions):
    """What can be chosen of a band model."""

    drum_threshold: float | None = None
    instruments: Instruments | None = None


@dataclass(frozen=True)
class TokenOptions:
    """What can be chosen where notes are made from tokens."""

    instruments: Instruments | None = None
    constrain: bool = False
    beams: int | None = None


@dataclass(frozen=True)
class RefinedOptions(TokenOptions):
    """What can be chosen where onsets of tokens are refined by rolls."""

    onset_threshold: float | None = None


class RollReader(Reader):
    """Notes from rolls; subclasses say where these come from."""

    def __init__(
        self, model: Model, decoding: RollDecodingConfig, options: RollOptions
    ) -> None:
        self.roll_decoding = self._decoding = _with_thresholds(decoding, options)
        self._frame_rate_hz = model.config.features.frame_rate_hz

    def transcribe(
        self,
        blocks: Iterable[np.ndarray],
        on_rolls: OnRolls | None,
        on_progress: OnProgress,
    ) -> Notes:
        rolls = _telling(self.rolls(blocks), on_rolls, on_progress)
        return blocks_to_notes(rolls, self._decoding, self._frame_rate_hz)


class PianoReader(RollReader):
    """Notes from the rolls of a piano model."""

    Options = PianoOptions

    def __init__(self, model: Model, options: PianoOptions) -> None:
        super().__init__(model, model.config.decoding, options)
        self._config: PianoConfig = model.config
        self._whole, self._window = model, options.window
        # Without the pedal's heads, which nothing but `perform` needs.
        plain = model._replace(config=self._config.without_pedal())
        self.model = AudioToRolls(*plain, options.window)
        self.spectrogram = model.config.features, self.model.window

    def rolls(self, blocks: Iterable[np.ndarray]) -> Iterator[Rolls]:
        return self.model(blocks)

    def perform(
        self,
        blocks: Iterable[np.ndarray],
        on_rolls: OnRolls | None,
        on_progress: OnProgress,
    ) -> Performance:
        parts = self.pedal_rolls(blocks)
        keys: list[np.ndarray] = []
        pedal: list[np.ndarray] = []

        def heard() -> Iterator[Rolls]:
            for part in parts:
                keys.append(part.key_TxP.astype(np.float16))
                pedal.append(part.pedal_Tx3)
                yield part.rolls

        rolls = _telling(heard(), on_rolls, on_progress)
        rate_hz = self._frame_rate_hz
        notes = blocks_to_notes(rolls, self._decoding, rate_hz)
        return performance_of(
            notes,
            np.concatenate(keys),
            np.concatenate(pedal),
            rate_hz,
            self._config.pedal_decoding,
        )

    def pedal_rolls(self, blocks: Iterable[np.ndarray]) -> Iterator[PedalRolls]:
        if not self._config.has_pedal:
            raise ValueError(
                "the piano model has no heads for the pedal: leave out pedal events, "
                "or use the package's weights"
            )
        return self._pedal_model(blocks)

    @functools.cached_property
    def _pedal_model(self) -> AudioToPedalRolls:
        return AudioToPedalRolls(*self._whole, self._window)


class BandReader(RollReader):
    """Notes with their instruments, and drums, from the rolls of a band model."""

    Options = BandOptions
    instrument_names = CLASS_NAMES

    def __init__(self, model: Model, options: BandOptions) -> None:
        super().__init__(model, model.config.decoding, options)
        self._config: BandConfig = model.config
        self._drum_decoding = self._config.drum_decoding
        if options.drum_threshold is not None:
            self._drum_decoding = dataclasses.replace(
                self._drum_decoding, onset_threshold=options.drum_threshold
            )
        self._instruments = options.instruments
        self._model = AudioToBand(*model, options.window)
        self.spectrogram = self._config.features, self._model.window

    def transcribe(
        self,
        blocks: Iterable[np.ndarray],
        on_rolls: OnRolls | None,
        on_progress: OnProgress,
    ) -> Notes:
        heard = heard_notes(
            _telling(self.rolls(blocks), on_rolls, on_progress),
            self._decoding,
            self._drum_decoding,
            self._frame_rate_hz,
            self._config.drum_features.frame_rate_hz,
        )
        return band_notes(heard, self._config.assignment, self._instruments)

    def rolls(self, blocks: Iterable[np.ndarray]) -> Iterator[BandRolls]:
        return self._model(blocks)


class HeadReader(RollReader):
    """Notes from the rolls of a token model: all of program 0, and no drums."""

    Options = RollOptions

    def __init__(self, model: Model, options: RollOptions) -> None:
        super().__init__(model, model.config.rolls.decoding, options)
        self._model = AudioToTokens(*model)

    def rolls(self, blocks: Iterable[np.ndarray]) -> Iterator[Rolls]:
        return self._model.rolls(blocks)


class TokenReader(Reader):
    """Notes from tokens."""

    Options = TokenOptions

    def __init__(self, model: Model, options: TokenOptions) -> None:
        config = model.config
        grammar = None
        if options.constrain or options.instruments is not None:
            grammar = Grammar(config.tokens, options.instruments)
        decoding = DecodingConfig(config.max_tokens, num_beams=options.beams or 1)
        self._model = AudioToTokens(*model, decoding, grammar)
        self.roll_decoding = None
        if config.rolls is not None:
            self.roll_decoding = _with_thresholds(config.rolls.decoding, options)

    def transcribe(
        self,
        blocks: Iterable[np.ndarray],
        on_rolls: OnRolls | None,
        on_progress: OnProgress,
    ) -> Notes:
        if on_rolls is not None:
            raise ValueError("decoder 'tokens' has no rolls: choose 'rolls' or 'both'")
        return self._model.decode(blocks, on_progress).notes

    def rolls(self, blocks: Iterable[np.ndarray]) -> Iterator[Rolls]:
        if self.roll_decoding is None:
            raise ValueError(
                "a token model without heads has no rolls; use a piano model's "
                "checkpoint, or that of a model trained with TokensConfig.rolls"
            )
        return self._model.rolls(blocks)


class RefinedReader(TokenReader):
    """Notes from tokens, with onsets and velocities from rolls."""

    Options = RefinedOptions

    def transcribe(
        self,
        blocks: Iterable[np.ndarray],
        on_rolls: OnRolls | None,
        on_progress: OnProgress,
    ) -> Notes:
        assert self.roll_decoding is not None  # `make_reader` has looked
        frame_rate_hz = self._model.config.features.frame_rate_hz
        refiner = OnsetRefiner(self.roll_decoding, frame_rate_hz)

        def take(rolls: Rolls) -> None:
            refiner.push(rolls)
            if on_rolls is not None:
                on_rolls(rolls)

        return refiner.finish(self._model.decode(blocks, on_progress, take).notes)


READERS: Mapping[Any, Mapping[str, Any]] = {
    PianoConfig: {"rolls": PianoReader},
    TokensConfig: {"tokens": TokenReader, "rolls": HeadReader, "both": RefinedReader},
    BandConfig: {"rolls": BandReader},
}
"""Readers by a model's configuration and the decoder; the usual decoder comes first."""


def make_reader(
    model: Model, decoder: str | None, options: Mapping[str, Any], source: Any
) -> tuple[str, Reader]:
    """Return the name of a decoder and its reader.

    Args:
      model: what runs.
      decoder: one of the model's; None: its usual one.
      options: fields of the reader's `Options`; None or False where not given.
      source: what the model is called in messages.

    Raises:
      ValueError: the model has no such decoder, or an option belongs to another.
    """
    kind, readers = model.config.kind, READERS[type(model.config)]
    usual, *_ = readers
    decoder = decoder or usual
    names = {name for each in READERS.values() for name in each}
    if decoder not in names:
        raise ValueError(
            f"decoder is {decoder!r}: give one of {', '.join(sorted(names))}"
        )
    if decoder not in readers:
        raise ValueError(
            f"{source} is a {kind}, which has no tokens: leave out decoder {decoder!r}"
        )
    if decoder != usual and model.config.rolls is None:
        raise ValueError(
            f"{source} is a {kind} without heads for rolls: leave out decoder "
            f"{decoder!r}, or train a model with TokensConfig.rolls"
        )
    reader = readers[decoder]
    given = {k: v for k, v in options.items() if v is not None and v is not False}
    for name in given.keys() - _options(reader):
        what = kind if decoder == usual else f"{kind} with decoder {decoder}"
        raise ValueError(
            f"{source} is a {what}, and {name} is an option of "
            f"{', '.join(_takers(name))}: leave it out"
        )
    return decoder, reader(model, reader.Options(**given))


def _options(reader: type[Reader]) -> set[str]:
    """Return the names of a reader's options."""
    return {field.name for field in dataclasses.fields(reader.Options)}


def _takers(option: str) -> list[str]:
    """Return the kinds of models and the decoders that have an option."""
    return [
        f"decoder {decoder}" if number else f"{config.kind}s"
        for config, readers in READERS.items()
        for number, (decoder, reader) in enumerate(readers.items())
        if option in _options(reader)
    ]


def _with_thresholds(decoding: RollDecodingConfig, options: Any) -> RollDecodingConfig:
    """Return a checkpoint's decoding with the thresholds that were given."""
    names = ("onset_threshold", "frame_threshold")
    given = {name: getattr(options, name, None) for name in names}
    return dataclasses.replace(
        decoding, **{name: value for name, value in given.items() if value is not None}
    )


def _telling(
    parts: Iterable[Any], on_rolls: OnRolls | None, on_progress: OnProgress
) -> Iterator[Any]:
    """Pass rolls on; when they have been used, tell of them."""
    for rolls in parts:
        yield rolls
        if on_rolls is not None:
            on_rolls(rolls)
        on_progress(rolls.num_frames / rolls.frame_rate_hz)

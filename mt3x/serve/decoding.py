"""Notes from rolls that are kept: as often as a user moves a threshold."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mt3x.inference.audio_to_rolls import PedalRolls
from mt3x.inference.transcriber import Transcriber
from mt3x.models.objectives import BandConfig, PianoConfig
from mt3x.music.band_decoder import band_notes, heard_notes
from mt3x.music.band_rolls import BandRolls
from mt3x.music.notes import Notes
from mt3x.music.pedal_decoder import performance_of
from mt3x.music.performance import Performance
from mt3x.music.roll_decoder import RollDecoder, RollDecodingConfig, blocks_to_notes
from mt3x.music.rolls import Rolls
from mt3x.serve.notes_json import JsonError

# No threshold is lower: who plays is kept of what is above it only.
LOWEST_THRESHOLD = 0.05
# Candidates are what is found with thresholds so many times those of notes.
CANDIDATES = 0.4
AnyRolls = Rolls | BandRolls | PedalRolls
# Rolls that are not needed to decode.
_UNUSED = ("offset",)
# The arrays of a band's rolls that are large, and empty where nothing sounds.
_CELLS = ("classes", "timbre")


class KeptRolls:
    """Consecutive rolls in a file, which `decode` reads part by part."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rates_hz: tuple[float, ...] = ()
        self._num_parts = 0

    def append(self, rolls: AnyRolls) -> None:
        """Write the next frames to the end of the file."""
        hands: dict[str, np.ndarray] = {}
        if isinstance(rolls, PedalRolls):
            hands["key"] = rolls.key_TxP.astype(np.float16)
            hands["pedal"] = rolls.pedal_Tx3
            rolls = rolls.rolls
        arrays = {**rolls.by_name(), **hands}
        self._rates_hz = (rolls.frame_rate_hz,)
        if isinstance(rolls, BandRolls):
            self._rates_hz += (rolls.drum_rate_hz,)
        is_heard_TxP = _is_heard(arrays)
        with open(self._path, "ab") as file:
            for name, array in arrays.items():
                if name not in _UNUSED:
                    kept = array[is_heard_TxP] if name in _CELLS else array
                    np.save(file, np.ascontiguousarray(kept), allow_pickle=False)
        self._num_parts += 1
        self._names = tuple(name for name in arrays if name not in _UNUSED)

    def __iter__(self) -> Iterator[AnyRolls]:
        with open(self._path, "rb") as file:
            for _ in range(self._num_parts):
                arrays: dict[str, np.ndarray] = {}
                for name in self._names:
                    array = np.load(file, allow_pickle=False)
                    if name in _CELLS:
                        is_heard_TxP = _is_heard(arrays)
                        shape = (*is_heard_TxP.shape, *array.shape[1:])
                        cells = np.zeros(shape, array.dtype)
                        cells[is_heard_TxP] = array
                        array = cells
                    arrays[name] = array
                arrays.update(dict.fromkeys(_UNUSED, arrays["onset"]))
                kind: Any = BandRolls if len(self._rates_hz) > 1 else Rolls
                found = kind.from_names(arrays, *self._rates_hz)
                if "pedal" in arrays:
                    found = PedalRolls(found, arrays["key"], arrays["pedal"])
                yield found


def _is_heard(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return where a note may sound, TxP."""
    return np.maximum(arrays["onset"], arrays["frame"]) > LOWEST_THRESHOLD


@dataclass(frozen=True)
class Choice:
    """What a user chooses of a recording's notes."""

    # Probabilities above which an onset counts, and a note continues.
    onset: float
    frame: float
    # The same of drums; None: the model's, of each class.
    drum: float | None = None
    # Shorter notes, and notes below and above these pitches, are left out. (No drums.)
    min_duration: float = 0.0
    lowest: int = 0
    highest: int = 127

    @staticmethod
    def of(transcriber: Transcriber) -> "Choice | None":
        """Return what a model chooses; None where its notes are not made of rolls."""
        decoding = transcriber.roll_decoding
        if decoding is None or transcriber.decoder != "rolls":
            return None
        return Choice(decoding.onset_threshold, decoding.frame_threshold)

    def changed(self, values: Any) -> "Choice":
        """Return what a client chooses, by the names of JSON; what is left out stays.

        Raises:
          JsonError: a name is unknown, or a value out of range.
        """
        if not isinstance(values, dict):
            raise JsonError("thresholds are not an object: send {...}")
        for name, value in values.items():
            if name not in _RANGES:
                raise JsonError(f"{name[:40]!r} is not one of {', '.join(_RANGES)}")
            lowest, highest = _RANGES[name]
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is None and name == "drum":
                continue
            if not (is_number and lowest <= value <= highest):
                raise JsonError(f"{name} is not a number from {lowest} to {highest}")
        return replace(self, **{_FIELDS[name]: value for name, value in values.items()})

    def by_name(self) -> dict[str, Any]:
        """Return the values by the names of JSON."""
        return {name: getattr(self, field) for name, field in _FIELDS.items()}


_FIELDS = {
    {"min_duration": "minDuration"}.get(field.name, field.name): field.name
    for field in fields(Choice)
}
"""The fields of `Choice` by the names of JSON."""
_RANGES = {
    "onset": (LOWEST_THRESHOLD, 1),
    "frame": (LOWEST_THRESHOLD, 1),
    "drum": (LOWEST_THRESHOLD, 1),
    "minDuration": (0, 60),
    "lowest": (0, 127),
    "highest": (0, 127),
}


class Decoded(NamedTuple):
    """Notes, and what would be notes if the thresholds were lower."""

    notes: Notes
    candidates: Notes


def decode(
    transcriber: Transcriber, rolls: Iterable[AnyRolls], choice: Choice
) -> Decoded:
    """Decode the rolls of a whole recording.

    Args:
      transcriber: whose rolls they are.
      rolls: consecutive parts, to be read twice. Of those with a pedal, notes end where
        keys are released.
      choice: the thresholds. With those of the model the notes are `transcriber`'s.
    """
    decoding = transcriber.roll_decoding
    assert decoding is not None
    decoding = replace(
        decoding, onset_threshold=choice.onset, frame_threshold=choice.frame
    )
    hands: list[tuple[np.ndarray, np.ndarray]] = []
    plain = _without_hands(rolls, hands)
    heard = _heard(transcriber, plain, decoding, _drums(transcriber, choice, 1.0))
    lower = replace(
        decoding, onset_threshold=max(choice.onset * CANDIDATES, LOWEST_THRESHOLD)
    )
    drums = _drums(transcriber, choice, CANDIDATES)
    plain = _without_hands(rolls, [])
    candidates = _without(_heard(transcriber, plain, lower, drums), heard)
    finish = decoding.postprocessing
    if finish is not None and not isinstance(transcriber.config, BandConfig):
        heard = finish(heard)
    if hands:
        heard, candidates = (
            _performance(notes, hands, transcriber).keys
            for notes in (heard, candidates)
        )
    return Decoded(_chosen(heard, choice), _chosen(candidates, choice))


def find_pedal(transcriber: Transcriber, rolls: Iterable[AnyRolls]) -> np.ndarray:
    """Return when the pedal of a whole recording goes down and up, K x 2 seconds."""
    hands = [(x.key_TxP, x.pedal_Tx3) for x in rolls if isinstance(x, PedalRolls)]
    return _performance(Notes.empty(), hands, transcriber).pedal_s


def _without_hands(
    rolls: Iterable[AnyRolls], hands: list[tuple[np.ndarray, np.ndarray]]
) -> Iterator[Rolls | BandRolls]:
    """Yield rolls of notes; append those of keys and pedal, where there are some."""
    for part in rolls:
        if isinstance(part, PedalRolls):
            hands.append((part.key_TxP, part.pedal_Tx3))
            part = part.rolls
        yield part


def _performance(
    notes: Notes, hands: list[tuple[np.ndarray, np.ndarray]], transcriber: Transcriber
) -> Performance:
    """Return keys and pedal that make notes sound as they do."""
    config = transcriber.config
    assert isinstance(config, PianoConfig)
    key_TxP, pedal_Tx3 = (np.concatenate(x) for x in zip(*hands, strict=True))
    rate_hz = transcriber.frame_rate_hz
    return performance_of(notes, key_TxP, pedal_Tx3, rate_hz, config.pedal_decoding)


def _heard(
    transcriber: Transcriber,
    rolls: Any,
    decoding: RollDecodingConfig,
    drum_threshold: float | tuple[float, ...] | None,
) -> Notes:
    """Return the notes of rolls, before what is done to those of pianos."""
    config = transcriber.config
    if not isinstance(config, BandConfig):
        plain = replace(decoding, postprocessing=None)
        return blocks_to_notes(rolls, plain, transcriber.frame_rate_hz)
    drum_decoding = config.drum_decoding
    if drum_threshold is not None:
        drum_decoding = replace(drum_decoding, onset_threshold=drum_threshold)
    heard = heard_notes(
        rolls,
        decoding,
        drum_decoding,
        config.features.frame_rate_hz,
        config.drum_features.frame_rate_hz,
    )
    return band_notes(heard, config.assignment)


def _drums(transcriber: Transcriber, choice: Choice, ratio: float) -> Any:
    """Return the thresholds of drums, so many times as high."""
    if not isinstance(transcriber.config, BandConfig):
        return None
    if choice.drum is not None:
        return choice.drum * ratio
    return tuple(x * ratio for x in transcriber.config.drum_decoding.thresholds)


def _without(notes: Notes, others: Notes) -> Notes:
    """Return the notes that do not begin as one of the others does, of any program."""

    def keys(some: Notes) -> list[tuple[Any, ...]]:
        columns = (some.onset_s, some.pitch, some.is_drum)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    begun = set(keys(others))
    return notes[np.array([key not in begun for key in keys(notes)], bool)]


def _chosen(notes: Notes, choice: Choice) -> Notes:
    """Return the notes that are long enough, of the chosen pitches."""
    long = notes.offset_s - notes.onset_s >= choice.min_duration
    within = (choice.lowest <= notes.pitch) & (notes.pitch <= choice.highest)
    return notes[notes.is_drum | (long & within)]


class Preview:
    """Notes as they come: not final, of one instrument, without drums."""

    def __init__(self, transcriber: Transcriber) -> None:
        assert transcriber.roll_decoding is not None
        rate_hz = transcriber.frame_rate_hz
        self._decoder = RollDecoder(transcriber.roll_decoding, rate_hz)

    def push(self, rolls: AnyRolls) -> Notes:
        """Take the next frames and return the notes that ended in them."""
        plain = rolls if isinstance(rolls, Rolls) else rolls.rolls
        return self._decoder.push(plain)

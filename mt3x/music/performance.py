"""What a pianist's hands and foot do: keys that are released, and the sustain pedal."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mt3x.files import write_whole
from mt3x.music.beats import Beats
from mt3x.music.note_tables import csv_text, json_text, jsonl_text
from mt3x.music.notes import Notes

__all__ = ["EVENTS", "EXTEND", "NO_PEDAL", "PEDALS", "Performance", "held_until"]

EXTEND, EVENTS = PEDALS = "extend", "events"
"""How the pedal is told: in the notes' lengths, or beside the keys."""
NO_PEDAL = np.zeros((0, 2))


@dataclass(frozen=True, eq=False)
class Performance:
    """Key strokes of one piano, and when its sustain pedal is down.

    Spans of the pedal that overlap or meet are one.
    """

    keys: Notes  # that end when their key is released
    pedal_s: np.ndarray  # K x 2, seconds when the pedal goes down and up, in order

    def __post_init__(self) -> None:
        pedal_s = np.asarray(self.pedal_s, np.float64)
        if pedal_s.ndim != 2 or pedal_s.shape[1] != 2:
            raise ValueError(
                f"pedal_s has shape {pedal_s.shape}: give K x 2, times down and up"
            )
        if not np.isfinite(pedal_s).all() or (pedal_s[:, 1] < pedal_s[:, 0]).any():
            raise ValueError(
                "pedal_s must be finite, and no pedal may end before it began"
            )
        object.__setattr__(self, "pedal_s", _joined(pedal_s))

    def notes(self, pedal_early_s: npt.ArrayLike = 0.0) -> Notes:
        """Return the notes as they sound.

        Each ends when its key is released, or where the pedal is down then, when that
        is released, or at the key's next onset if that comes first.

        Args:
          pedal_early_s: how much earlier than at the given times the dampers rise and
            fall, for each time that the pedal is down or for all.
        """
        keys, early_Kx1 = self.keys, np.reshape(pedal_early_s, (-1, 1))
        until_s = held_until(keys.offset_s, self.pedal_s - early_Kx1)
        until_s = np.where(keys.is_drum, keys.offset_s, until_s)
        # The pedal never shortens a note.
        until_s = np.minimum(until_s, np.maximum(keys.next_onsets(), keys.offset_s))
        return replace(keys, offset_s=until_s)

    def shift(self, seconds: float) -> "Performance":
        """Return the same, `seconds` later."""
        return Performance(self.keys.shift(seconds), self.pedal_s + seconds)

    def stretched(self, ratio: float) -> "Performance":
        """Return the same with all times multiplied by a ratio above 0."""
        return Performance(self.keys.stretched(ratio), self.pedal_s * ratio)

    def clip(self, start_s: float, end_s: float) -> "Performance":
        """Return the keys struck in start_s <= onset < end_s, all ended by `end_s`."""
        pedal_s = np.clip(self.pedal_s, start_s, end_s)
        return Performance(self.keys.clip(start_s, end_s), pedal_s)

    def to_midi(
        self,
        path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        names: Mapping[int, str] | None = None,
        beats: Beats | None = None,
        key: str | None = None,
    ) -> bytes:
        """Return a Standard MIDI File, and write it to `path` if given.

        Notes end where keys are released, and the pedal is CC64: 127 down, 0 up. Other
        arguments are those of `Notes.to_midi`.
        """
        # Here, so that training does not load mido.
        from mt3x.music.midi import Columns, write_columns

        columns = Columns(*(getattr(self.keys, name) for name in Columns._fields))
        data = write_columns(columns, names, beats, key, self.pedal_s)
        if path is not None:
            with write_whole(path, overwrite) as file:
                file.write(data)
        return data

    def to_csv(self) -> str:
        """Return the table of `Notes.to_csv` with another column, `key_up_s`.

        `offset_s` is where the note ends that is heard.
        """
        return csv_text(self._columns())

    def to_json(self, about: Mapping[str, Any] | None = None) -> str:
        """Return the object of `Notes.to_json` with `key_up_s` of each note, and pedal.

        `pedal` is a list of `{"down_s": ..., "up_s": ...}`.
        """
        spans = np.round(self.pedal_s, 6).tolist()
        pedal = [{"down_s": down_s, "up_s": up_s} for down_s, up_s in spans]
        return json_text(self._columns(), {**(about or {}), "pedal": pedal})

    def to_jsonl(self) -> str:
        """Return one object a line, each a note as in `to_json`."""
        return jsonl_text(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        notes = self.notes()
        columns = {f.name: getattr(notes, f.name).tolist() for f in fields(Notes)}
        return {**columns, "key_up_s": self.keys.offset_s.tolist()}


def held_until(key_up_s: np.ndarray, pedal_s: np.ndarray) -> np.ndarray:
    """Return when keys' sound ends: at the pedal's release where that is down."""
    pedal_s = _joined(pedal_s)
    if not len(pedal_s):
        return key_up_s
    index = np.searchsorted(pedal_s[:, 0], key_up_s, side="right") - 1
    down_s, up_s = pedal_s[index.clip(0)].T
    is_down = (index >= 0) & (down_s <= key_up_s) & (key_up_s < up_s)
    return np.where(is_down, up_s, key_up_s)


def _joined(pedal_s: np.ndarray) -> np.ndarray:
    """Return spans in order, those that overlap or meet as one, empty ones left out."""
    pedal_s = pedal_s[pedal_s[:, 1] > pedal_s[:, 0]]
    pedal_s = pedal_s[np.argsort(pedal_s[:, 0])]
    until_s = np.maximum.accumulate(pedal_s[:, 1])
    begins = np.ones(len(pedal_s), bool)
    begins[1:] = pedal_s[1:, 0] > until_s[:-1]
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(pedal_s)) - 1
    return np.stack([pedal_s[first, 0], until_s[last[: len(first)]]], axis=1)

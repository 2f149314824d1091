"""Notes: what every part of mt3x passes to the next one.

`Notes` holds N notes as parallel read-only arrays, sorted by (onset, program, pitch).
Times are seconds from the start of the recording, pitches are MIDI note numbers.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import IO, Any, overload

import numpy as np
import numpy.typing as npt

from mt3x.files import write_whole
from mt3x.music.beats import Beats
from mt3x.music.instruments import Instruments
from mt3x.music.label_files import LATEST_S
from mt3x.music.note_tables import (
    DEFAULT_VELOCITY,
    csv_text,
    json_text,
    jsonl_text,
    read_csv,
    read_json,
    read_tsv,
)

__all__ = ["DEFAULT_VELOCITY", "Notes"]

Source = str | os.PathLike[str] | IO[str]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Notes:
    """N notes as read-only arrays of length N.

    Negative onsets are allowed (a note that began before a clip does); a MIDI
    file cannot hold them.
    """

    onset_s: np.ndarray  # float64
    offset_s: np.ndarray  # float64, never before the onset
    pitch: np.ndarray  # int32, MIDI note number 0..127
    velocity: np.ndarray  # int32, 1..127
    program: np.ndarray  # int32, General MIDI program 0..127
    is_drum: np.ndarray  # bool
    # float64, 0..1: how sure a model is; NaN where nobody said.
    confidence: np.ndarray

    def __init__(
        self,
        onset_s: npt.ArrayLike,
        offset_s: npt.ArrayLike,
        pitch: npt.ArrayLike,
        velocity: npt.ArrayLike | None = None,
        program: npt.ArrayLike | None = None,
        is_drum: npt.ArrayLike | None = None,
        confidence: npt.ArrayLike | None = None,
    ) -> None:
        """Copy, check and sort the arrays; those left out are filled in.

        Args:
          onset_s, offset_s: seconds, at most 10^9, offset >= onset.
          pitch: 0..127.
          velocity: 1..127; 100 where left out.
          program: 0..127; 0 (acoustic grand piano) where left out.
          is_drum: whether `pitch` names a drum; False where left out.
          confidence: 0..1, NaN where unknown; all NaN where left out.

        Raises:
          ValueError: an array breaks one of these rules; the message says which
            note and value.
        """
        onset_s = _times("onset_s", onset_s)
        num_notes = len(onset_s)
        arrays = {
            "onset_s": onset_s,
            "offset_s": _times("offset_s", offset_s),
            "pitch": _integers("pitch", pitch, 0),
            "velocity": np.full(num_notes, DEFAULT_VELOCITY, np.int32)
            if velocity is None
            else _integers("velocity", velocity, 1),
            "program": np.zeros(num_notes, np.int32)
            if program is None
            else _integers("program", program, 0),
            "is_drum": np.zeros(num_notes, bool)
            if is_drum is None
            else np.asarray(is_drum, dtype=bool),
            "confidence": np.full(num_notes, np.nan)
            if confidence is None
            else _shares("confidence", confidence),
        }
        for name, array in arrays.items():
            if array.shape != (num_notes,):
                raise ValueError(
                    f"{name} has shape {array.shape}, onset_s has {num_notes} notes; "
                    "give arrays of one length"
                )
        backward = np.flatnonzero(arrays["offset_s"] < onset_s)
        if len(backward):
            first = backward[0]
            raise ValueError(
                f"note {first} ends at {arrays['offset_s'][first]:.6g} s, before its "
                f"onset at {onset_s[first]:.6g} s; offsets must not precede onsets"
            )
        order = np.lexsort((arrays["pitch"], arrays["program"], onset_s))
        for name, array in arrays.items():
            array = array[order]  # a copy, also where the argument was an array
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def empty(cls) -> "Notes":
        """Return no notes."""
        return cls([], [], [])

    @classmethod
    def concatenate(cls, parts: Sequence["Notes"]) -> "Notes":
        """Join the notes of all `parts`."""
        if not parts:
            return cls.empty()
        return cls(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            )
        )

    def __len__(self) -> int:
        return len(self.onset_s)

    def __getitem__(self, index: slice | npt.ArrayLike) -> "Notes":
        """Return the notes picked by a slice, a boolean mask or an array of indices."""
        if not isinstance(index, slice):
            index = np.asarray(index)
            if index.ndim != 1:
                raise TypeError("index Notes with a slice, a mask or an index array")
            if len(index) == 0:
                index = index.astype(np.intp)
        return type(self)(*(array[index] for array in self._arrays()))

    def __repr__(self) -> str:
        if not len(self):
            return "Notes(0 notes)"
        return (
            f"Notes({len(self)} notes, {self.onset_s[0]:.3f} to "
            f"{self.offset_s.max():.3f} s, pitch {self.pitch.min()} to "
            f"{self.pitch.max()})"
        )

    def _repr_html_(self) -> str | None:
        """Show a player in a notebook, of two minutes at most."""
        if not len(self):
            return None
        from mt3x.music.player import player_html

        return player_html(self, longest_s=120.0)

    def __reduce__(self) -> tuple[type["Notes"], tuple[np.ndarray, ...]]:
        # Through the constructor, so that unpickled arrays are read-only again.
        return type(self), self._arrays()

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def equals(self, other: "Notes") -> bool:
        """Return whether both hold exactly the same notes, and are as sure of them."""
        return all(
            np.array_equal(mine, theirs, equal_nan=mine.dtype == np.float64)
            for mine, theirs in zip(self._arrays(), other._arrays(), strict=True)
        )

    def shift(self, seconds: float) -> "Notes":
        """Return the same notes, `seconds` later."""
        onset_s, offset_s, *rest = self._arrays()
        return type(self)(onset_s + seconds, offset_s + seconds, *rest)

    def stretched(self, ratio: float) -> "Notes":
        """Return the notes with all times multiplied by a ratio above 0."""
        if not ratio > 0:
            raise ValueError(f"stretch ratio is {ratio}: give one above 0")
        onset_s, offset_s, *rest = self._arrays()
        return type(self)(onset_s * ratio, offset_s * ratio, *rest)

    def transposed(self, semitones: int) -> "Notes":
        """Return the notes moved in pitch; those that leave 0..127 are left out.

        Drums keep their pitches, which name an instrument.
        """
        pitch = np.where(self.is_drum, self.pitch, self.pitch + semitones)
        kept = (pitch >= 0) & (pitch <= 127)
        return replace(self[kept], pitch=pitch[kept])

    def clip(self, start_s: float, end_s: float) -> "Notes":
        """Return the notes that begin in start_s <= onset < end_s, ended by `end_s`."""
        notes = self[(self.onset_s >= start_s) & (self.onset_s < end_s)]
        return replace(notes, offset_s=np.minimum(notes.offset_s, end_s))

    def select(self, instruments: Instruments) -> "Notes":
        """Return the notes that some instruments play."""
        played = np.isin(self.program, sorted(instruments.programs))
        return self[np.where(self.is_drum, instruments.drums, played)]

    def next_onsets(self) -> np.ndarray:
        """Return when each note's key is struck next: N seconds, inf where never.

        A key is a pitch of a program, or a drum. Of notes that begin together all but
        the last are struck again at once.
        """
        order = np.lexsort((self.onset_s, self.pitch, self.program, self.is_drum))
        key = ((self.is_drum * 128 + self.program) * 128 + self.pitch)[order]
        again = np.append(key[1:] == key[:-1], np.zeros(min(len(key), 1), bool))
        next_s = np.empty(len(key))
        next_s[order] = np.where(again, np.roll(self.onset_s[order], -1), np.inf)
        return next_s

    @overload
    def to_midi(
        self,
        path: None = None,
        overwrite: bool = False,
        names: Mapping[int, str] | None = None,
        beats: Beats | None = None,
        key: str | None = None,
    ) -> bytes: ...
    @overload
    def to_midi(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        names: Mapping[int, str] | None = None,
        beats: Beats | None = None,
        key: str | None = None,
    ) -> None: ...
    def to_midi(
        self,
        path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        names: Mapping[int, str] | None = None,
        beats: Beats | None = None,
        key: str | None = None,
    ) -> bytes | None:
        """Write a Standard MIDI File to `path`, or return its bytes without one.

        Each program has a track, with its name of `names` or else General MIDI's. With
        beats (`mt3x.beats` finds them) the file has their tempo and bars, and the notes
        stay where they are; without, it has 120 quarter notes a minute. The key is such
        as `Eb` or `C#m`.
        """
        from mt3x.music.midi import Columns, write_columns

        columns = Columns(*(getattr(self, name) for name in Columns._fields))
        data = write_columns(columns, names, beats, key)
        if path is None:
            return data
        with write_whole(path, overwrite) as file:
            file.write(data)
        return None

    def to_musicxml(
        self,
        path: str | os.PathLike[str] | None = None,
        beats: Beats | None = None,
        overwrite: bool = False,
        title: str = "",
    ) -> bytes:
        """Return the notes as a score in MusicXML, and write it to `path` if given.

        `mt3x.notate` has more options, and pictures. Needs `mt3x[score]`.

        Args:
          path: the file.
          beats: where the beats are; by default as `mt3x.beats` finds them.
          overwrite: replace an existing file.
          title: of the piece.

        Raises:
          ValueError: there are no notes, or too many bars.
        """
        import mt3x  # what is above this level, by its public names

        beats = mt3x.beats(self) if beats is None else beats
        score = mt3x.notate(self, beats, title=title)
        return score.to_musicxml(path, overwrite)

    @overload
    def to_csv(self, path: None = None, overwrite: bool = False) -> str: ...
    @overload
    def to_csv(self, path: str | os.PathLike[str], overwrite: bool = False) -> None: ...
    def to_csv(
        self, path: str | os.PathLike[str] | None = None, overwrite: bool = False
    ) -> str | None:
        """Write a table, one note a line, to `path`, or return its text without one.

        Columns: onset_s, offset_s (6 decimals), pitch, velocity, program, is_drum (0
        or 1) and, where one is known, confidence (4 decimals, empty where unknown).
        """
        return _deliver(csv_text(self._columns()), path, overwrite)

    @overload
    def to_json(
        self,
        path: None = None,
        overwrite: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> str: ...
    @overload
    def to_json(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None: ...
    def to_json(
        self,
        path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Write `{"notes": [{"onset_s": ..., ...}, ...]}` to `path`, or return it.

        Each note has the columns of `to_csv`, rounded in the same way; a confidence
        that is unknown is null. What is said about the notes comes before them.
        """
        return _deliver(json_text(self._columns(), about), path, overwrite)

    def to_jsonl(self) -> str:
        """Return one object a line, each a note as in `to_json`."""
        return jsonl_text(self._columns())

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Draw a piano roll to `path`, or return the figure without one.

        `mt3x.music.plot.plot_notes` has the options. Needs matplotlib: `mt3x[plot]`.
        """
        from mt3x.music.plot import plot_notes

        return plot_notes(self, path, **options)

    def _columns(self) -> dict[str, list[Any]]:
        return {
            field.name: getattr(self, field.name).tolist() for field in fields(self)
        }

    @classmethod
    def from_midi(
        cls,
        source: str | os.PathLike[str] | bytes | IO[bytes],
        sustain_pedal: bool = True,
    ) -> "Notes":
        """Read a MIDI file of type 0 or 1: a path, its bytes or an open binary file.

        `mt3x.music.midi` says how strokes and the pedal become notes.

        Args:
          source: the file.
          sustain_pedal: extend notes by CC64; without it a note ends when its key is
            released.

        Raises:
          OSError: the file cannot be opened.
          ValueError: not a MIDI file, damaged, or of type 2; names the file.
        """
        from mt3x.music.midi import read_columns

        return cls(*read_columns(source, sustain_pedal))

    @classmethod
    def from_csv(cls, source: Source, key_up: bool = False) -> "Notes":
        """Read what `to_csv` wrote: a path or an open text file.

        Columns are found by their names, in any order; velocity, program, is_drum and
        confidence may be missing. `mt3x.music.note_tables` tells how cells are split.
        With `key_up`, notes end at `key_up_s` where there is such a column.

        Raises:
          ValueError: the table or a value is wrong; names the file and the line.
        """
        return cls._named(*read_csv(source, key_up))

    @classmethod
    def from_json(cls, source: Source, key_up: bool = False) -> "Notes":
        """Read what `to_json` wrote: a path or an open text file.

        With `key_up`, notes end at `key_up_s` where the file has it.

        Raises:
          ValueError: not such a file; names the file and what is wrong.
        """
        return cls._named(*read_json(source, key_up))

    @classmethod
    def from_tsv(cls, source: Source, key_up: bool = False) -> "Notes":
        """Read a table of notes without names, as the MAPS labels are kept.

        Columns, split by white space, semicolons or commas: onset s, offset s, MIDI
        pitch and, where they exist, velocity and key-up s. The offset column holds the
        sustain pedal; with `key_up` the bare key release of the fifth column is taken.
        Lines that begin with `#` and a first line without numbers are headers. Where
        the first line names `onset`, `offset`, `pitch` and `program`, columns are found
        by their names, as those of `to_csv` are, and `offset` is taken.

        Raises:
          ValueError: the table or a value is wrong; names the file and the line.
        """
        return cls._named(*read_tsv(source, key_up))

    @classmethod
    def _named(cls, name: str, columns: Mapping[str, npt.ArrayLike]) -> "Notes":
        """Make notes of a file's columns; errors name it."""
        try:
            return cls(**columns)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _times(name: str, values: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{name} of note {bad[0]} is not finite; drop such notes")
    far = np.flatnonzero(np.abs(array) > LATEST_S)
    if len(far):
        raise ValueError(
            f"{name} of note {far[0]} is {array.flat[far[0]]:.3g} s; give seconds, up "
            f"to {LATEST_S:.0e}"
        )
    return array


def _integers(name: str, values: npt.ArrayLike, lowest: int) -> np.ndarray:
    array = np.asarray(values)
    wrong = ~((array >= lowest) & (array <= 127) & (array == np.floor(array)))
    bad = np.flatnonzero(wrong)
    if len(bad):
        raise ValueError(
            f"{name} of note {bad[0]} is {array.flat[bad[0]]}; whole numbers "
            f"{lowest} to 127 are valid"
        )
    return array.astype(np.int32)


def _shares(name: str, values: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero((array < 0) | (array > 1))
    if len(bad):
        raise ValueError(
            f"{name} of note {bad[0]} is {array.flat[bad[0]]:.4g}; give 0 to 1, or NaN "
            "where it is unknown"
        )
    return array


def _deliver(
    text: str, path: str | os.PathLike[str] | None, overwrite: bool
) -> str | None:
    if path is None:
        return text
    with write_whole(path, overwrite, text=True) as file:
        file.write(text)
    return None

"""Beats: where the beats and bars of a recording fall.

`Beats` holds N >= 2 beats as parallel read-only arrays. A beat is what a listener taps:
in 6/8 a dotted quarter note, in 3/4 a quarter note.
"""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from mt3x.files import write_whole
from mt3x.music.label_files import LATEST_S, read_text

__all__ = ["Beats", "Meter", "most_common_bar", "read_meter"]

MOST_BPM = 1000.0
LEAST_BPM = 1.0
MOST_BEATS_PER_BAR = 64
BEAT_UNITS = (1, 2, 4, 8, 16, 32)


class Meter(NamedTuple):
    """A time signature, by its beats; see `Beats`."""

    beats_per_bar: int
    beat_unit: int
    is_dotted: bool

    @property
    def quarters_per_beat(self) -> float:
        """Quarter notes in a beat."""
        return 4 / self.beat_unit * (3 if self.is_dotted else 1)


@dataclass(frozen=True, eq=False)
class Beats:
    """Where the beats of a recording fall.

    Attributes:
      time_s: float64 [N], N >= 2, seconds, strictly increasing.
      position: int64 [N]: 1 on downbeats, then 2, 3, ... in the bar. A piece may begin
        in the middle of a bar, and bars may differ in length.
      beats_per_bar: of the most common bar. It is the numerator of the time signature,
        or with dotted beats a third of it: 6/8 has 2.
      beat_unit: note value of a beat, the denominator of the time signature; 8 with
        dotted beats: a beat is then three eighth notes.
    """

    time_s: np.ndarray
    position: np.ndarray
    beats_per_bar: int
    beat_unit: int = 4
    # Whether a beat is three of its units, as in 6/8: a dotted quarter note.
    is_dotted: bool = False

    def __post_init__(self) -> None:
        time_s = np.array(self.time_s, np.float64)
        position = np.array(self.position)
        if time_s.ndim != 1 or position.shape != time_s.shape or len(time_s) < 2:
            raise ValueError(
                f"beats have shapes {time_s.shape} and {position.shape}: give two or "
                "more times, and a position for each"
            )
        bad = np.flatnonzero(~(np.abs(time_s) <= LATEST_S))
        if len(bad):
            raise ValueError(f"beat {bad[0]} is at {time_s[bad[0]]} s: give seconds")
        late = np.flatnonzero(np.diff(time_s) <= 0)
        if len(late):
            raise ValueError(
                f"beat {late[0] + 1} at {time_s[late[0] + 1]:.6g} s does not come "
                f"after the one at {time_s[late[0]]:.6g} s: sort them, without doubles"
            )
        bad = np.flatnonzero((position < 1) | (position != np.floor(position)))
        if len(bad):
            raise ValueError(
                f"beat {bad[0]} has position {position[bad[0]]}: downbeats are 1, the "
                "beats after them 2, 3, ..."
            )
        if not 1 <= self.beats_per_bar <= MOST_BEATS_PER_BAR:
            raise ValueError(
                f"{self.beats_per_bar} beats in a bar: 1 to {MOST_BEATS_PER_BAR} can be"
            )
        if self.beat_unit not in BEAT_UNITS:
            raise ValueError(
                f"the beat unit is {self.beat_unit}: give one of "
                f"{', '.join(map(str, BEAT_UNITS))}"
            )
        for name, array in (("time_s", time_s), ("position", position.astype(int))):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def from_bpm(
        cls,
        bpm: float,
        start_s: float,
        end_s: float,
        beats_per_bar: int = 4,
        beat_unit: int = 4,
        is_dotted: bool = False,
    ) -> "Beats":
        """Return even beats from `start_s`, a downbeat, up to one at or after `end_s`.

        Raises:
          ValueError: `bpm` is not from 1 to 1000, or a time is not finite.
        """
        if not LEAST_BPM <= bpm <= MOST_BPM:
            raise ValueError(
                f"{bpm:g} beats a minute: {LEAST_BPM:g} to {MOST_BPM:g} are possible"
            )
        num = int(np.ceil(max(end_s - start_s, 0.0) * bpm / 60 - 1e-9)) + 1
        index = np.arange(max(num, 2))
        return cls(
            start_s + index * 60 / bpm,
            index % beats_per_bar + 1,
            beats_per_bar,
            beat_unit,
            is_dotted,
        )

    def __len__(self) -> int:
        return len(self.time_s)

    def __repr__(self) -> str:
        return (
            f"Beats({len(self)} beats, {self.time_s[0]:.3f} to {self.time_s[-1]:.3f} "
            f"s, {self.bpm:.1f} a minute, {self.meter})"
        )

    @property
    def downbeat_s(self) -> np.ndarray:
        """Seconds of the first beats of bars."""
        return self.time_s[self.position == 1]

    @property
    def bpm(self) -> float:
        """Beats a minute, in the middle of all."""
        return float(60 / np.median(np.diff(self.time_s)))

    @property
    def meter(self) -> str:
        """The time signature of the most common bar, such as 3/4 or 6/8."""
        numerator = self.beats_per_bar * (3 if self.is_dotted else 1)
        return f"{numerator}/{self.beat_unit}"

    @property
    def quarters_per_beat(self) -> float:
        """Quarter notes in a beat."""
        meter = Meter(self.beats_per_bar, self.beat_unit, self.is_dotted)
        return meter.quarters_per_beat

    def beat_at(self, time_s: npt.ArrayLike) -> np.ndarray:
        """Return positions in beats; beat 0 is the first one.

        Between beats they are interpolated; before and after all of them the nearest
        tempo goes on.
        """
        index = np.arange(len(self), dtype=np.float64)
        return _interpolate(np.asarray(time_s, np.float64), self.time_s, index)

    def time_at(self, beat: npt.ArrayLike) -> np.ndarray:
        """Return the seconds of positions in beats: the inverse of `beat_at`."""
        index = np.arange(len(self), dtype=np.float64)
        return _interpolate(np.asarray(beat, np.float64), index, self.time_s)

    def shift(self, seconds: float) -> "Beats":
        """Return the same beats, `seconds` later."""
        return self._at(self.time_s + seconds)

    def _at(self, time_s: np.ndarray) -> "Beats":
        """Return the same beats at other times."""
        return Beats(
            time_s, self.position, self.beats_per_bar, self.beat_unit, self.is_dotted
        )

    def to_text(
        self, path: str | os.PathLike[str] | None = None, overwrite: bool = False
    ) -> str:
        """Return lines of time and position, and write them to `path` if there is one.

        The first line, a comment, has the time signature.
        """
        text = f"# meter {self.meter}\n" + "".join(
            f"{time_s:.6f}\t{position}\n"
            for time_s, position in zip(
                self.time_s.tolist(), self.position.tolist(), strict=True
            )
        )
        if path is not None:
            with write_whole(path, overwrite, text=True) as file:
                file.write(text)
        return text

    @classmethod
    def from_text(
        cls, source: str | os.PathLike[str] | IO[str], meter: str | None = None
    ) -> "Beats":
        """Read a file of beats: a path or an open text file.

        Each line has a beat's seconds and, if known, its position in the bar, split by
        white space or commas; what follows is left out, as are lines that begin with #.
        Without positions, the first beat is a downbeat and bars have the beats of
        `meter`.

        Args:
          source: the file.
          meter: a time signature; by default the file's comment `# meter 3/4`, or else
            quarter notes, as many as the most common bar has.

        Raises:
          OSError: the path cannot be opened.
          ValueError: it has no such lines; names the file and the line.
        """
        name, text = read_text(source)
        found = re.search(r"(?m)^#\s*meter\s+(\S+)\s*$", text)
        if meter is None and found:
            meter = found[1]
        rows = list(_rows(name, text))
        try:
            chosen = read_meter(meter) if meter is not None else None
            time_s = np.array([time for time, _ in rows], np.float64)
            if any(position is None for _, position in rows):
                per_bar = chosen[0] if chosen else 4
                position = np.arange(len(rows)) % per_bar + 1
            else:
                position = np.array([position for _, position in rows], np.float64)
            if chosen is None:
                chosen = Meter(most_common_bar(position), 4, False)
            return cls(time_s, position, *chosen)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def read_meter(text: str) -> Meter:
    """Return the meter that a time signature stands for, such as 3/4.

    Beats of 6/8, 9/8 and 12/8, and of sixteenths, are dotted; 3/8 has three eighths.

    Raises:
      ValueError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if not found or int(found[2]) not in BEAT_UNITS or not int(found[1]):
        raise ValueError(f"{text!r} is not a meter: give a time signature, such as 3/4")
    numerator, unit = int(found[1]), int(found[2])
    if numerator > MOST_BEATS_PER_BAR:
        raise ValueError(f"meter {text}: bars have up to {MOST_BEATS_PER_BAR} beats")
    is_dotted = unit >= 8 and numerator % 3 == 0 and numerator > 3
    return Meter(numerator // 3 if is_dotted else numerator, unit, is_dotted)


def _rows(name: str, text: str) -> Iterator[tuple[float, float | None]]:
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        cells = line.replace(",", " ").split()
        if not cells or cells[0].startswith("#"):
            continue
        try:
            values = [float(cell) for cell in cells[:2]]
        except ValueError as error:
            raise ValueError(
                f"{name}, line {number}: {line.strip()[:60]!r} is not a beat's time "
                "and its position in the bar"
            ) from error
        yield values[0], values[1] if len(values) > 1 else None


def most_common_bar(position: np.ndarray) -> int:
    """Return the beats of the most common bar among the whole ones."""
    down = np.flatnonzero(position == 1)
    if len(down) < 2:
        return int(max(position.max(initial=1), 1))
    return int(np.bincount(np.diff(down)).argmax())


def _interpolate(x: np.ndarray, known_x: np.ndarray, known_y: np.ndarray) -> np.ndarray:
    segment = np.clip(
        np.searchsorted(known_x, x, side="right") - 1, 0, len(known_x) - 2
    )
    slope = np.diff(known_y) / np.diff(known_x)
    return known_y[segment] + (x - known_x[segment]) * slope[segment]

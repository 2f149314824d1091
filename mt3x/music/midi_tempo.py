"""Seconds <-> ticks of a MIDI file, and the track that says so: tempo, meter, key.

Markers, which music programs show above the bars, name the first downbeat where
something comes before it, and each change of meter.

With beats, a file has one tempo a beat and its bars where the music has them, and yet
every note stays where the recording has it. What comes before the first beat is filled
with beats at about the first tempo: whole bars after a pick-up bar, at tick 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import mido
import numpy as np

from mt3x.music.beats import Beats

__all__ = ["TICKS_PER_QUARTER", "TempoMap", "even_tempo", "tempo_of_beats"]

TICKS_PER_QUARTER = 960
DEFAULT_TEMPO_US = 500_000  # microseconds per quarter note: 120 a minute
_SLOWEST_TEMPO_US = (1 << 24) - 1
_LEAST_LEAD = 0.06  # of a beat: what is less does not count


class TempoMap(NamedTuple):
    """Where tempos and time signatures of a file change."""

    # Of each tempo: where it begins, and microseconds per quarter note.
    tick: np.ndarray
    time_s: np.ndarray
    tempo_us: np.ndarray
    # Tick, numerator, denominator.
    signatures: list[tuple[int, int, int]]
    # Tick and text.
    markers: Sequence[tuple[int, str]] = ()

    def ticks(self, time_s: np.ndarray) -> np.ndarray:
        """Return the nearest ticks: at most half a tick off, 0.5 ms at 60 a minute."""
        segment = np.searchsorted(self.time_s, time_s, side="right") - 1
        after_s = time_s - self.time_s[segment]
        per_s = TICKS_PER_QUARTER * 1e6 / self.tempo_us[segment]
        return self.tick[segment] + np.rint(after_s * per_s).astype(np.int64)

    def track(self, key: str | None = None) -> mido.MidiTrack:
        """Return the first track of a file; `key` is such as `Eb` or `C#m`."""
        events = [
            (tick, 1, mido.MetaMessage("set_tempo", tempo=tempo))
            for tick, tempo in zip(
                self.tick.tolist(), self.tempo_us.tolist(), strict=True
            )
        ]
        for tick, numerator, denominator in self.signatures:
            signature = mido.MetaMessage(
                "time_signature", numerator=numerator, denominator=denominator
            )
            events.append((tick, 0, signature))
        for tick, text in self.markers:
            events.append((tick, 2, mido.MetaMessage("marker", text=text)))
        if key is not None:
            events.append((0, 0, mido.MetaMessage("key_signature", key=key)))
        track, now = mido.MidiTrack(), 0
        for tick, _, event in sorted(events, key=lambda event: event[:2]):
            track.append(event.copy(time=tick - now))
            now = tick
        return track


def even_tempo() -> TempoMap:
    """Return 120 quarter notes a minute, in no meter."""
    zero = np.zeros(1)
    return TempoMap(zero.astype(np.int64), zero, np.array([DEFAULT_TEMPO_US]), [])


def tempo_of_beats(beats: Beats) -> TempoMap:
    """Return the tempo and meter that beats have; those before 0 s are left out.

    A tempo has whole microseconds: each makes up for what those before it are off.

    Raises:
      ValueError: a beat is too long for a MIDI file.
    """
    kept = beats.time_s > -1e-9
    time_s, position = beats.time_s[kept], beats.position[kept]
    if len(time_s) < 2:
        return even_tempo()
    per_beat = round(beats.quarters_per_beat * TICKS_PER_QUARTER)
    lead, parts = _lead(time_s, beats.is_dotted)
    if not lead:
        time_s = np.concatenate([[0.0], time_s[1:]])
    # Whole beats of the lead have a tempo each, as all others.
    whole = int(lead)
    starts_s = np.linspace(0.0, time_s[0], whole + 1)[:-1] if whole else np.zeros(0)
    if lead and not whole:
        starts_s = np.zeros(1)
    starts_s = np.concatenate([starts_s, time_s])
    lengths = np.full(len(starts_s) - 1, per_beat)
    if lead and not whole:
        lengths[0] = round(lead * per_beat)
    tick = np.concatenate([[0], np.cumsum(lengths)])
    tempo_us, actual_us = [], 0
    for end_s, length in zip(starts_s[1:].tolist(), lengths.tolist(), strict=True):
        quarters = length / TICKS_PER_QUARTER
        tempo = max(round((end_s * 1e6 - actual_us) / quarters), 1)
        if tempo > _SLOWEST_TEMPO_US:
            raise ValueError(
                f"the beat that ends at {end_s:.6g} s is longer than a MIDI file can "
                "have: give more beats, or notes that begin earlier"
            )
        tempo_us.append(tempo)
        actual_us += tempo * quarters
    tempo = np.array(tempo_us)
    spans_s = tempo * lengths / (TICKS_PER_QUARTER * 1e6)
    actual_s = np.concatenate([[0.0], np.cumsum(spans_s)[:-1]])
    signatures = _signatures(beats, position, whole, lead, parts, per_beat)
    down = round(lead * per_beat) + int(np.argmax(position == 1)) * per_beat
    markers = _markers(signatures, down)
    return TempoMap(tick[:-1], actual_s, tempo, signatures, markers)


def _markers(
    signatures: list[tuple[int, int, int]], down_tick: int
) -> list[tuple[int, str]]:
    """Return the markers of a first downbeat and of the changes of meter after it."""
    changes = [
        (tick, f"{numerator}/{denominator}")
        for tick, numerator, denominator in signatures
        if tick > down_tick
    ]
    return [(down_tick, "First downbeat")] * (down_tick > 0) + changes


def _lead(time_s: np.ndarray, is_dotted: bool) -> tuple[float, int]:
    """Return the beats before the first one, and the parts that a beat then has.

    Either whole beats, or less than one: some of its eighths, of dotted ones sixths.
    """
    parts = 6 if is_dotted else 8
    lead = time_s[0] / (time_s[1] - time_s[0])
    if lead < _LEAST_LEAD:
        return 0.0, parts
    if lead < 0.75:
        return max(round(lead * parts), 1) / parts, parts
    return float(round(lead)), parts


def _signatures(
    beats: Beats,
    position: np.ndarray,
    whole: int,
    lead: float,
    parts: int,
    per_beat: int,
) -> list[tuple[int, int, int]]:
    """Return the time signatures: tick, numerator, denominator; where they change."""
    per_unit = 3 if beats.is_dotted else 1
    downs = np.flatnonzero(position == 1)
    if not len(downs):  # a fragment of a bar: it stands for a whole one
        downs = np.zeros(1, np.int64)
    before = int(downs[0])
    first = round(lead * per_beat)
    bars: list[tuple[int, int, int]] = []
    if lead and not whole:
        # A pick-up that begins within a beat.
        units, unit = round(lead * parts) + before * parts, beats.beat_unit
        unit = unit * parts // per_unit
        while units % 2 == 0 and unit > beats.beat_unit:
            units, unit = units // 2, unit // 2
        bars.append((0, units, unit))
    elif whole + before:
        rest = (whole + before) % beats.beats_per_bar
        if rest:
            bars.append((0, rest * per_unit, beats.beat_unit))
        if whole + before > rest:
            numerator = beats.beats_per_bar * per_unit
            bars.append((rest * per_beat, numerator, beats.beat_unit))
    lengths = np.diff(downs).tolist()
    for start, length in zip(downs.tolist(), [*lengths, None], strict=True):
        # The last bar is whole, whatever of it is played.
        count = beats.beats_per_bar if length is None else length
        bars.append((first + start * per_beat, count * per_unit, beats.beat_unit))
    changes = bars[:1]
    for bar in bars[1:]:
        if bar[1:] != changes[-1][1:]:
            changes.append(bar)
    return [(tick, min(count, 255), unit) for tick, count, unit in changes]

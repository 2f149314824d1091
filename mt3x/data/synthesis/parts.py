"""Composed parts: melodies, voices of an ensemble, strummed and picked guitars.

No one played them, but they have what a transcriber meets: every range, scale and
tempo, slurs and rests, repeated notes, trills, runs, double stops, chords that are
rolled. All of it is a function of the random generator.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mt3x.music.notes import Notes

_MODES = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 8, 11),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 2, 4, 7, 9),
    tuple(range(12)),
)
_MODE_WEIGHTS = (0.35, 0.2, 0.15, 0.1, 0.1, 0.1)
_LENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
_GUITAR = (40, 45, 50, 55, 59, 64)

Rows = list[tuple[float, float, int, float]]  # onset s, offset s, pitch, velocity


def melody(
    rng: np.random.Generator,
    duration_s: float,
    bounds: tuple[int, int],
    double_stops: float = 0.0,
) -> Notes:
    """Compose a part of one voice.

    Args:
      rng: decides everything.
      duration_s: no note begins later than this.
      bounds: the lowest and highest pitch.
      double_stops: share of notes that are played with a second one.
    """
    rows: Rows = []
    time_s = float(rng.uniform(0.1, 1.0))
    while time_s < duration_s:
        time_s = _phrase(rng, rows, time_s, bounds, double_stops)
        if rng.random() < 0.5:
            time_s += float(rng.uniform(0.1, 1.5))
    return notes_of(rows, duration_s)


def voices(
    rng: np.random.Generator, duration_s: float, bounds: Sequence[tuple[int, int]]
) -> list[Notes]:
    """Compose an ensemble: voices that share chords and beats, with passing notes.

    Args:
      rng: decides everything.
      duration_s: no note begins later than this.
      bounds: the lowest and highest pitch of each voice.

    Returns:
      The notes of each voice.
    """
    parts: list[Rows] = [[] for _ in bounds]
    last = [int(rng.integers(low, high + 1)) for low, high in bounds]
    time_s = float(rng.uniform(0.1, 0.6))
    while time_s < duration_s:
        mode, tonic = _mode(rng)
        beat_s = float(np.exp(rng.uniform(np.log(0.3), np.log(1.1))))
        loudness = float(np.clip(rng.normal(70, 16), 30, 115))
        for _ in range(int(rng.integers(4, 13))):
            length = float(rng.choice([1, 1, 1, 2, 2, 4])) * beat_s
            root = int(rng.integers(len(mode)))
            chord = [(mode[(root + 2 * k) % len(mode)] + tonic) % 12 for k in range(3)]
            for voice, (low, high) in enumerate(bounds):
                if rng.random() < 0.04:
                    continue  # a rest
                pitch = _nearest(rng, last[voice], chord, low, high)
                start_s = time_s + rng.normal(0, 0.012)
                level = loudness + rng.normal(0, 5)
                half_s = length / 2
                if rng.random() < 0.25 and length > beat_s / 2:
                    step = int(rng.choice([-2, -1, 1, 2]))
                    middle = int(np.clip(pitch + step, low, high))
                    between_s = start_s + half_s
                    parts[voice].append((start_s, between_s, pitch, level))
                    parts[voice].append((between_s, start_s + length, middle, level))
                elif rng.random() < 0.12:
                    parts[voice].append((start_s, start_s + half_s, pitch, level))
                    again_s = start_s + half_s + 0.02
                    parts[voice].append((again_s, start_s + length, pitch, level))
                else:
                    parts[voice].append((start_s, start_s + length, pitch, level))
                last[voice] = pitch
            time_s += length
        if rng.random() < 0.4:
            time_s += float(rng.uniform(0.2, 1.2))
    return [_articulated(rng, notes_of(rows, duration_s)) for rows in parts]


def guitar(rng: np.random.Generator, duration_s: float, shift: int = 0) -> Notes:
    """Compose a guitar part: strummed and picked chords, and runs on one string.

    Args:
      rng: decides everything.
      duration_s: no note begins later than this.
      shift: semitones of the instrument's tuning over a guitar's.
    """
    rows: Rows = []
    time_s = float(rng.uniform(0.1, 0.8))
    while time_s < duration_s:
        mode, tonic = _mode(rng)
        beat_s = float(np.exp(rng.uniform(np.log(0.25), np.log(0.8))))
        kind = rng.choice(["strum", "strum", "pick", "pick", "melody"])
        if kind == "melody":
            bounds = 40 + shift, 83 + shift
            time_s = _phrase(rng, rows, time_s, bounds, double_stops=0.1)
            continue
        loudness = float(np.clip(rng.normal(78, 15), 35, 115))
        for _ in range(int(rng.integers(2, 7))):
            frets = _chord_frets(rng, mode, tonic)
            pitches = [_GUITAR[s] + f + shift for s, f in frets.items()]
            num = int(rng.choice([2, 4, 8]))
            if kind == "strum":
                _strum(rng, rows, time_s, beat_s, num, pitches, loudness)
            else:
                _pick(rng, rows, time_s, beat_s, num, pitches, loudness)
            time_s += num * beat_s / 2
    return one_string_each(notes_of(rows, duration_s))


def notes_of(rows: Rows, duration_s: float) -> Notes:
    """Return the notes of rows that begin within a part, in order."""
    table_Nx4 = np.array(rows, float).reshape(-1, 4)
    table_Nx4 = table_Nx4[(table_Nx4[:, 0] >= 0) & (table_Nx4[:, 0] < duration_s)]
    table_Nx4 = table_Nx4[np.argsort(table_Nx4[:, 0], kind="stable")]
    onset_s, offset_s, pitch, velocity = table_Nx4.T
    return Notes(
        onset_s,
        np.maximum(offset_s, onset_s + 0.04),
        pitch=pitch.astype(int),
        velocity=np.clip(np.round(velocity), 1, 127).astype(int),
    )


def one_string_each(notes: Notes) -> Notes:
    """Return notes that end, at the latest, where their pitch begins again."""
    return replace(notes, offset_s=np.minimum(notes.offset_s, notes.next_onsets()))


def _mode(rng: np.random.Generator) -> tuple[tuple[int, ...], int]:
    return _MODES[rng.choice(len(_MODES), p=_MODE_WEIGHTS)], int(rng.integers(12))


def _phrase(
    rng: np.random.Generator,
    rows: Rows,
    time_s: float,
    bounds: tuple[int, int],
    double_stops: float,
) -> float:
    """Add a phrase to the rows; return when it ends."""
    mode, tonic = _mode(rng)
    low, high = bounds
    scale = [p for p in range(low, high + 1) if (p - tonic) % 12 in mode]
    if not scale:
        scale = [low]
    beat_s = float(np.exp(rng.uniform(np.log(0.25), np.log(1.0))))
    weights = rng.dirichlet(np.full(len(_LENGTHS), 0.7))
    leap = rng.uniform(0.5, 3.0)
    legato = float(rng.choice([1.0, 1.0, 0.95, 0.8, 0.5]))
    loudness = float(np.clip(rng.normal(75, 18), 25, 118))
    swell = float(rng.normal(0, 12))
    place = int(rng.integers(len(scale)))
    num = int(rng.integers(4, 24))
    for n in range(num):
        length_s = beat_s * float(rng.choice(_LENGTHS, p=weights))
        length_s = max(length_s, 0.07)
        if rng.random() < 0.03:
            time_s += length_s  # a rest
            continue
        level = loudness + swell * np.sin(np.pi * n / num) + rng.normal(0, 5)
        pitch = scale[place]
        held_s = length_s * legato
        if legato == 1.0:
            held_s += rng.uniform(-0.02, 0.04)
        if rng.random() < 0.03 and length_s > 0.4:
            other = scale[min(place + 1, len(scale) - 1)]
            step_s = float(rng.uniform(0.07, 0.14))
            for k in range(int(length_s / step_s)):
                at_s = time_s + k * step_s
                rows.append((at_s, at_s + step_s, (pitch, other)[k % 2], level))
        else:
            rows.append((time_s, time_s + held_s, pitch, level))
            if rng.random() < double_stops:
                second = pitch + int(rng.choice([-12, -9, -8, -7, -5, -4, -3, 3, 4]))
                if low <= second <= high:
                    late_s = time_s + abs(rng.normal(0, 0.012))
                    rows.append((late_s, time_s + held_s, second, level - 4))
        time_s += length_s * float(rng.uniform(0.97, 1.03))
        if rng.random() > 0.15:  # else the same pitch again
            place += int(np.round(rng.normal(0, leap)))
            place = place if 0 <= place < len(scale) else int(rng.integers(len(scale)))
    return time_s


def _nearest(
    rng: np.random.Generator, last: int, chord: list[int], low: int, high: int
) -> int:
    """Return a chord's pitch near the last one, within bounds."""
    near = sorted(
        (p for p in range(low, high + 1) if p % 12 in chord),
        key=lambda p: abs(p - last),
    )
    if not near:
        return int(np.clip(last, low, high))
    return near[min(int(rng.choice([0, 0, 1, 1, 2])), len(near) - 1)]


def _articulated(rng: np.random.Generator, notes: Notes) -> Notes:
    """Return a voice of one note at a time, slurred or detached as its player does."""
    share = float(rng.choice([1.0, 1.0, 0.95, 0.85, 0.6]))
    length_s = (notes.offset_s - notes.onset_s) * share
    length_s = length_s + rng.uniform(-0.02, 0.04, len(notes)) * (share > 0.9)
    end_s = notes.onset_s + np.maximum(length_s, 0.06)
    next_s = np.append(notes.onset_s[1:], np.inf) + 0.04
    return one_string_each(replace(notes, offset_s=np.minimum(end_s, next_s)))


def _chord_frets(
    rng: np.random.Generator, mode: tuple[int, ...], tonic: int
) -> dict[int, int]:
    """Return the frets of a chord by string, in a random position."""
    root = int(rng.integers(len(mode)))
    size = int(rng.choice([3, 3, 4]))
    chord = [(mode[(root + 2 * k) % len(mode)] + tonic) % 12 for k in range(size)]
    position = int(rng.choice([0, 0, 0, 2, 3, 5, 7]))
    frets = {}
    for string, open_pitch in enumerate(_GUITAR):
        for fret in range(position, position + 5):
            if (open_pitch + fret) % 12 in chord:
                frets[string] = fret
                break
    lowest = int(rng.integers(3))
    return {s: f for s, f in frets.items() if s >= lowest} or frets


def _strum(
    rng: np.random.Generator,
    rows: Rows,
    time_s: float,
    beat_s: float,
    num: int,
    pitches: list[int],
    loudness: float,
) -> None:
    spread_s = float(rng.uniform(0.003, 0.025))
    short = rng.random() < 0.25
    for stroke in range(num):
        if stroke and rng.random() < 0.25:
            continue
        at_s = time_s + stroke * beat_s / 2 + rng.normal(0, 0.006)
        order = pitches if stroke % 2 == 0 else pitches[::-1][: len(pitches) - 1]
        held_s = rng.uniform(0.06, 0.2) if short else beat_s * rng.uniform(0.5, 4)
        level = loudness + (6 if stroke % 2 == 0 else -6)
        for k, pitch in enumerate(order):
            start_s = at_s + k * spread_s
            velocity = level + rng.normal(0, 6)
            rows.append((start_s, at_s + held_s, pitch, velocity))


def _pick(
    rng: np.random.Generator,
    rows: Rows,
    time_s: float,
    beat_s: float,
    num: int,
    pitches: list[int],
    loudness: float,
) -> None:
    end_s = time_s + num * beat_s / 2
    for k in range(num * int(rng.choice([1, 2]))):
        step_s = beat_s / 2 if rng.random() < 0.7 else beat_s / 4
        at_s = time_s + k * step_s + rng.normal(0, 0.006)
        if at_s >= end_s:
            break
        together = 2 if rng.random() < 0.15 else 1
        for pitch in rng.choice(pitches, min(together, len(pitches)), replace=False):
            ring_s = rng.uniform(0.2, 1.0) * (end_s - at_s) + 0.1
            rows.append((at_s, at_s + ring_s, int(pitch), loudness + rng.normal(0, 8)))

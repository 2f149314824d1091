"""Drum parts on the beats of a song: played grooves stretched to it, or a pattern."""

from dataclasses import dataclass

import numpy as np

from mt3x.music.notes import Notes

KICK, RIM, SNARE, CLOSED_HAT, OPEN_HAT, CRASH, RIDE = 36, 37, 38, 42, 46, 49, 51
_TOMS = (48, 47, 45, 43)
_HIT_S = 0.1
# Keys of Groove's drum kit (Roland TD-11) that General MIDI has elsewhere.
_TO_GM = {22: CLOSED_HAT, 26: OPEN_HAT, 58: 43}
# A hit this far before a bar belongs to it: drummers come early.
_EARLY_BEATS = 0.2
_BEATS_PER_BAR = 4


@dataclass(frozen=True)
class Groove:
    """A drummer's performance in 4/4."""

    name: str
    bpm: float
    notes: Notes


def groove_drums(
    groove: Groove, beats_s: np.ndarray, bars: np.ndarray, rng: np.random.Generator
) -> Notes:
    """Lay a groove over a whole song, bar by bar, on the song's beats.

    Where the hit lies between two beats, and its velocity, stay the drummer's. The
    groove is repeated; a bar of other than four beats has as much of a bar as it holds.

    Args:
      beats_s: times of the song's beats.
      bars: which beats begin bars.
      rng: picks the bar of the groove that the song begins with.
    """
    position_N = groove.notes.onset_s * groove.bpm / 60
    bar_N = np.floor((position_N + _EARLY_BEATS) / _BEATS_PER_BAR).astype(int)
    within_N = position_N - _BEATS_PER_BAR * bar_N
    # The last bar is seldom whole.
    num_bars = max(1, int(bar_N.max(initial=0)))
    first = int(rng.integers(num_bars))
    pitch_N = np.array([_TO_GM.get(int(p), int(p)) for p in groove.notes.pitch])
    played_Nx3 = np.stack([within_N, pitch_N, groove.notes.velocity], axis=1)
    hits = [np.zeros((0, 3))]
    for index, (bar, length) in enumerate(_bars(beats_s, bars)):
        chosen_Nx3 = played_Nx3[bar_N == (first + index) % num_bars]
        for start in range(0, length, _BEATS_PER_BAR):
            fits = chosen_Nx3[:, 0] < length - start - _EARLY_BEATS
            hits.append(chosen_Nx3[fits] + [bar + start, 0, 0])
    return _notes(np.concatenate(hits), beats_s)


def pattern_drums(
    beats_s: np.ndarray, bars: np.ndarray, rng: np.random.Generator
) -> Notes:
    """Make up a part: kick, snare and cymbals of one pattern, fills and crashes.

    Args:
      beats_s: times of the song's beats.
      bars: which beats begin bars.
      rng: decides everything else.
    """
    cymbal = int(rng.choice([CLOSED_HAT, CLOSED_HAT, RIDE]))
    backbeat = int(rng.choice([SNARE, SNARE, RIM]))
    step = float(rng.choice([0.5, 0.5, 1.0, 0.25]))
    kicks = [0.0, 2.0, *rng.choice([0.5, 1.5, 2.5, 3.5], int(rng.integers(3)), False)]
    phrase = int(rng.choice([4, 8]))
    hits: list[tuple[float, int, float]] = []
    for index, (bar, length) in enumerate(_bars(beats_s, bars)):
        is_fill = index % phrase == phrase - 1 and length >= 2
        end = length - (1 if is_fill else 0)
        if index % phrase == 0:
            hits.append((bar, CRASH, 105))
        for beat in np.arange(0, end, step):
            hits.append((bar + beat, cymbal, 80 if beat % 1 == 0 else 60))
        hits += [(bar + beat, KICK, 100) for beat in kicks if beat < end]
        hits += [(bar + beat, backbeat, 100) for beat in range(1, int(end), 2)]
        if is_fill:
            toms = np.sort(rng.choice(4, 4))
            for beat, tom in zip(np.arange(end, length, 0.25), toms, strict=True):
                hits.append((bar + beat, _TOMS[tom], 95))
    hits_Nx3 = np.array(hits).reshape(-1, 3)
    hits_Nx3[:, 0] += rng.normal(0, 0.012, len(hits))
    hits_Nx3[:, 2] += rng.normal(0, 7, len(hits))
    hits_Nx3[:, 2] = np.clip(np.round(hits_Nx3[:, 2]), 1, 127)
    return _notes(hits_Nx3, beats_s)


def _bars(beats_s: np.ndarray, bars: np.ndarray) -> list[tuple[int, int]]:
    """Return the first beat of each bar, and its number of beats."""
    ends = np.append(bars, len(beats_s))[1:]
    return [(int(a), int(b - a)) for a, b in zip(bars, ends, strict=True)]


def _notes(hits_Nx3: np.ndarray, beats_s: np.ndarray) -> Notes:
    """Return hits (place in beats, pitch, velocity) as notes of one short length."""
    onset_s = times_of(hits_Nx3[:, 0], beats_s)
    inside = onset_s >= 0
    onset_s, hits_Nx3 = onset_s[inside], hits_Nx3[inside]
    return Notes(
        onset_s,
        onset_s + _HIT_S,
        pitch=hits_Nx3[:, 1],
        velocity=hits_Nx3[:, 2],
        is_drum=np.ones(len(onset_s), bool),
    )


def times_of(beat_N: np.ndarray, beats_s: np.ndarray) -> np.ndarray:
    """Return seconds of places counted in beats; outside, the tempo stays the same."""
    beat_N = np.asarray(beat_N, np.float64)
    index = np.clip(np.floor(beat_N).astype(int), 0, len(beats_s) - 2)
    length_s = beats_s[index + 1] - beats_s[index]
    return beats_s[index] + (beat_N - index) * length_s

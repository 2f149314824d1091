"""Onsets and ends that belong together.

Chords are struck at once and fall silent at once, most of all when the pedal goes up,
but are not heard so: a soft note begins some hundredths of a second early or late, by
the piano's action and by what can be made out of its first tones, and the end of a long
one is lost in its decay. So a note i heard at t_i within about s_i takes the times of
its neighbours for other hearings of its own, each by the odds that it is one:

    p_ij = N / (N + b),  N the normal density of t_j - t_i of variance s_i^2 + s_j^2
    t_i' = (t_i / s_i^2 + sum_j p_ij t_j / s_j^2) / (1 / s_i^2 + sum_j p_ij / s_j^2)

with b times a second by chance. What is loud or short draws what is soft or long, and
notes in passing stay where they are; so do onsets that would hardly move, since hands
strike chords no more exactly than that. Then ends shortly before the next onset of any
key go half way to it: legato, and pedals that change with the notes, end notes there,
but ends are heard early.
"""

import itertools

import numpy as np

from mt3x.music.notes import Notes

SOFT_ONSET_S = 0.025
"""s of the onset of a note of velocity 40; it falls to 1/e in `LOUDER` velocities."""
LOUDER = 60.0
LEAST_MOVE_S = 0.015
"""Onsets that would move less stay."""
LEAST_END_S = 0.03
"""s of the end of a short note."""
END_OF_LENGTH = 0.1
"""s of the end of a long note, by its length."""
ONSETS_BY_CHANCE_HZ = 4.0
ENDS_BY_CHANCE_HZ = 8.0
"""b of onsets and of ends."""
LEGATO_S = 0.05
"""How long before an onset an end may belong to it."""

_REACH_S = 0.3
_SHORTEST_S = 0.02


def gather(notes: Notes) -> Notes:
    """Move onsets and ends towards those that they belong to.

    Args:
      notes: of one piano, no two of a key at the same time.

    Returns:
      The same notes at other times; no two of a key sound at the same time.
    """
    if not len(notes):
        return notes
    order = np.lexsort((notes.onset_s, notes.pitch))
    onset_s, pitch = notes.onset_s[order], notes.pitch[order]
    velocity = notes.velocity[order]
    length_s = notes.offset_s[order] - onset_s

    spread_s = SOFT_ONSET_S * np.exp((40.0 - velocity) / LOUDER)
    moved_s = _together(onset_s, spread_s, pitch, ONSETS_BY_CHANCE_HZ)
    moved_s = np.where(np.abs(moved_s - onset_s) < LEAST_MOVE_S, onset_s, moved_s)
    # No further than a third of the way to another onset of the key.
    again = pitch[1:] == pitch[:-1]
    room_s = np.where(again, np.diff(onset_s) / 3, np.inf)
    moved_s[1:] = np.maximum(moved_s[1:], onset_s[1:] - room_s)
    moved_s[:-1] = np.minimum(moved_s[:-1], onset_s[:-1] + room_s)

    spread_s = np.maximum(END_OF_LENGTH * length_s, LEAST_END_S)
    end_s = _together(onset_s + length_s, spread_s, pitch, ENDS_BY_CHANCE_HZ)
    starts_s = np.append(np.sort(moved_s), np.inf)
    rest_s = starts_s[np.searchsorted(starts_s, end_s)] - end_s
    end_s += np.where(rest_s < LEGATO_S, rest_s / 2, 0.0)
    end_s = np.maximum(end_s, moved_s + _SHORTEST_S)
    next_s = np.where(again, moved_s[1:], np.inf)
    end_s[:-1] = np.minimum(end_s[:-1], next_s)
    return Notes(
        moved_s, end_s, pitch, velocity, notes.program[order], notes.is_drum[order]
    )


def _together(
    time_s: np.ndarray, spread_s: np.ndarray, pitch: np.ndarray, by_chance_hz: float
) -> np.ndarray:
    """t' of the module's docstring, in the order of `time_s`."""
    order = np.argsort(time_s, kind="stable")
    t, s, key = time_s[order], spread_s[order], pitch[order]
    weight = 1 / s**2
    total_weight, total = weight.copy(), weight * t
    for step in itertools.count(1):
        apart_s = t[step:] - t[:-step]
        if not (apart_s < _REACH_S).any():
            break
        variance = s[step:] ** 2 + s[:-step] ** 2
        density = np.exp(-0.5 * apart_s**2 / variance) / np.sqrt(2 * np.pi * variance)
        odds = density / (density + by_chance_hz)
        odds[(apart_s >= _REACH_S) | (key[step:] == key[:-step])] = 0
        early, late = slice(None, -step), slice(step, None)
        for mine, other in ((early, late), (late, early)):
            total_weight[mine] += odds * weight[other]
            total[mine] += odds * weight[other] * t[other]
    moved_s = np.empty_like(t)
    moved_s[order] = total / total_weight
    return moved_s

"""Scores as a pianist might play them.

A score's MIDI file is exact and even. Added is what performances have: swings of tempo,
a melody that is louder than its accompaniment and a little before it, phrases that
swell, hands that are not exact, legato and staccato, and a pedal that changes with the
bass. The amounts are drawn for each piece.
"""

from collections.abc import Callable

import numpy as np

from mt3x.data.synthesis.performance import clean
from mt3x.music.notes import Notes
from mt3x.music.performance import NO_PEDAL, Performance

_CHORD_S = 0.03  # what begins within this is one chord
_MIDDLE_C = 60


def humanize(score: Notes, rng: np.random.Generator) -> Performance:
    """Play a score.

    Args:
      score: notes as long as they are written; drums are left out. Where some have
        program 0 (a piano) and others not, only those are played.
      rng: decides everything.
    """
    score = score[~score.is_drum]
    if (score.program == 0).any():
        score = score[score.program == 0]
    notes = clean(score)
    if not len(notes):
        return Performance(notes, NO_PEDAL)
    chord_N = _chords(notes.onset_s)
    melody_N = notes.pitch == _highest(notes.pitch, chord_N)
    onset_s, written_s = notes.onset_s, notes.offset_s - notes.onset_s

    end_s = float(notes.offset_s.max())
    swell = _wander(rng, end_s, period_s=rng.uniform(3, 12))
    mean = notes.velocity.mean()
    velocity = mean + 0.6 * (notes.velocity - mean) + rng.uniform(2, 8) * swell(onset_s)
    velocity = velocity + rng.uniform(0, 12) * (melody_N - 0.5)
    velocity = velocity + rng.uniform(2, 6) * rng.normal(0, 1, len(notes))

    lead_s = melody_N * rng.uniform(0, 0.02)
    spread_s = rng.uniform(0.003, 0.012) * rng.normal(0, 1, len(notes))
    legato = np.where(melody_N, rng.uniform(0.85, 1.05), rng.uniform(0.6, 1.02))
    key_up_s = onset_s + written_s * legato + rng.normal(0, 0.01, len(notes))
    pedal_s = _pedal(rng, notes) if rng.random() < 0.8 else NO_PEDAL

    slowness = _wander(rng, end_s, period_s=rng.uniform(2, 8))
    clock_s = np.arange(0.0, end_s + 2.0, 0.05)
    pace = np.exp(rng.uniform(0, 0.15) * slowness(clock_s))
    played_s = np.cumsum(pace) * 0.05

    def warp(time_s: np.ndarray) -> np.ndarray:
        return np.interp(time_s, clock_s, played_s)

    start_s = np.maximum(warp(onset_s) + spread_s - lead_s, 0.0)
    stop_s = np.maximum(warp(key_up_s), start_s + 0.03)
    velocity = np.clip(np.round(velocity), 1, 127).astype(int)
    keys = clean(Notes(start_s, stop_s, notes.pitch, velocity))
    return Performance(keys, warp(pedal_s))


def _chords(onset_s: np.ndarray) -> np.ndarray:
    """Return a number for each note that all notes of its chord share."""
    order = np.argsort(onset_s, kind="stable")
    number_N = np.zeros(len(onset_s), int)
    number_N[order[1:]] = np.cumsum(np.diff(onset_s[order]) > _CHORD_S)
    return number_N


def _highest(pitch: np.ndarray, chord_N: np.ndarray) -> np.ndarray:
    """Return the highest pitch of each note's chord."""
    highest = np.zeros(chord_N.max() + 1, int)
    np.maximum.at(highest, chord_N, pitch)
    return highest[chord_N]


def _wander(
    rng: np.random.Generator, end_s: float, period_s: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a smooth random function of time, of mean 0 and deviation of about 1."""
    knots_s = np.arange(0.0, end_s + 2 * period_s, period_s / 2)
    values = rng.normal(0, 1, len(knots_s))
    fine_s = np.linspace(0.0, knots_s[-1], 8 * len(knots_s))
    smooth = np.convolve(np.interp(fine_s, knots_s, values), np.full(8, 1 / 8), "same")
    return lambda time_s: np.interp(time_s, fine_s, smooth) * 1.3


def _pedal(rng: np.random.Generator, notes: Notes) -> np.ndarray:
    """Lift the pedal as a new bass is struck, press it after; K x 2 seconds."""
    bass_s = np.unique(notes.onset_s[notes.pitch < _MIDDLE_C])
    least_s = rng.uniform(0.3, 1.5)
    changes = [0.0]
    for time_s in bass_s.tolist():
        if time_s - changes[-1] > least_s:
            changes.append(time_s)
    change_s = np.array(changes)
    up_s = change_s[1:] + rng.normal(rng.uniform(-0.02, 0.08), 0.02, len(changes) - 1)
    down_s = change_s + rng.uniform(0.1, 0.2) + rng.exponential(0.05, len(changes))
    pedal_s = np.stack([down_s[:-1], up_s], axis=1)
    # Some passages go without.
    dry = _wander(rng, float(notes.offset_s.max()), period_s=8.0)(down_s[:-1])
    return pedal_s[(pedal_s[:, 1] > pedal_s[:, 0] + 0.05) & (dry < rng.uniform(0, 2))]

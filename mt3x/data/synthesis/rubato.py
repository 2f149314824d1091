"""Pieces with beats, as they might be played: tempo, touch, and errors of hearing.

Notes are moved in beats: their places against the beats stay, and the beats get a drawn
course of tempo. Scores are also given what a player adds: chords that are not quite
together or broken, a melody ahead, grace notes, articulation, pedal, and loudness.
"""

from dataclasses import replace

import numpy as np

from mt3x.data.beat_pieces import BeatPiece
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes

__all__ = ["perform_clip"]

_CHORD_BEATS = 0.02  # what begins within this is one chord
_GROUPS = (8, 16, 32)  # beats of phrases
_TYPICAL_BEAT_S, _TYPICAL_RATE_HZ = 0.6, 4.5


def perform_clip(
    piece: BeatPiece,
    rng: np.random.Generator,
    length_s: float,
    groove: BeatPiece | None = None,
) -> tuple[Notes, Beats]:
    """Play a part of a piece, drawn at random.

    Args:
      piece: a score or a performance.
      rng: decides everything.
      length_s: of the part; it may end earlier, where the piece does.
      groove: drums to go with it, one bar after another.

    Returns:
      Notes and beats that begin near 0; some lie before 0 or after the end.
    """
    notes, beats = piece.notes, piece.beats
    is_piano = notes.program == 0
    if is_piano.any() and not is_piano.all() and rng.random() < 0.75:
        notes = notes[is_piano]
    onset_beat = beats.beat_at(notes.onset_s)
    offset_beat = beats.beat_at(notes.offset_s)

    period_s = _draw_period(piece, onset_beat, rng)
    num = int(1.5 * length_s / np.median(period_s)) + 8
    first, last = -2, len(beats) + 1  # the tempo before and after beats is theirs
    start = int(rng.integers(first, max(last - int(0.6 * num), first + 1)))
    stop = min(start + num, last)
    index = np.arange(start, stop + 1)
    interval_s = period_s[np.clip(index[:-1], 0, len(period_s) - 1)]
    position = beats.position[np.clip(index[:-1], 0, len(beats) - 1)]
    ends = stop == last
    interval_s = interval_s * np.exp(_tempo_curve(rng, position, piece.is_score, ends))
    time_s = np.concatenate([[0.0], np.cumsum(interval_s)]) + rng.uniform(-1, 1)
    played = Beats(time_s, np.ones(len(time_s), int), 1)  # as a map of time alone

    kept = (onset_beat >= start) & (onset_beat < stop)
    notes, onset_beat, offset_beat = notes[kept], onset_beat[kept], offset_beat[kept]
    onset_beat = _swing(rng, onset_beat, piece.is_score)
    onset_s = played.time_at(onset_beat - start)
    offset_s = np.maximum(played.time_at(offset_beat - start), onset_s)
    notes = _Parallel(notes, onset_s, offset_s)
    if piece.is_score:
        metre = beats.position[
            np.clip(np.round(onset_beat).astype(int), 0, len(beats) - 1)
        ]
        on_beat = np.abs(onset_beat - np.round(onset_beat)) < 0.02
        accent = np.where(on_beat, 1.0 + (metre == 1), 0.0)
        _play_score(notes, rng, onset_beat, accent, played.time_s)
    found = notes.made()
    if groove is not None:
        found = Notes.concatenate([found, _drums(groove, beats, played, start, stop)])
    found = _mishear(found, rng)
    real = (index >= 0) & (index < len(beats))
    if real.sum() < 2:
        real[:] = True
    position = beats.position[np.clip(index, 0, len(beats) - 1)]
    return found, replace(beats, time_s=time_s[real], position=position[real])


class _Parallel:
    """Notes on their way from a score to a performance: arrays that may change."""

    def __init__(self, notes: Notes, onset_s: np.ndarray, offset_s: np.ndarray) -> None:
        self.onset_s, self.offset_s = onset_s.copy(), offset_s.copy()
        self.pitch, self.is_drum = notes.pitch, notes.is_drum
        self.program = notes.program
        self.velocity = notes.velocity.astype(float)

    def made(self) -> Notes:
        return Notes(
            self.onset_s,
            np.maximum(self.offset_s, self.onset_s + 0.03),
            self.pitch,
            np.clip(np.round(self.velocity), 1, 127),
            self.program,
            self.is_drum,
        )


def _draw_period(
    piece: BeatPiece, onset_beat: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return seconds of each beat, before rubato."""
    period_s = np.diff(piece.beats.time_s)
    if not piece.is_score:
        return period_s * np.exp(rng.uniform(-0.3, 0.3))
    # Few notes in a beat: it is fast. Many: it is slow.
    num_onsets = len(np.unique(np.round(onset_beat, 2)))
    by_notes_s = max(num_onsets / len(piece.beats), 0.3) / _TYPICAL_RATE_HZ
    typical = 0.5 * np.log(by_notes_s) + 0.5 * np.log(_TYPICAL_BEAT_S)
    drawn = np.exp(typical + rng.normal(0, 0.5))
    # Where the meter changes, so may the length of a beat, in quarter notes.
    return period_s / np.median(period_s) * float(np.clip(drawn, 0.18, 2.0))


def _tempo_curve(
    rng: np.random.Generator, position: np.ndarray, is_score: bool, ends: bool
) -> np.ndarray:
    """Return the logarithm of how much longer each beat is than on average."""
    num = len(position)
    amount = rng.uniform(0.2, 2.4) if is_score else rng.uniform(0, 0.8)
    if rng.random() < (0.1 if is_score else 0.4):
        amount = 0.0
    index = np.arange(num)
    curve = np.zeros(num)
    for _ in range(2):  # slow and quick swings
        knots = np.arange(0, num + 64, rng.uniform(2, 20))
        curve += rng.uniform(0, 0.12) * np.interp(
            index, knots, rng.normal(0, 1, len(knots))
        )
    phrase = (index + rng.integers(32)) % rng.choice(_GROUPS) / rng.choice(_GROUPS)
    curve += rng.uniform(0, 0.25) * np.clip(phrase, 0, 1) ** rng.uniform(2, 6)
    curve += rng.uniform(0, 0.1) * rng.normal(0, 1, num)
    curve += rng.uniform(-0.04, 0.1) * (position == 1)
    slows = rng.random(num) < rng.uniform(0, 0.03)  # a ritardando, and a tempo
    for end in np.flatnonzero(slows):
        length = int(rng.integers(1, 7))
        ramp = np.clip(1 - (end - index) / length, 0, 1) * (index <= end)
        curve += rng.uniform(0.1, 0.6) * ramp
    if ends and rng.random() < 0.7:
        length = rng.uniform(2, 10)
        curve += rng.uniform(0, 0.6) * np.clip(1 - (num - 3 - index) / length, 0, 1)
    holds = rng.random(num) < rng.uniform(0, 0.01)
    curve += holds * rng.uniform(0.2, 1.0, num)
    changes = np.cumsum((rng.random(num) < 0.006) * rng.normal(0, 0.35, num))
    return amount * (curve + changes * (rng.random() < 0.3))


def _swing(
    rng: np.random.Generator, onset_beat: np.ndarray, is_score: bool
) -> np.ndarray:
    """Shift what lies between beats, as players do in a beat's course."""
    if not len(onset_beat) or rng.random() < (0.3 if is_score else 0.7):
        return onset_beat
    phase = onset_beat - np.floor(onset_beat)
    of_beat = rng.normal(0, 0.06, int(np.ptp(onset_beat)) + 3)
    each = of_beat[np.floor(onset_beat - onset_beat.min()).astype(int)]
    depth = np.clip(rng.normal(0, 0.08) + each, -0.3, 0.3)
    return onset_beat + depth * np.sin(np.pi * phase) ** 2


def _play_score(
    notes: _Parallel,
    rng: np.random.Generator,
    onset_beat: np.ndarray,
    accent: np.ndarray,
    beat_s: np.ndarray,
) -> None:
    """Add touch, articulation, pedal and loudness to a score's even notes."""
    num = len(notes.onset_s)
    if not num:
        return
    chord = np.cumsum(np.diff(onset_beat, prepend=onset_beat[0]) > _CHORD_BEATS)
    top, bottom = np.zeros(chord[-1] + 1), np.full(chord[-1] + 1, 128)
    np.maximum.at(top, chord, notes.pitch)
    np.minimum.at(bottom, chord, notes.pitch)
    is_top, is_bottom = notes.pitch == top[chord], notes.pitch == bottom[chord]
    length_s = notes.offset_s - notes.onset_s
    is_grace = length_s < 1e-6

    shift_s = rng.uniform(0.001, 0.018) * rng.normal(0, 1, num)
    shift_s += rng.uniform(0, 0.03) * (rng.random() < 0.6) * -is_top.astype(float)
    # All of a chord, a bit early or late.
    shift_s += rng.uniform(0, 0.02) * rng.normal(0, 1, chord[-1] + 1)[chord]
    broken = rng.random(chord[-1] + 1) < rng.choice([0.0, 0.03, 0.3])
    spread_s = rng.uniform(0.01, 0.12)
    height = (notes.pitch - bottom[chord]) / np.maximum(top - bottom, 1)[chord]
    shift_s += broken[chord] * spread_s * (height - rng.choice([0.0, 1.0]))
    # Of a run of grace notes the last one is played last.
    order = np.zeros(num)
    for i in np.flatnonzero(is_grace)[::-1]:
        order[i] = 1 + (order[i + 1] if i + 1 < num and is_grace[i + 1] else 0)
    shift_s -= rng.uniform(0.05, 0.14) * order
    notes.onset_s += shift_s

    touch = rng.choice([rng.uniform(0.3, 0.7), rng.uniform(0.8, 1.05)])
    length_s = length_s * np.clip(touch + 0.1 * rng.normal(0, 1, num), 0.1, 1.2)
    length_s[is_grace] = 0.08
    notes.offset_s = notes.onset_s + length_s
    if rng.random() < 0.5 and len(beat_s) > 2:
        # Pedal, changed every few beats.
        change_s = beat_s[:: int(rng.integers(1, 5))] + 0.05
        until = np.searchsorted(change_s, notes.offset_s)
        held = until < len(change_s)
        held &= rng.random(num) < 0.9
        notes.offset_s[held] = change_s[until[held]]

    velocity = rng.uniform(45, 85) + rng.uniform(0, 16) * is_top
    velocity += rng.uniform(-4, 10) * is_bottom + rng.uniform(0, 6) * accent
    knots = np.arange(num // 10 + 3) * 10
    swell = np.interp(np.arange(num), knots, rng.normal(0, 1, len(knots)))
    velocity += rng.uniform(0, 14) * swell + rng.uniform(1, 8) * rng.normal(0, 1, num)
    notes.velocity = velocity


def _drums(
    groove: BeatPiece, beats: Beats, played: Beats, start: int, stop: int
) -> Notes:
    """Return drums for the beats from `start` to `stop`."""
    per_bar = beats.beats_per_bar
    known = len(groove.beats) // per_bar * per_bar
    drum_beat = groove.beats.beat_at(groove.notes.onset_s)
    downs = np.flatnonzero(beats.position == 1)
    downs = downs[(downs >= start) & (downs < stop)]
    parts = [Notes.empty()]
    for number, down in enumerate(downs.tolist()):
        begin = number * per_bar % max(known, per_bar)
        bar = (drum_beat >= begin - 0.05) & (drum_beat < begin + per_bar - 0.05)
        onset_s = played.time_at(drum_beat[bar] - begin + down - start)
        notes = groove.notes[bar]
        if len(notes):
            parts.append(replace(notes, onset_s=onset_s, offset_s=onset_s + 0.1))
    return Notes.concatenate(parts)


def _mishear(notes: Notes, rng: np.random.Generator) -> Notes:
    """Lose, add, shift and transpose notes, as a transcription might."""
    if rng.random() < 0.7:
        notes = notes[rng.random(len(notes)) >= rng.uniform(0, 0.15)]
    if len(notes) and rng.random() < 0.4:
        extra = notes[rng.random(len(notes)) < rng.uniform(0, 0.1)]
        moved = rng.choice([12, 19, 24, -12, 7, 0], len(extra))
        pitch = np.where(
            extra.is_drum, extra.pitch, np.clip(extra.pitch + moved, 0, 127)
        )
        late_s = rng.exponential(0.1, len(extra)) * (rng.random(len(extra)) < 0.5)
        onset_s = extra.onset_s + late_s
        extra = replace(extra, pitch=pitch, onset_s=onset_s, offset_s=onset_s + 0.1)
        notes = Notes.concatenate([notes, extra])
    jitter_s = rng.uniform(0, 0.012) * rng.normal(0, 1, len(notes))
    length_s = notes.offset_s - notes.onset_s
    onset_s = notes.onset_s + jitter_s
    velocity = notes.velocity
    if rng.random() < 0.15:
        velocity = np.full(len(notes), 100)
    notes = replace(
        notes, onset_s=onset_s, offset_s=onset_s + length_s, velocity=velocity
    )
    if rng.random() < 0.1 and len(notes):
        # One hand, or one voice.
        split = np.median(notes.pitch) + rng.integers(-8, 9)
        above = notes[(notes.pitch > split) | notes.is_drum]
        notes = above if len(above) > 8 else notes
    return notes.transposed(int(rng.integers(-6, 7)))

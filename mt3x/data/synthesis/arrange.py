"""Songs for a band, made of a piano version: melody, chords, bass and drums.

What is given (`LeadSheet`) is as in POP909 (Wang et al. 2020, arXiv:2008.07142): the
sung melody, a second voice and a piano accompaniment that someone played, with the
beats. All parts keep its key and its beats, and where it has notes of a person, their
timing and velocities. Everything is a function of the random generator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mt3x.data.synthesis.drums import Groove, groove_drums, pattern_drums, times_of
from mt3x.music.notes import Notes

PARTS = ("drums", "bass", "chords", "melody")

# Lowest and highest pitch that an instrument is asked for, by General MIDI family (of
# 8 programs) and for programs that differ from their family.
# fmt: off
_FAMILY_RANGES = (
    (21, 108), (48, 96), (36, 96), (40, 86), (28, 55), (36, 96), (36, 91), (46, 84),
    (49, 80), (60, 96), (43, 96), (36, 91),
    (0, 127), (0, 127), (0, 127), (0, 127),  # sound effects and the like
)
_PROGRAM_RANGES = {
    40: (55, 96), 41: (48, 86), 42: (36, 76), 43: (28, 60), 57: (40, 72), 58: (28, 58),
    60: (41, 77), 64: (56, 88), 66: (44, 76), 67: (36, 69), 68: (58, 91), 69: (52, 81),
    70: (34, 72), 71: (50, 91), 72: (74, 108),
}
# fmt: on
_BASS_LOW = 28  # E1, the lowest string
_CHORDS_LOW = 45  # below it the bass plays
_LEAD_IN_S = 0.2
# (beat, length, semitones above the root) within half a bar of two beats.
_BASS_PATTERNS: Sequence[Sequence[tuple[float, float, int]]] = (
    [(0, 2, 0)],
    [(0, 1, 0), (1, 1, 0)],
    [(0, 1.5, 0), (1.5, 0.5, 0)],
    [(0, 1, 0), (1, 1, 7)],
    [(0, 0.5, 0), (0.5, 0.5, 0), (1, 0.5, 0), (1.5, 0.5, 0)],
    [(0, 0.5, 0), (0.5, 0.5, 12), (1, 0.5, 0), (1.5, 0.5, 12)],
    [(0, 0.75, 0), (0.75, 0.75, 0), (1.5, 0.5, 7)],
)


@dataclass(frozen=True)
class LeadSheet:
    """A song as it is given."""

    melody: Notes
    bridge: Notes  # plays where the melody rests
    piano: Notes
    beats_s: np.ndarray  # times of the beats, two or more
    bars: np.ndarray  # which beats begin bars, rising

    @property
    def bpm(self) -> float:
        return 60 / float(np.median(np.diff(self.beats_s)))


def arrange(
    lead: LeadSheet,
    programs: Mapping[str, int],
    rng: np.random.Generator,
    duration_s: float,
    groove: Groove | None = None,
    semitones: int = 0,
) -> dict[str, Notes]:
    """Return part of a song, as a band plays it.

    Args:
      lead: the song.
      programs: parts that play (of `PARTS`) and the program of each.
      rng: decides where the part begins (at a bar), bass lines and drum patterns.
      duration_s: length of the part; less where the song is shorter.
      groove: what the drums play; a pattern is made up without it.
      semitones: transposition of all parts except the drums.

    Returns:
      The notes of each part, from time 0 on.
    """
    lead = _transposed(lead, semitones)
    parts = {}
    if "drums" in programs:
        if groove is not None:
            parts["drums"] = groove_drums(groove, lead.beats_s, lead.bars, rng)
        else:
            parts["drums"] = pattern_drums(lead.beats_s, lead.bars, rng)
    if "bass" in programs:
        parts["bass"] = bass_line(lead, rng)
    if "chords" in programs:
        low = _CHORDS_LOW if "bass" in programs else 0
        parts["chords"] = lead.piano[lead.piano.pitch >= low]
    if "melody" in programs:
        parts["melody"] = one_voice(lead.melody, lead.bridge)
    start_s = _start(lead, rng, duration_s)
    played = {}
    for name, notes in parts.items():
        notes = notes.clip(start_s, start_s + duration_s).shift(-start_s)
        if name != "drums":
            notes = fit_range(notes, *pitch_range(programs[name]))
        program = np.full(len(notes), programs[name])
        played[name] = replace(notes, program=program)
    return played


def bass_line(lead: LeadSheet, rng: np.random.Generator) -> Notes:
    """Return roots under the chords: the piano's lowest key in each half bar.

    The song has two patterns that take turns every eight bars. A bass note begins with
    the piano's note near it where there is one, and is as loud as the piano there.
    """
    piano = lead.piano
    if not len(piano):
        return Notes.empty()
    patterns = rng.choice(len(_BASS_PATTERNS), 2, replace=False)
    mean = float(piano.velocity.mean())
    rows = []
    for beat, length, bar in _half_bars(lead):
        start_s, end_s = times_of(np.array([beat, beat + length]), lead.beats_s)
        sounding = (piano.onset_s < end_s - 0.05) & (piano.offset_s > start_s + 0.05)
        if not sounding.any():
            continue
        pitches = piano.pitch[sounding]
        root = _BASS_LOW + (int(pitches.min()) - _BASS_LOW) % 12
        loudness = 85 + 0.6 * (float(piano.velocity[sounding].mean()) - mean)
        for at, held, interval in _BASS_PATTERNS[patterns[bar // 8 % 2]]:
            if at >= length:
                continue
            if interval == 7 and (root + 7) % 12 not in pitches % 12:
                interval = 0  # no fifth in this chord
            accent = 8 if at == 0 else 0
            held = min(held, length - at)
            rows.append((beat + at, held, root + interval, loudness + accent))
    beat_N, held_N, pitch_N, velocity_N = np.array(rows).reshape(-1, 4).T
    onset_s = _with_the_piano(times_of(beat_N, lead.beats_s), piano, rng)
    offset_s = times_of(beat_N + 0.92 * held_N, lead.beats_s)
    velocity_N = np.round(velocity_N + rng.normal(0, 5, len(rows)))
    return Notes(
        onset_s,
        np.maximum(offset_s, onset_s + 0.05),
        pitch_N,
        np.clip(velocity_N, 1, 127),
    )


def _half_bars(lead: LeadSheet) -> list[tuple[int, int, int]]:
    """Return (first beat, number of beats, index of its bar) of half bars."""
    spans = []
    ends = np.append(lead.bars, len(lead.beats_s) - 1)[1:]
    for bar, (first, last) in enumerate(zip(lead.bars, ends, strict=True)):
        spans += [(b, min(2, last - b), bar) for b in range(first, last, 2)]
    return spans


def _with_the_piano(
    onset_s: np.ndarray, piano: Notes, rng: np.random.Generator
) -> np.ndarray:
    """Move onsets to the nearest one of the piano within 40 ms, and a little off."""
    strokes_s = piano.onset_s
    after = np.searchsorted(strokes_s, onset_s).clip(0, len(strokes_s) - 1)
    before = (after - 1).clip(0)
    closer = np.abs(strokes_s[before] - onset_s) < np.abs(strokes_s[after] - onset_s)
    nearest_s = strokes_s[np.where(closer, before, after)]
    together_s = np.where(np.abs(nearest_s - onset_s) < 0.04, nearest_s, onset_s)
    return together_s + rng.normal(0, 0.004, len(onset_s))


def one_voice(melody: Notes, filler: Notes) -> Notes:
    """Return a melody with another one in its rests, one note at a time.

    A note ends where the next one begins; of notes that begin within 30 ms of each
    other the highest stays.
    """
    busy_from_s, busy_until_s = melody.onset_s - 0.1, melody.offset_s + 0.1
    free = [
        not np.any((busy_from_s < off_s) & (busy_until_s > on_s))
        for on_s, off_s in zip(filler.onset_s, filler.offset_s, strict=True)
    ]
    notes = Notes.concatenate([melody, filler[np.array(free, bool)]])
    kept: list[int] = []
    for n in range(len(notes)):
        if kept and notes.onset_s[n] - notes.onset_s[kept[-1]] < 0.03:
            if notes.pitch[n] > notes.pitch[kept[-1]]:
                kept[-1] = n
        else:
            kept.append(n)
    notes = notes[np.array(kept, int)]
    next_s = np.append(notes.onset_s[1:], np.inf)
    return replace(notes, offset_s=np.minimum(notes.offset_s, next_s))


def pitch_range(program: int) -> tuple[int, int]:
    """Return the lowest and highest pitch that an instrument is asked for."""
    return _PROGRAM_RANGES.get(program) or _FAMILY_RANGES[program // 8]


def fit_range(notes: Notes, low: int, high: int) -> Notes:
    """Move notes by the octaves that bring most into a range; drop the others."""
    shifts = sorted(range(-4, 5), key=abs)
    inside = [
        ((notes.pitch + 12 * s >= low) & (notes.pitch + 12 * s <= high)).sum()
        for s in shifts
    ]
    shift = 12 * shifts[int(np.argmax(inside))]
    pitch = notes.pitch + shift
    kept = (pitch >= low) & (pitch <= high)
    return replace(notes[kept], pitch=pitch[kept])


def _start(lead: LeadSheet, rng: np.random.Generator, duration_s: float) -> float:
    """Return where a part begins: shortly before a bar, early enough to fill it."""
    bars_s = lead.beats_s[lead.bars] - _LEAD_IN_S
    played = [part for part in (lead.melody, lead.bridge, lead.piano) if len(part)]
    begin_s = min((float(part.onset_s[0]) for part in played), default=0.0)
    end_s = max((float(part.offset_s.max()) for part in played), default=0.0)
    fits = bars_s[(bars_s <= end_s - duration_s) & (bars_s >= begin_s - 1)]
    if len(fits):
        return float(rng.choice(fits))
    return max(0.0, begin_s - _LEAD_IN_S)


def _transposed(lead: LeadSheet, semitones: int) -> LeadSheet:
    return replace(
        lead,
        melody=lead.melody.transposed(semitones),
        bridge=lead.bridge.transposed(semitones),
        piano=lead.piano.transposed(semitones),
    )

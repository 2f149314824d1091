"""Textures: the ways in which pianists fill a passage, with random notes.

A `Section` is a passage with its scale, chords, tempo and dynamics; `random_textures`
fills it. Everything is a function of the random generator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mt3x.data.synthesis.performance import HIGHEST_KEY, LOWEST_KEY

_MODES = (
    (0, 2, 4, 5, 7, 9, 11),  # major
    (0, 2, 3, 5, 7, 8, 10),  # minor
    (0, 2, 3, 5, 7, 8, 11),  # harmonic minor
    (0, 2, 4, 6, 8, 10),  # whole tones
    tuple(range(12)),  # chromatic
)
_MODE_WEIGHTS = (0.42, 0.2, 0.2, 0.04, 0.14)

# Rows of a texture: onset s, key-up s, pitch, velocity.
Rows = np.ndarray
EMPTY: Rows = np.zeros((0, 4))


@dataclass(frozen=True)
class Section:
    """What the textures of one passage share."""

    length_s: float
    beat_s: float
    scale: np.ndarray  # pitches of the scale over the whole keyboard
    chords: tuple[np.ndarray, ...]  # pitches over the keyboard, one for each bar
    bar_s: float
    velocity: float  # at the start
    slope: float  # velocity change over the passage

    def chord_at(self, time_s: float) -> np.ndarray:
        return self.chords[min(int(time_s / self.bar_s), len(self.chords) - 1)]


def random_section(rng: np.random.Generator, character: float) -> Section:
    length_s = float(rng.uniform(3, 14))
    beat_s = float(np.exp(rng.uniform(np.log(0.28), np.log(1.1))))
    mode = _MODES[rng.choice(len(_MODES), p=_MODE_WEIGHTS)]
    tonic = int(rng.integers(12))
    pitches = np.arange(LOWEST_KEY, HIGHEST_KEY + 1)
    scale = pitches[np.isin((pitches - tonic) % 12, mode)]
    bar_s = beat_s * int(rng.choice([1, 2, 3, 4]))
    num_bars = int(np.ceil(length_s / bar_s))
    chords = []
    for _ in range(num_bars):
        root = int(rng.integers(len(mode)))
        size = int(rng.choice([3, 4, 5], p=[0.65, 0.28, 0.07]))
        classes = [(mode[(root + 2 * k) % len(mode)] + tonic) % 12 for k in range(size)]
        if rng.random() < 0.12:  # diminished seventh or augmented triad
            step = int(rng.choice([3, 4]))
            classes = [(tonic + root + step * k) % 12 for k in range(12 // step)]
        chords.append(pitches[np.isin(pitches % 12, classes)])
    velocity = float(np.clip(rng.normal(54 + character, 16), 12, 112))
    slope = float(rng.normal(0, 18))
    return Section(length_s, beat_s, scale, tuple(chords), bar_s, velocity, slope)


def random_rubato(
    rng: np.random.Generator, section: Section
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a smooth, increasing map of time: small swings of tempo."""
    depth = rng.uniform(0, 0.12)
    period_s = rng.uniform(2, 8)
    phase = rng.uniform(0, 2 * np.pi)
    rate = 2 * np.pi / period_s

    def warp(time_s: np.ndarray) -> np.ndarray:
        swing = np.sin(rate * time_s + phase) - np.sin(phase)
        return time_s + depth / rate * swing

    return warp


def random_pedal(rng: np.random.Generator, section: Section) -> np.ndarray:
    """Return K x 2 times of pedal down and up within a section."""
    style = rng.choice(["none", "bars", "long", "flutter"], p=[0.27, 0.45, 0.18, 0.1])
    if style == "none":
        return np.zeros((0, 2))
    if style == "bars":  # up with the new chord, down just after
        ups = np.arange(1, len(section.chords) + 1) * section.bar_s
        downs = ups - section.bar_s + rng.uniform(0.04, 0.25, len(ups))
        ups = ups + rng.uniform(-0.03, 0.08, len(ups))
    elif style == "long":
        edges = np.cumsum(rng.uniform(1.5, 6.0, 12))
        downs, ups = np.append(0.0, edges[:-1] + 0.2), edges
    else:
        edges = np.cumsum(rng.uniform(0.08, 0.9, 2 * int(section.length_s) + 2))
        downs, ups = edges[::2], edges[1::2]
    pedal = np.stack([downs, np.minimum(ups, section.length_s + 0.05)], axis=1)
    return pedal[pedal[:, 1] > pedal[:, 0] + 0.02]


def random_textures(rng: np.random.Generator, section: Section) -> list[Rows]:
    """Return the parts of a section: a whole-keyboard texture, or two hands."""
    kind = rng.choice(
        ["hands", "counterpoint", "run", "sparse", "uniform", "hymn"],
        p=[0.62, 0.1, 0.08, 0.07, 0.07, 0.06],
    )
    if kind == "counterpoint":
        centers = np.sort(rng.uniform(38, 86, int(rng.integers(2, 5))))
        return [_melody(rng, section, center) for center in centers]
    if kind == "run":
        return [_runs(rng, section, rng.uniform(40, 90), both=rng.random() < 0.5)]
    if kind == "sparse":
        return [_sparse(rng, section)]
    if kind == "uniform":
        return [_uniform(rng, section)]
    if kind == "hymn":
        size = int(rng.integers(3, 9))
        return [_chords(rng, section, rng.uniform(48, 70), size=size, span=30)]
    left_center, right_center = rng.uniform(31, 55), rng.uniform(60, 92)
    left = _LEFT[rng.choice(len(_LEFT), p=_LEFT_WEIGHTS)]
    right = _RIGHT[rng.choice(len(_RIGHT), p=_RIGHT_WEIGHTS)]
    left_rows = left(rng, section, left_center)
    right_rows = right(rng, section, right_center)
    left_rows[:, 3] -= rng.normal(9, 9)  # the melody lies above
    return [left_rows, right_rows]


def _rows(
    section: Section,
    onset_s: np.ndarray,
    length_s: np.ndarray | float,
    pitch: np.ndarray,
    accent: np.ndarray | float = 0.0,
) -> Rows:
    onset_s = np.asarray(onset_s, float)
    velocity = section.velocity + section.slope * onset_s / section.length_s + accent
    columns = np.broadcast_arrays(onset_s, onset_s + length_s, pitch, velocity)
    return np.stack(columns, axis=1).astype(float).reshape(-1, 4)


def _grid(
    rng: np.random.Generator, section: Section, steps: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Fill a section in random runs of beat fractions; return onsets and lengths."""
    lengths: list[float] = []
    while sum(lengths) < section.length_s:
        step = float(rng.choice(steps)) * section.beat_s
        step = max(step, 0.07)
        lengths += [step] * int(rng.integers(1, 7))
    length_s = np.array(lengths)
    return np.cumsum(length_s) - length_s, length_s


def _near(pitches: np.ndarray, center: float) -> int:
    return int(np.argmin(np.abs(pitches - center)))


def _melody(rng: np.random.Generator, section: Section, center: float) -> Rows:
    onset_s, length_s = _grid(rng, section, (0.25, 1 / 3, 0.5, 0.5, 1.0, 1.5, 2.0))
    step = rng.choice([-4, -3, -2, -1, 0, 1, 2, 3, 4], size=len(onset_s))
    index = _near(section.scale, center) + np.cumsum(step)
    low, high = _near(section.scale, center - 11), _near(section.scale, center + 13)
    span = max(high - low, 1)
    index = low + np.abs((index - low) % (2 * span) - span)  # reflect at the edges
    articulation = rng.choice([0.35, 0.7, 0.95, 1.05])
    accent = rng.normal(4, 5, len(onset_s))
    held_s = length_s * articulation
    parts = [_rows(section, onset_s, held_s, section.scale[index], accent)]
    doubling = rng.choice([0, 2, 5, 7], p=[0.62, 0.15, 0.11, 0.12])
    if doubling:  # thirds, sixths, octaves below, in steps of the scale
        below = section.scale[np.maximum(index - doubling, 0)]
        parts.append(_rows(section, onset_s + 0.004, held_s, below, accent - 5))
    graced = (rng.random(len(onset_s)) < 0.06) & (length_s > 0.2)
    if graced.any():
        upper = section.scale[np.minimum(index[graced] + 1, len(section.scale) - 1)]
        early_s = onset_s[graced] - rng.uniform(0.05, 0.11)
        parts.append(_rows(section, early_s, 0.06, upper, -6))
    return np.concatenate(parts)


def _chords(
    rng: np.random.Generator,
    section: Section,
    center: float,
    size: int | None = None,
    span: float = 13,
) -> Rows:
    onset_s, length_s = _grid(rng, section, (0.5, 1.0, 1.0, 2.0, 3.0))
    articulation = rng.choice([0.3, 0.6, 0.95])
    rolled_s = float(rng.choice([0.0, 0.0, 0.0, 0.012, 0.04]))
    size = size or int(rng.integers(2, 6))
    parts = [EMPTY]
    for time_s, held_s in zip(onset_s, length_s, strict=True):
        middle = center + rng.normal(0, 4)
        chord = section.chord_at(time_s)
        chord = chord[np.abs(chord - middle) <= span / 2]
        num = min(size, len(chord))
        pitch = np.sort(rng.choice(chord, num, replace=False)) if num else chord
        spread_s = np.arange(num) * rolled_s + rng.normal(0, 0.005, num)
        accent = rng.normal(0, 4) + np.linspace(-3, 3, num)
        held = held_s * articulation - spread_s
        parts.append(_rows(section, time_s + spread_s, held, pitch, accent))
    return np.concatenate(parts)


def _arpeggio(rng: np.random.Generator, section: Section, center: float) -> Rows:
    note_s = max(section.beat_s / int(rng.choice([2, 3, 4, 6, 8])), 0.06)
    onset_s = np.arange(0, section.length_s, note_s)
    span = rng.uniform(8, 22)
    up_down = rng.random() < 0.6
    shuffle = rng.permutation(32) if rng.random() < 0.25 else np.arange(32)
    pitch = np.zeros(len(onset_s))
    for i, time_s in enumerate(onset_s):
        chord = section.chord_at(time_s)
        chord = chord[(chord >= center - span / 2) & (chord <= center + span / 2)]
        if not len(chord):
            continue
        place = int((time_s % section.bar_s) / note_s + 1e-6)
        num = len(chord)
        if up_down and num > 1:
            place = num - 1 - abs(place % (2 * num - 2) - (num - 1))
        pitch[i] = chord[shuffle[place % 32] % num]
    held_s = note_s * rng.choice([0.6, 0.95, 1.1, 3.0])
    accent = np.where(np.arange(len(onset_s)) % 4 == 0, 5.0, 0.0)
    return _rows(section, onset_s, held_s, pitch, accent)


def _alberti(rng: np.random.Generator, section: Section, center: float) -> Rows:
    note_s = max(section.beat_s / int(rng.choice([2, 4])), 0.08)
    onset_s = np.arange(0, section.length_s, note_s)
    order = (0, 2, 1, 2)
    pitch = np.zeros(len(onset_s))
    for i, time_s in enumerate(onset_s):
        chord = section.chord_at(time_s)
        first = _near(chord, center)
        pitch[i] = chord[min(first + order[i % 4], len(chord) - 1)]
    return _rows(section, onset_s, note_s * 0.95, pitch)


def _bass(rng: np.random.Generator, section: Section, center: float) -> Rows:
    """Play low notes or octaves on the bar with chords after them."""
    bars_s = np.arange(len(section.chords)) * section.bar_s
    parts = [EMPTY]
    octave = rng.random() < 0.6
    for time_s in bars_s:
        chord = section.chord_at(time_s + 1e-6)
        root = chord[_near(chord, rng.normal(center - 7, 4))]
        pitch = np.array([root, root - 12]) if octave else np.array([root])
        held_s = section.bar_s * rng.choice([0.4, 0.9])
        parts.append(_rows(section, np.full(len(pitch), time_s), held_s, pitch, 4))
        for beat in np.arange(section.beat_s, section.bar_s - 0.01, section.beat_s):
            upper = chord[(chord > root + 5) & (chord < root + 24)][:3]
            onset_s = np.full(len(upper), time_s + beat) + rng.normal(0, 0.004)
            parts.append(_rows(section, onset_s, section.beat_s * 0.5, upper, -6))
    return np.concatenate(parts)


def _runs(
    rng: np.random.Generator, section: Section, center: float, both: bool = False
) -> Rows:
    rate_hz = rng.uniform(6, 17)
    time_s, parts = 0.0, [EMPTY]
    step = int(rng.choice([1, 1, 1, 2]))
    scale = section.scale
    if rng.random() < 0.12:  # glissando over white or black keys
        rate_hz = rng.uniform(17, 32)
        step = 1
        is_white = np.isin(scale % 12, (0, 2, 4, 5, 7, 9, 11))
        is_kept = is_white == (rng.random() < 0.7)
        scale = scale[is_kept] if is_kept.sum() > 20 else scale
    index = _near(scale, center)
    while time_s < section.length_s:
        num = int(rng.integers(6, 40))
        direction = step * int(rng.choice([-1, 1]))
        places = index + direction * np.arange(num)
        places = places[(places >= 0) & (places < len(scale))]
        if len(places) < 3:
            index = _near(scale, center)
            time_s += section.beat_s
            continue
        index = int(places[-1])
        onset_s = time_s + np.arange(len(places)) / rate_hz
        held_s = rng.choice([0.6, 1.0, 1.3]) / rate_hz
        accent = np.linspace(0, rng.normal(0, 12), len(places))
        parts.append(_rows(section, onset_s, held_s, scale[places], accent))
        if both:
            lower = np.maximum(places - int(rng.choice([2, 5, 7, 14])), 0)
            parts.append(_rows(section, onset_s + 0.003, held_s, scale[lower], accent))
        time_s = float(onset_s[-1]) + 1 / rate_hz
        time_s += float(rng.choice([0.0, 0.0, section.beat_s]))
        if abs(scale[index] - center) > 22:
            index = _near(scale, center)
    return np.concatenate(parts)


def _trill(rng: np.random.Generator, section: Section, center: float) -> Rows:
    """Play trills on neighbours of the scale and tremolos on wider intervals."""
    time_s, parts = 0.0, [EMPTY]
    while time_s < section.length_s:
        rate_hz = rng.uniform(7, 15)
        num = int(rng.integers(4, 30))
        index = min(_near(section.scale, center + rng.normal(0, 5)), 70)
        width = int(rng.choice([1, 1, 1, 2, 4, 7]))
        upper = section.scale[min(index + width, len(section.scale) - 1)]
        pair = np.array([section.scale[min(index, len(section.scale) - 1)], upper])
        onset_s = time_s + np.arange(num) / rate_hz * rng.uniform(0.97, 1.03)
        pitch = pair[np.arange(num) % 2]
        accent = rng.normal(0, 3, num)
        parts.append(_rows(section, onset_s, 0.9 / rate_hz, pitch, accent))
        time_s = float(onset_s[-1]) + float(rng.uniform(0.1, 1.0))
    return np.concatenate(parts)


def _repeated(rng: np.random.Generator, section: Section, center: float) -> Rows:
    time_s, parts = 0.0, [EMPTY]
    size = int(rng.choice([1, 1, 2, 3, 4]))
    while time_s < section.length_s:
        rate_hz = rng.uniform(2, 11)
        num = int(rng.integers(3, 16))
        chord = section.chord_at(time_s)
        first = _near(chord, center + rng.normal(0, 4))
        for pitch in chord[first : first + size]:
            onset_s = time_s + np.arange(num) / rate_hz + rng.normal(0, 0.003, num)
            held_s = rng.uniform(0.4, 0.85) / rate_hz
            accent = rng.normal(0, 4, num)
            parts.append(_rows(section, onset_s, held_s, np.full(num, pitch), accent))
        time_s += num / rate_hz + float(rng.choice([0.0, 0.0, section.beat_s]))
    return np.concatenate(parts)


def _octaves(rng: np.random.Generator, section: Section, center: float) -> Rows:
    rows = _melody(rng, section, min(center, 92))
    lower = rows - [0, 0, 12, 3]
    parts = [rows, lower]
    if rng.random() < 0.4:  # a chord tone inside
        inner = rows - [0, 0, float(rng.choice([3, 4, 5, 7])), 5]
        parts.append(inner)
    return np.concatenate(parts)


def _sparse(rng: np.random.Generator, section: Section) -> Rows:
    """Play single notes anywhere on the keyboard, long and short, soft and loud."""
    onset_s = np.cumsum(rng.uniform(0.15, 1.4, 2 * int(section.length_s) + 2))
    num = len(onset_s)
    held_s = rng.exponential(0.9, num) + 0.05
    pitch = rng.integers(LOWEST_KEY, HIGHEST_KEY + 1, num)
    return _rows(section, onset_s, held_s, pitch, rng.normal(0, 22, num))


def _uniform(rng: np.random.Generator, section: Section) -> Rows:
    """Play independent notes at random times, up to 20 in a second, and clusters."""
    num = int(rng.uniform(1, 20) * section.length_s)
    onset_s = np.sort(rng.uniform(0, section.length_s, num))
    held_s = rng.exponential(0.4, num) + 0.04
    low, high = np.sort(rng.integers(LOWEST_KEY, HIGHEST_KEY + 1, 2))
    if high - low < 18:
        low, high = LOWEST_KEY, HIGHEST_KEY
    pitch = rng.integers(low, high + 1, num)
    accent = rng.uniform(1, 127, num) - section.velocity
    rows = _rows(section, onset_s, held_s, pitch, accent)
    clusters = rows[rng.random(num) < 0.08]
    clusters += np.array([0.002, 0, float(rng.choice([1, 2])), -2])
    return np.concatenate([rows, clusters])


_Texture = Callable[[np.random.Generator, Section, float], Rows]
_LEFT: tuple[_Texture, ...] = (
    _arpeggio,
    _chords,
    _bass,
    _alberti,
    _repeated,
    _trill,
    _melody,
    _runs,
)
_LEFT_WEIGHTS = (0.26, 0.16, 0.15, 0.12, 0.11, 0.05, 0.09, 0.06)
_RIGHT: tuple[_Texture, ...] = (
    _melody,
    _chords,
    _arpeggio,
    _runs,
    _trill,
    _repeated,
    _octaves,
)
_RIGHT_WEIGHTS = (0.35, 0.13, 0.14, 0.12, 0.07, 0.11, 0.08)

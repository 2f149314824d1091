"""A synthesized singer: a source of harmonics through the resonances of a vocal tract.

There is hardly any recorded singing that weights may be trained on. A formant
synthesizer (Klatt 1980, "Software for a cascade/parallel formant synthesizer") gives
what sung notes are recognized by: glides and scoops, vibrato that grows, vowels that
change within a note, consonants before it, breath. It is no voice to listen to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mt3x.data.synthesis.pianos import velocity_gain
from mt3x.music.notes import Notes

__all__ = ["KEYS", "RATE_HZ", "sing"]

RATE_HZ = 16000
KEYS = (40, 84)
"""The lowest and highest pitch that is sung."""
_HOP = 80  # samples between the points of all curves: 5 ms
_CURVE_HZ = RATE_HZ / _HOP
_HIGHEST_HZ = 7600.0
_MAX_SINGERS = 6
_SLURRED_S = 0.06  # notes with a shorter rest between them are slurred
_VOWELS_HZ = np.array(
    [
        (270, 2290, 3010),
        (390, 1990, 2550),
        (530, 1840, 2480),
        (660, 1720, 2410),
        (730, 1090, 2440),
        (570, 840, 2410),
        (440, 1020, 2240),
        (300, 870, 2240),
        (640, 1190, 2390),
    ],
    float,
)
"""First formants of men's vowels (Peterson and Barney 1952, table II)."""
_HIGHER_HZ = (3500.0, 4500.0)
_BANDWIDTHS_HZ = np.array([70.0, 90.0, 130.0, 180.0, 250.0])
_CONSONANTS = ("none", "voiced", "fricative", "plosive")


@dataclass(frozen=True)
class _Singer:
    """A person: what stays the same from note to note."""

    tract: float  # formants relative to a man's
    tilt: float  # exponent by which harmonics fall
    breath: float  # level of the noise under a vowel
    bandwidth: float  # of formants, relative to the usual
    vibrato_cents: float
    vibrato_hz: float
    vibrato_delay_s: float
    vibrato_prob: float
    scoop_prob: float
    glide_s: float
    tuning_cents: float  # standard deviation
    gamma: float  # exponent of the velocity curve
    consonants: np.ndarray  # chances of _CONSONANTS


@dataclass
class _Curves:
    """What the voice does, one value for every `_HOP` samples."""

    cents: np.ndarray  # MIDI pitch in cents
    voiced: np.ndarray  # level of the harmonics
    formants_Tx5: np.ndarray
    muffled: np.ndarray  # added to the tilt: the mouth is closed
    aspiration: np.ndarray  # level of noise through the tract
    frication: np.ndarray  # level of noise at the teeth
    frication_hz: np.ndarray


def sing(notes: Notes, rng: np.random.Generator) -> tuple[np.ndarray, Notes]:
    """Sing a part: one voice alone or in unison, or chords as a choir.

    Args:
      notes: those off `KEYS` are left out.
      rng: decides everything.

    Returns:
      float32 samples_S at `RATE_HZ`, and the notes as they sound.
    """
    notes = notes[(notes.pitch >= KEYS[0]) & (notes.pitch <= KEYS[1])]
    end_s = float(notes.offset_s.max(initial=0.0)) + 1.0
    samples_S = np.zeros(int(end_s * _CURVE_HZ) * _HOP, np.float32)
    sung = [Notes.empty()]
    for part in _parts(notes):
        num = int(rng.integers(2, 5)) if rng.random() < 0.12 else 1
        heard = part
        for _ in range(num):
            singer = _draw(rng, float(part.pitch.mean()))
            curves, heard = _curves(part, singer, rng, len(samples_S) // _HOP)
            samples_S += _synthesize(curves, singer, rng) / np.float32(num)
        sung.append(heard)
    return samples_S, Notes.concatenate(sung)


def _parts(notes: Notes) -> list[Notes]:
    """Return the notes of each singer, none of which overlap."""
    ends_s: list[float] = []
    singer_N = np.full(len(notes), -1)
    for n in range(len(notes)):
        onset_s = notes.onset_s[n]
        free = [k for k, end_s in enumerate(ends_s) if end_s <= onset_s + 0.08]
        if not free and len(ends_s) < _MAX_SINGERS:
            free = [len(ends_s)]
            ends_s.append(0.0)
        if free:
            singer_N[n] = free[0]
            ends_s[free[0]] = float(notes.offset_s[n])
    parts = [notes[singer_N == k] for k in range(len(ends_s))]
    return [_one_by_one(part) for part in parts]


def _one_by_one(notes: Notes) -> Notes:
    """Return a part whose notes end, at the latest, where the next one begins."""
    notes = notes[np.append(np.diff(notes.onset_s) > 0.03, True)]
    next_s = np.append(notes.onset_s[1:], np.inf)
    return replace(notes, offset_s=np.minimum(notes.offset_s, next_s))


def _draw(rng: np.random.Generator, mean_pitch: float) -> _Singer:
    """Draw a singer for a part: the higher it lies, the more likely a woman."""
    is_woman = rng.random() < 1 / (1 + np.exp((59 - mean_pitch) / 3))
    is_trained = rng.random() < 0.3
    chances = rng.dirichlet(2 * np.array([1.2, 1.0, 0.8, 0.8]))
    return _Singer(
        tract=float(rng.normal(1.16 if is_woman else 1.0, 0.05)),
        tilt=float(rng.uniform(0.8, 1.7)),
        breath=float(10 ** rng.uniform(-2.7, -1.2)),
        bandwidth=float(rng.uniform(0.7, 1.5)),
        vibrato_cents=float(rng.uniform(40, 110) if is_trained else rng.uniform(8, 50)),
        vibrato_hz=float(rng.uniform(4.6, 6.8)),
        vibrato_delay_s=float(rng.uniform(0.0, 0.25 if is_trained else 0.7)),
        vibrato_prob=float(rng.uniform(0.7, 1) if is_trained else rng.uniform(0, 0.8)),
        scoop_prob=float(rng.uniform(0, 0.2 if is_trained else 0.7)),
        glide_s=float(rng.uniform(0.03, 0.14)),
        tuning_cents=float(rng.uniform(4, 22)),
        gamma=float(rng.uniform(0.8, 1.8)),
        consonants=chances,
    )


def _curves(
    notes: Notes, singer: _Singer, rng: np.random.Generator, num: int
) -> tuple[_Curves, Notes]:
    """Return what the voice does at `num` points, and the notes as they sound."""
    time_T = np.arange(num) / _CURVE_HZ
    curves = _Curves(
        cents=_drift(rng, num, 8.0),
        voiced=np.zeros(num),
        formants_Tx5=np.zeros((num, 5)),
        muffled=np.zeros(num),
        aspiration=np.zeros(num),
        frication=np.zeros(num),
        frication_hz=np.full(num, 4000.0),
    )
    before_s = np.append(-np.inf, notes.offset_s[:-1])
    next_s = np.append(notes.onset_s[1:], np.inf)
    offset_s = notes.offset_s.copy()
    steps_T, places, formants = np.zeros(num), [], []
    for n in range(len(notes)):
        begin_s, end_s = float(notes.onset_s[n]), float(notes.offset_s[n])
        is_slurred = begin_s - before_s[n] < _SLURRED_S
        is_held = next_s[n] - end_s < _SLURRED_S
        level = velocity_gain(int(notes.velocity[n]), singer.gamma)
        level *= float(10 ** (rng.normal(0, 1.5) / 20))
        kind = str(rng.choice(_CONSONANTS, p=singer.consonants))
        if is_slurred:
            is_repeated = notes.pitch[n] == notes.pitch[n - 1]
            if is_repeated and kind == "none":  # without one, no note would begin
                kind = "voiced"
            elif not is_repeated and rng.random() < 0.3:
                kind = "none"
        release_s = float(rng.uniform(0.03, 0.12))
        if not is_held:
            offset_s[n] = end_s + release_s / 2
        attack_s = float(rng.uniform(0.01, 0.05))
        until_s = next_s[n] if is_held else end_s
        rise_T = np.clip((time_T - begin_s) / attack_s + 1, 0, 1)
        fall_T = np.clip(1 - (time_T - until_s) / release_s, 0, 1)
        if kind == "none" and is_slurred:  # within one breath
            rise_T = np.clip((time_T - begin_s) / 0.03 + 1, 0, 1)
        voiced_T = level * rise_T * fall_T**2
        curves.voiced = np.maximum(curves.voiced, voiced_T)
        _speak(curves, kind, begin_s, level, is_slurred, rng)
        first = 0 if n == 0 else int((begin_s - singer.glide_s) * _CURVE_HZ)
        steps_T[max(first, 0) :] = 100.0 * notes.pitch[n]
        curves.cents += _note_cents(time_T, begin_s, until_s + release_s, singer, rng)
        for share in (0.0, 0.55 if rng.random() < 0.3 else 0.0):
            places.append(begin_s + share * (end_s - begin_s))
            formants.append(_vowel(rng, singer, float(notes.pitch[n])))
        if not is_slurred and begin_s - before_s[n] > 0.5 and rng.random() < 0.4:
            near_T = np.exp(-np.square((time_T - begin_s + 0.3) / 0.07))
            curves.aspiration += rng.uniform(0.01, 0.05) * near_T  # a breath
    curves.cents += _smooth(steps_T, singer.glide_s)
    for k in range(5):
        values = [found[k] for found in formants]
        stepped_T = _stepped(time_T, np.array(places), np.array(values))
        curves.formants_Tx5[:, k] = _smooth(stepped_T, 0.06)
    curves.aspiration += singer.breath * curves.voiced
    return curves, replace(notes, offset_s=offset_s)


def _speak(
    curves: _Curves,
    kind: str,
    begin_s: float,
    level: float,
    is_slurred: bool,
    rng: np.random.Generator,
) -> None:
    """Put a consonant in front of a vowel that begins at `begin_s`."""
    length_s = float(rng.uniform(0.04, 0.12))
    if kind == "none":
        return
    last = int(begin_s * _CURVE_HZ)
    first = max(last - int(length_s * _CURVE_HZ), 0)
    if last <= first:
        return
    if kind == "voiced":  # m, n, l, v: the voice goes on behind a closed mouth
        quiet = float(rng.uniform(0.15, 0.5)) * level
        if is_slurred or rng.random() < 0.5:
            curves.voiced[first:last] = quiet
        curves.muffled[first:last] = rng.uniform(0.3, 1.2)
        return
    curves.voiced[first:last] = 0.0
    curves.frication_hz[first:last] = rng.uniform(2000, 6500)
    noise = float(10 ** rng.uniform(-1.8, -0.6)) * level
    if kind == "plosive":
        first = max(last - int(rng.integers(2, 7)), first)
    curves.frication[first:last] = noise
    curves.aspiration[first : last + 4] += noise / 2


def _note_cents(
    time_T: np.ndarray,
    begin_s: float,
    end_s: float,
    singer: _Singer,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return tuning, scoop, vibrato and fall of a note in cents, 0 elsewhere."""
    cents_T = np.zeros(len(time_T))
    inside = (time_T >= begin_s - 0.05) & (time_T < end_s)
    since_K = time_T[inside] - begin_s
    added_K = np.full(len(since_K), rng.normal(0, singer.tuning_cents))
    if rng.random() < singer.scoop_prob:
        depth = rng.uniform(40, 250) * (-1 if rng.random() < 0.85 else 0.6)
        added_K += depth * np.exp(-3 * np.maximum(since_K, 0) / rng.uniform(0.06, 0.2))
    if rng.random() < singer.vibrato_prob:
        delay_s = singer.vibrato_delay_s * rng.uniform(0.6, 1.4)
        grown_K = np.clip((since_K - delay_s) / 0.25, 0, 1)
        hz, phase = singer.vibrato_hz * rng.uniform(0.95, 1.05), rng.uniform(0, 6.28)
        depth = singer.vibrato_cents * rng.uniform(0.6, 1.2)
        added_K += depth * grown_K * np.sin(2 * np.pi * hz * since_K + phase)
    if rng.random() < 0.15:
        left_K = np.clip(1 - (end_s - time_T[inside]) / 0.12, 0, 1)
        added_K -= rng.uniform(50, 250) * left_K
    cents_T[inside] = added_K
    return cents_T


def _vowel(rng: np.random.Generator, singer: _Singer, pitch: float) -> np.ndarray:
    """Return the five formants of a vowel in Hz; high notes open the mouth."""
    first_3 = _VOWELS_HZ[int(rng.integers(len(_VOWELS_HZ)))]
    found = np.concatenate([first_3, _HIGHER_HZ]) * singer.tract
    found *= np.exp(rng.normal(0, 0.04, 5))
    found[0] = max(found[0], 440 * 2 ** ((pitch - 69) / 12))
    return found


def _drift(rng: np.random.Generator, num: int, cents: float) -> np.ndarray:
    """Return a slow wander of the pitch."""
    points = rng.normal(0, cents, num // 40 + 3)
    return np.interp(np.arange(num) / 40, np.arange(len(points)), points)


def _smooth(values_T: np.ndarray, length_s: float) -> np.ndarray:
    """Return the mean over `length_s` around each point."""
    num = max(int(length_s * _CURVE_HZ) // 2, 1)
    padded = np.pad(values_T, num, mode="edge")
    window = np.hanning(2 * num + 3)[1:-1]
    return np.convolve(padded, window / window.sum(), mode="valid")


def _stepped(time_T: np.ndarray, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values[np.clip(np.searchsorted(places, time_T, "right") - 1, 0, None)]


def _synthesize(
    curves: _Curves, singer: _Singer, rng: np.random.Generator
) -> np.ndarray:
    """Return the samples that the curves describe."""
    num = len(curves.cents)
    hz_T = 440 * 2 ** ((curves.cents / 100 - 69) / 12)
    hz_T = np.clip(hz_T, 60.0, 2000.0)
    widths = _BANDWIDTHS_HZ * singer.bandwidth
    samples_S = _harmonics(curves, hz_T, widths, singer.tilt)
    bins_F = np.fft.rfftfreq(2 * _HOP, 1 / RATE_HZ)
    tract_TxF = _response(bins_F[None], curves.formants_Tx5, widths)
    tract_TxF *= (bins_F / 1000 + 0.3) / np.maximum(bins_F / 1000, 1)
    distance_TxF = (bins_F[None] - curves.frication_hz[:, None]) / 1500
    teeth_TxF = np.exp(-np.square(distance_TxF))
    shape_TxF = curves.aspiration[:, None] * tract_TxF
    shape_TxF += 3 * curves.frication[:, None] * teeth_TxF
    white_TxW = rng.standard_normal((num, 2 * _HOP)) * np.hanning(2 * _HOP)
    noise_TxW = np.fft.irfft(np.fft.rfft(white_TxW) * shape_TxF)
    samples_S += noise_TxW[:, :_HOP].ravel()
    samples_S[_HOP:] += noise_TxW[:-1, _HOP:].ravel()
    return samples_S.astype(np.float32)


def _harmonics(
    curves: _Curves, hz_T: np.ndarray, widths: np.ndarray, tilt: float
) -> np.ndarray:
    """Return the sum of all harmonics below `_HIGHEST_HZ`."""
    num = len(hz_T)
    ramp_W = np.arange(_HOP) / _HOP

    def upsampled(values_T: np.ndarray) -> np.ndarray:
        step_T = np.diff(values_T, append=values_T[-1])
        return (values_T[:, None] + step_T[:, None] * ramp_W).ravel()

    phase_S = 2 * np.pi * np.cumsum(upsampled(hz_T)) / RATE_HZ
    most = int(_HIGHEST_HZ / hz_T[curves.voiced > 0].min(initial=1000.0))
    levels_TxK = np.zeros((num, most))
    for k in range(1, most + 1):
        level_T = _response(k * hz_T[:, None], curves.formants_Tx5, widths)[:, 0]
        level_T *= k ** -(tilt + curves.muffled)
        levels_TxK[:, k - 1] = np.where(k * hz_T < _HIGHEST_HZ, level_T, 0)
    # Vowels differ in loudness, but less than their resonances alone would have it.
    loud_T = np.sqrt(np.square(levels_TxK).sum(axis=1))
    levels_TxK *= (curves.voiced / np.maximum(loud_T, 1e-9) ** 0.8)[:, None]
    # cos((k + 1) x) = 2 cos(x) cos(k x) - cos((k - 1) x)
    once_S = np.cos(phase_S)
    before_S, now_S = np.ones_like(once_S), once_S
    samples_S = np.zeros_like(once_S)
    for k in range(most):
        samples_S += upsampled(levels_TxK[:, k]) * now_S
        before_S, now_S = now_S, 2 * once_S * now_S - before_S
    return samples_S


def _response(
    hz_TxF: np.ndarray, formants_Tx5: np.ndarray, widths: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Return the gain of a cascade of resonances, 1 at 0 Hz."""
    gain_TxF = np.ones(np.broadcast_shapes(hz_TxF.shape, (len(formants_Tx5), 1)))
    for n, width in enumerate(widths):
        center_Tx1, half = formants_Tx5[:, n : n + 1], width / 2
        top = np.square(center_Tx1) + half**2
        below = np.square(hz_TxF - center_Tx1) + half**2
        above = np.square(hz_TxF + center_Tx1) + half**2
        gain_TxF *= top / np.sqrt(below * above)
    return gain_TxF

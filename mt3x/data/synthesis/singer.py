"""A singer: a part is sung with the syllables of a voice that can speak.

Hardly any recorded singing may be used to train weights; speech may. As in a vocoder,
its vowels are held and take the pitches of the part, with glides, scoops, a vibrato
that grows and what untrained singers do beside the note. Throats differ in length.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mt3x.data.synthesis.pianos import velocity_gain
from mt3x.data.synthesis.speech import FFT_SIZE, FRAME_S, RATE_HZ, Syllable
from mt3x.music.notes import Notes

__all__ = ["KEYS", "sing"]

KEYS = (40, 84)
"""The lowest and highest pitch that is sung."""
_HOP = int(FRAME_S * RATE_HZ)
_HIGHEST_HZ = 7600.0
_MAX_SINGERS = 6
_SLURRED_S = 0.06  # notes with a shorter rest between them are slurred
_SHORTEST_LEAD, _SHORTEST_VOWEL = 14, 12  # frames
_BIN_HZ = RATE_HZ / FFT_SIZE


@dataclass(frozen=True)
class _Singer:
    """A person: what stays the same from note to note."""

    tract: float  # resonances relative to the voice's
    tilt_db: float  # per octave above 1 kHz
    breath: float  # level of the noise under a vowel
    vibrato_cents: float
    vibrato_hz: float
    vibrato_delay_s: float
    vibrato_prob: float
    scoop_prob: float
    glide_s: float
    tuning_cents: float  # standard deviation
    wobble_cents: float  # standard deviation of what the pitch does within notes
    gamma: float  # exponent of the velocity curve
    melisma_prob: float  # a vowel goes on over the next note
    consonant: float  # level of consonants


@dataclass
class _Curves:
    """What the voice does, one value a frame."""

    cents_T: np.ndarray  # MIDI pitch in cents
    level_T: np.ndarray
    noise_T: np.ndarray  # share of noise in the source
    log_power_TxF: np.ndarray


def sing(
    notes: Notes, syllables: Sequence[Syllable], rng: np.random.Generator
) -> tuple[np.ndarray, Notes]:
    """Sing a part: one voice alone or in unison, or chords as a choir.

    Args:
      notes: those off `KEYS` are left out.
      syllables: that a voice can say.
      rng: decides everything.

    Returns:
      float32 samples_S at `RATE_HZ`, and the notes as they sound.
    """
    notes = notes[(notes.pitch >= KEYS[0]) & (notes.pitch <= KEYS[1])]
    end_s = float(notes.offset_s.max(initial=0.0)) + 1.0
    samples_S = np.zeros(int(end_s / FRAME_S) * _HOP, np.float32)
    sung = [Notes.empty()]
    for part in _parts(notes):
        num = int(rng.integers(2, 4)) if rng.random() < 0.1 else 1
        heard = part
        for _ in range(num):
            singer = _draw(rng, float(part.pitch.mean()))
            curves, heard = _curves(
                part, singer, syllables, rng, len(samples_S) // _HOP
            )
            samples_S += _synthesize(curves, singer, rng) / np.float32(num)
        sung.append(heard)
    return samples_S, Notes.concatenate(sung)


def _parts(notes: Notes) -> list[Notes]:
    """Return the notes of each singer, which do not overlap."""
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
    notes = notes[np.append(np.diff(notes.onset_s) > 0.06, True)]
    next_s = np.append(notes.onset_s[1:], np.inf)
    return replace(notes, offset_s=np.minimum(notes.offset_s, next_s))


def _draw(rng: np.random.Generator, mean_pitch: float) -> _Singer:
    """Draw a singer for a part; those who sing high have shorter throats."""
    is_trained = rng.random() < 0.3
    return _Singer(
        tract=float(np.exp(0.01 * (mean_pitch - 60) + rng.normal(0, 0.07))),
        tilt_db=float(rng.uniform(-5, 4)),
        breath=float(10 ** rng.uniform(-2.2, -0.9)),
        vibrato_cents=float(rng.uniform(40, 110) if is_trained else rng.uniform(8, 50)),
        vibrato_hz=float(rng.uniform(4.6, 6.8)),
        vibrato_delay_s=float(rng.uniform(0.0, 0.25 if is_trained else 0.7)),
        vibrato_prob=float(rng.uniform(0.7, 1) if is_trained else rng.uniform(0, 0.8)),
        scoop_prob=float(rng.uniform(0, 0.2 if is_trained else 0.8)),
        glide_s=float(rng.uniform(0.03, 0.14)),
        tuning_cents=float(rng.uniform(4, 15 if is_trained else 32)),
        wobble_cents=float(rng.uniform(2, 8 if is_trained else 32)),
        gamma=float(rng.uniform(0.5, 1.5)),
        melisma_prob=float(rng.uniform(0, 0.35)),
        consonant=float(10 ** (rng.uniform(-8, 3) / 20)),
    )


def _curves(
    notes: Notes,
    singer: _Singer,
    syllables: Sequence[Syllable],
    rng: np.random.Generator,
    num: int,
) -> tuple[_Curves, Notes]:
    """Return what the voice does in `num` frames, and the notes as they sound."""
    time_T = np.arange(num) * FRAME_S
    steps_T = np.full(num, 100.0 * (notes.pitch[0] if len(notes) else 60))
    curves = _Curves(
        cents_T=_wander(rng, num, 8.0, 0.2),
        level_T=np.zeros(num),
        noise_T=np.zeros(num),
        log_power_TxF=np.full((num, FFT_SIZE // 2 + 1), -16.0, np.float32),
    )
    curves.cents_T += _wander(rng, num, singer.wobble_cents, 0.06)
    before_s = np.append(-np.inf, notes.offset_s[:-1])
    next_s = np.append(notes.onset_s[1:], np.inf)
    onset_s, offset_s = notes.onset_s.copy(), notes.offset_s.copy()
    said = syllables[0]
    for n in range(len(notes)):
        begin_s, end_s = float(notes.onset_s[n]), float(notes.offset_s[n])
        is_slurred = begin_s - before_s[n] < _SLURRED_S
        is_held = next_s[n] - end_s < _SLURRED_S
        level = velocity_gain(int(notes.velocity[n]), singer.gamma)
        level *= float(10 ** (rng.normal(0, 1.5) / 20))
        until_s = float(next_s[n]) if is_held else end_s
        is_new = n == 0 or not is_slurred or notes.pitch[n] == notes.pitch[n - 1]
        if is_new or rng.random() >= singer.melisma_prob:
            said = syllables[int(rng.integers(len(syllables)))]
            room_s = begin_s - max(float(before_s[n]), 0.0)
            lead_s = _say(
                curves, said, begin_s, until_s, room_s, is_held, level, singer.consonant
            )
            if said.starts_sonorant:  # its pitch is heard from there on
                onset_s[n] -= lead_s / 2
                if is_slurred:
                    offset_s[n - 1] = min(offset_s[n - 1], onset_s[n])
        else:
            _hold(curves, said, begin_s, until_s, level)
        # The pitch has come three quarters of its way where the note begins.
        at_s = onset_s[n] - 0.25 * singer.glide_s
        if n:
            steps_T[max(round(at_s / FRAME_S), 0) :] = 100.0 * notes.pitch[n]
        curves.cents_T += _note_cents(time_T, onset_s[n], until_s, singer, rng)
    curves.cents_T += _smooth(steps_T, singer.glide_s)
    curves.level_T = _smooth(curves.level_T, 0.02)
    offset_s = np.maximum(offset_s, onset_s + 0.05)
    return curves, replace(notes, onset_s=onset_s, offset_s=offset_s)


def _say(
    curves: _Curves,
    said: Syllable,
    begin_s: float,
    until_s: float,
    room_s: float,
    is_held: bool,
    level: float,
    consonant: float,
) -> float:
    """Write a syllable whose vowel begins at `begin_s`.

    Args:
      curves: of the singer; changed.
      said: the syllable.
      begin_s: where its vowel begins.
      until_s: where it ends.
      room_s: for the consonants before; they take 70 ms even where there is less.
      is_held: the next syllable follows; consonants at the end come before `until_s`.
      level: of the vowel.
      consonant: level of consonants against it.

    Returns:
      The time in seconds that the consonants before take.
    """
    first, last = said.vowel
    begin, until = round(begin_s / FRAME_S), round(until_s / FRAME_S)
    lead = min(first, max(round(room_s / FRAME_S), _SHORTEST_LEAD), begin)
    coda, end = len(said.noise_T) - last, until
    if is_held:
        coda = min(coda, max(until - begin - _SHORTEST_VOWEL, 0))
        end -= coda
    end = max(end, begin + 4)
    before, after = np.arange(first - lead, first), np.arange(last, last + coda)
    _write(curves, said, begin - lead, before, level * consonant)
    _write(curves, said, begin, _stretched(first, last, end - begin), level)
    _write(curves, said, end, after, level * consonant)
    return lead * FRAME_S


def _hold(
    curves: _Curves, said: Syllable, begin_s: float, until_s: float, level: float
) -> None:
    """Go on with a vowel over another note."""
    first, last = said.vowel
    begin, until = round(begin_s / FRAME_S), round(until_s / FRAME_S)
    middle = (first + last) // 2
    num = max(until - begin, 4)
    source = np.full(num, middle) + np.linspace(0, (last - first) // 5, num).astype(int)
    _write(curves, said, begin, source, level)


def _stretched(first: int, last: int, num: int) -> np.ndarray:
    """Return which frames of a vowel are heard in `num`: the ends keep their pace."""
    length = last - first
    if num <= length:
        return first + np.linspace(0, length - 1, num).round().astype(int)
    edge = min(length // 3, 10)
    inner = np.linspace(edge, length - 1 - edge, num - 2 * edge).round().astype(int)
    whole = np.concatenate([np.arange(edge), inner, np.arange(length - edge, length)])
    return first + whole


def _write(
    curves: _Curves, said: Syllable, begin: int, source: np.ndarray, level: float
) -> None:
    source = source[: max(len(curves.level_T) - begin, 0)]
    place = slice(begin, begin + len(source))
    curves.log_power_TxF[place] = said.log_power_TxF[source]
    curves.noise_T[place] = said.noise_T[source]
    first, last = said.vowel
    loud = np.exp(said.log_power_TxF[first:last].astype(float)).sum(axis=1).mean()
    curves.level_T[place] = level / np.sqrt(loud)


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
    # What a consonant does to the vowel after it.
    added_K += rng.normal(0, 50) * np.exp(-np.maximum(since_K, 0) / 0.03)
    if rng.random() < singer.scoop_prob:
        depth = rng.uniform(40, 250) * (-1 if rng.random() < 0.85 else 0.6)
        added_K += depth * np.exp(-3 * np.maximum(since_K, 0) / rng.uniform(0.05, 0.15))
    if rng.random() < singer.vibrato_prob:
        delay_s = singer.vibrato_delay_s * rng.uniform(0.6, 1.4)
        grown_K = np.clip((since_K - delay_s) / 0.25, 0, 1)
        hz, phase = singer.vibrato_hz * rng.uniform(0.95, 1.05), rng.uniform(0, 6.28)
        depth = singer.vibrato_cents * rng.uniform(0.6, 1.2)
        added_K += depth * grown_K * np.sin(2 * np.pi * hz * since_K + phase)
    if rng.random() < 0.3 * singer.scoop_prob + 0.05:
        left_K = np.clip(1 - (end_s - time_T[inside]) / 0.1, 0, 1)
        added_K -= rng.uniform(50, 250) * left_K
    cents_T[inside] = added_K
    return cents_T


def _wander(
    rng: np.random.Generator, num: int, cents: float, step_s: float
) -> np.ndarray:
    """Return a curve through random points, one every `step_s`."""
    frames = step_s / FRAME_S
    points = rng.normal(0, cents, int(num / frames) + 3)
    return np.interp(np.arange(num) / frames, np.arange(len(points)), points)


def _smooth(values_T: np.ndarray, length_s: float) -> np.ndarray:
    """Return the mean over `length_s` around each frame."""
    num = max(int(length_s / FRAME_S) // 2, 1)
    padded = np.pad(values_T, num, mode="edge")
    window = np.hanning(2 * num + 3)[1:-1]
    return np.convolve(padded, window / window.sum(), mode="valid")


def _synthesize(
    curves: _Curves, singer: _Singer, rng: np.random.Generator
) -> np.ndarray:
    """Return the samples that the curves describe."""
    num = len(curves.cents_T)
    hz_T = np.clip(440 * 2 ** ((curves.cents_T / 100 - 69) / 12), 60.0, 2000.0)
    power_TxF = curves.log_power_TxF.copy()
    power_TxF[1:-1] = (power_TxF[:-2] + 2 * power_TxF[1:-1] + power_TxF[2:]) / 4
    bins_F = np.arange(power_TxF.shape[1])
    from_F = np.minimum(bins_F / singer.tract, bins_F[-1])
    low_F = np.minimum(from_F.astype(int), bins_F[-1] - 1)
    part_F = from_F - low_F
    gain_TxF = np.exp(
        0.5 * (power_TxF[:, low_F] * (1 - part_F) + power_TxF[:, low_F + 1] * part_F)
    )
    octaves_F = np.log2(np.maximum(bins_F * _BIN_HZ / 1000, 1))
    gain_TxF *= 10 ** (singer.tilt_db * octaves_F / 20)
    voiced_T = curves.level_T * (1 - curves.noise_T)
    samples_S = _harmonics(gain_TxF, hz_T, voiced_T)
    # Noise has the power of the harmonics around: one of power P / 2 each f0.
    noise_T = curves.level_T * (curves.noise_T + singer.breath) * np.sqrt(FFT_SIZE / 4)
    window_W = np.sin(np.pi * (np.arange(2 * _HOP) + 0.5) / (2 * _HOP))
    white_TxW = rng.standard_normal((num, 2 * _HOP)) * window_W
    near_F = np.linspace(0, bins_F[-1], _HOP + 1).round().astype(int)
    shaped_TxF = np.fft.rfft(white_TxW) * gain_TxF[:, near_F] * noise_T[:, None]
    noise_TxW = np.fft.irfft(shaped_TxF)
    samples_S += noise_TxW[:, :_HOP].ravel()
    samples_S[_HOP:] += noise_TxW[:-1, _HOP:].ravel()
    return samples_S.astype(np.float32)


def _harmonics(
    gain_TxF: np.ndarray, hz_T: np.ndarray, level_T: np.ndarray
) -> np.ndarray:
    """Return the sum of all harmonics below `_HIGHEST_HZ`."""
    num = len(hz_T)
    ramp_W = np.arange(_HOP) / _HOP

    def upsampled(values_T: np.ndarray) -> np.ndarray:
        step_T = np.diff(values_T, append=values_T[-1])
        return (values_T[:, None] + step_T[:, None] * ramp_W).ravel()

    phase_S = 2 * np.pi * np.cumsum(upsampled(hz_T)) / RATE_HZ
    most = int(_HIGHEST_HZ / hz_T[level_T > 0].min(initial=1000.0))
    bin_TxK = hz_T[:, None] * np.arange(1, most + 1) / _BIN_HZ
    low_TxK = np.minimum(bin_TxK.astype(int), gain_TxF.shape[1] - 2)
    part_TxK = bin_TxK - low_TxK
    rows = np.arange(num)[:, None]
    levels_TxK = gain_TxF[rows, low_TxK] * (1 - part_TxK)
    levels_TxK += gain_TxF[rows, low_TxK + 1] * part_TxK
    levels_TxK[bin_TxK * _BIN_HZ > _HIGHEST_HZ] = 0.0
    levels_TxK *= (level_T * np.sqrt(hz_T / _BIN_HZ))[:, None]
    # cos((k + 1) x) = 2 cos(x) cos(k x) - cos((k - 1) x)
    once_S = np.cos(phase_S)
    before_S, now_S = np.ones_like(once_S), once_S
    samples_S = np.zeros_like(once_S)
    for k in range(most):
        samples_S += upsampled(levels_TxK[:, k]) * now_S
        before_S, now_S = now_S, 2 * once_S * now_S - before_S
    return samples_S

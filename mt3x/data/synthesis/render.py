"""Piano notes -> audio: samples mixed in NumPy, soundfonts through a synthesiser.

The label and the sound agree. A note's attack begins at its onset, within a few
milliseconds for every piano (soundfonts are measured once and shifted), and its damper
falls at its offset.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mt3x.data.synthesis.performance import HIGHEST_KEY, LOWEST_KEY
from mt3x.data.synthesis.pianos import HIGHEST_DAMPED_KEY, SampledPiano, SoundFont
from mt3x.data.synthesis.synthesizer import PLAY_RATE_HZ, play
from mt3x.music.notes import Notes
from mt3x.music.samples import resample

# Dampers stop the high partials of bass strings first. The sound below `_BASS_HZ` takes
# so many times as long, by key.
_FUNDAMENTAL, _BASS_HZ = ([21, 52], [8.0, 1.0]), 180


@dataclass(frozen=True)
class RenderConfig:
    """Options of rendering: how notes sound."""

    tuning_cents: float = 0.0  # the whole piano sharp or flat, at most +-50
    gamma: float = 2.0  # exponent of the velocity curve of sampled pianos
    release_gain_db: float | None = None  # level of damper noise; None leaves it out
    damper_scale: float = 1.0  # how many times slower dampers work than by default
    # Seconds in which the old sound of a key that is struck again goes; None: the
    # damper takes it. A hammer that meets a string that sounds does not silence it.
    restrike_fade_s: float | None = None
    # Standard deviation of the levels of keys and of single notes: no piano and no
    # microphone is even, and no hammer is exact.
    key_level_db: float = 0.0
    note_level_db: float = 0.0
    level_seed: int = 0
    peak: float | None = 0.7  # scale to this maximum; None keeps the level
    tail_s: float = 1.0  # audio after the last offset

    def __post_init__(self) -> None:
        if abs(self.tuning_cents) > 50:
            raise ValueError(f"tuning_cents must be in -50..50: {self.tuning_cents}")
        if not self.damper_scale > 0:
            raise ValueError(f"damper_scale must be above 0: {self.damper_scale}")


def render(
    notes: Notes,
    piano: SampledPiano | SoundFont,
    config: RenderConfig | None = None,
    sample_rate_hz: int = 16000,
) -> np.ndarray:
    """Render notes on a piano.

    Args:
      notes: piano notes; offsets hold the sustain pedal. Pitches outside 21..108
        and drums are left out.
      piano: from `mt3x.data.synthesis.pianos.load_piano`.
      config: how they sound.
      sample_rate_hz: must be the sampled piano's.

    Returns:
      float32 samples_S, mono; time 0 is the notes' time 0.
    """
    config = config or RenderConfig()
    on_keyboard = (notes.pitch >= LOWEST_KEY) & (notes.pitch <= HIGHEST_KEY)
    notes = notes[on_keyboard & ~notes.is_drum]
    notes = replace(notes, program=np.full(len(notes), _program(piano)))
    # Sharper means faster: play slower first, then resample by the same ratio.
    ratio = 2 ** (config.tuning_cents / 1200)
    slowed = notes.stretched(ratio)
    end_s = (float(notes.offset_s.max()) if len(notes) else 0.0) + config.tail_s
    num_samples = round(end_s * sample_rate_hz)
    if isinstance(piano, SoundFont):
        samples_S = _render_soundfont(slowed, piano, sample_rate_hz)
    else:
        if piano.sample_rate_hz != sample_rate_hz:
            raise ValueError(
                f"piano was loaded at {piano.sample_rate_hz} Hz, not {sample_rate_hz}"
            )
        samples_S = _mix(slowed, piano, config, end_s * ratio)
    if ratio != 1:
        samples_S = resample(samples_S, sample_rate_hz * ratio, sample_rate_hz)
    return _with_peak(_fit(samples_S, num_samples), config.peak)


def render_many(
    scores: Sequence[Notes],
    piano: SampledPiano | SoundFont,
    config: RenderConfig | None = None,
    sample_rate_hz: int = 16000,
) -> list[np.ndarray]:
    """Render several pieces; a soundfont plays them in one go, which saves its start.

    The arguments and results are those of `render`.
    """
    config = config or RenderConfig()
    if not isinstance(piano, SoundFont):
        return [render(notes, piano, config, sample_rate_hz) for notes in scores]
    starts_s, time_s = [], 0.0
    for notes in scores:
        starts_s.append(time_s)
        time_s += float(notes.offset_s.max(initial=0.0)) + config.tail_s + 1.0
    joined = Notes.concatenate(
        [notes.shift(s) for notes, s in zip(scores, starts_s, strict=True)]
    )
    joined_S = render(joined, piano, replace(config, peak=None), sample_rate_hz)
    pieces = []
    for notes, start_s in zip(scores, starts_s, strict=True):
        end_s = float(notes.offset_s.max(initial=0.0)) + config.tail_s
        start = round(start_s * sample_rate_hz)
        samples_S = joined_S[start : start + round(end_s * sample_rate_hz)]
        pieces.append(_with_peak(samples_S, config.peak))
    return pieces


def damper_fade_s(key: int) -> float:
    """Return the seconds in which a damper silences a key: 0.25 to 0.09."""
    keys = [21, 45, 75, HIGHEST_DAMPED_KEY]
    return float(np.interp(key, keys, [0.25, 0.18, 0.16, 0.09]))


@functools.lru_cache(maxsize=256)
def _fade(num: int) -> np.ndarray:
    """Return an exponential fade by 60 dB, brought to exactly zero at its end."""
    fade_S = 10 ** (-3 * np.arange(num) / num)
    return (fade_S - fade_S[-1]).astype(np.float32)


def _damped(
    sound_S: np.ndarray, length: int, fade_s: float, ratio: float, rate_hz: int
) -> np.ndarray:
    """Let the damper fall after `length` samples, in the bass `ratio` slower."""
    fade_S = _fade(max(2, round(fade_s * rate_hz)))
    if ratio == 1.0:
        sound_S = sound_S[: length + len(fade_S)]
        sound_S[length:] *= fade_S[: len(sound_S) - length]
        return sound_S
    slow_S = _fade(max(2, round(fade_s * ratio * rate_hz)))
    width = round(0.44 * rate_hz / _BASS_HZ)  # -3 dB of a running mean
    sound_S = sound_S[: length + len(slow_S)]
    rest_S = sound_S[length:]
    before_S = sound_S[max(length - width, 0) : length]
    sums_S = np.cumsum(np.concatenate([np.zeros(1), before_S, rest_S]), dtype=float)
    first = len(before_S) + 1
    starts = np.maximum(np.arange(first, len(sums_S)) - width, 0)
    low_S = ((sums_S[first:] - sums_S[starts]) / width).astype(np.float32)
    high_S = rest_S - low_S
    num = min(len(fade_S), len(rest_S))
    high_S[:num] *= fade_S[:num]
    high_S[num:] = 0
    sound_S[length:] = low_S * slow_S[: len(low_S)] + high_S
    return sound_S


def _program(piano: SampledPiano | SoundFont) -> int:
    return piano.program if isinstance(piano, SoundFont) else 0


def _mix(
    notes: Notes, piano: SampledPiano, config: RenderConfig, end_s: float
) -> np.ndarray:
    rate_hz = piano.sample_rate_hz
    samples_S = np.zeros(round(end_s * rate_hz) + 1, np.float32)
    starts = np.round(notes.onset_s * rate_hz).astype(int)
    ends = np.round(notes.offset_s * rate_hz).astype(int)
    release_gain = 10 ** ((config.release_gain_db or 0) / 20)
    rng = np.random.default_rng(config.level_seed)
    level_db_N = rng.normal(0, 1, 128)[notes.pitch] * config.key_level_db
    level_db_N = level_db_N + rng.normal(0, 1, len(notes)) * config.note_level_db
    gain_N = (10 ** (level_db_N / 20)).astype(np.float32)
    # They end because their key is struck again.
    again_N = notes.offset_s > notes.next_onsets() - 0.001
    for i in range(len(notes)):
        key, velocity = int(notes.pitch[i]), max(1, int(notes.velocity[i]))
        sound_S = piano.note(key, velocity, config.gamma) * gain_N[i]
        length = max(int(ends[i] - starts[i]), 1)
        rings = again_N[i] and config.restrike_fade_s is not None
        if (key <= HIGHEST_DAMPED_KEY or rings) and length < len(sound_S):
            fade_s = damper_fade_s(key) * config.damper_scale
            ratio = float(np.interp(key, *_FUNDAMENTAL))
            if rings and config.restrike_fade_s is not None:
                fade_s, ratio = config.restrike_fade_s, 1.0
            sound_S = _damped(sound_S, length, fade_s, ratio, rate_hz)
        _add(samples_S, sound_S, starts[i])
        if config.release_gain_db is not None and key <= HIGHEST_DAMPED_KEY:
            noise_S = None if again_N[i] else piano.release(key)
            if noise_S is not None:
                _add(samples_S, noise_S * np.float32(release_gain), ends[i])
    return samples_S


def _add(samples_S: np.ndarray, sound_S: np.ndarray, start: int) -> None:
    sound_S = sound_S[: max(0, len(samples_S) - start)]
    samples_S[start : start + len(sound_S)] += sound_S


def _fit(samples_S: np.ndarray, num_samples: int) -> np.ndarray:
    samples_S = samples_S[:num_samples]
    return np.pad(samples_S, (0, num_samples - len(samples_S))).astype(np.float32)


def _with_peak(samples_S: np.ndarray, peak: float | None) -> np.ndarray:
    if peak is None:
        return samples_S
    return samples_S * np.float32(peak / max(np.abs(samples_S).max(initial=0), 1e-6))


def _render_soundfont(
    notes: Notes, piano: SoundFont, sample_rate_hz: int
) -> np.ndarray:
    latency_s = _soundfont_latency_s(piano)
    samples_S = play(notes, piano.path)
    samples_S = samples_S[round(latency_s * PLAY_RATE_HZ) :]
    return resample(samples_S, PLAY_RATE_HZ, sample_rate_hz)


@functools.cache
def _soundfont_latency_s(piano: SoundFont) -> float:
    """Return the median delay from label to attack, over keys and velocities."""
    pitch, velocity = np.meshgrid(np.arange(24, 108, 6), [40, 70, 100])
    onset_s = 0.2 + 1.5 * np.arange(pitch.size)
    program = np.full(pitch.size, piano.program)
    notes = Notes(onset_s, onset_s + 0.8, pitch.ravel(), velocity.ravel(), program)
    return float(np.median(attack_delays_s(play(notes, piano.path), notes)))


def attack_delays_s(
    samples_S: np.ndarray, notes: Notes, sample_rate_hz: int = PLAY_RATE_HZ
) -> np.ndarray:
    """Delay of each note's attack after its label, for notes that sound alone.

    The attack is where the 1 ms envelope first reaches 10 % of its maximum over the
    200 ms after the onset; it is looked for from 20 ms before the onset on.
    """
    width = max(1, sample_rate_hz // 1000)
    envelope_S = np.convolve(np.abs(samples_S), np.full(width, 1 / width))[width - 1 :]
    delays_s = []
    for onset_s in notes.onset_s:
        start = max(0, round((onset_s - 0.02) * sample_rate_hz))
        head_S = envelope_S[start : start + round(0.22 * sample_rate_hz)]
        attack = int(np.argmax(head_S >= 0.1 * head_S.max()))
        delays_s.append((start + attack) / sample_rate_hz - onset_s)
    return np.array(delays_s)

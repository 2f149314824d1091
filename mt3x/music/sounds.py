"""Plain additive sounds of instruments and drums, for listening to notes.

A sound has one waveform played softly and one played loudly; a note is a mix of the two
by its velocity. What is struck or plucked dies away; what is blown, bowed or sung goes
on, and its waveforms are a loop.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mt3x.music.instrument_classes import DRUM_CLASSES

# Partials above this are hardly heard and cost time.
HIGHEST_PARTIAL_HZ = 12000.0
NUM_PARTIALS = 12
LONGEST_NOTE_S = 6.0
LOOP_S = 0.25


class Sound(NamedTuple):
    """What distinguishes the instruments of a family."""

    # The level of partial k is k ** -loud or, played softly, k ** -soft.
    loud: float = 1.0
    soft: float = 2.2
    # Half life of the fundamental in those of a piano's key; None: it goes on.
    half_life: float | None = 1.0
    attack_s: float = 0.003
    even: float = 1.0  # level of the even partials


SOUNDS = {
    "piano": Sound(),
    "mallets": Sound(2.0, 3.0, 0.5),
    "organ": Sound(1.2, 1.2, None, 0.01),
    "guitar": Sound(0.9, 1.8, 0.7),
    "bass": Sound(1.3, 2.2, 0.7),
    "strings": Sound(1.0, 1.5, None, 0.05),
    "plucked strings": Sound(1.2, 2.0, 0.4),
    "string ensemble": Sound(1.3, 1.8, None, 0.08),
    "brass": Sound(0.7, 1.8, None, 0.03),
    "reeds": Sound(1.0, 1.6, None, 0.03, 0.3),
    "flutes": Sound(2.2, 3.0, None, 0.04),
    "voice": Sound(1.5, 2.2, None, 0.06),
    "synth": Sound(0.8, 0.8, None, 0.01),
}
"""The sound of each family of `mt3x.music.instrument_classes`."""


class DrumSound(NamedTuple):
    """A tone that falls, and noise."""

    tone_hz: float
    tone: float  # level
    tone_half_life_s: float
    noise: float  # level
    noise_half_life_s: float
    bright: bool = False  # whether the noise is that of metal


DRUM_SOUNDS = {
    "kick": DrumSound(55, 1.5, 0.06, 0.1, 0.005),
    "snare": DrumSound(190, 0.5, 0.03, 0.5, 0.05),
    "rim and clap": DrumSound(900, 0.2, 0.01, 0.6, 0.015),
    "closed hat": DrumSound(0, 0.0, 0.01, 0.35, 0.015, True),
    "open hat": DrumSound(0, 0.0, 0.01, 0.35, 0.12, True),
    "ride": DrumSound(0, 0.0, 0.01, 0.2, 0.2, True),
    "crash": DrumSound(0, 0.0, 0.01, 0.4, 0.35, True),
    "toms": DrumSound(110, 1.0, 0.09, 0.1, 0.02),
}
"""The sound of each class of drums."""
OTHER_DRUM = "rim and clap"
"""What a drum of no class sounds like."""


@lru_cache(maxsize=128)
def key_waveforms(
    family: str, pitch: int, sample_rate_hz: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a key played softly and loudly, float32, until it has faded.

    Where a family's sound does not die away they are a loop.
    """
    sound = SOUNDS[family]
    fundamental_hz = 440.0 * 2 ** ((pitch - 69) / 12)
    if sound.half_life is None:
        # Whole periods, so that the pitch is off by less than anyone hears.
        num_samples = round(
            round(LOOP_S * fundamental_hz) / fundamental_hz * sample_rate_hz
        )
        fundamental_hz = round(LOOP_S * fundamental_hz) * sample_rate_hz / num_samples
        half_life_s, stiffness = np.inf, 0.0
    else:
        half_life_s = sound.half_life * 1.2 * 2 ** ((45 - pitch) / 24)
        num_samples = int(min(10 * half_life_s, LONGEST_NOTE_S) * sample_rate_hz)
        # Stiff strings: partial k lies at k f sqrt(1 + B k^2), B grows up the keyboard.
        stiffness = 7e-5 * 2 ** ((pitch - 40) / 12)
    time_S = np.arange(num_samples, dtype=np.float32) / np.float32(sample_rate_hz)
    soft_S, loud_S = np.zeros((2, num_samples), np.float32)
    loud_sum = soft_sum = 0.0
    highest_hz = min(HIGHEST_PARTIAL_HZ, 0.45 * sample_rate_hz)
    for k in range(1, NUM_PARTIALS + 1):
        partial_hz = k * fundamental_hz * np.sqrt(1 + stiffness * k * k)
        if partial_hz > highest_hz:
            break
        partial_half_life_s = half_life_s / (1 + 0.25 * (k - 1))
        # Ten half lives are 60 dB: what is quieter is not computed.
        audible = int(min(num_samples, 10 * partial_half_life_s * sample_rate_hz))
        # Phases are computed in float64: float32 loses pitch after a second.
        cycles_S = np.arange(audible) * (partial_hz / sample_rate_hz)
        cycles_S -= np.floor(cycles_S)
        wave_S = np.sin(cycles_S.astype(np.float32) * np.float32(2 * np.pi))
        wave_S *= np.exp2(time_S[:audible] / np.float32(-partial_half_life_s))
        level = 1.0 if k % 2 else sound.even
        loud, soft = level * k**-sound.loud, level * k**-sound.soft
        loud_S[:audible] += np.float32(loud) * wave_S
        soft_S[:audible] += np.float32(soft) * wave_S
        loud_sum, soft_sum = loud_sum + loud**2, soft_sum + soft**2
    for wave_S, square_sum in ((soft_S, soft_sum), (loud_S, loud_sum)):
        if sound.half_life is not None:
            _shape(wave_S, int(sound.attack_s * sample_rate_hz))
        wave_S /= np.float32(np.sqrt(max(square_sum, 1e-9)))
    return soft_S, loud_S


def _shape(wave_S: np.ndarray, attack: int) -> None:
    """Let a waveform begin and end without a click, in place."""
    num_samples = len(wave_S)
    attack = min(attack, num_samples)
    wave_S[:attack] *= np.linspace(0, 1, attack, dtype=np.float32)
    fade = np.linspace(1, 0, num_samples // 20, dtype=np.float32)
    if len(fade):
        wave_S[-len(fade) :] *= fade


@lru_cache(maxsize=len(DRUM_CLASSES))
def drum_waveform(name: str, sample_rate_hz: int) -> np.ndarray:
    """Return a drum of a class, float32, until it has faded."""
    sound = DRUM_SOUNDS[name]
    length_s = 10 * max(sound.tone_half_life_s, sound.noise_half_life_s)
    time_S = np.arange(int(length_s * sample_rate_hz)) / sample_rate_hz
    noise_S = np.random.default_rng(0).uniform(-1, 1, len(time_S))
    if sound.bright:
        noise_S = np.diff(noise_S, n=2, prepend=[0, 0]) / 2
    noise_S *= sound.noise * np.exp2(-time_S / sound.noise_half_life_s)
    # It begins an octave higher and falls to its pitch.
    cycles_S = sound.tone_hz * (time_S + 0.02 * (1 - np.exp(-time_S / 0.02)))
    tone_S = sound.tone * np.sin(2 * np.pi * cycles_S)
    wave_S = noise_S + tone_S * np.exp2(-time_S / sound.tone_half_life_s)
    wave_S = wave_S.astype(np.float32)
    _shape(wave_S, int(0.001 * sample_rate_hz))
    return wave_S

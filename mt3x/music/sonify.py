"""Notes to sound: a plain additive piano, to hear what was transcribed.

Every key has one waveform: damped, slightly stretched partials, once with few of them
(soft) and once with all (loud). A note is a mix of the two by its velocity, cut at its
offset. Drums are left out, and all programs sound alike.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import IO

import numpy as np

from mt3x.music.notes import Notes

SAMPLE_RATE_HZ = 32000
# Partials above this are not heard out of a piano and cost time.
HIGHEST_PARTIAL_HZ = 12000.0
NUM_PARTIALS = 12
LONGEST_NOTE_S = 6.0
RELEASE_S = 0.12
# One note of velocity 127 peaks at about this level; chords are limited by tanh.
NOTE_LEVEL = 0.25


def sonify(
    notes: Notes,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    num_samples: int | None = None,
) -> np.ndarray:
    """Play notes.

    Args:
      notes: notes in seconds; those that begin before 0 are cut there.
      sample_rate_hz: rate of the result.
      num_samples: length of the result; by default until the last note has faded.

    Returns:
      samples_S, float32 in -1..1.
    """
    if num_samples is None:
        end_s = notes.offset_s.max() + RELEASE_S if len(notes) else 0.0
        num_samples = int(np.ceil(end_s * sample_rate_hz))
    return Player(notes, sample_rate_hz).play(num_samples)


class Player:
    """Plays notes as `sonify` does, in consecutive blocks and bounded memory."""

    def __init__(self, notes: Notes, sample_rate_hz: int = SAMPLE_RATE_HZ):
        notes = notes[~notes.is_drum]
        self._pitch_N, self._force_N = notes.pitch, notes.velocity / 127
        self._sample_rate_hz = sample_rate_hz
        self._release = max(int(RELEASE_S * sample_rate_hz), 1)
        self._first_N = np.round(notes.onset_s * sample_rate_hz).astype(int)
        damped_N = np.round(notes.offset_s * sample_rate_hz).astype(int)
        self._damped_N = np.maximum(damped_N, self._first_N)
        self._position = 0

    def play(self, num_samples: int) -> np.ndarray:
        """Return the next samples, float32 in -1..1."""
        begin, end = self._position, self._position + num_samples
        self._position = end
        block_S = np.zeros(num_samples, np.float32)
        heard_N = (self._first_N < end) & (self._damped_N + self._release > begin)
        for n in np.flatnonzero(heard_N):
            first, force = self._first_N[n], np.float32(self._force_N[n])
            soft_S, loud_S = _key_waveforms(int(self._pitch_N[n]), self._sample_rate_hz)
            silent = self._damped_N[n] + self._release
            start, stop = max(first, begin), min(silent, end, first + len(loud_S))
            if stop <= start:  # faded before it was released
                continue
            hit = slice(start - first, stop - first)
            sound_S = soft_S[hit] + force * (loud_S[hit] - soft_S[hit])
            sound_S *= NOTE_LEVEL * force**1.5
            damping = np.arange(max(self._damped_N[n], start), stop)
            if len(damping):
                left = (silent - damping).astype(np.float32) / self._release
                sound_S[-len(damping) :] *= left**2
            block_S[start - begin : stop - begin] += sound_S
        return np.tanh(block_S)


@lru_cache(maxsize=128)
def _key_waveforms(pitch: int, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a key struck softly and loudly, held until it has faded, float32."""
    fundamental_hz = 440.0 * 2 ** ((pitch - 69) / 12)
    # Stiff strings: partial k lies at k f sqrt(1 + B k^2), B grows up the keyboard.
    stiffness = 7e-5 * 2 ** ((pitch - 40) / 12)
    half_life_s = 1.2 * 2 ** ((45 - pitch) / 24)
    length_s = min(10 * half_life_s, LONGEST_NOTE_S)
    num_samples = int(length_s * sample_rate_hz)
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
        audible = min(num_samples, int(10 * partial_half_life_s * sample_rate_hz))
        # Phases are computed in float64: float32 loses pitch after a second.
        cycles_S = np.arange(audible) * (partial_hz / sample_rate_hz)
        cycles_S -= np.floor(cycles_S)
        wave_S = np.sin(cycles_S.astype(np.float32) * np.float32(2 * np.pi))
        wave_S *= np.exp2(time_S[:audible] / np.float32(-partial_half_life_s))
        loud, soft = k**-1.0, k**-2.2
        loud_S[:audible] += np.float32(loud) * wave_S
        soft_S[:audible] += np.float32(soft) * wave_S
        loud_sum, soft_sum = loud_sum + loud**2, soft_sum + soft**2
    attack = min(int(0.003 * sample_rate_hz), num_samples)
    ramp = np.linspace(0, 1, attack, dtype=np.float32)
    fade = np.linspace(1, 0, num_samples // 20, dtype=np.float32)
    for wave_S, square_sum in ((soft_S, soft_sum), (loud_S, loud_sum)):
        wave_S[:attack] *= ramp
        if len(fade):
            wave_S[-len(fade) :] *= fade
        wave_S /= np.float32(np.sqrt(max(square_sum, 1e-9)))
    return soft_S, loud_S


def write_comparison(
    file: IO[bytes],
    input_blocks: Iterable[np.ndarray],
    notes: Notes,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> None:
    """Write a stereo WAV: the recording left, its transcription right.

    Args:
      file: open for writing, seekable.
      input_blocks: the mono recording at `sample_rate_hz`, in consecutive blocks.
      notes: its transcription.
      sample_rate_hz: of the recording and the result.
    """
    import soundfile

    with soundfile.SoundFile(
        file,  # pyright: ignore[reportArgumentType]
        mode="w",
        samplerate=sample_rate_hz,
        channels=2,
        format="WAV",
        subtype="PCM_16",
    ) as out:
        player = Player(notes, sample_rate_hz)
        for left_S in input_blocks:
            right_S = player.play(len(left_S))
            out.write(np.stack([np.clip(left_S, -1, 1), right_S], axis=1))

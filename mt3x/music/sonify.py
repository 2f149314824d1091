"""Notes to sound: plain additive instruments and drums, to hear what was transcribed.

The instruments of a family sound alike (`mt3x.music.sounds`): a note is a mix of its
key played softly and loudly, by its velocity, cut at its offset. Drums ring until they
have faded.
"""

from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

import numpy as np

from mt3x.music.instrument_classes import (
    CLASS_OF_PROGRAM,
    CLASSES,
    DRUM_CLASS_OF_KEY,
    DRUM_CLASSES,
)
from mt3x.music.sounds import OTHER_DRUM, SOUNDS, drum_waveform, key_waveforms

if TYPE_CHECKING:
    from mt3x.music.notes import Notes

SAMPLE_RATE_HZ = 32000
# Longer than any drum rings.
RING_S = 4.0
RELEASE_S = 0.12
# One note of velocity 127 peaks at about this level; chords are limited by tanh.
NOTE_LEVEL = 0.25


def sonify(
    notes: "Notes",
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

    def __init__(self, notes: "Notes", sample_rate_hz: int = SAMPLE_RATE_HZ):
        self._notes, self._force_N = notes, notes.velocity / 127
        self._sample_rate_hz = sample_rate_hz
        self._release = max(int(RELEASE_S * sample_rate_hz), 1)
        self._first_N = np.round(notes.onset_s * sample_rate_hz).astype(int)
        damped_N = np.round(notes.offset_s * sample_rate_hz).astype(int)
        # Drums ring until they have faded.
        ring_N = np.where(notes.is_drum, int(RING_S * sample_rate_hz), 0)
        self._damped_N = np.maximum(damped_N, self._first_N + ring_N)
        self._position = 0

    def play(self, num_samples: int) -> np.ndarray:
        """Return the next samples, float32 in -1..1."""
        begin, end = self._position, self._position + num_samples
        self._position = end
        block_S = np.zeros(num_samples, np.float32)
        heard_N = (self._first_N < end) & (self._damped_N + self._release > begin)
        for n in np.flatnonzero(heard_N).tolist():
            first, silent = self._first_N[n], self._damped_N[n] + self._release
            start, stop = max(first, begin), min(silent, end)
            sound_S = self._sound(n, start - first, stop - first)
            stop = start + len(sound_S)
            if stop <= start:  # faded before it was released
                continue
            damping = np.arange(max(self._damped_N[n], start), stop)
            if len(damping):
                left = (silent - damping).astype(np.float32) / self._release
                sound_S[-len(damping) :] *= left**2
            block_S[start - begin : stop - begin] += sound_S
        return np.tanh(block_S)

    def _sound(self, n: int, start: int, stop: int) -> np.ndarray:
        """Return the samples of a note from one to another, or until it has faded."""
        pitch, rate_hz = int(self._notes.pitch[n]), self._sample_rate_hz
        force = np.float32(self._force_N[n])
        if self._notes.is_drum[n]:
            drum = DRUM_CLASS_OF_KEY[pitch]
            name = DRUM_CLASSES[drum].name if drum >= 0 else OTHER_DRUM
            sound_S = drum_waveform(name, rate_hz)[start:stop].copy()
        else:
            family = CLASSES[CLASS_OF_PROGRAM[self._notes.program[n]]].family
            soft_S, loud_S = key_waveforms(family, pitch, rate_hz)
            if SOUNDS[family].half_life is not None:
                soft_S, loud_S = soft_S[start:stop], loud_S[start:stop]
                sound_S = soft_S + force * (loud_S - soft_S)
            else:
                place_S = np.arange(start, stop)
                sound_S = (soft_S + force * (loud_S - soft_S))[place_S % len(soft_S)]
                attack = np.float32(SOUNDS[family].attack_s * rate_hz)
                sound_S *= np.minimum(place_S.astype(np.float32) / attack, 1)
        sound_S *= NOTE_LEVEL * force**1.5
        return sound_S


def write_comparison(
    file: IO[bytes],
    input_blocks: Iterable[np.ndarray],
    notes: "Notes",
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> None:
    """Write a stereo WAV: the recording left, its transcription right.

    Args:
      file: open for writing, seekable.
      input_blocks: the mono recording at `sample_rate_hz`, in consecutive blocks.
      notes: its transcription.
      sample_rate_hz: of the recording and the result.

    Raises:
      OSError: the disk is full, or has another fault.
    """
    # Deferred: who plays notes needs no library for sound files.
    from mt3x.music.audio import open_sound

    with open_sound(file, sample_rate_hz, 2, "WAV", "PCM_16") as out:
        player = Player(notes, sample_rate_hz)
        for left_S in input_blocks:
            right_S = player.play(len(left_S))
            out.write(np.stack([np.clip(left_S, -1, 1), right_S], axis=1))

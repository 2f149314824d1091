"""A band of three instruments and drums: its notes, its sound, its records."""

from pathlib import Path

import numpy as np

from mt3x.notes import Notes

RATE = 16000
SONG_S = 1.6
# Amplitudes of the partials of piano, bass and violin, and their ranges.
PARTIALS = {0: [1, 0.5, 0.25, 0.12], 33: [1, 0.8, 0.1], 40: [0.3, 0.6, 1, 0.8, 0.6]}
RANGES = {0: (60, 72), 33: (36, 48), 40: (72, 84)}
DRUMS_HZ = {36: 80, 38: 1800, 42: 6000}


def song(seed: int) -> Notes:
    """Some bars of a song: notes of one key do not overlap."""
    rng = np.random.default_rng(seed)
    rows, free_s = [], {}
    onset_s = 0.1
    while onset_s < SONG_S - 0.5:
        for program, (low, high) in RANGES.items():
            pitch = int(rng.integers(low, high))
            if rng.random() < 0.5 and free_s.get((program, pitch), 0) < onset_s:
                offset_s = onset_s + rng.uniform(0.15, 0.45)
                free_s[program, pitch] = offset_s
                rows.append((onset_s, offset_s, pitch, program, False))
        if rng.random() < 0.6:
            hit = int(rng.choice(list(DRUMS_HZ)))
            rows.append((onset_s, onset_s + 0.01, hit, 0, True))
        onset_s += rng.uniform(0.12, 0.25)
    onset, offset, pitch, program, is_drum = map(np.array, zip(*rows, strict=True))
    return Notes(onset, offset, pitch, program=program, is_drum=is_drum)


def play(notes: Notes) -> np.ndarray:
    """samples_S of SONG_S seconds, at RATE."""
    samples_S = np.zeros(round(SONG_S * RATE) + RATE, np.float32)
    for n in range(len(notes)):
        first = round(notes.onset_s[n] * RATE)
        if notes.is_drum[n]:
            t = np.arange(1600) / RATE
            hz = DRUMS_HZ[int(notes.pitch[n])]
            tone = 2 * np.exp(-t * 50) * np.sin(2 * np.pi * hz * t)
        else:
            t = np.arange(round(notes.offset_s[n] * RATE) - first) / RATE
            hz = 440 * 2 ** ((notes.pitch[n] - 69) / 12)
            tone = sum(
                amplitude * np.sin(2 * np.pi * k * hz * t)
                for k, amplitude in enumerate(PARTIALS[int(notes.program[n])], 1)
            )
            tone *= np.clip(np.minimum(t / 0.005, (t[-1] - t) / 0.01), 0, 1)
        samples_S[first : first + len(t)] += 0.15 * tone
    return samples_S[: round(SONG_S * RATE)]


def write_records(folder: Path, seeds: range) -> None:
    """The records of songs, as training and validation split."""
    import tensorflow as tf

    from mt3x.pieces import Piece, encode_piece

    folder.mkdir(parents=True)
    pieces = [Piece(f"song{s}", play(song(s)), RATE, song(s)) for s in seeds]
    for split in ("train", "validation"):
        path = folder / f"{split}-00000-of-00001.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for piece in pieces:
                writer.write(encode_piece(piece, "WAV"))

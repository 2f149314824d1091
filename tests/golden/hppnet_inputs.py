"""Inputs of the HPPNet golden files, made by formula so that they need no storing.

Signals, features and weights are functions of a seed and a name alone; `make_hppnet.py`
feeds them to the reference implementations, the tests feed them to mt3x.
"""

import zlib
from collections.abc import Mapping

import numpy as np

SAMPLE_RATE_HZ = 16000
NUM_SAMPLES = 48000
NUM_BINS = 352


def signal() -> np.ndarray:
    """Return 3 s of decaying chords, a rising tone, a click and faint noise."""
    time_s = np.arange(NUM_SAMPLES) / SAMPLE_RATE_HZ
    samples_S = np.zeros(NUM_SAMPLES)
    notes = (
        (0.1, 33),
        (0.5, 60),
        (0.5, 64),
        (0.5, 67),
        (1.2, 21),
        (1.8, 96),
        (2.4, 108),
    )
    for start_s, pitch in notes:
        since_s = np.maximum(time_s - start_s, 0.0)
        envelope_S = np.where(time_s >= start_s, np.exp(-3.0 * since_s), 0.0)
        hz = 440.0 * 2.0 ** ((pitch - 69) / 12)
        for k in range(1, 9):
            if k * hz < 0.45 * SAMPLE_RATE_HZ:
                tone_S = np.sin(2 * np.pi * k * hz * since_s)
                samples_S += 0.15 / k * envelope_S * tone_S
    samples_S += 0.02 * np.sin(2 * np.pi * 200.0 * (2.0**time_s - 1.0) / np.log(2.0))
    samples_S[20000] += 0.5
    samples_S += 1e-4 * np.random.default_rng(7).uniform(-1.0, 1.0, NUM_SAMPLES)
    return samples_S.astype(np.float32)


def features(seed: int, batch: int, num_frames: int) -> np.ndarray:
    """Return made-up log spectrograms in dB, float32 BxTxF: ridges over noise."""
    rng = np.random.default_rng([seed, batch, num_frames])
    feats_BxTxF = rng.uniform(-60.0, -20.0, (batch, num_frames, NUM_BINS))
    for clip_TxF in feats_BxTxF:
        for _ in range(12):
            onset, first = rng.integers(num_frames), rng.integers(NUM_BINS - 40)
            decay_T = np.exp(-0.1 * np.arange(num_frames - onset))
            for k in (0, 48, 76, 96):
                if first + k < NUM_BINS:
                    clip_TxF[onset:, first + k] += 50.0 * decay_T
    return feats_BxTxF.astype(np.float32)


def weights(seed: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return float32 arrays uniform in +-1/sqrt(fan in), each seeded by its name."""
    arrays = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
        bound = 1.0 / np.sqrt(fan_in)
        arrays[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return arrays


def cotangent(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 array in +-1 that weighs the rolls into one number."""
    return np.random.default_rng([seed, 99]).uniform(-1, 1, shape).astype(np.float32)

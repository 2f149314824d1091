"""What the golden log-mel spectrograms were made from."""

import numpy as np

NUM_SAMPLES = 40 * 128
# Every such frame and bin is stored.
FRAMES, BINS = 3, 2


def signals() -> np.ndarray:
    """BxS: noise, a chord in noise with digital silence behind, a quiet click."""
    rng = np.random.default_rng(0)
    noise_S = rng.normal(0.0, 0.1, NUM_SAMPLES)
    time_s = np.arange(NUM_SAMPLES) / 16000
    chord_S = sum(np.sin(2 * np.pi * hz * time_s) for hz in (220.0, 277.18, 329.63))
    chord_S = 0.2 * chord_S + 0.01 * rng.normal(size=NUM_SAMPLES)
    chord_S[15 * 128 :] = 0.0
    click_S = np.zeros(NUM_SAMPLES)
    click_S[3000] = 1e-3
    return np.stack([noise_S, chord_S, click_S]).astype(np.float32)

"""Estimates of a recording's tuning."""

import numpy as np
import pytest

from mt3x.music.tuning import estimate_tuning

RATE_HZ = 16000


def chords(cents: float, seconds: float = 3.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    time_S = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    samples_S = 1e-3 * rng.standard_normal(len(time_S))
    for pitch in (48, 55, 64, 69):
        hz = 440 * 2 ** ((pitch - 69 + cents / 100) / 12)
        samples_S += sum(0.3**k * np.sin(2 * np.pi * k * hz * time_S) for k in (1, 2))
    return samples_S


@pytest.mark.parametrize("cents", [-45, -30, 0, 12, 30, 45])
def test_detuned_chords(cents):
    # The fourth harmonic and others are not in equal temperament.
    assert estimate_tuning([chords(cents)], RATE_HZ) == pytest.approx(cents, abs=3)


def test_parts_are_taken_together():
    parts = [np.zeros(3), chords(20), np.zeros(RATE_HZ)]
    assert estimate_tuning(parts, RATE_HZ) == pytest.approx(20, abs=3)


def test_what_has_no_pitch_has_no_tuning():
    noise_S = np.random.default_rng(0).standard_normal(10 * RATE_HZ)
    for parts in ([], [np.zeros(0)], [np.zeros(2 * RATE_HZ)], [noise_S]):
        assert estimate_tuning(parts, RATE_HZ) == 0

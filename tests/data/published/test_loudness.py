"""The loudness that ITU-R BS.1770-4 and EBU Tech 3341 ask for."""

import numpy as np
import pytest

from mt3x.data.published.loudness import integrated_loudness

RATE_HZ = 48000


def tone(level_db, seconds=5.0, frequency_hz=997, rate_hz=RATE_HZ):
    time_S = np.arange(int(seconds * rate_hz)) / rate_hz
    return 10 ** (level_db / 20) * np.sin(2 * np.pi * frequency_hz * time_S)


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
@pytest.mark.parametrize("level_db", [0, -23])
def test_sine(rate_hz, level_db):
    """BS.1770: a sine of 997 Hz at 0 dBFS in one channel is -3.01 LKFS."""
    lufs = integrated_loudness(tone(level_db, rate_hz=rate_hz), rate_hz)
    assert lufs == pytest.approx(-3.01 + level_db, abs=0.05)


def test_weighting():
    """Bass counts less and treble more, by the filters of the recommendation."""
    middle = integrated_loudness(tone(-20), RATE_HZ)
    for frequency_hz, gain_db in ((40, -5.9), (100, -1.8), (10000, 3.4)):
        lufs = integrated_loudness(tone(-20, frequency_hz=frequency_hz), RATE_HZ)
        assert lufs - middle == pytest.approx(gain_db, abs=0.4)


def test_gates():
    """EBU Tech 3341, case 3: what is 10 LU below the rest does not count."""
    signal = np.concatenate([tone(-36, 10), tone(-23, 60), tone(-36, 10)])
    assert integrated_loudness(signal, RATE_HZ) == pytest.approx(-26.01, abs=0.1)
    quiet = np.concatenate([tone(-23, 5), np.zeros(5 * RATE_HZ)])
    assert integrated_loudness(quiet, RATE_HZ) == pytest.approx(-26.01, abs=0.2)


def test_silence_and_short():
    assert integrated_loudness(np.zeros(0), RATE_HZ) == -np.inf
    assert integrated_loudness(np.zeros(RATE_HZ), RATE_HZ) == -np.inf
    assert integrated_loudness(tone(-90), RATE_HZ) == -np.inf
    short = integrated_loudness(tone(-20, 0.1), RATE_HZ)
    assert short == pytest.approx(-23.01, abs=0.3)

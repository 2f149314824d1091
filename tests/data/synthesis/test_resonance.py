"""Strings that sound along with the pedal."""

import numpy as np
import pytest

from mt3x.data.synthesis.resonance import StringsConfig, with_strings

RATE = 16000
PEDAL_S = np.array([[0.5, 1.0]])


def clicks():
    """Return noise in 0.1 s every half second, for two seconds."""
    samples_S = np.zeros(2 * RATE, np.float32)
    rng = np.random.default_rng(0)
    for start_s in (0.1, 0.6, 1.1):
        start = round(start_s * RATE)
        samples_S[start : start + RATE // 10] = 0.3 * rng.standard_normal(RATE // 10)
    return samples_S


@pytest.mark.parametrize("level_db", [-12.0, -30.0])
def test_strings_answer_while_the_pedal_is_down(level_db):
    samples_S = clicks()
    config = StringsConfig(level_db, damper_s=0.1)
    along_S = with_strings(samples_S, PEDAL_S, config, RATE) - samples_S
    assert along_S.dtype == np.float32
    assert not along_S[: RATE // 2].any() and not along_S[round(1.1 * RATE) :].any()
    played = np.sum(samples_S[RATE // 2 : RATE] ** 2)
    assert 10 * np.log10(np.sum(along_S**2) / played) == pytest.approx(
        level_db, abs=0.1
    )
    # They ring on until the dampers have fallen.
    after = np.abs(along_S[RATE : round(1.1 * RATE)])
    assert np.abs(along_S[round(0.8 * RATE) : RATE]).max() > 1e-4
    assert after[:400].max() > 20 * after[-400:].max() > 0


@pytest.mark.parametrize(
    "pedal_s", [np.zeros((0, 2)), np.array([[5.0, 6.0], [-2, -1]])]
)
def test_without_pedal_nothing_is_added(pedal_s):
    samples_S = clicks()
    found_S = with_strings(samples_S, np.array(pedal_s), StringsConfig(), RATE)
    np.testing.assert_array_equal(found_S, samples_S)

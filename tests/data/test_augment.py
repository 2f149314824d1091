"""Recording conditions: each one does what it says and moves no attack."""

from dataclasses import fields, replace

import numpy as np
import pytest

from mt3x.data.augment import AugmentConfig, augment

RATE_HZ = 16000
# Nothing happens: every probability 0, no gain.
NOTHING = AugmentConfig(
    **{f.name: 0.0 for f in fields(AugmentConfig) if f.name.endswith("_prob")},
    gain_db=(0.0, 0.0),
)


def clicks():
    samples_S = np.zeros(RATE_HZ, np.float32)
    samples_S[[4000, 9000]] = 0.5, -0.3
    return samples_S


def tone(hz):
    return 0.1 * np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ)


def rms(samples_S):
    return float(np.sqrt(np.mean(np.square(samples_S))))


def test_nothing_changes_nothing():
    samples_S = clicks()
    output_S = augment(samples_S, np.random.default_rng(0), NOTHING)
    assert output_S.dtype == np.float32
    np.testing.assert_allclose(output_S, samples_S, atol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_everything_keeps_length_range_and_attacks(seed):
    samples_S = clicks()
    kept_S = samples_S.copy()
    config = AugmentConfig(slow_prob=0.0)  # it makes a chirp of a click
    output_S = augment(samples_S, np.random.default_rng(seed), config)
    np.testing.assert_array_equal(samples_S, kept_S)
    assert output_S.shape == samples_S.shape and output_S.dtype == np.float32
    assert np.isfinite(output_S).all() and np.abs(output_S).max() <= 1
    assert abs(int(np.abs(output_S[:8000]).argmax()) - 4000) <= 16
    np.testing.assert_array_equal(
        output_S, augment(samples_S, np.random.default_rng(seed), config)
    )


def test_seeds_differ():
    first, second = (augment(clicks(), np.random.default_rng(s)) for s in (0, 1))
    assert np.abs(first - second).max() > 1e-3


def test_reverb_rings_after_and_never_before():
    config = replace(
        NOTHING, reverb_prob=1.0, rt60_s=(0.5, 0.5), reverb_db=(-6.0, -6.0)
    )
    output_S = augment(clicks(), np.random.default_rng(0), config)
    assert np.abs(output_S[:4000]).max() < 1e-6
    assert rms(output_S[4400:5000]) > 1e-3
    # 60 dB in half a second; measured over a quarter.
    early, late = rms(output_S[4400:4800]), rms(output_S[8400:8800])
    assert 20 * np.log10(early / late) == pytest.approx(30, abs=6)
    assert np.sum(output_S**2) == pytest.approx(np.sum(clicks() ** 2), rel=0.1)


def test_rough_levels_differ_by_semitone_and_do_not_ring_before():
    samples_S = np.zeros(RATE_HZ, np.float32)
    samples_S[4000] = 0.5
    config = replace(NOTHING, rough_prob=1.0, rough_db=(4.0, 4.0))
    output_S = augment(samples_S, np.random.default_rng(3), config)
    before, after = output_S[2000:3990], output_S[4010:6000]
    assert rms(before) < 0.05 * rms(after)
    assert int(np.abs(output_S).argmax()) == 4000
    keys_hz = 440 * 2 ** (np.arange(-24, 25) / 12)
    level_db = 20 * np.log10(
        np.abs(np.fft.rfft(output_S))[np.round(keys_hz).astype(int)]
    )
    assert 2.5 < np.std(level_db) < 5.5
    assert np.std(np.diff(level_db)) > 2.5  # neighbours are independent


def test_low_partials_rise_late():
    config = replace(NOTHING, slow_prob=1.0, slow_s=(0.02, 0.02))

    def delay_s(hz):
        """Of the beginning of a tone."""
        samples_S = tone(hz)
        samples_S[:8000] = 0
        output_S = augment(samples_S, np.random.default_rng(0), config)
        assert rms(output_S[12000:]) == pytest.approx(rms(samples_S[12000:]), rel=0.05)
        return (int((np.abs(output_S) > 0.05).argmax()) - 8000) / RATE_HZ

    assert 0.012 < delay_s(100) < 0.026
    assert abs(delay_s(6000)) < 0.004


def test_strings_sound_along_at_their_level():
    """A tone that ends leaves its string ringing, as loud as asked for."""
    samples_S = tone(440.0)
    samples_S[RATE_HZ // 2 :] = 0
    config = replace(NOTHING, strings_prob=1.0, strings_db=(-20.0, -20.0))
    along_S = augment(samples_S, np.random.default_rng(0), config) - samples_S
    assert rms(along_S[RATE_HZ // 2 :]) > 0.01 * rms(samples_S)
    # A part of its energy rings beyond the end.
    assert 0.03 < rms(along_S) / rms(samples_S) < 0.101
    spectrum = np.abs(np.fft.rfft(along_S[RATE_HZ // 2 :]))
    assert abs(2 * int(spectrum.argmax()) - 440) <= 4
    quieter = replace(config, strings_db=(-40.0, -40.0))
    quiet_S = augment(samples_S, np.random.default_rng(0), quieter) - samples_S
    assert rms(quiet_S) == pytest.approx(0.1 * rms(along_S), rel=0.01)


def test_lead_feeds_the_echo_and_is_cut_off():
    config = replace(NOTHING, reverb_prob=1.0, rt60_s=(1.0, 1.0))
    whole_S = augment(clicks(), np.random.default_rng(0), config)
    cut_S = augment(clicks(), np.random.default_rng(0), config, lead_samples=5000)
    np.testing.assert_allclose(cut_S, whole_S[5000:], atol=1e-6)
    assert rms(cut_S[:1000]) > 0
    with pytest.raises(ValueError, match="lead_samples"):
        augment(clicks(), np.random.default_rng(0), config, lead_samples=RATE_HZ)


@pytest.mark.parametrize("snr_db", [20.0, 40.0])
@pytest.mark.parametrize("seed", range(4))
def test_noise_has_its_level(snr_db, seed):
    config = replace(NOTHING, noise_prob=1.0, snr_db=(snr_db, snr_db))
    noise_S = augment(tone(440), np.random.default_rng(seed), config) - tone(440)
    measured = 20 * np.log10(rms(tone(440)) / rms(noise_S))
    assert measured == pytest.approx(snr_db, abs=2.5)


def test_hum_stands_out():
    config = replace(NOTHING, noise_prob=1.0, hum_prob=1.0, snr_db=(30.0, 30.0))
    output_S = augment(np.zeros(RATE_HZ), np.random.default_rng(2), config)
    spectrum_K = np.abs(np.fft.rfft(output_S))
    near = max(spectrum_K[48:53].max(), spectrum_K[58:63].max())
    assert near > 5 * np.median(spectrum_K[40:300])


def test_lowpass_and_highpass():
    low = replace(NOTHING, lowpass_prob=1.0, lowpass_hz=(2000.0, 2000.0))
    high = replace(NOTHING, highpass_prob=1.0, highpass_hz=(200.0, 200.0))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        assert rms(augment(tone(7000), rng, low)) < 0.6 * rms(tone(7000))
        assert rms(augment(tone(500), rng, low)) > 0.9 * rms(tone(500))
        assert rms(augment(tone(50), rng, high)) < 0.6 * rms(tone(50))
        assert rms(augment(tone(900), rng, high)) > 0.9 * rms(tone(900))


def test_soft_clipping_bends_loud_samples():
    config = replace(NOTHING, clip_prob=1.0)
    output_S = augment(tone(300) * 5, np.random.default_rng(1), config)
    spectrum_K = np.abs(np.fft.rfft(output_S))
    assert spectrum_K[900] > 0.01 * spectrum_K[300]


def test_gain():
    config = replace(NOTHING, gain_db=(-12.0, -12.0))
    output_S = augment(tone(300), np.random.default_rng(0), config)
    assert rms(output_S) / rms(tone(300)) == pytest.approx(10 ** (-0.6), rel=1e-3)
    config = replace(NOTHING, gain_db=(40.0, 40.0))
    output_S = augment(tone(300), np.random.default_rng(0), config)
    assert np.abs(output_S).max() == pytest.approx(0.99, rel=1e-3)


def test_faulty_config():
    with pytest.raises(ValueError, match=r"noise_prob must be in 0\.\.1: 2"):
        AugmentConfig(noise_prob=2)
    with pytest.raises(ValueError, match="snr_db"):
        AugmentConfig(snr_db=(60.0, 15.0))

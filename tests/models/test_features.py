"""The CQT and the log-mel spectrogram: parity with nnAudio, ddsp and MT3, shapes."""

from functools import partial
from pathlib import Path

import hppnet_inputs as inputs
import jax
import jax.numpy as jnp
import logmel_inputs
import numpy as np
import pytest

from mt3x.models.features import CQTConfig, LogMelConfig, cqt, log_cqt, log_mel

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = CQTConfig()
MEL = LogMelConfig()


@partial(jax.jit, static_argnums=1)
def both(samples_BxS: jax.Array, config: CQTConfig = CONFIG):
    return cqt(samples_BxS, config), log_cqt(samples_BxS, config)


def magnitudes(*clips_S: np.ndarray) -> np.ndarray:
    return np.asarray(both(jnp.asarray(np.stack(clips_S), jnp.float32))[0])


def decibels(*clips_S: np.ndarray) -> np.ndarray:
    return np.asarray(both(jnp.asarray(np.stack(clips_S), jnp.float32))[1])


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "cqt.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def magnitude_1xTxF() -> np.ndarray:
    return magnitudes(inputs.signal())


def test_magnitudes_equal_nnaudio(golden, magnitude_1xTxF):
    ref_1xTxF, est_1xTxF = golden["magnitude"], magnitude_1xTxF[:, :, ::2]
    assert est_1xTxF.shape == ref_1xTxF.shape
    error_1xTxF = np.abs(est_1xTxF - ref_1xTxF)
    assert error_1xTxF.max() < 1e-4 * ref_1xTxF.max()
    # Bin by bin: quiet bins are not hidden by the loudest one.
    peak_F = ref_1xTxF.max(axis=(0, 1))
    assert (error_1xTxF.max(axis=(0, 1)) < 1e-3 * peak_F).all()


def test_decibels_equal_nnaudio(golden):
    db_1xTxF = decibels(inputs.signal())
    ref_1xTxF = golden["db"].astype(np.float32)
    est_1xTxF = db_1xTxF[:, ::3]
    error_1xTxF = np.abs(est_1xTxF - ref_1xTxF)
    peak = ref_1xTxF.max()
    loud_1xTxF = ref_1xTxF > peak - 40.0
    assert loud_1xTxF.mean() > 0.2
    assert error_1xTxF[loud_1xTxF].max() < 0.1
    assert np.quantile(error_1xTxF, 0.99) < 0.1


def test_db_range_is_cut_per_clip():
    samples_S = inputs.signal()
    samples_S[-16000:] = 0.0
    batch_2xS = jnp.stack([samples_S, 1e-3 * samples_S])
    db_2xTxF = np.asarray(both(batch_2xS, CQTConfig(range_db=50.0))[1])
    for db_TxF in db_2xTxF:
        np.testing.assert_allclose(db_TxF.max() - db_TxF.min(), 50.0, atol=1e-3)
    # 10 log10 of the magnitude: a thousandth is 30 dB less.
    loud_TxF = db_2xTxF[0] > db_2xTxF[0].max() - 40.0
    np.testing.assert_allclose((db_2xTxF[0] - db_2xTxF[1])[loud_TxF], 30.0, atol=0.05)


@pytest.mark.parametrize("pitch", [21, 40, 69, 93, 108])
def test_a_tone_peaks_on_its_key(pitch):
    time_s = np.arange(48000) / CONFIG.sample_rate_hz
    tone_S = np.sin(2 * np.pi * 440.0 * 2 ** ((pitch - 69) / 12) * time_s)
    middle_F = magnitudes(tone_S)[0, 75]
    # The lowest bin lies two below A0.
    assert middle_F.argmax() == 4 * (pitch - 21) + 2


@pytest.mark.parametrize("num_samples", [1, 2, 5000])
def test_number_of_frames(num_samples):
    mags_1xTxF = magnitudes(inputs.signal()[8000 : 8000 + num_samples])
    assert mags_1xTxF.shape == (1, num_samples // 320 + 1, 352)
    assert np.isfinite(mags_1xTxF).all()


def test_silence_is_flat():
    db_1xTxF = decibels(np.zeros(inputs.NUM_SAMPLES))
    np.testing.assert_allclose(db_1xTxF, -100.0, atol=1e-4)


def test_clips_of_a_batch_do_not_mix(magnitude_1xTxF):
    samples_S = inputs.signal()
    mags_2xTxF = magnitudes(samples_S[::-1], samples_S)
    peak = magnitude_1xTxF.max()
    np.testing.assert_allclose(mags_2xTxF[1], magnitude_1xTxF[0], atol=1e-5 * peak)


def test_a_shift_by_hops_shifts_frames(magnitude_1xTxF):
    samples_S = inputs.signal()
    later_1xTxF = magnitudes(np.concatenate([np.zeros(3200), samples_S[:-3200]]))
    # Frames whose windows lie inside of both clips see the same samples.
    first, last = 20600 // 320 + 1, (inputs.NUM_SAMPLES - 3200 - 20600) // 320
    np.testing.assert_allclose(
        later_1xTxF[0, first + 10 : last + 10],
        magnitude_1xTxF[0, first:last],
        atol=1e-5 * magnitude_1xTxF.max(),
    )


def test_bins_above_nyquist_are_refused():
    with pytest.raises(ValueError, match="sample rate"):
        CQTConfig(num_bins=500)


@partial(jax.jit, static_argnums=1)
def jitted_mel(samples_BxS: jax.Array, config: LogMelConfig) -> jax.Array:
    return log_mel(samples_BxS, config)


def mel_features(samples_BxS: np.ndarray) -> np.ndarray:
    return np.asarray(jitted_mel(jnp.asarray(samples_BxS, jnp.float32), MEL))


@pytest.fixture(scope="module")
def mel_BxTxF() -> np.ndarray:
    return mel_features(logmel_inputs.signals())


def test_log_mel_equals_ddsp(mel_BxTxF):
    with np.load(GOLDEN / "logmel.npz") as golden:
        ref_BxTxF = golden["feats"]
    est_BxTxF = mel_BxTxF[:, :: logmel_inputs.FRAMES, :: logmel_inputs.BINS]
    np.testing.assert_allclose(est_BxTxF, ref_BxTxF, atol=1e-4, rtol=0)


def test_log_mel_equals_mt3(mel_BxTxF):
    spectrograms = pytest.importorskip("mt3.spectrograms", exc_type=ImportError)
    for samples_S, est_TxF in zip(logmel_inputs.signals(), mel_BxTxF, strict=True):
        ref_TxF = spectrograms.compute_spectrogram(
            samples_S, spectrograms.SpectrogramConfig()
        )
        np.testing.assert_allclose(est_TxF, ref_TxF.numpy(), atol=1e-4, rtol=0)


def test_log_mel_silence_is_the_floor():
    feats_1xTxF = mel_features(np.zeros((1, 512)))
    assert feats_1xTxF.shape == (1, 4, 512)
    np.testing.assert_allclose(feats_1xTxF, np.log(1e-5), rtol=1e-6)


def test_log_mel_a_tone_peaks_in_its_band():
    time_s = np.arange(4096) / 16000
    feats_TxF = mel_features(np.sin(2 * np.pi * 440.0 * time_s)[None])[0]
    mel = 1127 * np.log1p(np.array([20.0, 440.0, 7600.0]) / 700)
    band = (mel[1] - mel[0]) / (mel[2] - mel[0]) * 513 - 1
    # Bands are narrower than the FFT's bins down there.
    assert abs(feats_TxF[0].argmax() - band) < 3


def test_log_mel_clips_of_a_batch_do_not_mix(mel_BxTxF):
    alone_1xTxF = mel_features(logmel_inputs.signals()[1:2])
    np.testing.assert_allclose(alone_1xTxF[0], mel_BxTxF[1], atol=1e-5)


def test_log_mel_a_frame_sees_its_window_alone(mel_BxTxF):
    """Frame t holds samples from t * hop on: frames before the click know nothing."""
    samples_BxS = logmel_inputs.signals()
    samples_BxS[0, 30 * 128 :] = 0.0
    cut_TxF = mel_features(samples_BxS)[0]
    last = 30 - 2048 // 128
    np.testing.assert_allclose(cut_TxF[: last + 1], mel_BxTxF[0, : last + 1], atol=0)
    assert (cut_TxF[30:] == np.float32(np.log(np.float32(1e-5)))).all()
    assert np.abs(cut_TxF[last + 1] - mel_BxTxF[0, last + 1]).max() > 0


def test_log_mel_gradient_is_finite_in_silence():
    samples_1xS = jnp.asarray(logmel_inputs.signals()[1:2, : 20 * 128])
    gradient = jax.grad(lambda x: jnp.mean(log_mel(x, MEL)))(samples_1xS)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    silence = jax.grad(lambda x: jnp.mean(log_mel(x, MEL)))(0 * samples_1xS)
    assert np.isfinite(silence).all()


def test_log_mel_gradient_is_the_slope():
    samples_1xS = jnp.asarray(logmel_inputs.signals()[:1, :2048])
    direction = jnp.asarray(
        np.random.default_rng(4).normal(size=(1, 2048)), jnp.float32
    )

    def mean(x):
        return jnp.mean(log_mel(x, MEL))

    slope = jax.jvp(mean, (samples_1xS,), (direction,))[1]
    step = 1e-3
    ends = [mean(samples_1xS + sign * step * direction) for sign in (1, -1)]
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, rtol=2e-2)


def test_log_mel_bad_input():
    with pytest.raises(ValueError, match=r"130 samples.*multiple of the hop 128"):
        log_mel(jnp.zeros((1, 130)), MEL)
    with pytest.raises(ValueError, match=r"fmax_hz 9000"):
        LogMelConfig(fmax_hz=9000.0)
    with pytest.raises(ValueError, match=r"hop_samples 4096"):
        LogMelConfig(hop_samples=4096)

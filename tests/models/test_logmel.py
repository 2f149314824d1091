"""The log-mel spectrogram: parity with ddsp and MT3, gradients, bad input."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import logmel_inputs as inputs
import numpy as np
import pytest

from mt3x.models.features import LogMelConfig, log_mel

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = LogMelConfig()


@partial(jax.jit, static_argnums=1)
def jitted(samples_BxS: jax.Array, config: LogMelConfig) -> jax.Array:
    return log_mel(samples_BxS, config)


def features(samples_BxS: np.ndarray) -> np.ndarray:
    return np.asarray(jitted(jnp.asarray(samples_BxS, jnp.float32), CONFIG))


@pytest.fixture(scope="module")
def feats_BxTxF() -> np.ndarray:
    return features(inputs.signals())


def test_equals_ddsp(feats_BxTxF):
    with np.load(GOLDEN / "logmel.npz") as golden:
        ref_BxTxF = golden["feats"]
    est_BxTxF = feats_BxTxF[:, :: inputs.FRAMES, :: inputs.BINS]
    np.testing.assert_allclose(est_BxTxF, ref_BxTxF, atol=1e-4, rtol=0)


def test_equals_mt3(feats_BxTxF):
    spectrograms = pytest.importorskip("mt3.spectrograms", exc_type=ImportError)
    for samples_S, est_TxF in zip(inputs.signals(), feats_BxTxF, strict=True):
        ref_TxF = spectrograms.compute_spectrogram(
            samples_S, spectrograms.SpectrogramConfig()
        )
        np.testing.assert_allclose(est_TxF, ref_TxF.numpy(), atol=1e-4, rtol=0)


def test_silence_is_the_floor():
    feats_1xTxF = features(np.zeros((1, 512)))
    assert feats_1xTxF.shape == (1, 4, 512)
    np.testing.assert_allclose(feats_1xTxF, np.log(1e-5), rtol=1e-6)


def test_a_tone_peaks_in_its_band():
    time_s = np.arange(4096) / 16000
    feats_TxF = features(np.sin(2 * np.pi * 440.0 * time_s)[None])[0]
    mel = 1127 * np.log1p(np.array([20.0, 440.0, 7600.0]) / 700)
    band = (mel[1] - mel[0]) / (mel[2] - mel[0]) * 513 - 1
    # Bands are narrower than the FFT's bins down there.
    assert abs(feats_TxF[0].argmax() - band) < 3


def test_clips_of_a_batch_do_not_mix(feats_BxTxF):
    alone_1xTxF = features(inputs.signals()[1:2])
    np.testing.assert_allclose(alone_1xTxF[0], feats_BxTxF[1], atol=1e-5)


def test_a_frame_sees_its_window_alone(feats_BxTxF):
    """Frame t holds samples from t * hop on: frames before the click know nothing."""
    samples_BxS = inputs.signals()
    samples_BxS[0, 30 * 128 :] = 0.0
    cut_TxF = features(samples_BxS)[0]
    last = 30 - 2048 // 128
    np.testing.assert_allclose(cut_TxF[: last + 1], feats_BxTxF[0, : last + 1], atol=0)
    assert (cut_TxF[30:] == np.float32(np.log(np.float32(1e-5)))).all()
    assert np.abs(cut_TxF[last + 1] - feats_BxTxF[0, last + 1]).max() > 0


def test_gradient_is_finite_in_silence():
    samples_1xS = jnp.asarray(inputs.signals()[1:2, : 20 * 128])
    gradient = jax.grad(lambda x: jnp.mean(log_mel(x, CONFIG)))(samples_1xS)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    silence = jax.grad(lambda x: jnp.mean(log_mel(x, CONFIG)))(0 * samples_1xS)
    assert np.isfinite(silence).all()


def test_gradient_is_the_slope():
    samples_1xS = jnp.asarray(inputs.signals()[:1, :2048])
    direction = jnp.asarray(
        np.random.default_rng(4).normal(size=(1, 2048)), jnp.float32
    )

    def mean(x):
        return jnp.mean(log_mel(x, CONFIG))

    slope = jax.jvp(mean, (samples_1xS,), (direction,))[1]
    step = 1e-3
    ends = [mean(samples_1xS + sign * step * direction) for sign in (1, -1)]
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, rtol=2e-2)


def test_bad_input():
    with pytest.raises(ValueError, match=r"130 samples.*multiple of the hop 128"):
        log_mel(jnp.zeros((1, 130)), CONFIG)
    with pytest.raises(ValueError, match=r"fmax_hz 9000"):
        LogMelConfig(fmax_hz=9000.0)
    with pytest.raises(ValueError, match=r"hop_samples 4096"):
        LogMelConfig(hop_samples=4096)

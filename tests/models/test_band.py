"""The network of band models: shapes, size, padding, and what its parts see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL_BAND, random_params

from mt3x.models.band import BandNet, BandNetConfig, HarmonicLayer
from mt3x.models.objectives import BandConfig, BandObjective
from mt3x.models.weights_file import flatten
from mt3x.music.rolls import ROLL_NAMES

FRAMES = 14
PARAMS = random_params(SMALL_BAND)


def inputs(seed=0, batch=2, frames=FRAMES):
    rng = np.random.default_rng(seed)
    feats_BxTxF = rng.uniform(-60, 20, (batch, frames, 352)).astype(np.float32)
    bands = SMALL_BAND.drum_features.num_bins
    mel_BxUxM = rng.uniform(-9, 0, (batch, 4 * frames, bands)).astype(np.float32)
    return jnp.asarray(feats_BxTxF), jnp.asarray(mel_BxUxM)


@pytest.fixture(scope="module")
def apply():
    model = BandNet(SMALL_BAND.model)
    return jax.jit(lambda *arrays: model.apply({"params": PARAMS}, *arrays))


def test_sizes_of_the_outputs(apply):
    outputs = apply(*inputs())
    rolls = {name: (2, FRAMES, 88) for name in ROLL_NAMES}
    assert {name: array.shape for name, array in outputs.items()} == {
        **rolls,
        "classes": (2, FRAMES, 88, 24),
        "timbre": (2, FRAMES, 88, 12),
        "drums": (2, 4 * FRAMES, 8),
        "drum_velocity": (2, 4 * FRAMES, 8),
    }
    for name in (*ROLL_NAMES, "drums", "drum_velocity"):
        assert 0 < outputs[name].min() < outputs[name].max() < 1, name
    np.testing.assert_allclose(jnp.exp(outputs["classes"]).sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        jnp.linalg.norm(outputs["timbre"], axis=-1), 1, rtol=1e-5
    )


def test_number_of_parameters():
    shapes = jax.eval_shape(BandObjective(BandConfig()).init, jax.random.key(0))
    sizes = {name: leaf.size for name, leaf in flatten(shapes).items()}

    def count(prefix):
        return sum(n for name, n in sizes.items() if name.startswith(prefix))

    stem = 5 * 5 * 12 + 12 + 2 * (5 * 5 * 12 * 12 + 12)
    keys = 3 * 48 * 64 + 64
    layers = 3 * (15 * 64 * 64 + 64 + 9 * 64 * 64 + 64)
    lstm = 2 * 4 * 48 * (64 + 48 + 2)
    dense = 96 * 28 + 28
    assert count("notes/") - count("notes/players/") == stem + keys + layers + lstm + (
        dense
    )
    assert count("notes/players/") == 63_348
    assert count("drums/") == 50_480
    assert count("") == 472_432


def test_padding_changes_nothing(apply):
    feats_BxTxF, mel_BxUxM = inputs()
    mask_BxT = jnp.arange(FRAMES)[None] < jnp.array([[FRAMES], [9]])
    mask_BxU = jnp.repeat(mask_BxT, 4, axis=1)
    # What lies in the padding must not matter, whatever it is.
    filled = (
        jnp.where(mask_BxT[..., None], feats_BxTxF, 1e4),
        jnp.where(mask_BxU[..., None], mel_BxUxM, 1e4),
    )
    padded = apply(*filled, mask_BxT)
    whole = apply(feats_BxTxF, mel_BxUxM, mask_BxT | True)
    alone = apply(feats_BxTxF[1:, :9], mel_BxUxM[1:, :36])
    for name, array in padded.items():
        np.testing.assert_allclose(array[0], whole[name][0], atol=2e-5, err_msg=name)
        short = alone[name][0]
        np.testing.assert_allclose(
            array[1, : len(short)], short, atol=2e-5, err_msg=name
        )


def test_drums_and_notes_share_nothing(apply):
    (feats, mel), (other_feats, other_mel) = inputs(0), inputs(1)
    first = apply(feats, mel)
    of_drums = apply(feats, other_mel)
    of_notes = apply(other_feats, mel)
    for name, array in first.items():
        is_drum = "drum" in name
        assert jnp.array_equal(array, of_notes[name]) == is_drum, name
        assert jnp.array_equal(array, of_drums[name]) != is_drum, name


def test_a_harmonic_layer_sees_eight_harmonics():
    layer = HarmonicLayer(num_harmonics=7)
    x_BxTxPxC = jnp.zeros((1, 1, 88, 2))
    params = layer.init(jax.random.key(0), x_BxTxPxC, None)
    key = 44

    def at_key(x_BxTxPxC):
        return layer.apply(params, x_BxTxPxC, None)[0, 0, key].sum()

    # Instance norm sees all keys: its statistics do not hide the layer's own reach.
    x_BxTxPxC = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, 88, 2)))
    gradient = jax.grad(at_key)(x_BxTxPxC.astype(jnp.float32))
    size_P = jnp.abs(gradient[0, 0]).sum(axis=-1)
    seen = np.sort(np.argsort(np.asarray(size_P))[-15:]) - key
    above = [12, 19, 24, 28, 31, 34, 36]
    np.testing.assert_array_equal(seen, [*(-d for d in above[::-1]), 0, *above])


def test_configs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"drum_channels=\(16, 32, 32\)"):
        BandNetConfig(drum_pools=(2, 2))
    config = BandConfig()
    for changes, message in [
        ({"features": {"hop_samples": 500}}, "32.0 frames per second.*31.25"),
        ({"features": {"num_bins": 264}}, "264 bins"),
        ({"drum_features": {"hop_samples": 192}}, "multiple of drum_features' 192"),
        ({"drum_features": {"fft_samples": 1152}}, "fft_samples=1152"),
        ({"drum_features": {"num_bins": 72}}, "num_bins=72 of drum_features"),
    ]:
        parts = {
            name: dataclasses.replace(getattr(config, name), **values)
            for name, values in changes.items()
        }
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(config, **parts)

"""KeyNet: which bins a key reads, padding, keys alike, arithmetic, configs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import hppnet_inputs as inputs

from mt3x.models.hppnet import HEADS
from mt3x.models.keynet import KeyNet, KeyNetConfig, partial_bins
from mt3x.objectives import PianoConfig, config_from_dict

SMALL = KeyNetConfig(channels=8, lstm_units=4, shared_channels=4, num_blocks=1)


def initial(feats_BxTxF, config=SMALL):
    model = KeyNet(config)
    return model, jax.jit(model.init)(jax.random.key(0), feats_BxTxF)


def test_size_of_the_default():
    feats_BxTxF = jnp.zeros((1, 4, 352))
    _, params = initial(feats_BxTxF, KeyNetConfig())
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 233_860


def test_a_key_reads_its_partials_and_its_fundamentals():
    bins_PxK = partial_bins(KeyNetConfig()).reshape(88, 13, 6)
    a4 = 69 - 21
    np.testing.assert_array_equal(bins_PxK[a4, 0], 4 * a4 + np.arange(-1, 5))
    # The octave above and below, the twelfth above.
    np.testing.assert_array_equal(bins_PxK[a4, 1], bins_PxK[a4 + 12, 0])
    np.testing.assert_array_equal(bins_PxK[a4, 2], bins_PxK[a4 + 19, 0])
    np.testing.assert_array_equal(bins_PxK[a4, 10], bins_PxK[a4 - 12, 0])
    # Off the spectrogram on both sides.
    assert (bins_PxK[87, 1] == -1).all()
    assert (bins_PxK[0, 10] < 0).all()


def test_bins_off_the_spectrogram_are_silent():
    """The lowest key's subharmonics read nothing, not bins from the other end."""
    feats_BxTxF = jnp.asarray(inputs.features(5, 1, 8))
    config = dataclasses.replace(SMALL, num_partials=1, num_fundamentals=1)
    model, params = initial(feats_BxTxF, config)
    params["params"]["keys_0"]["kernel"] *= 0  # keys do not look at each other
    apply = jax.jit(model.apply)
    grad = jax.grad(lambda feats: apply(params, feats)["onset"][0, 4, 0])(feats_BxTxF)
    # The norm makes every bin count a little, the key's own bins much.
    size_F = jnp.abs(grad).sum(axis=(0, 1))
    assert size_F[:5].min() > 3 * size_F[5:].max()


@pytest.mark.parametrize("short", [14, 13])
def test_padding_changes_nothing(short):
    feats_BxTxF = jnp.asarray(inputs.features(5, 2, 26))
    model, params = initial(feats_BxTxF)
    mask_BxT = jnp.arange(26)[None] < jnp.array([[26], [short]])
    # What lies in the padding must not matter, whatever it is.
    filled = jnp.where(mask_BxT[..., None], feats_BxTxF, 1e4)
    apply = jax.jit(model.apply)
    rolls = apply(params, filled, mask_BxT)
    whole = apply(params, feats_BxTxF)
    alone = apply(params, feats_BxTxF[1:, :short])
    for head in HEADS:
        assert rolls[head].shape == (2, 26, 88)
        np.testing.assert_allclose(rolls[head][0], whole[head][0], atol=1e-5)
        np.testing.assert_allclose(rolls[head][1, :short], alone[head][0], atol=1e-5)


def test_all_keys_share_the_weights():
    """A spectrogram moved up by a semitone gives rolls moved up by a key."""
    rng = np.random.default_rng(0)
    feats_F = np.zeros(352, np.float32)
    feats_F[160:200] = rng.normal(0, 5, 40)
    feats_F[160:200] -= feats_F[160:200].mean()  # the norm keeps what is silent at 0
    moved_F = np.roll(feats_F, 4)
    feats_BxTxF = jnp.asarray(np.stack([feats_F, moved_F])[:, None].repeat(9, axis=1))
    model, params = initial(feats_BxTxF)
    rolls = jax.jit(model.apply)(params, feats_BxTxF)
    for head in HEADS:
        low, high = rolls[head]
        np.testing.assert_allclose(low[:, 20:60], high[:, 21:61], atol=1e-5)
        assert np.ptp(low[4, 20:60]) > 1e-3


def test_every_frame_hears_every_other():
    """The LSTM reaches from one end of a clip to the other, within its steps too."""
    feats_BxTxF = jnp.asarray(inputs.features(5, 1, 30))
    model, params = initial(feats_BxTxF)
    apply = jax.jit(model.apply)
    changed = feats_BxTxF.at[0, 0].add(3.0).at[0, 1].add(-3.0)
    difference_T = jnp.abs(
        apply(params, changed)["frame"] - apply(params, feats_BxTxF)["frame"]
    ).max(axis=(0, 2))
    assert (difference_T > 0).all()


def test_computes_in_bfloat16():
    feats_BxTxF = jnp.asarray(inputs.features(5, 1, 12))
    model, params = initial(feats_BxTxF)
    apply = jax.jit(model.apply)
    exact = apply(params, feats_BxTxF)
    rolls = apply(params, feats_BxTxF.astype(jnp.bfloat16))
    for head in HEADS:
        assert rolls[head].dtype == jnp.float32
        np.testing.assert_allclose(rolls[head], exact[head], atol=0.1)


def test_a_checkpoint_says_which_network_it_is_of():
    config = PianoConfig(model=SMALL)
    assert config_from_dict(config.to_dict()) == config


def test_configs_name_what_is_wrong():
    with pytest.raises(ValueError, match="channels must be at least 1, found 0"):
        KeyNetConfig(channels=0)

"""Acoustic stems: parity, sizes, locality, batch norm, and how they join MT3."""

import dataclasses
import math
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stem_inputs as inputs

from mt3x.models import batch_norm, stem
from mt3x.models.band import BandNetConfig
from mt3x.models.features import CQTConfig, LogMelConfig
from mt3x.models.hppnet import HPPNetConfig
from mt3x.models.layers import depthwise_conv
from mt3x.models.objectives import BandConfig, TokensConfig, TokensObjective
from mt3x.models.seq2seq import Seq2Seq, Seq2SeqConfig
from mt3x.models.stem import CNN, ConvModule, OnBandRolls, StemConfig
from mt3x.models.weights_file import flatten
from mt3x.music.band_rolls import NUM_KEY_COLUMNS, num_columns

GOLDEN = Path(__file__).parents[1] / "golden" / "stem.npz"
MT3 = Seq2SeqConfig(
    vocab_size=24,
    emb_dim=8,
    num_heads=2,
    head_dim=4,
    num_encoder_layers=1,
    num_decoder_layers=1,
    mlp_dim=12,
    input_depth=8,
)
CQT_BINS = 352
STEMS = {
    "before": StemConfig("before", channels=(2, 2, 3)),
    "parallel": StemConfig("parallel", channels=(2, 2, 3)),
    "conformer": StemConfig("conformer", kernel_frames=3),
    "harmonic": StemConfig(
        "before", "harmonic", harmonic=HPPNetConfig(channels=2, stem_channels=2)
    ),
    "band": StemConfig(
        "parallel",
        "band",
        band=BandNetConfig(
            stem_channels=2, width=4, num_layers=1, lstm_units=4, player_channels=4
        ),
        band_channels=2,
        frozen=True,
    ),
    "band_rolls": StemConfig("before", "band_rolls", band_channels=2),
}


def stem_bins(config):
    """Numbers that the stem reads after the mel bins."""
    columns = num_columns(drum_steps=4) * config.stem.reads_band_rolls
    return CQT_BINS * config.stem.reads_cqt + columns


@pytest.fixture(scope="module", autouse=True)
def compile_fast():
    """Here compiling takes most of the time, and what is compiled runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def with_stem(name, **changes):
    return dataclasses.replace(MT3, stem=STEMS[name], **changes)


def shapes(config):
    depth = config.input_depth + stem_bins(config)
    data = jnp.zeros((1, 2, depth)), jnp.zeros((1, 2), jnp.int32)
    init = partial(Seq2Seq(config).init, jax.random.key(0))
    return flatten(batch_norm.join(jax.eval_shape(init, *data)))


def drawn(config, seed=0):
    """Random parameters as a nested dict; what starts at zero is zero."""
    model, rng = Seq2Seq(config), np.random.default_rng(seed)
    depth = config.input_depth + stem_bins(config)
    data = jnp.zeros((1, 2, depth)), jnp.zeros((1, 2), jnp.int32)
    tree = batch_norm.join(jax.eval_shape(model.init, jax.random.key(0), *data))

    def draw(path, leaf):
        names = [key.key for key in path]
        if "stem_projection" in names or names[-3:-1] == ["conv", "out"]:
            return np.zeros(leaf.shape, np.float32)
        values = rng.uniform(-0.4, 0.4, leaf.shape) + (names[-1] == "var")
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, tree)


def feats(config, batch=2, frames=9):
    depth = config.input_depth + stem_bins(config)
    rng = np.random.default_rng(1)
    return rng.normal(size=(batch, frames, depth)).astype(np.float32)


@cache
def encoder(config, dtype):
    return jax.jit(partial(Seq2Seq(config, dtype).apply, method="encode"))


def encode(config, params, feats_BxTxF, dtype=jnp.float32):
    return encoder(config, dtype)(batch_norm.variables(params), feats_BxTxF)


def small_cnn():
    """Its variables, of MT3's input depth."""
    return batch_norm.variables(drawn(with_stem("before"))["encoder"]["stem"])


def check_golden(arrays):
    """The CNN against outputs of the PyTorch network."""
    params = inputs.params()
    cnn = CNN(inputs.CHANNELS, inputs.WIDTH, jnp.float32)
    variables = batch_norm.variables(params)
    feats_BxTxF = inputs.feats_BxTxF()
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    run = jax.jit(cnn.apply, static_argnums=2)
    close(run(variables, feats_BxTxF, True), arrays["eval"])

    def loss(params):
        variables = batch_norm.variables(params)
        out, new = cnn.apply(variables, feats_BxTxF, False, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(out)), (out, new["batch_stats"])

    grad, (out, statistics) = jax.jit(jax.grad(loss, has_aux=True))(params)
    close(out, arrays["train"])
    for n, bins in enumerate((inputs.BINS, inputs.BINS, inputs.BINS // 2)):
        name = f"block_{n}"
        close(grad[name]["kernel"], arrays[f"kernel_grad_{n}"])
        close(statistics[name]["norm"]["mean"], arrays[f"mean_{n}"])
        # PyTorch's running variance is of the unbiased estimate, Flax's of the biased.
        old = 0.9 * params[name]["norm"]["var"]
        count = inputs.BATCH * inputs.FRAMES * bins
        unbiased = (statistics[name]["norm"]["var"] - old) * count / (count - 1)
        close(old + unbiased, arrays[f"var_{n}"])
        for statistic in batch_norm.STATISTICS:
            assert not np.any(grad[name]["norm"][statistic])


def test_cnn_is_torchs():
    with np.load(GOLDEN) as arrays:
        check_golden(arrays)


def test_cnn_is_torchs_live():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import make_stem

    check_golden(make_stem.outputs())


def test_the_papers_stem_has_4_22_million_parameters():
    model = Seq2SeqConfig(stem=StemConfig("before"))
    sizes = {n: math.prod(leaf.shape) for n, leaf in shapes(model).items()}
    stem = {n: size for n, size in sizes.items() if n.startswith("encoder/stem/")}
    statistics = [size for n, size in stem.items() if n.endswith(("/mean", "/var"))]
    convolutions = 9 * (1 * 32 + 32 * 32 + 32 * 64)
    norms = 2 * (32 + 32 + 64)
    dense = 64 * (512 // 4) * 512 + 512
    assert sum(stem.values()) - sum(statistics) == convolutions + norms + dense
    assert convolutions + norms + dense == 4_223_008
    assert sum(statistics) == norms


@pytest.mark.parametrize("name", STEMS)
def test_mt3s_parameters_keep_names_and_shapes(name):
    config = with_stem(name)
    plain = shapes(dataclasses.replace(config, stem=StemConfig()))
    more = shapes(config)
    assert {n: more[n].shape for n in plain} == {n: plain[n].shape for n in plain}
    own = ("stem", "conv")
    assert all(any(o in n for o in own) for n in more.keys() - plain.keys())
    assert more.keys() > plain.keys()


def test_without_a_stem_the_parameters_are_mt3s():
    assert StemConfig() == Seq2SeqConfig().stem
    encoder = {n.split("/")[1] for n in shapes(MT3) if n.startswith("encoder/")}
    assert encoder == {"continuous_inputs_projection", "encoder_norm", "layers_0"}


@pytest.mark.parametrize("name", ["parallel", "conformer"])
def test_starts_as_mt3s_encoder(name):
    config = with_stem(name)
    params = drawn(config)  # the last projection is zero, as `init` makes it
    want = encode(MT3, params, feats(MT3))
    np.testing.assert_array_equal(encode(config, params, feats(MT3)), want)
    moved = jax.tree.map(lambda x: x + np.float32(0.01), params)
    assert np.any(encode(config, moved, feats(MT3)) != encode(MT3, moved, feats(MT3)))


@pytest.mark.parametrize("name", ["parallel", "conformer"])
def test_remat_and_scan_change_nothing(name):
    config = with_stem(name, num_encoder_layers=2)
    params = jax.tree.map(lambda x: x + np.float32(0.01), drawn(config))
    changed = dataclasses.replace(config, remat="minimal", scan_layers=True)
    want, found = (encode(c, params, feats(config)) for c in (config, changed))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", STEMS)
def test_bfloat16_needs_no_promotion(name):
    config = with_stem(name, remat="full", scan_layers=True)
    model, variables = (
        Seq2Seq(config, jnp.bfloat16),
        batch_norm.variables(drawn(config)),
    )
    tokens_BxL, rngs = jnp.ones((2, 3), jnp.int32), {"dropout": jax.random.key(0)}

    def loss(variables):
        run = partial(model.apply, mutable=["batch_stats"], rngs=rngs)
        return jnp.sum(run(variables, feats(config), tokens_BxL, False)[0])

    grad = jax.eval_shape(jax.grad(loss), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(grad)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_band_model_does_not_learn(frozen):
    stem = dataclasses.replace(STEMS["band"], mode="before", frozen=frozen)
    config = dataclasses.replace(MT3, stem=stem)

    def loss(params):
        return jnp.sum(encode(config, params, feats(config))[..., 0])

    grad = jax.grad(loss)(drawn(config))["encoder"]["stem"]
    assert np.any(grad["keys"]["kernel"])
    assert all(np.any(g) != frozen for g in jax.tree.leaves(grad["notes"]["local_0"]))


@pytest.mark.parametrize("name", ["before", "conformer"])
def test_rows_are_alone_in_inference(name):
    config = with_stem(name)
    params = jax.tree.map(lambda x: x + np.float32(0.01), drawn(config))
    data, other = feats(config), feats(config)
    other[1] = 9.0
    every, changed = encode(config, params, data), encode(config, params, other)
    np.testing.assert_array_equal(every[0], changed[0])
    assert np.any(every[1] != changed[1])


def test_batch_statistics_count_all_rows_and_frames():
    """In training rows influence one another, and frames of padding count."""
    cnn = CNN((2, 2, 3), 8, jnp.float32)
    data = jnp.asarray(feats(MT3))
    variables = small_cnn()

    @jax.jit
    def run(data):
        return cnn.apply(variables, data, False, mutable=["batch_stats"])

    out, new = run(data)
    changed, changed_new = run(data.at[1, -1].set(0.0))
    assert np.all(np.any(out[0] != changed[0], axis=-1))
    mean, changed_mean = (
        n["batch_stats"]["block_0"]["norm"]["mean"] for n in (new, changed_new)
    )
    assert np.all(mean != changed_mean)


def reach(function, frames, at):
    """Frames of the input that an output frame depends on."""
    data = jax.random.normal(jax.random.key(3), (1, frames, 8))
    grad = jax.jit(jax.grad(lambda x: jnp.sum(function(x)[0, at] ** 2)))(data)
    return np.flatnonzero(np.any(grad[0] != 0, axis=-1)).tolist()


def test_cnn_sees_seven_frames():
    cnn = CNN((2, 2, 3), 8, jnp.float32)
    variables = small_cnn()
    seen = reach(lambda x: cnn.apply(variables, x, True), 15, 7)
    assert seen == list(range(4, 11))


@pytest.mark.parametrize("size", [1, 5])
def test_conv_module_sees_its_kernel(size):
    module = ConvModule(8, size, jnp.float32)
    params = module.init(jax.random.key(0), jnp.zeros((1, 2, 8)))
    params["params"]["out"]["kernel"] = jnp.eye(8)
    seen = reach(lambda x: module.apply(params, x), 15, 7)
    assert seen == list(range(7 - size // 2, 8 + size // 2))


@pytest.mark.parametrize(("size", "frames"), [(3, 7), (5, 2)])
def test_depthwise_conv_and_its_gradients_are_laxs(size, frames):
    def reference(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel[:, None],
            (1,),
            "SAME",
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=x.shape[2],
        )

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, frames, 4)).astype(np.float32)
    kernel = rng.normal(size=(size, 4)).astype(np.float32)
    found, want = (
        jax.jit(
            jax.value_and_grad(
                lambda x, k, f=f: jnp.sum(jnp.sin(f(x, k))), argnums=(0, 1)
            )
        )(x, kernel)
        for f in (depthwise_conv, reference)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, want)


def test_end_marker_is_a_position_behind_the_frames():
    config = dataclasses.replace(MT3, end_marker=True)
    assert shapes(config)["encoder/end"].shape == (8,)
    model = jax.eval_shape(
        partial(Seq2Seq(config).apply, method="encode"),
        {"params": drawn(config)},
        jnp.zeros((1, 511, 8)),
    )
    assert model.shape == (1, 512, 8)
    params, data = drawn(config), feats(config)
    moved = {**params, "encoder": {**params["encoder"]}}
    moved["encoder"]["end"] = params["encoder"]["end"] + np.float32(1)
    difference = encode(config, params, data) - encode(config, moved, data)
    assert np.all(np.any(difference != 0, axis=-1))


def test_cqt_lies_behind_the_mel_bins():
    """A click in frame 32 is centred there in the CQT, and in frame 24 in log-mel.

    MT3's windows of 16 frames begin where their frame does.
    """
    config = TokensConfig(
        model=with_stem("harmonic", vocab_size=1536, input_depth=64),
        features=LogMelConfig(num_bins=64),
        stem_features=CQTConfig(hop_samples=128),
        num_frames=64,
    )
    frames_BxTxW = np.zeros((1, 64, 128), np.float32)
    frames_BxTxW[0, 32, 0] = 1.0
    objective = TokensObjective(config)
    found_TxF = np.asarray(objective.features(frames_BxTxW, np.array([64]))[0])
    assert found_TxF.shape == (64, 64 + CQT_BINS)
    mel_TxF, cqt_TxF = np.split(found_TxF, [64], axis=1)
    assert mel_TxF[:, 60].argmax() == 24
    assert cqt_TxF[:, 330].argmax() == 32
    silent = objective.features(frames_BxTxW, np.array([20]))
    assert not np.any(silent[0, 20:, :64])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "behind"}, "mode='behind' is none of none, before"),
        ({"network": "rnn"}, "network='rnn' is none of cnn, harmonic, band"),
        ({"band_channels": 0}, "band_channels=0: give a whole number from 1"),
        ({"frozen": True}, "frozen=True is for network='band'"),
        ({"kernel_frames": 30}, "kernel_frames=30 must be odd"),
        ({"kernel_frames": -1}, "kernel_frames=-1 must be odd"),
        ({"channels": (1, 2)}, "must be three positive numbers"),
        ({"channels": (1, 0, 2)}, "must be three positive numbers"),
    ],
)
def test_bad_stems(changes, message):
    with pytest.raises(ValueError, match=message):
        StemConfig(**changes)


def test_stems_that_do_not_fit():
    with pytest.raises(ValueError, match="input_depth=6 must be a multiple of 4"):
        dataclasses.replace(MT3, stem=STEMS["before"], input_depth=6)
    for name, cqt in (("harmonic", None), ("before", CQTConfig(hop_samples=128))):
        with pytest.raises(ValueError, match="go together: set both or neither"):
            TokensConfig(
                model=Seq2SeqConfig(stem=STEMS[name]),
                stem_features=cqt,
            )
    for name, band, draft_columns in (
        ("band_rolls", None, 0),
        ("before", BandConfig(), 0),
        ("before", None, 2),
        ("band_rolls", BandConfig(), 2),
    ):
        with pytest.raises(ValueError, match=r"draft_columns\), go together"):
            TokensConfig(
                model=Seq2SeqConfig(stem=STEMS[name], draft_columns=draft_columns),
                band=band,
            )
    with pytest.raises(ValueError, match=r"a hop of 320.*must be equal"):
        TokensConfig(
            model=Seq2SeqConfig(stem=STEMS["harmonic"]),
            stem_features=CQTConfig(),
        )
    with pytest.raises(ValueError, match=r"band model have .* a hop of 512.*equal"):
        TokensConfig(
            model=Seq2SeqConfig(stem=STEMS["band_rolls"]),
            band=BandConfig(),
        )


def test_each_key_of_band_rolls_is_read_by_itself():
    """A change of one key's columns moves that key's features alone, drums no key's."""
    config = with_stem("band_rolls")
    params = drawn(config)["encoder"]["stem"]
    columns_BxTxH = feats(config)[..., config.input_depth :]
    with_key, with_drums = columns_BxTxH.copy(), columns_BxTxH.copy()
    with_key[0, 2, 7 * NUM_KEY_COLUMNS + 3] += 1.0
    with_drums[0, 2, -1] += 1.0
    # Its last dense layer hands on the number of each feature that changes.
    size = len(params["out"]["kernel"])
    params["out"] = {
        "kernel": np.eye(size, dtype=np.float32),
        "bias": np.zeros(size, np.float32),
    }
    params["norm"]["scale"] = np.ones(size, np.float32)
    net = OnBandRolls(config.stem, size, jnp.float32)

    def features(columns_BxTxH):
        _, seen = net.apply(
            {"params": params}, columns_BxTxH, True, capture_intermediates=True
        )
        return np.asarray(seen["intermediates"]["out"]["__call__"][0])

    before = features(columns_BxTxH)
    for changed, expected in ((with_key, {14, 15}), (with_drums, {size - 1})):
        rows, frames, found = np.nonzero(before != features(changed))
        assert {*rows} == {0} and {*frames} == {2} and {*found} <= expected
        assert len(found)


def test_modes_are_all_under_test():
    assert {s.mode for s in STEMS.values()} == set(stem.MODES) - {"none"}
    assert {s.network for s in STEMS.values()} == set(stem.NETWORKS)

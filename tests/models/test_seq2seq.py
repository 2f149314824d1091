"""MT3's network: parity, causality, steps against whole sequences, options."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models import decoder
from mt3x.models.seq2seq import SIZES, Seq2Seq, Seq2SeqConfig
from mt3x.models.transformer import attend
from mt3x.models.weights_file import flatten

CONFIG = Seq2SeqConfig(
    vocab_size=24,
    emb_dim=8,
    num_heads=2,
    head_dim=4,
    num_encoder_layers=1,
    num_decoder_layers=2,
    mlp_dim=12,
    input_depth=6,
)
BATCH, FRAMES, LENGTH = 3, 5, 7


@pytest.fixture(scope="module", autouse=True)
def compile_fast():
    """Here compiling takes most of the time, and what is compiled runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def shapes(config):
    init = partial(Seq2Seq(config).init, jax.random.key(0))
    data = jnp.zeros((1, 2, config.input_depth)), jnp.zeros((1, 2), jnp.int32)
    return jax.eval_shape(init, *data)["params"]


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    draw = {
        1: lambda shape: rng.normal(1.0, 0.2, shape),
        2: lambda shape: rng.normal(0.0, 0.4, shape),
    }
    return jax.tree.map(
        lambda leaf: np.float32(draw[leaf.ndim](leaf.shape)), shapes(CONFIG)
    )


@pytest.fixture(scope="module")
def feats_BxTxF():
    return jax.random.normal(jax.random.key(1), (BATCH, FRAMES, 6))


@pytest.fixture(scope="module")
def tokens_BxL():
    return jax.random.randint(jax.random.key(2), (BATCH, LENGTH), 1, 24)


@pytest.fixture(scope="module")
def logits_BxLxV(params, feats_BxTxF, tokens_BxL):
    return apply(CONFIG, params, feats_BxTxF, tokens_BxL)


@partial(jax.jit, static_argnums=0)
def apply(config, params, feats_BxTxF, tokens_BxL):
    return Seq2Seq(config).apply({"params": params}, feats_BxTxF, tokens_BxL)


@partial(jax.jit, static_argnums=2)
def start(params, feats_BxTxF, max_tokens, config=CONFIG):
    def encode(model):
        return model.start(model.encode(feats_BxTxF), max_tokens)

    return Seq2Seq(config).apply({"params": params}, method=encode)


@partial(jax.jit, static_argnums=4, donate_argnums=1)
def step(params, cache, tokens_B, positions_B, length=None):
    return Seq2Seq(CONFIG).apply(
        {"params": params}, cache, tokens_B, positions_B, length, method="step"
    )


def positions(*values):
    return jnp.asarray(values, jnp.int32)


def test_steps_equal_the_whole_sequence(params, feats_BxTxF, tokens_BxL, logits_BxLxV):
    cache = start(params, feats_BxTxF, LENGTH)
    for n in range(LENGTH):
        logits_BxV, cache = step(params, cache, tokens_BxL[:, n], positions(n, n, n))
        np.testing.assert_allclose(logits_BxV, logits_BxLxV[:, n], atol=1e-5)


def test_long_sequences_in_pieces(params, monkeypatch):
    """Steps up to the first piece's end see no others; those behind cross an end."""
    feats_1xTxF = jax.random.normal(jax.random.key(3), (1, FRAMES, 6))
    tokens_1xL = jax.random.randint(jax.random.key(4), (1, 20), 1, 24)
    monkeypatch.setattr(decoder, "FIRST_PIECE", 8)
    cache = start(params, feats_1xTxF, 20)
    sizes = [piece.keys_BxHxKxC.shape[2] for piece in cache.layers[0].past]
    assert sizes == [8, 8, 4]

    @jax.jit
    def run(cache):
        model, logits = Seq2Seq(CONFIG).bind({"params": params}), []
        for begin, length in ((0, 8), (8, 20)):

            def one(cache, n, length=length):
                return model.step(cache, tokens_1xL[:, n], n[None], length)[::-1]

            cache, part_Lx1xV = jax.lax.scan(one, cache, jnp.arange(begin, length))
            logits.append(part_Lx1xV[:, 0])
        return jnp.concatenate(logits)

    ref_LxV = apply(CONFIG, params, feats_1xTxF, tokens_1xL)[0]
    np.testing.assert_allclose(run(cache), ref_LxV, atol=1e-5)


def test_rows_have_their_own_positions(params, feats_BxTxF, tokens_BxL, logits_BxLxV):
    """One row leads, one follows, one starts again with other frames."""
    cache = start(params, feats_BxTxF, LENGTH)
    for n in range(LENGTH + 2):
        if n == 4:
            other = start(params, feats_BxTxF[:1], LENGTH)
            layers = tuple(
                layer._replace(
                    frames=jax.tree.map(
                        lambda old, new: old.at[2].set(new[0]),
                        layer.frames,
                        fresh.frames,
                    )
                )
                for layer, fresh in zip(cache.layers, other.layers, strict=True)
            )
            cache = cache._replace(layers=layers)
        row_of = (0, 1, 0 if n >= 4 else 2)
        at = (min(n, LENGTH - 1), max(n - 2, 0), n - 4 if n >= 4 else n)
        tokens_B = jnp.stack(
            [tokens_BxL[r, p] for r, p in zip(row_of, at, strict=True)]
        )
        logits_BxV, cache = step(params, cache, tokens_B, positions(*at))
        for row, (r, p) in enumerate(zip(row_of, at, strict=True)):
            np.testing.assert_allclose(logits_BxV[row], logits_BxLxV[r, p], atol=1e-5)


def test_cache_has_the_batch_in_front(params, feats_BxTxF):
    for leaf in jax.tree.leaves(start(params, feats_BxTxF, 100)):
        assert leaf.shape[0] == BATCH


def test_logits_know_no_later_token(params, feats_BxTxF, tokens_BxL):
    """Causality by gradient: logits at l depend on embeddings of tokens 0 to l."""
    distinct_L = jnp.arange(1, LENGTH + 1)

    def logits(embedding, n):
        tree = {**params, "decoder": {**params["decoder"]}}
        tree["decoder"]["token_embedder"] = {"embedding": embedding}
        model = Seq2Seq(CONFIG)
        return model.apply({"params": tree}, feats_BxTxF[:1], distinct_L[None])[0, n]

    embedding = jnp.asarray(params["decoder"]["token_embedder"]["embedding"])
    gradients = jax.jit(jax.vmap(jax.jacrev(logits), in_axes=(None, 0)))(
        embedding, jnp.arange(LENGTH)
    )
    size_LxL = np.abs(gradients[:, :, 1 : LENGTH + 1]).sum(axis=(1, 3))
    assert (np.triu(size_LxL, 1) == 0).all()
    assert (size_LxL[np.tril_indices(LENGTH)] > 0).all()


def test_batch_and_padding_change_nothing(
    params, feats_BxTxF, tokens_BxL, logits_BxLxV
):
    padded_1xL = jnp.pad(tokens_BxL[1:2], ((0, 0), (0, 4)))
    alone = apply(CONFIG, params, feats_BxTxF[1:2], padded_1xL)
    np.testing.assert_allclose(alone[0, :LENGTH], logits_BxLxV[1], atol=1e-5)


def test_padded_frames_are_attended_to(params, feats_BxTxF, tokens_BxL, logits_BxLxV):
    """As in MT3: zeros behind a recording are frames like others."""
    padded = apply(
        CONFIG, params, jnp.pad(feats_BxTxF, ((0, 0), (0, 2), (0, 0))), tokens_BxL
    )
    assert np.abs(padded - logits_BxLxV).max() > 1e-3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_accelerators_is_that_of_cpus(causal, dtype, monkeypatch):
    keys = jax.random.split(jax.random.key(7), 3)
    data = [jax.random.normal(key, (2, 6, 2, 4), dtype) for key in keys]
    ref = attend(*data, causal)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    est = attend(*data, causal)
    assert est.dtype == ref.dtype == dtype
    atol = 1e-6 if dtype == jnp.float32 else 0.02
    np.testing.assert_allclose(np.float32(est), np.float32(ref), atol=atol)


@partial(jax.jit, static_argnums=0)
def logits_and_gradients(config, params, feats_BxTxF, tokens_BxL):
    def mean_square(params):
        logits = Seq2Seq(config).apply({"params": params}, feats_BxTxF, tokens_BxL)
        return jnp.mean(jnp.square(logits)), logits

    gradients, logits = jax.grad(mean_square, has_aux=True)(params)
    return logits, flatten(gradients)


@pytest.mark.parametrize(
    "change", [{"scan_layers": True, "remat": "minimal"}, {"remat": "full"}], ids=str
)
def test_scan_and_remat_change_nothing(change, params, feats_BxTxF, tokens_BxL):
    config = dataclasses.replace(CONFIG, **change)
    data = params, feats_BxTxF, tokens_BxL
    ref_logits, ref = logits_and_gradients(CONFIG, *data)
    est_logits, est = logits_and_gradients(config, *data)
    np.testing.assert_allclose(est_logits, ref_logits, atol=1e-5)
    assert est.keys() == ref.keys() == flatten(params).keys()
    for name in ref:
        np.testing.assert_allclose(est[name], ref[name], rtol=1e-3, atol=1e-5)
    assert jax.tree.structure(shapes(config)) == jax.tree.structure(shapes(CONFIG))


@pytest.mark.parametrize(
    "change", [{}, {"scan_layers": True, "remat": "full"}], ids=str
)
def test_dropout(change, params, feats_BxTxF, tokens_BxL, logits_BxLxV):
    model = Seq2Seq(dataclasses.replace(CONFIG, dropout_rate=0.5, **change))

    @jax.jit
    def drop(seed):
        return model.apply(
            {"params": params},
            feats_BxTxF,
            tokens_BxL,
            deterministic=False,
            rngs={"dropout": jax.random.key(seed)},
        )

    np.testing.assert_array_equal(drop(0), drop(0))
    assert np.abs(drop(0) - drop(1)).max() > 0.1
    assert np.abs(drop(0) - logits_BxLxV).max() > 0.1


def test_bfloat16_is_near(params, feats_BxTxF, tokens_BxL, logits_BxLxV):
    model = Seq2Seq(CONFIG, jnp.bfloat16)

    @jax.jit
    def both_ways(params):
        bound = model.bind({"params": params})
        cache = bound.start(bound.encode(feats_BxTxF), LENGTH)
        first_BxV, cache = bound.step(cache, tokens_BxL[:, 0], positions(0, 0, 0))
        return bound(feats_BxTxF, tokens_BxL), first_BxV, cache

    half_BxLxV, first_BxV, cache = both_ways(params)
    assert half_BxLxV.dtype == first_BxV.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(cache)} == {jnp.dtype(jnp.bfloat16)}
    assert 0 < np.abs(half_BxLxV - logits_BxLxV).max() < 0.1
    np.testing.assert_allclose(first_BxV, half_BxLxV[:, 0], atol=0.05)


@pytest.mark.parametrize(("size", "millions"), [("small", 45.9), ("base", 201.0)])
def test_sizes(size, millions):
    leaves = jax.tree.leaves(shapes(SIZES[size]))
    assert sum(leaf.size for leaf in leaves) / 1e6 == pytest.approx(millions, abs=0.1)
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


def test_initial_values():
    """Variances as MT3's: queries are small, in place of a division in attention."""
    config = Seq2SeqConfig(
        vocab_size=64,
        emb_dim=64,
        num_heads=4,
        head_dim=16,
        num_encoder_layers=1,
        num_decoder_layers=1,
        mlp_dim=96,
        input_depth=32,
    )
    data = jnp.zeros((1, 2, 32)), jnp.zeros((1, 2), jnp.int32)
    params = jax.jit(Seq2Seq(config).init)(jax.random.key(0), *data)["params"]
    flat = {name: np.asarray(value) for name, value in flatten(params).items()}
    layer = "decoder/layers_0/self_attention"
    expected = {
        f"{layer}/query/kernel": 1 / 8 / 4,
        f"{layer}/key/kernel": 1 / 8,
        f"{layer}/value/kernel": 1 / 8,
        f"{layer}/out/kernel": 1 / 8,
        "decoder/layers_0/mlp/wi_0/kernel": 1 / 8,
        "decoder/layers_0/mlp/wo/kernel": 1 / np.sqrt(96),
        "decoder/logits_dense/kernel": 1 / 8,
        "decoder/token_embedder/embedding": 1.0,
        "encoder/continuous_inputs_projection/kernel": 1 / np.sqrt(32),
    }
    for name, deviation in expected.items():
        assert flat[name].std() == pytest.approx(deviation, rel=0.12), name
    assert (flat["encoder/encoder_norm/scale"] == 1).all()


def test_bad_config():
    with pytest.raises(ValueError, match=r"remat must be one of.*'some'"):
        Seq2SeqConfig(remat="some")
    with pytest.raises(ValueError, match="'gulu' is none of linear"):
        Seq2SeqConfig(mlp_activations=("gulu", "linear"))
    with pytest.raises(ValueError, match="num_heads=0: give a whole number from 1"):
        Seq2SeqConfig(num_heads=0)


@pytest.fixture(scope="module", params=["tiny", "wide"])
def pair(request):
    """The authors' network, where it is installed, and the same sizes for ours."""
    network = pytest.importorskip("mt3.network", exc_type=ImportError)
    config = CONFIG
    if request.param == "wide":
        config = dataclasses.replace(
            SIZES["small"], num_encoder_layers=2, num_decoder_layers=2
        )
    fields = {f.name for f in dataclasses.fields(network.T5Config)}
    theirs = {k: v for k, v in dataclasses.asdict(config).items() if k in fields}
    return network.Transformer(config=network.T5Config(**theirs)), config


@pytest.fixture(scope="module")
def mt3_data(pair):
    config = pair[1]
    rng = np.random.default_rng(5)
    feats = rng.normal(-5, 3, (2, 16, config.input_depth)).astype(np.float32)
    inputs_BxL = rng.integers(1, config.vocab_size, (2, 24), dtype=np.int32)
    inputs_BxL[:, 0] = 0
    targets_BxL = np.roll(inputs_BxL, -1, axis=1)
    targets_BxL[:, -1] = 1
    # The second row is short.
    inputs_BxL[1, 15:], targets_BxL[1, 14:] = 0, 0
    return feats, inputs_BxL, targets_BxL


@pytest.fixture(scope="module")
def mt3_variables(pair, mt3_data):
    with jax.numpy_dtype_promotion("standard"):
        init = jax.jit(partial(pair[0].init, enable_dropout=False))
        variables = init(jax.random.key(6), *mt3_data)
    return {"params": jax.tree.map(np.asarray, variables["params"])}


def test_parameters_of_mt3_have_the_same_names(pair, mt3_variables):
    ours = {k: v.shape for k, v in flatten(shapes(pair[1])).items()}
    theirs = {k: v.shape for k, v in flatten(mt3_variables["params"]).items()}
    assert ours == theirs


def test_whole_sequences_as_mt3(pair, mt3_variables, mt3_data):
    with jax.numpy_dtype_promotion("standard"):
        ref = pair[0].apply(mt3_variables, *mt3_data, enable_dropout=False)
    est = apply(pair[1], mt3_variables["params"], *mt3_data[:2])
    scored = mt3_data[2] > 0
    np.testing.assert_allclose(est[scored], np.asarray(ref)[scored], atol=1e-4)


def test_steps_as_mt3(pair, mt3_variables, mt3_data):
    """Their cache is filled by one token at a time, as T5X's decoding does."""
    (theirs, config), (feats, inputs_BxL, _) = pair, mt3_data
    model = Seq2Seq(config)
    zeros_BxL, ones_Bx1 = np.zeros_like(inputs_BxL), np.ones((2, 1), np.int32)
    with jax.numpy_dtype_promotion("standard"):
        cache = theirs.init(
            jax.random.key(0), feats, zeros_BxL, zeros_BxL, decode=True
        )["cache"]
        encoded = theirs.apply(
            mt3_variables, feats, enable_dropout=False, method=theirs.encode
        )
    own = model.apply(mt3_variables, encoded, inputs_BxL.shape[1], method="start")
    run = jax.jit(partial(model.apply, method="step"))

    @jax.jit
    def run_theirs(cache, tokens_Bx1):
        return theirs.apply(
            {**mt3_variables, "cache": cache},
            encoded,
            feats,
            tokens_Bx1,
            ones_Bx1,
            enable_dropout=False,
            decode=True,
            max_decode_length=inputs_BxL.shape[1],
            mutable=["cache"],
            method=theirs.decode,
        )

    for n in range(inputs_BxL.shape[1]):
        with jax.numpy_dtype_promotion("standard"):
            ref, changed = run_theirs(cache, inputs_BxL[:, n : n + 1])
        cache = changed["cache"]
        est, own = run(mt3_variables, own, inputs_BxL[:, n], positions(n, n))
        np.testing.assert_allclose(est, ref[:, 0], atol=1e-4)

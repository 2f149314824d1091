"""The pointer: it copies what a band model says of a frame."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models.pointer import Pointer, TokenHistory
from mt3x.models.seq2seq import Seq2Seq, Seq2SeqConfig
from mt3x.models.stem import StemConfig
from mt3x.music.band_rolls import NUM_KEY_COLUMNS, num_columns

STEM = StemConfig("parallel", "band_rolls", band_channels=2, pointer_channels=3)
CONFIG = Seq2SeqConfig(
    vocab_size=320,
    emb_dim=8,
    num_heads=2,
    head_dim=4,
    num_encoder_layers=1,
    num_decoder_layers=1,
    mlp_dim=8,
    input_depth=12,
    stem=STEM,
)
HISTORY = TokenHistory((3, 40), 0.25, ((40, 44), (44, 50)), (50, 178), (178, 306))
COLUMNS = num_columns(drum_steps=4)


def example(config, batch=2, frames=5, tokens=4):
    rng = np.random.default_rng(0)
    depth = config.input_depth + COLUMNS
    feats_BxTxF = rng.uniform(size=(batch, frames, depth)).astype(np.float32)
    tokens_BxL = rng.integers(config.vocab_size, size=(batch, tokens))
    init = Seq2Seq(config, history=HISTORY).init
    shapes = jax.eval_shape(init, jax.random.key(0), feats_BxTxF, tokens_BxL)

    def draw(leaf):
        return rng.uniform(-0.4, 0.4, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes), feats_BxTxF, tokens_BxL


@pytest.mark.parametrize("end_marker", [False, True])
def test_single_steps_give_the_logits_of_a_whole_call(end_marker):
    config = dataclasses.replace(CONFIG, end_marker=end_marker)
    params, feats_BxTxF, tokens_BxL = example(config)
    model = Seq2Seq(config, history=HISTORY)

    def steps(model):
        cache, logits = model.start(model.encode(feats_BxTxF), 4), []
        for n in range(tokens_BxL.shape[1]):
            logits_BxV, cache = model.step(cache, tokens_BxL[:, n], jnp.full(2, n))
            logits.append(logits_BxV)
        return jnp.stack(logits, axis=1)

    want_BxLxV = jax.jit(model.apply)(params, feats_BxTxF, tokens_BxL)
    found_BxLxV = jax.jit(lambda params: model.apply(params, method=steps))(params)
    np.testing.assert_allclose(found_BxLxV, want_BxLxV, rtol=1e-4, atol=1e-5)


def test_what_holds_is_the_latest_of_each_kind():
    tokens_BxL = np.array([[0, 41, 45, 10, 70, 49, 33, 40]])
    rows = "0 0 0, 0 41 0, 0 41 45, 10 41 45, 10 41 45, 10 41 49, 33 41 49, 33 40 49"
    want_BxLxK = [[list(map(int, row.split())) for row in rows.split(",")]]
    found_BxLxK = HISTORY.latest(jnp.asarray(tokens_BxL))
    assert found_BxLxK.tolist() == want_BxLxK
    assert HISTORY.frames(found_BxLxK)[0, 2:7].tolist() == [0, 1.75, 1.75, 1.75, 7.5]
    latest_BxK = jnp.zeros((1, 3), jnp.int32)
    for place, token in enumerate(tokens_BxL[0]):
        latest_BxK = HISTORY.advance(latest_BxK, jnp.array([token]))
        assert latest_BxK.tolist() == [want_BxLxK[0][place]]


def test_strokes_are_remembered_for_a_while():
    # Velocity 1, pitch 60, 8 steps later velocity 0 and the same pitch, then a drum.
    tokens_BxL = jnp.array([[41, 50 + 60, 3 + 8, 40, 50 + 60, 41, 178 + 38]])
    latest_BxLxK = HISTORY.latest(tokens_BxL)
    struck = jax.lax.cummax(HISTORY.struck(tokens_BxL, latest_BxLxK), axis=1)
    begun, ended, drum = HISTORY.recent(struck, latest_BxLxK)[0, -1]
    assert float(begun[60]) == pytest.approx(np.exp(-1))
    assert float(ended[60]) == float(drum[38]) == 1
    begun, ended, drum = np.asarray([begun, ended, drum])
    assert np.count_nonzero([begun, ended, drum]) == 3


def test_a_key_that_begins_in_the_frame_pointed_at_has_the_highest_logit():
    keys_BxTxPxC = np.zeros((1, 3, 88, NUM_KEY_COLUMNS), np.float32)
    keys_BxTxPxC[0, 1, 40, 0] = keys_BxTxPxC[0, 2, 50, 0] = 1
    columns_BxTxH = np.concatenate(
        [
            keys_BxTxPxC.reshape(1, 3, -1),
            np.zeros((1, 3, COLUMNS - keys_BxTxPxC[0, 0].size)),
        ],
        axis=-1,
    )
    encoded_BxTxD = np.zeros((1, 3, 2), np.float32)
    encoded_BxTxD[0, 1, 0] = encoded_BxTxD[0, 2, 1] = 1
    pointer = Pointer(1, 320, HISTORY, jnp.float32)

    def logits(pointer, x_BxLxD):
        memory = pointer.memory(encoded_BxTxD, columns_BxTxH)
        latest_BxLxK, recent = np.zeros((1, 2, 3), int), np.zeros((1, 2, 3, 128))
        return pointer(x_BxLxD, latest_BxLxK, recent.astype(np.float32), memory)

    params = pointer.init(jax.random.key(0), np.zeros((1, 2, 2)), method=logits)[
        "params"
    ]
    params = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), params)
    for name in ("query", "key"):  # frames are where the decoder looks for them
        params[name]["kernel"][np.arange(2), np.arange(2)] = 5
    params["keyboard"]["kernel"][0] = 1  # onsets
    params["gate"]["kernel"][:, 0] = 1
    params["what"]["kernel"][np.arange(88), 5 + np.arange(88)] = 1
    x_BxLxD = np.eye(2, dtype=np.float32)[None]
    found = pointer.apply({"params": params}, x_BxLxD, method=logits)
    assert np.argmax(found, axis=-1).tolist() == [[5 + 40, 5 + 50]]

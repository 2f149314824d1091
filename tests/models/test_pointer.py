"""The pointer: it copies what a band model says of a frame."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.models.pointer import Pointer, Recall, TokenHistory
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
    tokens_BxL = jnp.array([[0, 41, 45, 10, 70, 49, 33, 40]])
    rows = "0 0 0, 0 41 0, 0 41 45, 10 41 45, 10 41 45, 10 41 49, 33 41 49, 33 40 49"
    past = HISTORY.read(tokens_BxL)
    assert past.latest.tolist() == [[[*map(int, r.split())] for r in rows.split(",")]]
    frame_BxL = HISTORY.recall(past).frame
    assert frame_BxL[0, 2:7].tolist() == [0, 1.75, 1.75, 1.75, 7.5]


def test_strokes_are_remembered_for_a_while():
    # Velocity 1, pitch 60, 8 steps later velocity 0 and the same pitch, then a drum.
    tokens_BxL = jnp.array([[41, 50 + 60, 3 + 8, 40, 50 + 60, 41, 178 + 38]])
    recent_3xN = HISTORY.recall(HISTORY.read(tokens_BxL)).recent[0, -1]
    begun, ended, drum = np.asarray(recent_3xN)
    assert begun[60] == pytest.approx(np.exp(-1))
    assert ended[60] == drum[38] == 1
    assert np.count_nonzero(recent_3xN) == 3


def test_one_token_after_the_other_gives_the_same_past():
    tokens_BxL = jnp.array(
        [[41, 45, 110, 11, 40, 110, 41, 216], [0, 60, 3, 4, 5, 90, 200, 0]]
    )
    want, past = HISTORY.read(tokens_BxL), HISTORY.start(2)
    for place in range(tokens_BxL.shape[1]):
        past = HISTORY.advance(past, tokens_BxL[:, place], jnp.full(2, place))
        for array, whole in zip(past, want, strict=True):
            np.testing.assert_array_equal(array, whole[:, place])


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
    pointer = Pointer(1, 2, 320, HISTORY, jnp.float32)

    def logits(pointer, x_BxLxD):
        memory = pointer.memory(encoded_BxTxD, columns_BxTxH)
        recall = Recall(jnp.zeros((1, 2)), jnp.zeros((1, 2, 3, 128)))
        return pointer(x_BxLxD, recall, memory)

    drawn = pointer.init(jax.random.key(0), np.zeros((1, 2, 2)), method=logits)
    params = drawn["params"]
    params = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), params)
    for name in ("query", "key"):  # frames are where the decoder looks for them
        params[name]["kernel"][np.arange(2), np.arange(2)] = 5
    params["keyboard"]["kernel"][0] = 1  # onsets
    params["gate"]["kernel"][:, 0] = 1
    params["what"]["kernel"][np.arange(88), 5 + np.arange(88)] = 1
    x_BxLxD = np.eye(2, dtype=np.float32)[None]
    found = pointer.apply({"params": params}, x_BxLxD, method=logits)
    assert np.argmax(found, axis=-1).tolist() == [[5 + 40, 5 + 50]]

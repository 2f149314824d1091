"""Drafts: the encoder reads them, and the decoder writes them with other names."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL_TOKENS

from mt3x.models.draft import DraftEmbedding, DraftIds, from_parts, to_parts
from mt3x.models.seq2seq import Seq2Seq
from mt3x.music.vocabulary import Codec, VocabConfig

CONFIG = dataclasses.replace(
    SMALL_TOKENS.model, vocab_size=320, input_depth=12, draft_columns=3
)
TIE, EOS = 306, 1
IDS = DraftIds((3, 40), pitches=(50, 178), programs=(44, 50), drums=(178, TIE))
# Of program 45 a chord at step 5, at step 9 the end of one, and the other again by 46.
DRAFT = [TIE, 8, 45, 41, 110, 45, 114, 12, 45, 40, 110, 46, 41, 114, EOS]


def features(draft, frames=6):
    """A draft beside random features: BxTxF of one row."""
    mel = np.random.default_rng(0).uniform(size=(1, frames, CONFIG.input_depth))
    ids_M = np.zeros(3 * frames)
    ids_M[: len(draft)] = draft
    columns = ids_M.reshape(1, frames, 3)
    return np.concatenate([mel, columns], axis=-1).astype(np.float32)


def random(params, seed=0):
    rng = np.random.default_rng(seed)

    def draw(leaf):
        return rng.uniform(-0.4, 0.4, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, params)


@pytest.mark.parametrize("end_marker", [False, True])
@pytest.mark.parametrize("length", [12, 24])  # of tokens; a draft is 18 long
def test_single_steps_give_the_logits_of_a_whole_call(end_marker, length):
    config = dataclasses.replace(CONFIG, end_marker=end_marker)
    feats_BxTxF = np.repeat(features(DRAFT), 2, axis=0)
    feats_BxTxF[1, :, :12] += 1
    rng = np.random.default_rng(1)
    tokens_BxL = rng.integers(40, 50, (2, length))
    tokens_BxL[:, :12] = [[0, *DRAFT[:11]], [0, TIE, 8, 47, *DRAFT[3:11]]]
    model = Seq2Seq(config, draft_ids=IDS)
    shapes = jax.eval_shape(model.init, jax.random.key(0), feats_BxTxF, tokens_BxL)
    params = random(shapes)

    def steps(model):
        cache, logits = model.start(model.encode(feats_BxTxF), length), []
        # What a row held before it began again must not matter.
        _, cache = model.step(cache, jnp.full(2, 46), jnp.full(2, 7))
        for n in range(length):
            logits_BxV, cache = model.step(cache, tokens_BxL[:, n], jnp.full(2, n))
            logits.append(logits_BxV)
        return jnp.stack(logits, axis=1)

    want_BxLxV = jax.jit(model.apply)(params, feats_BxTxF, tokens_BxL)
    found_BxLxV = jax.jit(lambda params: model.apply(params, method=steps))(params)
    np.testing.assert_allclose(found_BxLxV, want_BxLxV, rtol=1e-4, atol=1e-5)


def likeliest(params, draft, tokens):
    model, tokens_BxL = Seq2Seq(CONFIG, draft_ids=IDS), jnp.array([tokens])
    feats_BxTxF = features(draft)
    if params is None:
        params = model.init(jax.random.key(0), feats_BxTxF, tokens_BxL)
    logits_BxLxV = model.apply(params, feats_BxTxF, tokens_BxL)
    return np.argmax(logits_BxLxV[0], axis=-1).tolist(), params


def test_an_untrained_model_repeats_the_draft():
    found, _ = likeliest(None, DRAFT, [0, *DRAFT[:-1]])
    assert found == DRAFT


def test_names_change_and_a_key_keeps_its_own():
    tokens = [0, *DRAFT[:-1]]
    _, params = likeliest(None, DRAFT, tokens)
    reviser = params["params"]["decoder"]["reviser"]
    reviser["programs"] = reviser["programs"].at[1, 3].set(30.0)  # 45 is 47
    found, _ = likeliest(params, DRAFT, tokens)
    assert found[2] == found[5] == 47 and found[11] == 46
    # What the first note was written with ends it, here 49: 8 against 10 - 6.
    reviser["programs"] = reviser["programs"].at[1, 3].set(5.0).at[1, 1].set(-6.0)
    tokens[3] = 49
    found, _ = likeliest(params, DRAFT, tokens)
    assert found[8] == 49 and found[5] == 47
    drums = [TIE, 8, 41, 178 + 42, EOS]
    reviser["drums"] = reviser["drums"].at[42, 44].set(11.0)
    found, _ = likeliest(params, drums, [0, *drums[:-1]])
    assert found == [TIE, 8, 41, 178 + 44, EOS]


def test_whatever_the_model_has_learnt_only_names_change():
    _, params = likeliest(None, DRAFT, [0])
    tokens = [0, *DRAFT[:-1], 0, 0, 0]
    drawn = jax.tree.map(lambda leaf: 9 * leaf, random(params))
    found, _ = likeliest(drawn, DRAFT, tokens)
    assert found != [*DRAFT, EOS, EOS, EOS]
    for token, kept in zip(found, [*DRAFT, EOS, EOS, EOS], strict=True):
        assert token == kept or (44 <= token < 50 and 44 <= kept < 50)


def test_tokens_have_a_time_a_head_and_one_before():
    ids_BxM = jnp.array([[*DRAFT, 0]])
    ids = dataclasses.replace(IDS, frames_per_step=0.5)
    assert ids.frame(ids_BxM)[0].tolist() == [0] + 6 * [2] + 9 * [4]
    heads = 5 * [110] + 2 * [114] + 4 * [110] + 3 * [114] + 2 * [0]
    assert ids.head(ids_BxM)[0].tolist() == heads
    before = np.full(16, -1)
    before[8] = 2
    assert ids.before(ids_BxM)[0].tolist() == before.tolist()


def test_a_token_hears_the_frames_from_its_time_on():
    embedding = DraftEmbedding(8, 320, IDS, jnp.float32)
    ids = dataclasses.replace(IDS, frames_per_step=0.5)
    embedding = dataclasses.replace(embedding, ids=ids)
    ids_BxM, feats_BxTxF = jnp.array([DRAFT]), features([])[..., :12]
    params = embedding.init(jax.random.key(0), ids_BxM, feats_BxTxF)

    def moved(frame):
        changed = feats_BxTxF.copy()
        changed[:, frame] += 1
        found = [embedding.apply(params, ids_BxM, f) for f in (feats_BxTxF, changed)]
        apart = np.abs(found[0] - found[1]).max(axis=-1)[0] > 1e-3
        return np.flatnonzero(apart).tolist()

    first, second, third = [0], list(range(1, 7)), list(range(7, 15))
    hears = [moved(frame) for frame in range(6)]
    assert hears == [first, first, first + second, second, second + third, third]


def test_the_ids_are_those_of_the_vocabulary():
    assert DraftIds.of(Codec(VocabConfig()), 125.0) == DraftIds()


def test_ids_survive_half_precision():
    ids_BxM = np.arange(4096)[None]
    parts = to_parts(jnp.asarray(ids_BxM), jnp.bfloat16)
    np.testing.assert_array_equal(from_parts(parts), ids_BxM)

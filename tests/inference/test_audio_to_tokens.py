"""Recordings through a token model: segments, their order, notes, instruments."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import (
    SMALL_BAND,
    SMALL_HEARING,
    SMALL_REVISING,
    SMALL_TOKENS,
    random_params,
    save_small_weights,
)

from mt3x.inference.audio_to_band import AudioToBand
from mt3x.inference.audio_to_tokens import AudioToTokens, cut_segments, with_columns
from mt3x.inference.transcriber import Transcriber
from mt3x.models import weights_file
from mt3x.models.objectives import TokensObjective
from mt3x.music.drafts import draft_of
from mt3x.music.instruments import parse_instruments
from mt3x.music.tokens import Tokenizer
from mt3x.music.vocabulary import TokenizerConfig

RATE = 16000
CPU = jax.devices("cpu")[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tokens.safetensors"
    return save_small_weights(path, SMALL_TOKENS)


def noise(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 0.1 * rng.standard_normal(round(seconds * RATE)).astype(np.float32)


@given(
    st.lists(st.integers(0, 70), max_size=8), st.integers(1, 5), st.sampled_from([1, 4])
)
def test_segments_are_the_stream_and_a_frame_that_is_not_full(
    lengths, num_frames, hop_samples
):
    samples_S = np.arange(1, sum(lengths) + 1, dtype=np.float32)
    blocks = np.split(samples_S, np.cumsum(lengths))
    cuts = list(cut_segments(blocks, hop_samples, num_frames))
    frames_TxW = np.concatenate([frames_TxW for frames_TxW, _ in cuts])
    assert {frames_TxW.shape for frames_TxW, _ in cuts} == {(num_frames, hop_samples)}
    # MT3 appends hop - len % hop samples, a whole hop where that is none.
    total = len(samples_S) // hop_samples + 1
    assert sum(count for _, count in cuts) == total
    assert all(count == num_frames for _, count in cuts[:-1])
    assert 1 <= cuts[-1][1] <= num_frames
    flat_S = frames_TxW.ravel()
    np.testing.assert_array_equal(flat_S[: len(samples_S)], samples_S)
    assert not flat_S[len(samples_S) :].any()


def test_segments_come_in_order_whatever_runs_beside_them():
    params = random_params(SMALL_TOKENS)
    samples_S = noise(3.0)
    alone = AudioToTokens(SMALL_TOKENS, params, CPU, num_slots=1)
    one = list(alone([samples_S]))
    starts_s = [segment.start_s for segment in one]
    np.testing.assert_allclose(starts_s, 0.256 * np.arange(12))
    # 376 frames: the samples' 375 and one that is not full.
    assert sum(s.duration_s for s in one) == pytest.approx(376 / 125)
    assert len({tuple(segment.tokens_L) for segment in one}) > 1
    beside = AudioToTokens(SMALL_TOKENS, params, CPU, num_slots=5)
    blocks = np.array_split(samples_S, 7)
    for mine, theirs in zip(one, beside(blocks), strict=True):
        assert mine.start_s == theirs.start_s
        np.testing.assert_array_equal(mine.tokens_L, theirs.tokens_L)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 5))
def test_columns_follow_their_frames(lengths, num_frames):
    """Whatever blocks they come in; after the last there are zeros."""
    total = sum(lengths)
    columns_TxH = np.arange(1.0, total + 1)[:, None] * [1.0, 10.0]
    blocks = np.split(columns_TxH, np.cumsum(lengths)[:-1])
    count = -(-(total + 2) // num_frames)
    frames = np.arange(count * num_frames, dtype=float).reshape(count, num_frames, 1)
    cuts = list(with_columns([(cut, num_frames) for cut in frames], blocks))
    found = np.concatenate([frames_TxW for frames_TxW, _ in cuts])
    np.testing.assert_array_equal(found[:, 0], frames.ravel())
    np.testing.assert_array_equal(found[:total, 1:], columns_TxH)
    assert not found[total:, 1:].any()
    assert {length for _, length in cuts} == {num_frames}


def test_a_band_model_hears_the_whole_recording_before_the_tokens():
    """Its rolls are those of the band model itself, and the tokens depend on them."""
    params = random_params(SMALL_HEARING)
    samples_S = noise(3.0)
    model = AudioToTokens(SMALL_HEARING, params, CPU)
    cuts = list(model._cut([samples_S[:20_000], samples_S[20_000:]]))
    band = AudioToBand(SMALL_BAND, params["band"], CPU)
    columns_TxH = np.concatenate([rolls.columns() for rolls in band([samples_S])])
    found = np.concatenate([frames_TxW[:, 512:] for frames_TxW, _ in cuts])
    np.testing.assert_array_equal(found[: len(columns_TxH)], columns_TxH)
    assert len({*np.abs(columns_TxH[:80, 0])}) > 10

    assert len(list(model([samples_S]))) == len(cuts)
    objective, frames_TxW = TokensObjective(SMALL_HEARING), cuts[0][0]
    without_TxW = frames_TxW * (np.arange(frames_TxW.shape[1]) < 512)
    both = np.stack([frames_TxW, without_TxW]).astype(np.float32)
    encoded = np.asarray(objective.encode(params, both, np.array([16, 16])))
    assert np.abs(encoded[0] - encoded[1]).max() > 0.01


def test_a_band_model_writes_a_draft_before_the_tokens():
    """It is that of the band model's own notes, with the ties of each segment."""
    config = dataclasses.replace(SMALL_REVISING, draft_early_s=0.03)
    params = random_params(config)
    samples_S = noise(3.0)
    model = AudioToTokens(config, params, CPU)
    cuts = list(model._cut([samples_S[:20_000], samples_S[20_000:]]))
    band = AudioToBand(SMALL_BAND, params["band"], CPU)
    notes = draft_of(band.notes([samples_S]), 0.03)
    assert len(notes) > 10
    tokenizer, rate_hz = Tokenizer(config.tokens), 31.25
    events = tokenizer.events(notes, len(samples_S) // 512 + 1, rate_hz)
    for index, (frames_TxW, _) in enumerate(cuts):
        ids_L = tokenizer.segment(events, 16 * index, 16)
        ids_L = tokenizer.to_model_ids(ids_L, 32)
        found_M = frames_TxW[:, 512:].ravel()
        np.testing.assert_array_equal(found_M[: len(ids_L)], ids_L)
        assert not found_M[len(ids_L) :].any()

    assert len(list(model([samples_S]))) == len(cuts)
    for options, error in (
        ({"relative_shifts": True}, r"draft .*relative_shifts=False"),
        ({"by_pitch": False}, r"by_pitch is for a draft"),
    ):
        tokens = TokenizerConfig(**{"by_pitch": True, **options})
        with pytest.raises(ValueError, match=error):
            dataclasses.replace(config, tokens=tokens)
    with pytest.raises(ValueError, match=r"max_tokens=33.*at most 32"):
        dataclasses.replace(config, max_tokens=33)


def test_transcriber_reads_token_models(weights):
    transcriber = Transcriber(weights, instruments=parse_instruments("bass,drums"))
    assert transcriber.sample_rate_hz == RATE
    assert transcriber.frame_rate_hz == 125
    assert not transcriber.has_rolls
    done_s = []
    notes = transcriber(noise(2.0), RATE, on_progress=done_s.append)
    assert sum(done_s) == pytest.approx(2.0, abs=0.01)
    assert all(notes.is_drum | np.isin(notes.program, range(32, 40)))
    assert transcriber.spectrogram(noise(1.0), RATE).level_db_TxF.shape == (50, 352)
    with pytest.raises(ValueError, match="no rolls"):
        transcriber.rolls(noise(1.0), RATE)


def test_options_of_the_other_kind_of_model_are_refused(weights):
    with pytest.raises(ValueError, match=r"token model.*onset_threshold.*piano"):
        Transcriber(weights, onset_threshold=0.5)
    for options in ({"constrain": True}, {"beams": 2}):
        with pytest.raises(ValueError, match=r"piano model.*token models"):
            Transcriber(**options)


def test_a_checkpoint_that_does_not_fit_its_config_is_named(tmp_path):
    wrong = dataclasses.replace(
        SMALL_TOKENS, model=dataclasses.replace(SMALL_TOKENS.model, mlp_dim=24)
    )
    path = tmp_path / "wrong.safetensors"
    weights_file.save_weights(path, random_params(SMALL_TOKENS), wrong.to_dict())
    with pytest.raises(ValueError, match=r"wrong\.safetensors.*mlp.*16.*24"):
        Transcriber(path)
    other = tmp_path / "other.safetensors"
    weights_file.save_weights(
        other, random_params(SMALL_TOKENS), {"objective": "lyrics"}
    )
    with pytest.raises(ValueError, match=r"other\.safetensors.*'lyrics'"):
        Transcriber(other)

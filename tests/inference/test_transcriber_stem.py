"""Token models with a stem and heads for rolls: batch norm, decoders, streams."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import (
    SMALL_ROLLS,
    SMALL_TOKENS,
    random_params,
    save_small_weights,
)

from mt3x.inference.audio_to_tokens import AudioToTokens
from mt3x.inference.onset_refiner import OnsetRefiner
from mt3x.inference.transcriber import Decoder, Transcriber
from mt3x.models.objectives import TokensObjective
from mt3x.models.weights_file import save_weights
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import RollDecodingConfig, rolls_to_notes
from mt3x.music.rolls import LOWEST_PITCH, Rolls
from mt3x.music.vocabulary import NUM_SPECIAL_IDS, Codec

RATE = 16000
NUM_FRAMES = SMALL_ROLLS.num_frames
SEGMENT = NUM_FRAMES * 128  # samples
CPU = jax.devices("cpu")[0]
OBJECTIVE = TokensObjective(SMALL_ROLLS)
DECODERS: tuple[Decoder, ...] = ("tokens", "rolls", "both")
NAMES = ("onset", "frame", "offset", "velocity")
# Of the rolls of random weights, whose peaks are low.
LOW = RollDecodingConfig(onset_threshold=0.05)


def listening_params() -> dict:
    """Random ones that make much of what is heard, and mostly notes of it."""

    def louder(path, leaf):
        names = [part.key for part in path]
        if "stem" in names and names[-1] == "scale":
            return 100 * leaf
        if "logits_dense" in names:
            leaf = leaf.copy()
            first, last = Codec(SMALL_ROLLS.tokens.vocab).ranges["pitch"]
            leaf[:, NUM_SPECIAL_IDS + first : NUM_SPECIAL_IDS + last + 1] *= 10
            return leaf
        is_loud = names[0] == "roll_heads" or "encoder_decoder_attention" in names
        return 5 * leaf if is_loud else leaf

    return jax.tree_util.tree_map_with_path(louder, random_params(SMALL_ROLLS))


PARAMS = listening_params()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "heads.safetensors"
    save_weights(path, PARAMS, SMALL_ROLLS.to_dict())
    return path


@pytest.fixture(scope="module")
def transcribers(weights):
    # Of one batch size: they are compiled once.
    low = LOW.onset_threshold
    return {
        "tokens": Transcriber(weights, batch_size=8),
        "rolls": Transcriber(
            weights, decoder="rolls", batch_size=8, onset_threshold=low
        ),
        "both": Transcriber(weights, decoder="both", batch_size=8, onset_threshold=low),
    }


def noise(num_samples: int) -> np.ndarray:
    """Noise that becomes louder, so that segments differ."""
    rng = np.random.default_rng(0)
    loudness_S = np.geomspace(1e-3, 0.3, num_samples)
    return (loudness_S * rng.standard_normal(num_samples)).astype(np.float32)


@jax.jit
def transcribe(frames_BxTxW, num_frames_B):
    """Rolls, and the likeliest of the first tokens."""
    cache = OBJECTIVE.start(PARAMS, frames_BxTxW, num_frames_B)

    def step(carry, position):
        cache, tokens_B = carry
        positions_B = jnp.full_like(tokens_B, position)
        logits_BxV, cache = OBJECTIVE.step(PARAMS, cache, tokens_B, positions_B)
        tokens_B = jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32)
        return (cache, tokens_B), tokens_B

    carry = cache, jnp.zeros_like(num_frames_B)
    _, tokens_LxB = jax.lax.scan(step, carry, jnp.arange(6, dtype=jnp.int32))
    return OBJECTIVE.predict_rolls(PARAMS, frames_BxTxW, num_frames_B), tokens_LxB.T


def test_a_segment_is_the_same_in_a_batch_of_one_and_of_eight():
    frames_BxTxW = noise(8 * SEGMENT).reshape(8, NUM_FRAMES, 128)
    num_frames_B = np.full(8, NUM_FRAMES, np.int32)
    num_frames_B[-1] = 5
    rolls, tokens_BxL = transcribe(frames_BxTxW, num_frames_B)
    assert len(np.unique(tokens_BxL, axis=0)) > 2
    assert np.ptp(rolls["onset"], axis=0).max() > 0.01
    assert rolls["onset"][-1, :5].all() and not rolls["onset"][-1, 5:].any()
    for b in range(8):
        row = slice(b, b + 1)
        alone, alone_BxL = transcribe(frames_BxTxW[row], num_frames_B[row])
        np.testing.assert_array_equal(tokens_BxL[row], alone_BxL)
        for name in NAMES:
            np.testing.assert_allclose(rolls[name][row], alone[name], atol=1e-5)


def test_slots_change_neither_tokens_nor_rolls():
    samples_S = noise(10 * SEGMENT + 300)
    results = []
    for num_slots in (1, 8):
        model = AudioToTokens(SMALL_ROLLS, PARAMS, CPU, num_slots=num_slots)
        parts: list[Rolls] = []
        segments = list(model([samples_S], parts.append))
        assert [part.num_frames for part in parts] == [32] * 10 + [3]
        results.append((segments, parts))
    assert len({tuple(segment.tokens_L) for segment in results[0][0]}) > 2
    for one, eight in zip(results[0][0], results[1][0], strict=True):
        np.testing.assert_array_equal(one.tokens_L, eight.tokens_L)
    for one, eight in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one.onset_TxP, eight.onset_TxP, atol=1e-5)
        np.testing.assert_allclose(one.velocity_TxP, eight.velocity_TxP, atol=1e-5)


def test_training_norms_by_the_batch_and_evaluation_does_not():
    model = dataclasses.replace(SMALL_ROLLS.model, dropout_rate=0.0)
    config = dataclasses.replace(SMALL_ROLLS, model=model, rolls=None)
    objective = TokensObjective(config)
    loss = jax.jit(objective.loss)
    rng = np.random.default_rng(1)
    tokens_BxL = rng.integers(1, 1000, (2, 6), np.int32)
    frames_BxTxW = noise(3 * SEGMENT).reshape(3, NUM_FRAMES, 128)

    def losses(rng: jax.Array | None) -> list:
        """Of the first segment, beside the second one and beside the third."""
        return [
            loss(
                {name: PARAMS[name] for name in ("encoder", "decoder")},
                {
                    "encoder_input_tokens": frames_BxTxW[[0, other]],
                    "encoder_num_frames": np.full(2, NUM_FRAMES, np.int32),
                    "decoder_input_tokens": tokens_BxL,
                    "decoder_target_tokens": tokens_BxL,
                    "decoder_loss_weights": np.array([[1] * 6, [0] * 6], np.int32),
                },
                rng,
            )
            for other in (1, 2)
        ]

    one, other = losses(None)
    assert float(one.total) == pytest.approx(float(other.total), rel=1e-6)
    assert not one.statistics
    one, other = losses(jax.random.key(0))
    assert float(one.total) != pytest.approx(float(other.total), rel=1e-4)
    statistics = jax.tree.leaves(one.statistics), jax.tree.leaves(other.statistics)
    assert len(statistics[0]) == 6  # mean and variance of three layers
    assert all(np.abs(a - b).max() > 0 for a, b in zip(*statistics, strict=True))


def test_rolls_alone(transcribers):
    transcriber = transcribers["rolls"]
    samples_S = noise(10 * SEGMENT)
    parts, done_s = [], []
    notes = transcriber(samples_S, RATE, parts.append, done_s.append)
    whole = transcriber.rolls(samples_S, RATE)
    # One frame more than the samples fill.
    assert whole.num_frames == 10 * 32 + 1 and whole.frame_rate_hz == 125
    assert sum(done_s) == pytest.approx(whole.num_frames / 125)
    np.testing.assert_array_equal(Rolls.concatenate(parts).onset_TxP, whole.onset_TxP)
    assert len(notes) > 100 and notes.equals(rolls_to_notes(whole, LOW))
    assert not notes.program.any() and not notes.is_drum.any()
    others = [transcribers[decoder].rolls(samples_S, RATE) for decoder in DECODERS]
    for other in others:
        np.testing.assert_array_equal(other.frame_TxP, whole.frame_TxP)


def test_a_note_over_seams_is_one(transcribers, monkeypatch):
    def predict(params, frames_BxTxW, num_frames_B):
        """One note from the first segment on, which sounds until the end."""
        del params, num_frames_B
        rolls = {n: np.zeros((*frames_BxTxW.shape[:2], 88), np.float32) for n in NAMES}
        rolls["frame"][:, :, 39] = 1
        rolls["frame"][0, :20, 39] = 0
        rolls["onset"][0, 20, 39] = 1
        rolls["velocity"][0, 20, 39] = 0.5
        return np.zeros((len(frames_BxTxW), 1, 1)), rolls

    transcriber = transcribers["rolls"]
    monkeypatch.setattr(transcriber._reader._model, "_predict_rolls", predict)
    note = transcriber(noise(5 * SEGMENT + 100), RATE)
    assert len(note) == 1
    assert (note.pitch[0], note.velocity[0]) == (39 + LOWEST_PITCH, 64)
    assert note.onset_s[0] == 20 / 125
    assert note.offset_s[0] == pytest.approx((5 * 32 + 1) / 125, abs=0.01)


def test_both_encode_once(transcribers, monkeypatch):
    """Tokens come from what was encoded for the rolls: turned, it gives others."""
    model = transcribers["both"]._reader._model
    predict_rolls, samples_S = model._predict_rolls, noise(3 * SEGMENT)

    def tokens() -> list[list[int]]:
        segments = model([samples_S], on_rolls=lambda rolls: None)
        return [segment.tokens_L.tolist() for segment in segments]

    def turned(*args):
        encoded_BxTxD, rolls = predict_rolls(*args)
        return -encoded_BxTxD, rolls

    plain = tokens()
    monkeypatch.setattr(model, "_predict_rolls", turned)
    assert tokens() != plain


def test_both_are_tokens_refined_by_rolls(transcribers):
    samples_S = noise(10 * SEGMENT)
    tokens, both = (transcribers[d](samples_S, RATE) for d in ("tokens", "both"))
    parts, done_s = [], []
    again = transcribers["both"](samples_S, RATE, parts.append, done_s.append)
    assert again.equals(both)
    assert sum(done_s) == pytest.approx(Rolls.concatenate(parts).num_frames / 125)
    refiner = OnsetRefiner(LOW, 125)
    refiner.push(transcribers["both"].rolls(samples_S, RATE))
    assert both.equals(refiner.finish(tokens))
    assert len(both) == len(tokens) and not both.equals(tokens)
    assert set(both.onset_s) != set(tokens.onset_s)


@pytest.mark.parametrize("decoder", DECODERS)
def test_recordings_are_read_once_and_as_needed(transcribers, monkeypatch, decoder):
    read = opened = 0

    def endless(source, rate):
        nonlocal read, opened
        opened += 1
        for _ in range(100):
            read += 1
            yield noise(SEGMENT)
        pytest.fail("the whole recording was read ahead")

    class Enough(Exception):
        pass

    num_done = 0

    def on_progress(seconds):
        nonlocal num_done
        num_done += 1
        # The slots, a batch for rolls, and those that are done before their turn.
        assert read <= num_done + 8 + 8 + 8
        if num_done == 20:
            raise Enough

    monkeypatch.setattr("mt3x.music.audio.stream_audio", endless)
    with pytest.raises(Enough):
        transcribers[decoder]("endless.wav", on_progress=on_progress)
    assert opened == 1


def test_thresholds(weights, transcribers):
    samples_S = noise(6 * SEGMENT)

    def notes(decoder: Decoder, **options) -> Notes:
        return Transcriber(weights, decoder=decoder, batch_size=8, **options)(
            samples_S, RATE
        )

    assert len(notes("rolls", onset_threshold=1.0)) == 0
    unmoved = notes("both", onset_threshold=1.0)
    assert unmoved.equals(transcribers["tokens"](samples_S, RATE))
    long, short = (
        notes("rolls", onset_threshold=0.05, frame_threshold=threshold)
        for threshold in (0.01, 1.0)
    )
    assert (long.offset_s - long.onset_s).sum() > (short.offset_s - short.onset_s).sum()


def test_what_a_model_or_decoder_has_not(weights, transcribers, tmp_path):
    plain = save_small_weights(tmp_path / "plain.safetensors", SMALL_TOKENS)
    for decoder in ("rolls", "both"):
        with pytest.raises(ValueError, match=r"plain\.saf.*without heads.*rolls"):
            Transcriber(plain, decoder=decoder)
    for decoder in ("tokens", "both"):
        with pytest.raises(ValueError, match=f"piano model.*no tokens.*{decoder}"):
            Transcriber(decoder=decoder)
    with pytest.raises(ValueError, match="decoder is 'notes': give one of both, "):
        Transcriber(weights, decoder="notes")  # type: ignore[arg-type]
    for decoder, options, takers in (
        ("rolls", {"beams": 2}, "token models, decoder both"),
        ("rolls", {"constrain": True}, "token models, decoder both"),
        ("both", {"frame_threshold": 0.5}, "piano models, decoder rolls"),
        ("tokens", {"onset_threshold": 0.5}, "piano models, decoder rolls"),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is.*of {takers}"):
            Transcriber(weights, decoder=decoder, **options)
    assert not Transcriber(plain).has_rolls
    for transcriber in transcribers.values():
        assert transcriber.has_rolls and transcriber.kind == "token model"
    with pytest.raises(ValueError, match="decoder 'tokens' has no rolls: choose"):
        transcribers["tokens"](noise(SEGMENT), RATE, on_rolls=lambda rolls: None)


def test_spectrograms_are_those_of_other_token_models(transcribers):
    for transcriber in transcribers.values():
        spectrogram = transcriber.spectrogram(noise(RATE), RATE)
        assert spectrogram.level_db_TxF.shape == (50, 352)

"""Validation: scores, those of the transcriber; losses, pictures."""

import dataclasses

import jax
import numpy as np
import pytest
import toy_band
from tiny_models import (
    SMALL,
    SMALL_ROLLS,
    SMALL_TOKENS,
    random_params,
    save_small_weights,
)
from toy_objective import ToyBatches, ToyObjective

import mt3x
from mt3x.data.clips import corpus_clips
from mt3x.data.corpus import CorpusWriter
from mt3x.inference.audio_to_rolls import AudioToRolls, _compiled
from mt3x.inference.audio_to_tokens import AudioToTokens
from mt3x.models.objectives import PianoObjective, RollsConfig, TokensObjective
from mt3x.music import metrics
from mt3x.music.notes import Notes
from mt3x.music.rolls import RollLabelConfig, notes_to_rolls
from mt3x.music.samples import to_int16
from mt3x.music.token_decoder import Decoded
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig
from mt3x.training import processes
from mt3x.training.experiment import Experiment, TaskConfig, ValidationConfig
from mt3x.training.train import TrainConfig
from mt3x.training.validation import (
    LossValidation,
    RollValidation,
    TokenValidation,
    draw_rolls,
)

NOTES = Notes([0.1, 0.5, 1.2], [0.4, 0.9, 1.8], [60, 64, 67], [50, 80, 110])


@pytest.fixture
def oracle(monkeypatch):
    """A piano model that hears NOTES wherever it is asked."""

    def hear(self, blocks):
        (samples_S,) = blocks
        yield notes_to_rolls(NOTES, -(-len(samples_S) // 320), self.config.labels)

    monkeypatch.setattr(AudioToRolls, "__call__", hear)
    return PianoObjective(SMALL)


def test_scores_are_means_over_clips(oracle, monkeypatch):
    monkeypatch.setattr(RollValidation, "shown_s", 1.0)
    clips = [
        (np.zeros(32000, np.float32), NOTES),
        (np.zeros(48000, np.int16), NOTES.shift(1.0)),
    ]
    scores = RollValidation(oracle, clips)(random_params())
    # The first clip is right, and in the second each note is a second off.
    assert scores["note_f1"] == pytest.approx(0.5)
    assert scores["note_offset_velocity_f1"] == pytest.approx(0.5)
    assert scores["frame_f1"] == pytest.approx(0.5)
    assert scores["rolls"].shape == (2 * 2 * 88 + 2, 50, 3)
    assert scores["sound"].shape == (16000, 2)
    assert not scores["sound"][:, 0].any() and scores["sound"][:, 1].any()


def test_scores_are_those_of_the_transcriber(tmp_path):
    """On a recording longer than a window, and on one that is padded to one."""
    rng = np.random.default_rng(1)
    transcriber = mt3x.Transcriber(save_small_weights(tmp_path / "a.safetensors"))
    clips, scores = [], []
    for seconds in (25, 1):
        envelope_S = np.repeat(rng.random(4 * seconds), 4000)
        samples_S = to_int16(rng.uniform(-0.5, 0.5, 16000 * seconds) * envelope_S)
        est = transcriber(samples_S / np.float32(32768), 16000)
        assert len(est) > 5
        ref = est[::2].shift(0.02)
        clips.append((samples_S, ref))
        scores.append(metrics.note_scores(ref, est).to_dict())
    params = random_params()
    validation = RollValidation(PianoObjective(SMALL), clips)
    found = validation(jax.tree.map(lambda x: x + 1, params))
    num_programs = _compiled(SMALL, "float32")._cache_size()
    assert validation(params)["note_f1"] != found["note_f1"]
    found = validation(params)
    # Other parameters are other arguments of the same programs.
    assert _compiled(SMALL, "float32")._cache_size() == num_programs
    for kind in scores[0]:
        for name in scores[0][kind]:
            expected = np.mean([of_clip[kind][name] for of_clip in scores])
            assert found[f"{kind}_{name}"] == pytest.approx(expected, abs=1e-9)


def test_no_clips():
    with pytest.raises(ValueError, match="no clips"):
        RollValidation(PianoObjective(SMALL), [])


@pytest.mark.parametrize("config", [SMALL_TOKENS, SMALL_ROLLS])
def test_rolls_of_token_models_are_scored_beside_the_tokens(monkeypatch, config):
    """Tokens that are all wrong; rolls that are right: one keyboard, no drums."""
    program, is_drum = [0, 33, 0, 40], [False] * 3 + [True]
    both = Notes([0.1, 0.1, 0.5, 0.7], [0.4, 0.45, 0.9, 0.8], [60, 60, 64, 36])
    ref = Notes(both.onset_s, both.offset_s, both.pitch, None, program, is_drum)
    heard = Notes([0.1, 0.5], [0.45, 0.9], [60, 64])
    rolls = notes_to_rolls(heard, 126, RollLabelConfig(125.0))

    def decode(self, blocks, on_rolls=None):
        if on_rolls is not None:
            for first in range(0, rolls.num_frames, 32):
                on_rolls(rolls[first : first + 32])
        return Decoded(Notes([0.3], [0.4], [70]), 0, 0)

    monkeypatch.setattr(AudioToTokens, "decode", decode)
    clips = [(np.zeros(16000, np.float32), ref)]
    validation = TokenValidation(TokensObjective(config), clips)
    scores = validation(random_params(config))
    assert scores["note_f1"] == scores["note_offset_program_f1"] == 0
    of_rolls = {n: x for n, x in scores.items() if n.startswith("rolls_")}
    if config.rolls is None:
        assert not of_rolls
    else:
        assert of_rolls["rolls_note_f1"] == of_rolls["rolls_note_offset_f1"] == 1
        assert of_rolls["rolls_note_offset_velocity_f1"] == 1
    # The picture is of the tokens' notes: nothing at the pitch of the rolls'.
    assert not scores["rolls"][178 + 2 * (108 - 64)].any()
    assert scores["rolls"][178 + 2 * (108 - 70)].any()


def test_picture_shows_reference_over_estimate():
    ref = notes_to_rolls(NOTES, 100, RollLabelConfig())
    est = notes_to_rolls(Notes.empty(), 100, RollLabelConfig())
    picture = draw_rolls(ref, est)
    assert picture.dtype == np.uint8
    row = 2 * (108 - 60)
    assert tuple(picture[row, 5]) == (255, 220, 0)
    assert tuple(picture[row, 10]) == (70, 110, 160)
    assert not picture[178:].any()


def test_corpus_clips_are_cut(tmp_path):
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add("a", np.zeros(32000, np.float32), NOTES)
        writer.add("b", np.zeros(8000, np.float32), NOTES)
    (samples_S, notes), (short_S, _) = corpus_clips(str(tmp_path / "c"), 16000, 0.6)
    assert (len(samples_S), len(short_S)) == (9600, 8000)
    np.testing.assert_allclose(notes.onset_s, [0.1, 0.5])
    np.testing.assert_allclose(notes.offset_s, [0.4, 0.6])
    assert len(corpus_clips(str(tmp_path / "c"), 16000, 0.6, max_clips=1)) == 1
    with pytest.raises(ValueError, match="16000 Hz, but"):
        corpus_clips(str(tmp_path / "c"), 22050, 1.0)


ROLLS = RollsConfig(channels=4, labels=RollLabelConfig(frame_rate_hz=125.0))
MODEL = dataclasses.replace(
    SMALL_TOKENS,
    tokens=TokenizerConfig(VocabConfig(max_shift_steps=100)),
    max_tokens=128,
    rolls=ROLLS,
)
TASK = TaskConfig(
    task="band_notes_ties_ms1vb1_train",
    module="toy_band_tasks",
    batch_size=4,
    max_examples_per_mix=2,
    shuffle_buffer=4,
    seed=3,
)


def test_losses_are_means_over_all_batches():
    """One batch of twelve is three of four; parts have weights of their own."""
    objective = ToyObjective()
    params = objective.init(jax.random.key(0))
    three = [ToyBatches(4).batch(step) for step in range(3)]
    whole = {name: np.concatenate([b[name] for b in three]) for name in three[0]}
    total, weight, parts, _ = objective.loss(params, whole)
    batches = ToyBatches(4)
    losses_of = LossValidation(objective, batches, 3)
    for _ in range(2):
        losses = losses_of(params)
    assert losses["loss"] == pytest.approx(float(total / weight), rel=1e-5)
    peak, count = parts["peak"]
    assert losses["peak"] == pytest.approx(float(peak / count), rel=1e-5)
    assert batches.asked == [0, 1, 2]


def test_processes_share_the_batches(monkeypatch):
    """Each has its part; their sums are those of one."""
    batches = ToyBatches(4)
    objective = ToyObjective()
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes.jax, "process_index", lambda: 1)
    LossValidation(objective, batches, 3)
    assert batches.asked == [1]


@pytest.fixture
def records(tmp_path, monkeypatch):
    toy_band.write_records(tmp_path / "band", range(2))
    monkeypatch.setenv("MT3X_DATA_DIR", str(tmp_path))


def test_batches_are_of_validation_pieces_with_rolls(records):
    """Unmixed and the same whatever the run's seed; losses of tokens and heads."""
    batch = TASK.validation_batches(MODEL).batch(0)
    other = dataclasses.replace(TASK, seed=4, max_examples_per_mix=None)
    for name, array in other.validation_batches(MODEL).batch(0).items():
        np.testing.assert_array_equal(array, batch[name])
    assert batch["onset"].shape == (4, MODEL.num_frames, 88) and batch["onset"].any()
    assert "onset" in TASK.make_batches(MODEL).batch(0)
    plain = dataclasses.replace(MODEL, rolls=None)
    assert "onset" not in TASK.make_batches(plain).batch(0)
    losses = LossValidation(TokensObjective(MODEL), TASK.validation_batches(MODEL), 2)(
        random_params(MODEL)
    )
    names = {"loss", "cross_entropy", "z_loss", "accuracy"}
    assert set(losses) == names | {"onset", "frame", "offset", "velocity"}
    assert all(np.isfinite(value) for value in losses.values())


def test_losses_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="loss_batches=-1 must not be negative"):
        ValidationConfig(loss_batches=-1)
    with pytest.raises(ValueError, match="loss_batches=1: corpora"):
        Experiment(validation=ValidationConfig(loss_batches=1))
    with pytest.raises(ValueError, match="score='loss': the best step has the highest"):
        Experiment(MODEL, TASK, TrainConfig(score="loss"))


def test_a_run_logs_its_losses(records, tmp_path):
    train = TrainConfig(steps=1, score="accuracy")
    plain = dataclasses.replace(MODEL, rolls=None)
    experiment = Experiment(plain, TASK, train, ValidationConfig(loss_batches=1))
    outcome = experiment.run(tmp_path / "run")
    assert outcome.best_score is not None
    header = (tmp_path / "run" / "learning_curve.csv").read_text().splitlines()[0]
    for name in ("loss", "cross_entropy", "accuracy"):
        assert f"valid/{name}" in header

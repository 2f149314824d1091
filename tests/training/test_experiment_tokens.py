"""A token model from records to MIDI, by the commands a user calls."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import toy_band

from mt3x import config
from mt3x.music.notes import Notes

TESTS = Path(__file__).parents[1]
NUM_SONGS = 2
GIN = """
from __gin__ import dynamic_registration
from mt3x.music import vocabulary
from mt3x.training import experiment
from mt3x.models import features
from mt3x.models import objectives
from mt3x.training import optimizers
from mt3x.training import train
from mt3x.models import seq2seq

include 'models/mt3_small.gin'

vocabulary.VocabConfig.max_shift_steps = 100
seq2seq.Seq2SeqConfig.vocab_size = 640
seq2seq.Seq2SeqConfig.emb_dim = 64
seq2seq.Seq2SeqConfig.num_heads = 4
seq2seq.Seq2SeqConfig.head_dim = 16
seq2seq.Seq2SeqConfig.num_encoder_layers = 1
seq2seq.Seq2SeqConfig.num_decoder_layers = 1
seq2seq.Seq2SeqConfig.mlp_dim = 128
seq2seq.Seq2SeqConfig.dropout_rate = 0.0
seq2seq.Seq2SeqConfig.input_depth = 96
objectives.TokensConfig.features = @features.LogMelConfig()
features.LogMelConfig.num_bins = 96
features.LogMelConfig.fft_samples = 1024
objectives.TokensConfig.num_frames = 32
objectives.TokensConfig.max_tokens = 32

experiment.Experiment.train = @train.TrainConfig()
train.TrainConfig.optimizer = @optimizers.OptimizerConfig()
experiment.Experiment.validation = @experiment.ValidationConfig()
experiment.TaskConfig.task = 'band_notes_ties_ms1vb1_train'
experiment.TaskConfig.module = 'toy_band_tasks'
experiment.TaskConfig.batch_size = 16
experiment.TaskConfig.shuffle_buffer = 64
experiment.ValidationConfig.task = 'band_notes_ties_ms1vb1_songs'
experiment.ValidationConfig.module = 'toy_band_tasks'
train.TrainConfig.steps = 500
train.TrainConfig.ema_decay = 0.99
optimizers.OptimizerConfig.learning_rate = 5e-3
optimizers.OptimizerConfig.schedule = 'constant'
optimizers.OptimizerConfig.warmup_steps = 100
optimizers.OptimizerConfig.name = 'muon'
optimizers.OptimizerConfig.gradient_clip_norm = 1.0
train.TrainConfig.score = 'note_offset_program_f1'
train.TrainConfig.eval_interval = 100
train.TrainConfig.checkpoint_interval = 500
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Songs as records, recordings and MIDI, and the experiment's gin file."""
    folder = tmp_path_factory.mktemp("band")
    toy_band.write_records(folder / "records" / "band", range(NUM_SONGS))
    for seed in range(NUM_SONGS):
        for name in ("audio", "ref"):
            (folder / name).mkdir(exist_ok=True)
        soundfile.write(
            folder / "audio" / f"song{seed}.wav",
            toy_band.play(toy_band.song(seed)),
            toy_band.RATE,
        )
        toy_band.song(seed).to_midi(folder / "ref" / f"song{seed}.mid")
    (folder / "band.gin").write_text(GIN)
    return folder


def mt3x(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "mt3x", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "MT3X_DATA_DIR": str(folder / "records"),
            "PYTHONPATH": str(TESTS / "fixtures"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.by_hand
def test_a_tiny_model_learns_songs_by_heart(folder):
    """Random chunks through the SeqIO task, then transcription by the commands."""
    # Learned after 400 updates with most seeds; some need more.
    for steps in (500, 1000, 1500):
        change = f"--gin.train.TrainConfig.steps={steps}"
        done = mt3x(folder, "train", "--gin_file=band.gin", change, "--run-dir=run")
        assert done.returncode == 0, done.stderr
        if "best note_offset_program_f1 1.0000" in done.stderr:
            break
    assert "best note_offset_program_f1 1.0000" in done.stderr
    done = mt3x(
        folder, "transcribe", "audio", "--model", "mt3", "-c", "run", "-d", "est"
    )
    assert done.returncode == 0, done.stderr
    done = mt3x(folder, "evaluate", "ref", "est", "--json", "scores.json")
    assert done.returncode == 0, done.stderr
    text = (folder / "scores.json").read_text()
    pieces = json.loads(text)["pieces"]
    name = "Onset + offset + program F1 (full)"
    scores = [piece["instruments"][name] for piece in pieces]
    assert scores == [1.0] * NUM_SONGS

    only = mt3x(
        folder,
        "transcribe",
        "audio/song0.wav",
        "-c",
        "run",
        "-i",
        "bass",
        "-o",
        "b.mid",
    )
    assert only.returncode == 0, only.stderr
    bass = Notes.from_midi(folder / "b.mid")
    assert len(bass) and set(bass.program) <= set(range(32, 40))
    assert not bass.is_drum.any()


def test_wrong_tasks_are_refused(folder, monkeypatch):
    monkeypatch.setenv("MT3X_DATA_DIR", str(folder / "records"))
    for change, message in [
        ("TaskConfig.task='slakh'", "no task 'slakh' in toy_band_tasks"),
        ("TaskConfig.module='no_such_module'", "no module no_such_module"),
        ("ValidationConfig.task='band_notes_ties_ms1vb1_train'", "no whole pieces"),
    ]:
        wrong = config.load([folder / "band.gin"], [f"experiment.{change}"])
        with pytest.raises(ValueError, match=message):
            wrong.run(folder / "wrong")
    other = config.load(
        [folder / "band.gin"], ["vocabulary.VocabConfig.max_shift_steps=90"]
    )
    with pytest.raises(ValueError, match=r"writes .*100.* but the model .*90"):
        other.run(folder / "wrong")
    monkeypatch.setenv("MT3X_DATA_DIR", str(folder / "none"))
    right = config.load([folder / "band.gin"])
    with pytest.raises(FileNotFoundError, match=r"no records of band.*mt3x prepare"):
        right.run(folder / "wrong")
    assert not (folder / "wrong").exists()

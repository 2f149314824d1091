"""An experiment with a band model: mixes of stems, losses as validation, export."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_models import SMALL_BAND

from mt3x.cli import export
from mt3x.data.corpus import CorpusWriter
from mt3x.data.stem_batches import MixConfig
from mt3x.models import weights_file
from mt3x.models.objectives import config_from_dict
from mt3x.music.notes import Notes
from mt3x.music.sonify import sonify
from mt3x.training.experiment import (
    DataConfig,
    Experiment,
    TaskConfig,
    ValidationConfig,
)
from mt3x.training.run_log import read_curve
from mt3x.training.train import TrainConfig

NOTES = Notes([0.1, 0.3, 0.5], [0.3, 0.5, 0.75], [60, 64, 48], [40, 80, 100])


@pytest.fixture
def stems(tmp_path):
    samples_S = np.zeros(16000, np.float32)
    played_S = sonify(NOTES, 16000)[:16000]
    samples_S[: len(played_S)] = played_S
    drum_notes = Notes(
        [0.2, 0.6], [0.3, 0.7], [36, 38], [90, 70], is_drum=np.ones(2, bool)
    )
    noise_S = np.random.default_rng(0).normal(size=16000).astype(np.float32) * 0.1
    with CorpusWriter(tmp_path / "stems") as writer:
        for program in (40, 71):
            notes = dataclasses.replace(NOTES, program=np.full(3, program))
            info = {"program": program, "is_drum": False, "group": "song"}
            writer.add(f"part {program}", samples_S, notes, info)
        info = {"program": 0, "is_drum": True, "group": "song"}
        writer.add("drums", noise_S, drum_notes, info)
    return str(tmp_path / "stems")


def make_experiment(stems, **train):
    return Experiment(
        objective=SMALL_BAND,
        data=DataConfig((stems,), batches=MixConfig(1, clip_samples=16 * 512)),
        train=TrainConfig(log_interval=1, eval_interval=2, score="onset_f1", **train),
        validation=ValidationConfig(corpus=stems, loss_batches=2),
    )


def test_a_run_is_validated_resumed_and_exported(stems, tmp_path):
    experiment = make_experiment(stems, steps=2, ema_decay=0.9)
    again = Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))
    assert again == experiment
    experiment.run(tmp_path / "run")
    outcome = make_experiment(stems, steps=4, ema_decay=0.9).run(tmp_path / "run")
    assert outcome.step == 4
    curve = read_curve(tmp_path / "run" / "learning_curve.csv")
    assert [row["step"] for row in curve] == [1, 2, 3, 4]
    names = ("loss", "onset", "velocity", "classes", "timbre", "drums", "drum_f1")
    for name in names:
        assert np.isfinite([row[name] for row in curve]).all()
        assert np.isfinite(curve[-1][f"valid/{name}"]), name

    exported = tmp_path / "band.safetensors"
    thresholds = [0.1 * k for k in range(8)]
    chosen = ("onset_threshold=0.3", f"drum_onset_threshold={thresholds}")
    options = [word for text in chosen for word in ("--decoding", text)]
    arguments = [tmp_path / "run", exported, *options]
    done = CliRunner().invoke(
        export.command, list(map(str, arguments)), catch_exceptions=False
    )
    assert done.exit_code == 0
    decoding = dataclasses.replace(SMALL_BAND.decoding, onset_threshold=0.3)
    config = config_from_dict(weights_file.load(exported).config)
    drums = dataclasses.replace(
        SMALL_BAND.drum_decoding, onset_threshold=tuple(thresholds)
    )
    assert config == dataclasses.replace(
        SMALL_BAND, decoding=decoding, drum_decoding=drums
    )


def test_what_does_not_fit_is_refused(stems):
    with pytest.raises(ValueError, match="band model cannot train on SeqIO tasks"):
        Experiment(SMALL_BAND, TaskConfig("maestrov3_rolls_train"))
    with pytest.raises(ValueError, match="a band model trains on mixes of stems"):
        Experiment(SMALL_BAND)
    with pytest.raises(ValueError, match=r"loss_batches=2: corpora.*name Validation"):
        dataclasses.replace(
            make_experiment(stems), validation=ValidationConfig(loss_batches=2)
        )

"""An experiment with the beat model: training, validation, tracking with the run."""

import numpy as np
import pytest

from mt3x.data.beat_batches import BeatDataConfig
from mt3x.data.beat_pieces import BeatPiece, write_pieces
from mt3x.inference.beat_tracker import BeatTracker
from mt3x.models.beat_objective import BeatConfig, BeatNetConfig
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes
from mt3x.training.experiment import (
    DataConfig,
    Experiment,
    TaskConfig,
    ValidationConfig,
)
from mt3x.training.run_log import read_curve
from mt3x.training.train import TrainConfig

MODEL = BeatNetConfig(stem_width=4, width=6, num_blocks=2, num_bar_blocks=1, kernel=3)
OBJECTIVE = BeatConfig(MODEL)


@pytest.fixture
def experiment(tmp_path):
    beats = Beats(0.5 * np.arange(40), np.arange(40) % 3 + 1, 3)
    notes = Notes(
        beats.time_s, beats.time_s + 0.3, np.where(beats.position > 1, 60, 40)
    )
    pieces = [BeatPiece(f"piece {n}", n, notes, beats, True) for n in range(22)]
    write_pieces(tmp_path / "pieces.npz", pieces)
    return Experiment(
        objective=OBJECTIVE,
        data=BeatDataConfig((str(tmp_path / "pieces.npz"),), clip_frames=64),
        train=TrainConfig(steps=2, log_interval=1, score="beat_f1"),
        validation=ValidationConfig(loss_batches=1),
    )


@pytest.mark.by_hand
def test_a_run_trains_validates_and_tracks(experiment, tmp_path):
    outcome = experiment.run(tmp_path / "run")
    assert (outcome.step, outcome.reason, outcome.best_step) == (2, "steps", 2)
    curve = read_curve(tmp_path / "run" / "learning_curve.csv")
    assert {"beat", "downbeat", "bar", "valid/bar_f1"} <= curve[-1].keys()
    notes = Notes(np.arange(20) / 2, np.arange(20) / 2 + 0.3, np.full(20, 60))
    assert len(BeatTracker(tmp_path / "run")(notes)) >= 2


def test_settings_survive_json(experiment):
    assert Experiment.from_dict(experiment.to_dict()) == experiment


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataConfig(("a",)), r"give it pieces with beats"),
        (TaskConfig("a"), "cannot train on SeqIO tasks"),
    ],
)
def test_other_data_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        Experiment(objective=OBJECTIVE, data=data)

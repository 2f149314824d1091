"""Write `older.tar.gz`: what an earlier version left, for `test_older_files.py`.

It holds a corpus, a run folder stopped half way, the learning curve of the same run
without a stop, a file of weights of a token model, and the notes of `prelude.ogg`. The
file in the repository was written by version 0.1.0 before its modules were moved into
folders: only write it again to add what a later version left.
"""

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from tiny_models import SMALL_TOKENS, save_small_weights

import mt3x
from mt3x.data.batches import BatchConfig
from mt3x.data.corpus import CorpusWriter
from mt3x.models.hppnet import HPPNetConfig
from mt3x.models.objectives import PianoConfig
from mt3x.music.notes import Notes
from mt3x.music.rolls import RollLabelConfig
from mt3x.music.sonify import sonify
from mt3x.training.experiment import DataConfig, Experiment, ValidationConfig
from mt3x.training.train import TrainConfig

CLIP_SAMPLES = 320 * 64
NOTES = Notes(
    [0.2, 0.2, 0.5, 0.8, 0.8],
    [0.4, 0.6, 0.7, 1.0, 1.1],
    [60, 67, 64, 48, 72],
    [40, 60, 80, 100, 70],
)


def experiment(steps: int) -> Experiment:
    return Experiment(
        objective=PianoConfig(
            model=HPPNetConfig(channels=4, stem_channels=4),
            labels=RollLabelConfig(onset_radius_frames=2.0),
        ),
        data=DataConfig(
            corpora=("corpus",),
            batches=BatchConfig(batch_size=1, clip_samples=CLIP_SAMPLES),
        ),
        train=TrainConfig(
            steps=steps, log_interval=1, eval_interval=4, checkpoint_interval=4
        ),
        validation=ValidationConfig(corpus="corpus"),
    )


def main() -> None:
    here = Path(__file__).parent
    clip = here.parent / "data" / "prelude.ogg"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        samples_S = np.zeros(CLIP_SAMPLES, np.float32)
        sound_S = sonify(NOTES, 16000)[:CLIP_SAMPLES]
        samples_S[: len(sound_S)] = sound_S
        with CorpusWriter(Path("corpus")) as writer:
            writer.add("clip", samples_S, NOTES)
        experiment(8).run("whole")
        experiment(4).run("run")
        Path("whole/learning_curve.csv").rename("curve.csv")
        shutil.rmtree("whole")
        shutil.rmtree("run/tensorboard")
        mt3x.Transcriber()(clip).to_csv("prelude.csv")
        save_small_weights(Path("tokens.safetensors"), SMALL_TOKENS)
        with tarfile.open(here / "older.tar.gz", "w:gz") as tar:
            for path in sorted(Path().iterdir()):
                tar.add(path)


main()

"""Cerberus4 (Manilow et al. 2020): bass, drums, guitar and piano of Slakh's bands."""

from dataclasses import replace

from mt3x.tasks.maestro import EVALS
from mt3x.tasks.slakh import LAYOUT

from mt3x.data.pipeline import add_task
from mt3x.data.pipeline.data_set import DataSet
from mt3x.music.instruments import Instruments
from mt3x.music.vocabulary import TokenizerConfig

_START = "gs://mt3/data/datasets/cerberus4/slakh_multi_cerberus"
_END = "bass:drums:guitar:piano.tfrecord"

PARTS = {
    "bass": (32, False),
    "drums": (0, True),
    "guitar": (24, False),
    "piano": (0, False),
}

CERBERUS4 = DataSet(
    name="cerberus4",
    files={
        "train": f"{_START}_train_{_END}-?????-of-00286",
        "train_subset": f"{_START}_train_{_END}-00000-of-00286",
        "validation": f"{_START}_validation_{_END}-?????-of-00212",
        "validation_subset": f"{_START}_validation_{_END}-0000?-of-00212",
        "test": f"{_START}_test_{_END}-?????-of-00106",
    },
    layout=replace(LAYOUT, instruments=PARTS),
    train_eval="validation_subset",
    evals=EVALS,
    trim_overlaps=True,
    tracks={
        name: Instruments(frozenset() if is_drum else frozenset([program]), is_drum)
        for name, (program, is_drum) in PARTS.items()
    },
)

add_task(CERBERUS4, TokenizerConfig())

"""URMP (Li et al. 2019): small classical ensembles, each part recorded by itself."""

from mt3x.data.pipeline import add_task
from mt3x.data.pipeline.data_set import DataSet, EvalSplit
from mt3x.data.pipeline.record_format import RecordLayout
from mt3x.data.published.urmp import URMP_PROGRAMS
from mt3x.music.vocabulary import TokenizerConfig

_START = "gs://mt3/data/datasets/urmp"

URMP = DataSet(
    name="urmp",
    files={
        "train": f"{_START}/train.tfrecord",
        "validation": f"{_START}/validation.tfrecord",
    },
    layout=RecordLayout(
        sequences="instrument_sequences",
        names="inst_names",
        instruments={name: (program, False) for name, program in URMP_PROGRAMS.items()},
    ),
    evals=(EvalSplit("train", "eval_train"), EvalSplit("validation", "validation")),
)

add_task(URMP, TokenizerConfig())

"""MusicNet (Thickstun et al. 2017): classical recordings with labels from scores.

MusicNet-EM has the same recordings with labels aligned again (Maman & Bermano 2022).
"""

from mt3x.data.pipeline import add_task
from mt3x.data.pipeline.data_set import DataSet, EvalSplit
from mt3x.data.pipeline.record_format import RecordLayout
from mt3x.music.vocabulary import TokenizerConfig

_START = "gs://mt3/data/datasets"
LAYOUT = RecordLayout(sample_rate="sample_rate", rate_is_float=True)
EVALS = (
    EvalSplit("train", "eval_train"),
    EvalSplit("validation", "validation"),
    EvalSplit("test", "test", in_mixture=False),
)

MUSICNET = DataSet(
    name="musicnet",
    files={
        "train": f"{_START}/musicnet/musicnet-train.tfrecord-?????-of-00036",
        "validation": f"{_START}/musicnet/musicnet-validation.tfrecord-?????-of-00005",
        "test": f"{_START}/musicnet/musicnet-test.tfrecord-?????-of-00003",
    },
    layout=LAYOUT,
    evals=EVALS,
)
MUSICNET_EM = DataSet(
    name="musicnet_em",
    files={
        "train": f"{_START}/musicnet_em/train.tfrecord-?????-of-00103",
        "validation": f"{_START}/musicnet_em/validation.tfrecord-?????-of-00005",
        "test": f"{_START}/musicnet_em/test.tfrecord-?????-of-00006",
    },
    layout=LAYOUT,
    evals=EVALS,
)

add_task(MUSICNET, TokenizerConfig())
add_task(MUSICNET_EM, TokenizerConfig())

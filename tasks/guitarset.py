"""GuitarSet (Xi et al. 2018): solo guitar, played along with lead sheets."""

from mt3x.data.pipeline import add_task
from mt3x.data.pipeline.data_set import DataSet, EvalSplit
from mt3x.data.pipeline.record_format import RecordLayout
from mt3x.data.published.guitarset import GUITAR_PROGRAM
from mt3x.music.vocabulary import TokenizerConfig

_START = "gs://mt3/data/datasets/guitarset"

GUITARSET = DataSet(
    name="guitarset",
    files={
        "train": f"{_START}/train.tfrecord-?????-of-00019",
        "validation": f"{_START}/validation.tfrecord-?????-of-00006",
    },
    layout=RecordLayout(instruments={"": (GUITAR_PROGRAM, False)}),
    evals=(EvalSplit("train", "eval_train"), EvalSplit("validation", "validation")),
)

add_task(GUITARSET, TokenizerConfig())

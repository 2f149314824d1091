"""MAESTRO v1 and v3 (Hawthorne et al. 2019): piano recitals with their MIDI."""

from mt3x.data.pipeline import add_roll_task, add_task
from mt3x.data.pipeline.data_set import DataSet, EvalSplit
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig

EVALS = (
    EvalSplit("train", "eval_train_full", in_mixture=False),
    EvalSplit("train_subset", "eval_train"),
    EvalSplit("validation", "validation_full", in_mixture=False),
    EvalSplit("validation_subset", "validation"),
    EvalSplit("test", "test", in_mixture=False),
)


def _maestro(name: str, version: str, num_shards: int, train: str, val: str) -> DataSet:
    start = f"gs://magentadata/datasets/maestro/{version}/maestro-{version}_ns_wav"
    end = f"of-{num_shards:05d}"
    return DataSet(
        name=name,
        files={
            "train": f"{start}_train.tfrecord-?????-{end}",
            "train_subset": f"{start}_train.tfrecord-{train}-{end}",
            "validation": f"{start}_validation.tfrecord-?????-{end}",
            "validation_subset": f"{start}_validation.tfrecord-{val}-{end}",
            "test": f"{start}_test.tfrecord-?????-{end}",
        },
        train_eval="validation_subset",
        evals=EVALS,
    )


MAESTRO_V1 = _maestro("maestrov1", "v1.0.0", 10, train="00002", val="0000[06]")
MAESTRO_V3 = _maestro("maestrov3", "v3.0.0", 25, train="00004", val="0002?")

VELOCITIES = TokenizerConfig(VocabConfig(num_velocity_bins=127), use_ties=False)

add_task(MAESTRO_V1, VELOCITIES)
add_task(MAESTRO_V3, VELOCITIES)
add_task(MAESTRO_V3, TokenizerConfig())
add_roll_task(MAESTRO_V1)
add_roll_task(MAESTRO_V3)

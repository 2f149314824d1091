"""MAPS (Emiya et al. 2010): pianos, two of them real, which are the test set.

MT3 has no task for it and published no records; its splits are the two that everyone
uses, so segments of the training pieces stand in for validation.
"""

from mt3x.data.pipeline import add_roll_task, add_task
from mt3x.data.pipeline.data_set import DataSet, EvalSplit
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig

MAPS = DataSet(
    name="maps",
    files={"train": "", "train_subset": "", "test": ""},
    train_eval="train_subset",
    evals=(EvalSplit("train_subset", "eval_train"), EvalSplit("test", "test")),
)

add_task(MAPS, TokenizerConfig())
add_task(MAPS, TokenizerConfig(VocabConfig(num_velocity_bins=127), use_ties=False))
add_roll_task(MAPS)

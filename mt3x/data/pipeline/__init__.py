"""SeqIO tasks for transcription: data sets, tasks, batches. The one door to them.

`add_task` registers what MT3 registers for a data set (Gardner et al. 2022), under the
same names: `slakh_notes_ties_vb1_train` gives random segments
(`mt3x.data.pipeline.steps`), with splits `train` and `eval`;
`slakh_notes_ties_vb1_validation` and the like give whole pieces as consecutive
segments, and `slakh_notes_ties_vb1_eval` is their mixture. Outputs of a task are
`inputs`, audio frames_TxW in -1..1, and `targets`, model ids with EOS; log-mel features
are computed in the model.

`add_roll_task` registers the same for models that write rolls: `maestrov3_rolls_train`,
`maestrov3_rolls_validation`, ... Its `targets` are rolls.

The module `mt3x.tasks` registers the tasks of the known data sets.
"""

from mt3x.data.pipeline.converters import RollsFeatureConverter, TokensFeatureConverter
from mt3x.data.pipeline.outputs import EventVocabulary
from mt3x.data.pipeline.registry import (
    FrameConfig,
    TrainOptions,
    add_cache_dir,
    add_mixture,
    check_rolls,
    check_tokens,
    find_task,
    mixing_rate,
    reading,
    register_again,
    with_options,
)
from mt3x.data.pipeline.roll_tasks import add_roll_task
from mt3x.data.pipeline.task_batches import TaskBatches
from mt3x.data.pipeline.token_tasks import add_task, token_task_name

__all__ = [
    "EventVocabulary",
    "FrameConfig",
    "RollsFeatureConverter",
    "TaskBatches",
    "TokensFeatureConverter",
    "TrainOptions",
    "add_cache_dir",
    "add_mixture",
    "add_roll_task",
    "add_task",
    "check_rolls",
    "check_tokens",
    "find_task",
    "mixing_rate",
    "reading",
    "register_again",
    "token_task_name",
    "with_options",
]

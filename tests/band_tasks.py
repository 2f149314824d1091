"""Registers the band's tasks: `band_notes_ties_ms1vb1_train` and `..._songs`.

Their records lie below MT3X_DATA_DIR.
"""

from mt3x.codec import VocabConfig
from mt3x.pipeline import add_task
from mt3x.sources import DataSet, EvalSplit
from mt3x.tokens import TokenizerConfig

add_task(
    DataSet(
        name="band",
        files={"train": "none", "validation": "none"},
        evals=(EvalSplit("validation", "songs"),),
    ),
    # Shifts up to one second keep the vocabulary small.
    TokenizerConfig(VocabConfig(max_shift_steps=100)),
)

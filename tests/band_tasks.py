"""Registers the band's tasks: `band_notes_ties_ms1vb1_train` and `..._songs`, and the
same of rolls; `odd_rolls_train` has other frames.

Their records lie below MT3X_DATA_DIR.
"""

from dataclasses import replace

from mt3x.codec import VocabConfig
from mt3x.pipeline import FrameConfig, add_roll_task, add_task
from mt3x.rolls import RollLabelConfig
from mt3x.sources import DataSet, EvalSplit
from mt3x.tokens import TokenizerConfig

BAND = DataSet(
    name="band",
    files={"train": "none", "validation": "none"},
    evals=(EvalSplit("validation", "songs"),),
)
# Shifts up to one second keep the vocabulary small.
add_task(BAND, TokenizerConfig(VocabConfig(max_shift_steps=100)))
add_roll_task(BAND)
add_roll_task(
    replace(BAND, name="odd"),
    RollLabelConfig(frame_rate_hz=100),
    FrameConfig(hop_samples=160),
)

"""Slakh2100 (Manilow et al. 2019): rendered bands, MT3's ten random sub-mixes of each.

Notes have the program of their stem's Slakh class.
"""

from mt3x.tasks.maestro import EVALS

from mt3x.data.pipeline import add_task
from mt3x.data.pipeline.data_set import DataSet
from mt3x.data.pipeline.record_format import RecordLayout
from mt3x.data.pipeline.registry import FrameConfig
from mt3x.music.instruments import SLAKH_PROGRAMS
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig

_START = "gs://mt3/data/datasets/slakh/slakh_multi_full"
_TRAIN = f"{_START}_subsets_10_train_all_inst.tfrecord"
_VALIDATION = f"{_START}_validation_all_inst.tfrecord"

LAYOUT = RecordLayout(
    audio="mix",
    sample_rate="audio_sample_rate",
    sequences="note_sequences",
    names="inst_names",
    id="track_id",
    instruments={name: (program, False) for name, program in SLAKH_PROGRAMS.items()}
    | {"Drums": (0, True)},
)
SLAKH = DataSet(
    name="slakh",
    files={
        "train": f"{_TRAIN}-?????-of-02307",
        "train_subset": f"{_TRAIN}-00000-of-02307",
        "validation": f"{_VALIDATION}-?????-of-00168",
        "validation_subset": f"{_VALIDATION}-0000?-of-00168",
        "test": f"{_START}_test_all_inst.tfrecord-?????-of-00109",
    },
    layout=LAYOUT,
    train_eval="validation_subset",
    evals=EVALS,
    trim_overlaps=True,
)

add_task(SLAKH, TokenizerConfig())
# The Acoustic-Transformer's 205 time values (gin/models/acoustic.gin):
# slakh_notes_ties_ms2.04vb1_train and so on.
add_task(SLAKH, TokenizerConfig(VocabConfig(max_shift_steps=204)))
# Frames of 32 ms (gin/experiments/acoustic/long.gin): slakh_notes_ties_hw512_vb1_train
# and so on.
add_task(SLAKH, TokenizerConfig(), FrameConfig(hop_samples=512))

"""Names, lengths and sizes that gin files work out."""

import pytest

from mt3x.data.task_names import feature_length, num_embeddings, task_name
from mt3x.music.vocabulary import VocabConfig


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("slakh_notes_ties", VocabConfig(), "train"), "slakh_notes_ties_vb1_train"),
        (
            ("maestrov3_notes", VocabConfig(num_velocity_bins=127), "test"),
            "maestrov3_notes_test",
        ),
        (
            ("slakh_notes_ties", VocabConfig(max_shift_steps=204), "train"),
            "slakh_notes_ties_ms2.04vb1_train",
        ),
        (("maps_rolls", None, "train"), "maps_rolls_train"),
        (("a", VocabConfig(50, 25, 127)), "a_ss50ms0.5"),
        (("a", VocabConfig(), "b", 22050, 256), "a_sr22050hw256_vb1_b"),
    ],
)
def test_task_name(arguments, name):
    assert task_name(*arguments) == name


def test_feature_length():
    lengths = {"inputs": 256, "targets": 1024}
    assert feature_length(lengths, "inputs") == 256
    assert feature_length(lengths, "targets") == 1024
    for wrong in ({"inputs": 256}, 256):
        with pytest.raises(ValueError, match=r"TASK_FEATURE_LENGTHS=.*'targets'"):
            feature_length(wrong, "targets")


def test_num_embeddings():
    assert num_embeddings(VocabConfig()) == 1536
    assert num_embeddings(VocabConfig(num_velocity_bins=127)) == 1664

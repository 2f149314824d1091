"""Roll tasks: clips of recordings with the rolls of their place, on small records."""

import mt3x.tasks  # noqa: F401
import numpy as np
import pytest
import seqio
import tensorflow as tf

from mt3x.data.pieces import Piece
from mt3x.data.pipeline import RollsFeatureConverter, TrainOptions, add_roll_task
from mt3x.data.pipeline.data_set import DATA_DIR_VARIABLE
from mt3x.data.pipeline.record_format import encode_piece
from mt3x.data.pipeline.task_batches import TaskBatches
from mt3x.music.notes import Notes
from mt3x.music.rolls import ROLL_NAMES, RollLabelConfig, notes_to_rolls

TASK = "maestrov3_rolls_train"
HOP = 320
FRAMES = {0: 700, 1: 90}  # of each piece


def piece(number):
    """Each frame's samples say which piece and frame it is."""
    rng = np.random.default_rng(number)
    length_s = FRAMES[number] / 50
    onset_s = np.sort(rng.uniform(0, length_s - 0.5, 40))
    offset_s = onset_s + rng.uniform(0.1, 0.5, 40)
    notes = Notes(onset_s, offset_s, 30 + np.arange(40), 20 + 2 * np.arange(40))
    samples_S = np.repeat(np.arange(FRAMES[number]) + 1 + 1000 * number, HOP)[:-5]
    samples_S = samples_S.astype(np.float32) / 32768
    return Piece(f"piece{number}", samples_S, 16000, notes)


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    (folder / "maestrov3").mkdir()
    for split in ("train", "validation"):
        for number in FRAMES:
            path = folder / "maestrov3" / f"{split}-0000{number}-of-00002.tfrecord"
            with tf.io.TFRecordWriter(str(path)) as writer:
                writer.write(encode_piece(piece(number), "WAV"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_DIR_VARIABLE, str(folder))
        yield folder


def test_names():
    names = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    for name in ("maestrov1_rolls", "maestrov3_rolls"):
        for suffix in ("train", "eval_train_full", "validation", "test", "eval"):
            assert f"{name}_{suffix}" in names
    assert {"maps_rolls_train", "maps_rolls_test"} <= names


def test_clips_have_the_rolls_of_their_place():
    """Exact length, on the grid of frames, padded where the piece is shorter."""
    soft = RollLabelConfig(onset_radius_frames=2.0)
    for labels in (RollLabelConfig(), soft):
        options = TrainOptions(labels=labels)
        batches = TaskBatches(TASK, 4, 128, None, options=options, shuffle_buffer=8)
        seen = set()
        for step in range(6):
            batch = batches.batch(step)
            shapes = dict.fromkeys(("onset", "frame", "offset", "velocity"), (128, 88))
            shapes["samples"] = (128 * HOP,)
            for name, array in batch.items():
                assert array.dtype == np.float32
                assert array.shape == (4, *shapes.pop(name))
            assert not shapes
            for row in range(4):
                samples_S = batch["samples"][row]
                coded_T = np.rint(samples_S[::HOP] * 32768).astype(int)
                number, first = divmod(coded_T[0] - 1, 1000)
                seen.add((number, first))
                whole_S = piece(number).samples_S[first * HOP :][: 128 * HOP]
                np.testing.assert_array_equal(samples_S[: len(whole_S)], whole_S)
                assert not samples_S[len(whole_S) :].any()
                rolls = notes_to_rolls(piece(number).notes, 128, labels, first / 50)
                for name in ROLL_NAMES:
                    np.testing.assert_array_equal(
                        batch[name][row], rolls.by_name()[name]
                    )
        # The short piece begins at its beginning; all of the long one is drawn from.
        assert {first for number, first in seen if number == 1} == {0}
        firsts = [first for number, first in seen if number == 0]
        assert len(firsts) > 10 and min(firsts) < 150 < 420 < max(firsts) <= 573


def test_evaluation_decodes_and_scores_whole_pieces():
    task = seqio.get_mixture_or_task("maestrov3_rolls_validation_full")
    lengths = {"inputs": 128, "targets": 128}
    segments = list(
        task.get_dataset(lengths, "eval", shuffle=False).as_numpy_iterator()
    )
    assert len(segments) == 6 + 1
    targets, predictions = [], []
    for index, segment in enumerate(segments):
        number, first = index // 6, index % 6 * 128
        assert segment["id"][0].decode() == f"piece{number}"
        rolls = notes_to_rolls(piece(number).notes, 128, RollLabelConfig(), first / 50)
        predicted = rolls.stacked()
        targets.append(task.postprocess_fn([], example=segment, is_target=True))
        predictions.append(
            task.postprocess_fn(predicted, example=segment, is_target=False)
        )
        assert len(predictions[-1]["rolls"]) == len(segment["inputs"])
    assert [t["ref_notes"] is None for t in targets] == [False, *[True] * 5, False]
    (metric,) = task.metric_fns
    order = np.random.default_rng(0).permutation(7)
    scores = metric([targets[i] for i in order], [predictions[i] for i in order])
    assert scores["note_f1"] == scores["note_offset_velocity_f1"] == 1
    silent = [{**p, "rolls": np.zeros_like(p["rolls"])} for p in predictions]
    assert metric(targets, [*predictions[:6], silent[6]])["note_f1"] == 0.5


def test_wrong_arguments():
    with pytest.raises(ValueError, match="cannot be packed"):
        RollsFeatureConverter(pack=True)
    data = seqio.get_mixture_or_task(TASK).source._data
    with pytest.raises(ValueError, match=r"50\.0 frames per second and labels 100"):
        add_roll_task(data, RollLabelConfig(frame_rate_hz=100))

"""Training batches of several processes: their parts of the records of a task."""

import mt3x.tasks  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf

from mt3x.data.pieces import Piece
from mt3x.data.pipeline import TaskBatches
from mt3x.data.pipeline.data_set import DATA_DIR_VARIABLE
from mt3x.data.pipeline.record_format import encode_piece
from mt3x.music.notes import Notes

TASK = "maestrov3_rolls_train"
NUM_PIECES = 6
HOP = 320


def write(folder, num_files):
    """Pieces of 40 frames, dealt out to files."""
    (folder / "maestrov3").mkdir(parents=True)
    for index in range(num_files):
        name = f"train-{index:05d}-of-{num_files:05d}.tfrecord"
        with tf.io.TFRecordWriter(str(folder / "maestrov3" / name)) as writer:
            for number in range(index, NUM_PIECES, num_files):
                samples_S = np.repeat(np.arange(40) + 1 + 100 * number, HOP) / 32768
                piece = Piece(
                    f"piece{number}",
                    samples_S.astype(np.float32),
                    16000,
                    Notes([0.1], [0.4], [30 + number]),
                )
                writer.write(encode_piece(piece, "WAV"))


def make(number=0, count=1):
    return TaskBatches(TASK, 6, 16, None, shuffle_buffer=4, shard=(number, count))


def places(batch):
    """Piece and first frame of each example, by its sound."""
    coded_B = np.rint(batch["samples"][:, 0] * 32768).astype(int) - 1
    return [divmod(int(coded), 100) for coded in coded_B]


def read_by(shards, steps=6):
    """Return the pieces that each process reads."""
    return [
        {piece for step in range(steps) for piece, _ in places(shard.batch(step))}
        for shard in shards
    ]


def check_parts(read):
    """All pieces are read, none twice."""
    assert set().union(*read) == set(range(NUM_PIECES))
    assert sum(map(len, read)) == NUM_PIECES


def test_processes_read_files_of_their_own(monkeypatch, tmp_path):
    write(tmp_path, 4)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    check_parts(read_by([make(0, 2), make(1, 2)]))


def test_processes_share_the_records_of_few_files(monkeypatch, tmp_path):
    """And each goes on where it was, and knows what it read."""
    write(tmp_path, 1)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    shards = [make(0, 2), make(1, 2)]
    check_parts(read_by(shards))
    resumed = make(1, 2)
    batch = resumed.batch(5)
    assert {len(array) for array in batch.values()} == {3}
    assert resumed.ids(5) == [
        f"maestrov3 piece{piece} at {first / 50:.2f} s"
        for piece, first in places(batch)
    ]
    # What was asked in between changes nothing.
    assert places(resumed.batch(6)) == places(shards[1].batch(6)) != places(batch)


def test_what_does_not_divide_is_refused(monkeypatch, tmp_path):
    write(tmp_path, 1)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(
        ValueError, match=r"6 does not divide over 4 processes; .* of 4"
    ):
        make(0, 4)
    batches = TaskBatches(TASK, 8, 16, None, shuffle_buffer=4, shard=(7, 8))
    with pytest.raises(ValueError, match="process 7 of 8 finds no examples"):
        batches.batch(0)

"""Where the records of a data set lie, and the source that reads them for SeqIO."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import seqio
import tensorflow as tf

from mt3x.data.pipeline.record_format import RecordLayout, parse_record
from mt3x.music.instruments import Instruments

DATA_DIR_VARIABLE = "MT3X_DATA_DIR"
RECORDS_NAME = "{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"
MANIFEST_NAME = "manifest.json"
"""What `mt3x prepare` calls its shards, and the list of them."""


@dataclass(frozen=True)
class EvalSplit:
    """A split for one evaluation task: its whole pieces are transcribed."""

    name: str
    suffix: str  # of the task's name
    in_mixture: bool = True  # of all evaluation tasks of the data set


@dataclass(frozen=True)
class DataSet:
    """A data set's records: where they are and how they are read."""

    name: str
    files: Mapping[str, str]  # split -> MT3's pattern of files, "" where none
    layout: RecordLayout = field(default_factory=RecordLayout)  # MT3's
    train: str = "train"
    train_eval: str = "validation"
    evals: Sequence[EvalSplit] = ()
    trim_overlaps: bool = False  # in training splits, of one program and pitch
    tracks: Mapping[str, Instruments] | None = None  # scored by themselves, too


class RecordSource(seqio.FileDataSource):
    """Parsed records of a data set, looked for when they are read."""

    def __init__(self, data: DataSet, splits: Mapping[str, str]):
        """Take SeqIO's names of splits, each with the data set's own."""
        self._data, self._own_splits = data, splits
        parse = parse_record(data.layout)
        super().__init__(
            read_file_fn=lambda file: tf.data.TFRecordDataset(file).map(parse),
            split_to_filepattern={
                name: data.files[own] for name, own in splits.items()
            },
            # A record is a whole piece: few are held at a time.
            cycle_length=4,
            block_length=1,
        )

    def list_shards(self, split: str) -> list[str]:
        return find_records(self._data, self._own_splits[split])

    def num_blocks(self) -> int:
        """Return the number of blocks of the train split: its examples per epoch.

        Raises:
          ValueError: the records have no manifest.
        """
        folder = os.environ.get(DATA_DIR_VARIABLE, "")
        path = os.path.join(folder, self._data.name, MANIFEST_NAME)
        if not folder or not tf.io.gfile.exists(path):
            name = self._data.name
            raise ValueError(
                f"the share of {name} in a mixture is not known: there is no {path}; "
                f"make the records with `mt3x prepare {name}`, or cache the tasks with "
                "seqio_cache_tasks"
            )
        with tf.io.gfile.GFile(path, "r") as file:
            splits = json.loads(file.read())["splits"]
        return splits[self._data.train]["blocks"]


def find_records(data: DataSet, split: str) -> list[str]:
    """Return the files of a split.

    Below the folder that MT3X_DATA_DIR names, those that `mt3x prepare` wrote
    (`slakh/train-00000-of-00010.tfrecord`; of a `_subset` the first), or MT3's as they
    lie below `datasets/` in its buckets; without that folder, in MT3's buckets.

    Raises:
      FileNotFoundError: there are none; says where and what to do.
    """
    published = data.files[split]
    folder = os.environ.get(DATA_DIR_VARIABLE)
    patterns = [published] if published else []
    if folder:
        whole, subset, _ = split.partition("_subset")
        shard = "00000" if subset else "?????"
        below = [f"{data.name}/{whole}-{shard}-of-?????.tfrecord"]
        below += [pattern.partition("/datasets/")[2] for pattern in patterns]
        patterns = [os.path.join(folder, pattern) for pattern in below]
    for pattern in patterns:
        files = sorted(tf.io.gfile.glob(pattern))
        if files:
            return files
    raise FileNotFoundError(
        f"no records of {data.name}, split {split}: no files {' or '.join(patterns)}; "
        f"make them with `mt3x prepare {data.name}` and set {DATA_DIR_VARIABLE} to the "
        "folder above them"
    )

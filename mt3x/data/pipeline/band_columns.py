"""What a band model hears of whole pieces, kept beside their records.

`mt3x prepare --band-rolls` writes `DATA_SET/band_rolls/ID.npy`, the `BandRolls.columns`
of each piece. A training task of tokens that is asked for them
(`TrainOptions.band_columns`) gives each frame its row, after the samples.
"""

import os
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mt3x.data.pipeline.data_set import DATA_DIR_VARIABLE
from mt3x.data.pipeline.record_format import Example, RecordLayout, parse_record
from mt3x.files import write_whole
from mt3x.music.audio import decode_audio

BAND_FOLDER = "band_rolls"
MODEL_NAME = "model.txt"
"""In that folder, says which weights heard the pieces."""


def write_columns(
    folder: Path,
    model: str,
    sample_rate_hz: int,
    hear: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[int, int]]:
    """Write the columns of the pieces in a folder of records; those there are kept.

    Args:
      folder: as `write_records.prepare` fills it; on a local disk.
      model: tells the weights from others.
      sample_rate_hz: what `hear` takes.
      hear: samples_S -> columns_TxH of a whole piece.

    Yields:
      How many pieces of how many are finished.

    Raises:
      ValueError: those that are there are another model's.
    """
    model_path = folder / BAND_FOLDER / MODEL_NAME
    model_path.parent.mkdir(exist_ok=True)
    if not model_path.exists():
        with write_whole(model_path, text=True) as file:
            file.write(model)
    elif model_path.read_text(encoding="utf-8") != model:
        raise ValueError(
            f"{model_path.parent} holds what other weights heard: remove it, and "
            "prepare again"
        )
    files = sorted(map(str, folder.glob("*.tfrecord")))
    total = sum(1 for _ in tf.data.TFRecordDataset(files))
    for number, record in enumerate(_records(files)):
        path = _path(folder, record["id"].decode())
        if not path.exists():
            samples_S = decode_audio(record["files"][0], sample_rate_hz)
            with write_whole(path) as file:
                np.save(file, hear(samples_S))
        yield number + 1, total


def _records(files: list[str]) -> Iterator[Any]:
    dataset = tf.data.TFRecordDataset(files).map(parse_record(RecordLayout()))
    return dataset.as_numpy_iterator()  # pyright: ignore[reportReturnType]


def _path(folder: Path, id: str) -> Path:
    return folder / BAND_FOLDER / f"{urllib.parse.quote(id, safe='')}.npy"


def add_columns(
    dataset: tf.data.Dataset, data_set: str, num_columns: int | None
) -> tf.data.Dataset:
    """Give the frames of segments, TxW, the rows of their pieces: Tx(W + H).

    Frames after the rows, which end with the audio, get zeros.

    Args:
      dataset: segments, with `id` and `first_frame`.
      data_set: whose pieces they are.
      num_columns: H; None: as they are.
    """
    if num_columns is None:
        return dataset

    def read(id: bytes, first: int, length: int) -> np.ndarray:
        folder = Path(os.environ.get(DATA_DIR_VARIABLE, "."), data_set)
        path = _path(folder, id.decode())
        try:
            rows_TxH = np.load(path, mmap_mode="r")
        except FileNotFoundError:
            raise ValueError(
                f"there is no {path}: write what the band model hears with `mt3x "
                f"prepare {data_set} --band-rolls`"
            ) from None
        if rows_TxH.shape[1:] != (num_columns,):
            raise ValueError(
                f"{path} has rows of {rows_TxH.shape[1:]}, and the model reads "
                f"{num_columns} columns: remove its folder and prepare it again"
            )
        found_TxH = np.zeros((length, num_columns), np.float32)
        rows_TxH = rows_TxH[first : first + length]
        found_TxH[: len(rows_TxH)] = rows_TxH
        return found_TxH

    def widen(segment: Example) -> Example:
        frames_TxW = segment["inputs"]
        length = tf.shape(frames_TxW)[0]
        rows_TxH = tf.numpy_function(
            read, [segment["id"], segment["first_frame"], length], tf.float32
        )
        rows_TxH.set_shape([None, num_columns])
        return {**segment, "inputs": tf.concat([frames_TxW, rows_TxH], axis=1)}

    return dataset.map(widen, num_parallel_calls=tf.data.AUTOTUNE)

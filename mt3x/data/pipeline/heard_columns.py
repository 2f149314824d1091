"""What a band model hears of whole pieces, kept beside their records.

`mt3x prepare --band-rolls` writes `DATA_SET/band_rolls/ID.npy`, the `BandRolls.columns`
of each piece, and `--drafts` its notes, `DATA_SET/drafts/ID.npy`. A training task of
tokens that is asked for them (`TrainOptions`) gives each frame a row of the columns, or
its share of the notes' tokens, after the samples.
"""

import functools
import os
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mt3x.data.pipeline.data_set import DATA_DIR_VARIABLE
from mt3x.data.pipeline.record_format import (
    NOTE_DTYPE,
    Example,
    RecordLayout,
    pack_notes,
    parse_record,
    unpack_notes,
)
from mt3x.files import write_whole
from mt3x.music.audio import decode_audio
from mt3x.music.drafts import draft_of, draft_rows, revision
from mt3x.music.notes import Notes
from mt3x.music.tokens import Events, Tokenizer

BAND_ROLLS, DRAFTS = "band_rolls", "drafts"
MODEL_NAME = "model.txt"
"""In their folders, says which weights heard the pieces."""


def write_heard(
    folder: Path,
    name: str,
    model: str,
    sample_rate_hz: int,
    hear: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[int, int]]:
    """Write what is heard of the pieces in a folder of records; what is there is kept.

    Args:
      folder: as `write_records.prepare` fills it; on a local disk.
      name: `BAND_ROLLS` or `DRAFTS`.
      model: tells the weights from others.
      sample_rate_hz: what `hear` takes.
      hear: samples_S of a whole piece -> columns_TxH, or notes as rows of NOTE_DTYPE.

    Yields:
      How many pieces of how many are finished.

    Raises:
      ValueError: those that are there are another model's.
    """
    model_path = folder / name / MODEL_NAME
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
        path = _path(folder / name, record["id"].decode())
        if not path.exists():
            samples_S = decode_audio(record["files"][0], sample_rate_hz)
            with write_whole(path) as file:
                np.save(file, hear(samples_S))
        yield number + 1, total


def _records(files: list[str]) -> Iterator[Any]:
    dataset = tf.data.TFRecordDataset(files).map(parse_record(RecordLayout()))
    return dataset.as_numpy_iterator()  # pyright: ignore[reportReturnType]


def _path(folder: Path, id: str) -> Path:
    return folder / f"{urllib.parse.quote(id, safe='')}.npy"


def _load(data_set: str, name: str, id: bytes) -> tuple[Path, np.ndarray]:
    """Read what was heard of a piece."""
    folder = Path(os.environ.get(DATA_DIR_VARIABLE, "."), data_set, name)
    path = _path(folder, id.decode())
    try:
        return path, np.load(path, mmap_mode="r")
    except FileNotFoundError:
        option = name.replace("_", "-")
        raise ValueError(
            f"there is no {path}: write what the band model hears with `mt3x "
            f"prepare {data_set} --{option}`"
        ) from None


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

    def read(id: bytes, first: int, length: int, num_frames: int) -> np.ndarray:
        del num_frames
        path, rows_TxH = _load(data_set, BAND_ROLLS, id)
        if rows_TxH.shape[1:] != (num_columns,):
            raise ValueError(
                f"{path} has rows of {rows_TxH.shape[1:]}, and the model reads "
                f"{num_columns} columns: remove its folder and prepare it again"
            )
        found_TxH = np.zeros((length, num_columns), np.float32)
        rows_TxH = rows_TxH[first : first + length]
        found_TxH[: len(rows_TxH)] = rows_TxH
        return found_TxH

    return _widened(dataset, read, num_columns)


def add_drafts(
    dataset: tf.data.Dataset,
    data_set: str,
    num_columns: int,
    tokenizer: Tokenizer,
    frame_rate_hz: float,
    early_s: float = 0.0,
) -> tf.data.Dataset:
    """Give the frames of segments, TxW, their drafts (`draft_rows`): Tx(W + K).

    The notes become the drafts' `revision`s.

    Args:
      dataset: segments, with `id`, `notes`, `first_frame`, `num_frames` of the piece.
      data_set: whose pieces they are.
      num_columns: K; 0: as they are.
      tokenizer: how drafts are written.
      frame_rate_hz: frames per second.
      early_s: by how much notes end before what was heard (`draft_of`).
    """
    if not num_columns:
        return dataset

    @functools.lru_cache(maxsize=64)
    def draft(id: bytes) -> Notes:
        _, rows_N = _load(data_set, DRAFTS, id)
        notes = unpack_notes(np.asarray(rows_N, NOTE_DTYPE).tobytes())
        return draft_of(notes, early_s)

    @functools.lru_cache(maxsize=64)
    def events(id: bytes, num_frames: int) -> Events:
        return tokenizer.events(draft(id), num_frames, frame_rate_hz)

    def read(id: bytes, first: int, length: int, num_frames: int) -> np.ndarray:
        place = int(first), int(length)
        found = events(id, int(num_frames))
        return draft_rows(found, tokenizer, *place, num_columns)

    def revise(packed: bytes, id: bytes) -> bytes:
        return pack_notes(revision(unpack_notes(packed), draft(id)))

    def revised(segment: Example) -> Example:
        given = [segment["notes"], segment["id"]]
        notes = tf.numpy_function(revise, given, tf.string)
        return {**segment, "notes": tf.ensure_shape(notes, [])}

    dataset = dataset.map(revised, num_parallel_calls=tf.data.AUTOTUNE)
    return _widened(dataset, read, num_columns)


def _widened(
    dataset: tf.data.Dataset,
    read: Callable[[bytes, int, int, int], np.ndarray],
    num_columns: int,
) -> tf.data.Dataset:
    """Let rows follow the samples of frames."""

    def widen(segment: Example) -> Example:
        frames_TxW = segment["inputs"]
        place = segment["first_frame"], tf.shape(frames_TxW)[0], segment["num_frames"]
        rows_TxH = tf.numpy_function(read, [segment["id"], *place], tf.float32)
        rows_TxH.set_shape([None, num_columns])
        return {**segment, "inputs": tf.concat([frames_TxW, rows_TxH], axis=1)}

    return dataset.map(widen, num_parallel_calls=tf.data.AUTOTUNE)

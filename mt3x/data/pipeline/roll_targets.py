"""Rolls as targets, and the notes from which they are drawn beside tokens.

Rolls are large (1.4 kB a frame). So examples of tokens carry notes while they wait to
be shuffled, and rolls are drawn for the batch.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from mt3x.data.pipeline.record_format import (
    ROLL_NOTES,
    Example,
    example_id,
    pack_notes,
    unpack_notes,
)
from mt3x.music.rolls import (
    NUM_PITCHES,
    ROLL_NAMES,
    RollLabelConfig,
    notes_to_rolls,
    on_one_keyboard,
)


def add_roll_notes(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int],
    labels: RollLabelConfig | None,
) -> tf.data.Dataset:
    """Add ROLL_NOTES to segments: the pitched notes that are heard in them.

    The notes of a segment that is shorter than is asked for end with it. None for
    `labels` leaves the segments as they are.
    """
    if labels is None:
        return dataset

    def choose(packed: bytes, first: int, num_frames: int) -> bytes:
        notes, rate = unpack_notes(packed), labels.frame_rate_hz
        start_s, duration_s = first / rate, num_frames / rate
        margin_s = (labels.onset_radius_frames + 1) / rate
        is_near_N = ~notes.is_drum & (notes.offset_s > start_s - margin_s)
        is_near_N &= notes.onset_s < start_s + duration_s + margin_s
        notes = notes[is_near_N].shift(-start_s)
        if num_frames < sequence_length["inputs"]:
            notes = notes.clip(-np.inf, duration_s)
        return pack_notes(notes)

    def add(segment: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        num_frames = tf.shape(segment["inputs"])[0]
        notes = tf.numpy_function(
            choose, [segment["notes"], segment["first_frame"], num_frames], tf.string
        )
        notes.set_shape([])
        return {**segment, ROLL_NOTES: notes}

    return dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE)


def draw_rolls(
    packed: tf.Tensor,
    num_frames: tf.Tensor,
    length: int,
    labels: RollLabelConfig,
) -> tf.Tensor:
    """Draw rolls 4xTxP of all pitched instruments together (`rolls.on_one_keyboard`).

    Args:
      packed: an example's ROLL_NOTES.
      num_frames: of its audio; the rolls are 0 from there on.
      length: T.
      labels: how notes become rolls.
    """

    def draw(packed: bytes, num_frames: int) -> np.ndarray:
        notes = on_one_keyboard(unpack_notes(packed), labels.frame_rate_hz)
        rolls = notes_to_rolls(notes, length, labels)
        rolls_4xTxP = np.stack(list(rolls.by_name().values()))
        rolls_4xTxP[:, num_frames:] = 0
        return rolls_4xTxP

    rolls_4xTxP = tf.numpy_function(draw, [packed, num_frames], tf.float32)
    rolls_4xTxP.set_shape([len(ROLL_NAMES), length, NUM_PITCHES])
    return rolls_4xTxP


def write_rolls(
    dataset: tf.data.Dataset, labels: RollLabelConfig, data_set: str = ""
) -> tf.data.Dataset:
    """Turn clips into `inputs` and `targets`, rolls Tx4xP in `ROLL_NAMES`' order."""

    def draw(packed: bytes, first: int, num_frames: int) -> np.ndarray:
        start_s = first / labels.frame_rate_hz
        rolls = notes_to_rolls(unpack_notes(packed), int(num_frames), labels, start_s)
        return rolls.stacked()

    def to_example(clip: Example) -> Example:
        num_frames = tf.shape(clip["inputs"])[0]
        (rolls_Tx4xP,) = tf.numpy_function(
            draw, [clip["notes"], clip["first_frame"], num_frames], [tf.float32]
        )
        rolls_Tx4xP.set_shape([None, len(ROLL_NAMES), NUM_PITCHES])
        return {
            "inputs": clip["inputs"],
            "targets": rolls_Tx4xP,
            "id": example_id(data_set, clip, labels.frame_rate_hz),
        }

    return dataset.map(to_example, num_parallel_calls=tf.data.AUTOTUNE)

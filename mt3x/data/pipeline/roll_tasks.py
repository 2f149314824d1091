"""Tasks of rolls, for piano models: clips as HPPNet (Wei et al. 2022) is trained on.

An example takes this way, in brackets what happens once where a task is cached:

    [record -> piece] -> random clips -> their rolls
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from mt3x.data.pieces import unpack_notes
from mt3x.data.pipeline import registry, steps
from mt3x.data.pipeline.data_set import DataSet
from mt3x.data.pipeline.outputs import postprocess_rolls, roll_metrics
from mt3x.data.pipeline.registry import FrameConfig
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES, RollLabelConfig, notes_to_rolls

# A clip of 20.48 s with its labels takes 2.7 MB.
SHUFFLE_BUFFER = 256
NO_ROLLS = np.zeros((1, len(ROLL_NAMES), NUM_PITCHES), np.float32)
"""Targets of segments that are compared by notes."""


def add_roll_task(
    data: DataSet,
    labels: RollLabelConfig | None = None,
    frames: FrameConfig | None = None,
) -> None:
    """Registers `<data set>_rolls_train`, the evaluation tasks and their mixture.

    `inputs` are audio frames_TxW, `targets` the rolls Tx4xP (`mt3x.music.rolls`):
    onset, frame, offset and velocity. Training clips are exactly as long as is asked
    for; the evaluation tasks give whole pieces as consecutive segments, for which a
    model predicts rolls of the same form.

    Args:
      data: the records.
      labels: how notes become rolls; by default HPPNet's.
      frames: how audio is cut; by default HPPNet's 50 frames per second.

    Raises:
      ValueError: frames and labels have different rates.
    """
    labels = labels or RollLabelConfig()
    frames = frames or FrameConfig(hop_samples=320)
    registry.check_rates(frames, labels)
    features = {
        "targets": seqio.ContinuousFeature(dtype=tf.float32, rank=3),
        "inputs": seqio.ContinuousFeature(dtype=tf.float32, rank=2),
    }

    def write_rolls(dataset: tf.data.Dataset) -> tf.data.Dataset:
        chosen = registry.options().labels or labels
        return draw_rolls(dataset, chosen, data.name)

    registry.register(
        name=lambda suffix: f"{data.name}_rolls_{suffix}",
        data=data,
        frames=frames,
        writes=frames,
        features=features,
        train_steps=[
            seqio.CacheDatasetPlaceholder(),
            random_clips,
            write_rolls,
        ],
        eval_steps=[functools.partial(steps.split_into_segments, targets=NO_ROLLS)],
        postprocess_fn=postprocess_rolls,
        metric_fn=functools.partial(roll_metrics, frame_rate_hz=frames.frame_rate_hz),
        shuffle_buffer_size=SHUFFLE_BUFFER,
    )


def random_clips(
    dataset: tf.data.Dataset, sequence_length: Mapping[str, int]
) -> tf.data.Dataset:
    """Clips of each piece, as many as fit into it side by side, at random places.

    They begin at a frame and have exactly `sequence_length["inputs"]` frames; a piece
    that is shorter is padded behind.
    """
    length = sequence_length["inputs"]

    @seqio.map_over_dataset(num_seeds=1)
    def choose(piece: steps.Example, seed: tf.Tensor) -> steps.Example:
        num_frames = tf.shape(piece["inputs"])[0]
        number = -(-num_frames // length)
        last = tf.maximum(num_frames - length, 0)
        firsts_K = tf.random.stateless_uniform(
            tf.stack([number]), minval=0, maxval=last + 1, dtype=tf.int32, seed=seed
        )
        missing = tf.maximum(length - num_frames, 0)
        paddings: Any = [[0, missing], [0, 0]]
        frames_TxW = tf.pad(piece["inputs"], paddings)
        return {**piece, "inputs": frames_TxW, "firsts": firsts_K}

    def clips(piece: steps.Example) -> tf.data.Dataset:
        def clip(first: tf.Tensor) -> steps.Example:
            return {
                "inputs": piece["inputs"][first : first + length],
                "notes": piece["notes"],
                "first_frame": first,
                "id": piece["id"],
            }

        return tf.data.Dataset.from_tensor_slices(piece["firsts"]).map(clip)

    pieces: Any = choose(dataset)  # pyright: ignore[reportCallIssue]
    return pieces.flat_map(clips)


def draw_rolls(
    dataset: tf.data.Dataset, labels: RollLabelConfig, data_set: str = ""
) -> tf.data.Dataset:
    """Clips -> `inputs` and `targets`, rolls Tx4xP in the order of `ROLL_NAMES`."""

    def draw(packed: bytes, first: int, num_frames: int) -> np.ndarray:
        start_s = first / labels.frame_rate_hz
        rolls = notes_to_rolls(unpack_notes(packed), int(num_frames), labels, start_s)
        return np.stack(list(rolls.by_name().values()), axis=1)

    def to_example(clip: steps.Example) -> steps.Example:
        num_frames = tf.shape(clip["inputs"])[0]
        (rolls_Tx4xP,) = tf.numpy_function(
            draw, [clip["notes"], clip["first_frame"], num_frames], [tf.float32]
        )
        rolls_Tx4xP.set_shape([None, len(ROLL_NAMES), NUM_PITCHES])
        return {
            "inputs": clip["inputs"],
            "targets": rolls_Tx4xP,
            "id": steps.example_id(data_set, clip, labels.frame_rate_hz),
        }

    return dataset.map(to_example, num_parallel_calls=tf.data.AUTOTUNE)

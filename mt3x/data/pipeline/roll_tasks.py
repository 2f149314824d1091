"""Tasks of rolls, for piano models: clips as HPPNet (Wei et al. 2022) is trained on.

An example takes this way, in brackets what happens once where a task is cached:

    [record -> piece] -> random clips -> their rolls
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from mt3x.data.pipeline import registry, steps
from mt3x.data.pipeline.data_set import DataSet
from mt3x.data.pipeline.outputs import postprocess_rolls, roll_metrics
from mt3x.data.pipeline.record_format import Example
from mt3x.data.pipeline.registry import FrameConfig, WritingStep
from mt3x.data.pipeline.roll_targets import write_rolls
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES, RollLabelConfig

# A clip of 20.48 s with its labels takes 2.7 MB.
SHUFFLE_BUFFER = 256
NO_ROLLS = np.zeros((1, len(ROLL_NAMES), NUM_PITCHES), np.float32)
"""Targets of segments that are compared by notes."""


@dataclass(frozen=True)
class WriteRolls(WritingStep):
    """Clips -> examples with their rolls."""

    labels: RollLabelConfig

    @property
    def writes(self) -> FrameConfig:
        """The frames that rolls have a row for."""
        return self.frames

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Return the examples of clips."""
        return write_rolls(dataset, self.options.labels or self.labels, self.data_set)


def add_roll_task(
    data: DataSet,
    labels: RollLabelConfig | None = None,
    frames: FrameConfig | None = None,
) -> None:
    """Register `<data set>_rolls_train`, the evaluation tasks and their mixture.

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

    registry.register(
        name=lambda suffix: f"{data.name}_rolls_{suffix}",
        data=data,
        frames=frames,
        features=features,
        train_steps=[
            seqio.CacheDatasetPlaceholder(),
            random_clips,
            WriteRolls(data.name, frames, labels),
        ],
        eval_steps=[functools.partial(steps.split_into_segments, targets=NO_ROLLS)],
        postprocess_fn=postprocess_rolls,
        metric_fn=functools.partial(roll_metrics, frame_rate_hz=frames.frame_rate_hz),
        shuffle_buffer_size=SHUFFLE_BUFFER,
    )


def random_clips(
    dataset: tf.data.Dataset, sequence_length: Mapping[str, int]
) -> tf.data.Dataset:
    """Cut clips of each piece at random, as many as fit into it side by side.

    They begin at a frame and have exactly `sequence_length["inputs"]` frames; a piece
    that is shorter is padded at its end.
    """
    length = sequence_length["inputs"]

    @seqio.map_over_dataset(num_seeds=1)
    def choose(piece: Example, seed: tf.Tensor) -> Example:
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

    def clips(piece: Example) -> tf.data.Dataset:
        def clip(first: tf.Tensor) -> Example:
            return {
                "inputs": piece["inputs"][first : first + length],
                "notes": piece["notes"],
                "first_frame": first,
                "id": piece["id"],
            }

        return tf.data.Dataset.from_tensor_slices(piece["firsts"]).map(clip)

    pieces: Any = choose(dataset)  # pyright: ignore[reportCallIssue]
    return pieces.flat_map(clips)

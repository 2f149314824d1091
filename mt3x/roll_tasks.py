"""Tasks of rolls, for piano models: clips as HPPNet (Wei et al. 2022) is trained on."""

import functools
from collections.abc import Mapping
from typing import Any

import seqio
import tensorflow as tf

from mt3x import preprocessors, task_registry
from mt3x.rolls import RollLabelConfig
from mt3x.sources import DataSet, RecordSource
from mt3x.task_outputs import postprocess_rolls, roll_metrics
from mt3x.task_registry import FrameConfig

# A clip of 20.48 s with its labels takes 2.7 MB.
SHUFFLE_BUFFER = 256


def add_roll_task(
    data: DataSet,
    labels: RollLabelConfig | None = None,
    frames: FrameConfig | None = None,
) -> None:
    """Registers `<data set>_rolls_train`, the evaluation tasks and their mixture.

    `inputs` are audio frames_TxW, `targets` the rolls Tx4xP (`mt3x.rolls`): onset,
    frame, offset and velocity. Training clips are exactly as long as is asked for; the
    evaluation tasks give whole pieces as consecutive segments, for which a model
    predicts rolls of the same form.

    Args:
      data: the records.
      labels: how notes become rolls; by default HPPNet's.
      frames: how audio is cut; by default HPPNet's 50 frames per second.

    Raises:
      ValueError: frames and labels have different rates.
    """
    labels = labels or RollLabelConfig()
    frames = frames or FrameConfig(hop_samples=320)
    if frames.frame_rate_hz != labels.frame_rate_hz:
        raise ValueError(
            f"{frames} has {frames.frame_rate_hz} frames per second and labels "
            f"{labels.frame_rate_hz}: they must be equal"
        )
    features = {
        "targets": seqio.ContinuousFeature(dtype=tf.float32, rank=3),
        "inputs": seqio.ContinuousFeature(dtype=tf.float32, rank=2),
    }
    read = functools.partial(
        preprocessors.read_pieces,
        layout=data.layout,
        sample_rate_hz=frames.sample_rate_hz,
        hop_samples=frames.hop_samples,
    )

    def source(splits: Mapping[str, str]) -> Any:
        return RecordSource(data, splits)

    def draw_rolls(dataset: tf.data.Dataset) -> tf.data.Dataset:
        chosen = task_registry.options().labels or labels
        return preprocessors.draw_rolls(dataset, chosen, data.name)

    def name(suffix: str) -> str:
        return f"{data.name}_rolls_{suffix}"

    task_registry.WRITTEN[name("train")] = frames
    seqio.TaskRegistry.add(
        name("train"),
        source=source({"train": data.train, "eval": data.train_eval}),
        output_features=features,
        preprocessors=[
            functools.partial(read, trim=data.trim_overlaps),
            seqio.CacheDatasetPlaceholder(),
            preprocessors.random_clips,
            draw_rolls,
        ],
        shuffle_buffer_size=SHUFFLE_BUFFER,
    )
    for split in data.evals:
        seqio.TaskRegistry.add(
            name(split.suffix),
            source=source({"eval": split.name}),
            output_features=features,
            preprocessors=[
                functools.partial(read, trim="train" in split.name),
                seqio.CacheDatasetPlaceholder(),
                functools.partial(
                    preprocessors.split_into_segments, targets=preprocessors.NO_ROLLS
                ),
            ],
            postprocess_fn=postprocess_rolls,
            metric_fns=[
                functools.partial(roll_metrics, frame_rate_hz=frames.frame_rate_hz)
            ],
        )
    seqio.MixtureRegistry.add(
        name("eval"),
        [name(split.suffix) for split in data.evals if split.in_mixture],
        default_rate=1,
    )

"""Tasks of tokens, as MT3 (Gardner et al. 2022) registers them."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import seqio
import tensorflow as tf

from mt3x import preprocessors, task_names, task_registry
from mt3x.sources import DataSet, RecordSource
from mt3x.task_outputs import EventVocabulary, postprocess, transcription_metrics
from mt3x.task_registry import FrameConfig
from mt3x.tokens import Tokenizer, TokenizerConfig


def task_name(
    data_set: str,
    tokens: TokenizerConfig,
    suffix: str = "",
    frames: FrameConfig | None = None,
) -> str:
    """MT3's name of a task, such as `slakh_notes_ties_vb1_train`."""
    frames = frames or FrameConfig()
    kind = "onsets" if tokens.onsets_only else "notes"
    prefix = f"{data_set}_{kind}_ties" if tokens.use_ties else f"{data_set}_{kind}"
    return task_names.task_name(
        prefix, tokens.vocab, suffix, frames.sample_rate_hz, frames.hop_samples
    )


def add_task(
    data: DataSet,
    tokens: TokenizerConfig,
    frames: FrameConfig | None = None,
    skip_too_long: bool = True,
) -> None:
    """Registers the training task, the evaluation tasks and their mixture.

    Args:
      data: the records.
      tokens: how notes are written.
      frames: how audio is cut.
      skip_too_long: leave out training examples with more tokens than are asked for;
        without it they stop the run, as in MT3's own tasks.
    """
    frames = frames or FrameConfig()
    name = functools.partial(task_name, data.name, tokens, frames=frames)
    tokenizer = Tokenizer(tokens)
    vocabulary = EventVocabulary(tokenizer.codec.num_classes)
    features = {
        "targets": seqio.Feature(vocabulary=vocabulary),
        "inputs": seqio.ContinuousFeature(dtype=tf.float32, rank=2),
    }

    def source(splits: Mapping[str, str]) -> Any:
        return RecordSource(data, splits)

    def read(trim: bool) -> Any:
        return functools.partial(
            preprocessors.read_pieces,
            layout=data.layout,
            sample_rate_hz=frames.sample_rate_hz,
            hop_samples=frames.hop_samples,
            trim=trim and data.trim_overlaps,
        )

    def write_tokens(dataset: tf.data.Dataset) -> tf.data.Dataset:
        options = task_registry.options()
        config = tokens
        if options.program_granularity is not None:
            config = replace(config, program_granularity=options.program_granularity)
        chosen = Tokenizer(config)
        dataset = preprocessors.tokenize(
            dataset, chosen, frames.frame_rate_hz, data.name
        )
        return preprocessors.mix_examples(dataset, chosen, options.max_examples_per_mix)

    task_registry.WRITTEN[name("train")] = tokens
    seqio.TaskRegistry.add(
        name("train"),
        source=source({"train": data.train, "eval": data.train_eval}),
        output_features=features,
        preprocessors=[
            read(trim=True),
            functools.partial(
                preprocessors.split_into_blocks, frame_rate_hz=frames.frame_rate_hz
            ),
            seqio.CacheDatasetPlaceholder(),
            preprocessors.random_chunks,
            write_tokens,
            functools.partial(
                preprocessors.drop_or_refuse_too_long, skip=skip_too_long
            ),
            preprocessors.to_model_ids,
        ],
    )
    for split in data.evals:
        seqio.TaskRegistry.add(
            name(split.suffix),
            source=source({"eval": split.name}),
            output_features=features,
            preprocessors=[
                read(trim="train" in split.name),
                seqio.CacheDatasetPlaceholder(),
                preprocessors.split_into_segments,
            ],
            postprocess_fn=functools.partial(
                postprocess, frame_rate_hz=frames.frame_rate_hz
            ),
            metric_fns=[
                functools.partial(
                    transcription_metrics, tokenizer=tokenizer, tracks=data.tracks
                )
            ],
        )
    seqio.MixtureRegistry.add(
        name("eval"),
        [name(split.suffix) for split in data.evals if split.in_mixture],
        default_rate=1,
    )

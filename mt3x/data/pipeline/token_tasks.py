"""Tasks of tokens, as MT3 (Gardner et al. 2022) registers them."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import seqio
import tensorflow as tf

from mt3x.data import task_names
from mt3x.data.pipeline import registry, steps
from mt3x.data.pipeline.data_set import DataSet
from mt3x.data.pipeline.heard_columns import add_columns, add_drafts
from mt3x.data.pipeline.outputs import (
    EventVocabulary,
    postprocess,
    transcription_metrics,
)
from mt3x.data.pipeline.record_format import ROLL_NOTES
from mt3x.data.pipeline.registry import FrameConfig, WritingStep
from mt3x.data.pipeline.roll_targets import add_roll_notes
from mt3x.music.tokens import Tokenizer
from mt3x.music.vocabulary import TokenizerConfig


def token_task_name(
    data_set: str,
    tokens: TokenizerConfig,
    suffix: str = "",
    frames: FrameConfig | None = None,
) -> str:
    """Return MT3's name of a task, such as `slakh_notes_ties_vb1_train`."""
    frames = frames or FrameConfig()
    kind = "onsets" if tokens.onsets_only else "notes"
    prefix = f"{data_set}_{kind}_ties" if tokens.use_ties else f"{data_set}_{kind}"
    return task_names.task_name(
        prefix, tokens.vocab, suffix, frames.sample_rate_hz, frames.hop_samples
    )


@dataclass(frozen=True)
class WriteTokens(WritingStep):
    """Segments -> examples with their codec ids, mixed where the options say so."""

    tokens: TokenizerConfig
    # SeqIO fills it in.
    sequence_length: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    @property
    def writes(self) -> TokenizerConfig:
        """How notes are written."""
        return self.tokens

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Return the examples of segments."""
        options, rate_hz = self.options, self.frames.frame_rate_hz
        if options.labels is not None:
            registry.check_rates(self.frames, options.labels)
        dataset = add_roll_notes(dataset, self.sequence_length, options.labels)
        dataset = add_columns(dataset, self.data_set, options.band_columns)
        config = self.tokens
        if options.program_granularity is not None:
            config = replace(config, program_granularity=options.program_granularity)
        if options.draft_columns:
            config = replace(config, by_pitch=True)
        tokenizer = Tokenizer(config)
        dataset = add_drafts(
            dataset,
            self.data_set,
            options.draft_columns,
            tokenizer,
            rate_hz,
            options.draft_early_s,
        )
        dataset = steps.tokenize(dataset, tokenizer, rate_hz, self.data_set)
        return steps.mix_examples(dataset, tokenizer, options.max_examples_per_mix)


def add_task(
    data: DataSet,
    tokens: TokenizerConfig,
    frames: FrameConfig | None = None,
    skip_too_long: bool = True,
) -> None:
    """Register the training task, the evaluation tasks and their mixture.

    Args:
      data: the records.
      tokens: how notes are written.
      frames: how audio is cut.
      skip_too_long: leave out training examples with more tokens than are asked for;
        without it they stop the run, as in MT3's own tasks.
    """
    frames = frames or FrameConfig()
    tokenizer = Tokenizer(tokens)
    vocabulary = EventVocabulary(tokenizer.codec.num_classes)
    features = {
        "targets": seqio.Feature(vocabulary=vocabulary),
        "inputs": seqio.ContinuousFeature(dtype=tf.float32, rank=2),
        # There where `TrainOptions.labels` ask for rolls.
        ROLL_NOTES: seqio.ContinuousFeature(dtype=tf.string, rank=0, required=False),
    }

    registry.register(
        name=functools.partial(token_task_name, data.name, tokens, frames=frames),
        data=data,
        frames=frames,
        features=features,
        train_steps=[
            functools.partial(
                steps.split_into_blocks, frame_rate_hz=frames.frame_rate_hz
            ),
            seqio.CacheDatasetPlaceholder(),
            steps.random_segments,
            WriteTokens(data.name, frames, tokens),
            functools.partial(steps.drop_or_refuse_too_long, skip=skip_too_long),
            steps.to_model_ids,
        ],
        eval_steps=[steps.split_into_segments],
        postprocess_fn=functools.partial(
            postprocess, frame_rate_hz=frames.frame_rate_hz
        ),
        metric_fn=functools.partial(
            transcription_metrics, tokenizer=tokenizer, tracks=data.tracks
        ),
    )

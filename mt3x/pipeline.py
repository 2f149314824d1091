"""SeqIO tasks for transcription by tokens: data sets, tasks, batches.

`add_task` registers what MT3 registers for a data set (Gardner et al. 2022), under the
same names: `slakh_notes_ties_vb1_train` gives random chunks (`mt3x.preprocessors`),
with splits `train` and `eval`; `slakh_notes_ties_vb1_validation` and the like give
whole pieces as consecutive segments, and `slakh_notes_ties_vb1_eval` is their mixture.
Outputs of a task are `inputs`, audio frames_TxW in -1..1, and `targets`, model ids with
EOS; log-mel features are computed in the model.

The module `mt3x.tasks` registers the tasks of the known data sets.
"""

import contextlib
import difflib
import functools
import importlib
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import seqio
import tensorflow as tf

from mt3x import preprocessors
from mt3x.sources import DataSet, RecordSource
from mt3x.task_outputs import EventVocabulary, postprocess, transcription_metrics
from mt3x.tokens import Tokenizer, TokenizerConfig


@dataclass(frozen=True)
class FrameConfig:
    """How audio is cut into frames."""

    sample_rate_hz: int = 16000
    hop_samples: int = 128

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop_samples


@dataclass(frozen=True)
class TrainOptions:
    """What MT3 sets in gin files for tasks that are registered already."""

    max_examples_per_mix: int | None = None  # mix 1 to this many examples; None: none
    program_granularity: str | None = None  # instead of the task's


# How the tasks that add_task registered write notes.
_TOKENS: dict[str, TokenizerConfig] = {}
_OPTIONS: ContextVar[TrainOptions] = ContextVar("options")


@contextlib.contextmanager
def train_options(options: TrainOptions) -> Iterator[None]:
    """Data sets of training tasks that are made inside are made with `options`."""
    token = _OPTIONS.set(options)
    try:
        yield
    finally:
        _OPTIONS.reset(token)


def task_name(
    data_set: str,
    tokens: TokenizerConfig,
    suffix: str = "",
    frames: FrameConfig | None = None,
) -> str:
    """MT3's name of a task, such as `slakh_notes_ties_vb1_train`."""
    frames, vocab = frames or FrameConfig(), tokens.vocab
    max_shift_s = vocab.max_shift_steps / vocab.steps_per_second
    spectrogram = "".join(
        f"{letters}{value}"
        for letters, value, default in [
            ("sr", frames.sample_rate_hz, 16000),
            ("hw", frames.hop_samples, 128),
        ]
        if value != default
    )
    vocabulary = "".join(
        f"{letters}{value:g}"
        for letters, value, default in [
            ("ss", vocab.steps_per_second, 100),
            ("ms", max_shift_s, 10),
            ("vb", vocab.num_velocity_bins, 127),
        ]
        if value != default
    )
    kind = "onsets" if tokens.onsets_only else "notes"
    ties = "ties" if tokens.use_ties else ""
    parts = [data_set, kind, ties, spectrogram, vocabulary, suffix]
    return "_".join(part for part in parts if part)


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
        options = _OPTIONS.get(TrainOptions())
        config = tokens
        if options.program_granularity is not None:
            config = replace(config, program_granularity=options.program_granularity)
        chosen = Tokenizer(config)
        dataset = preprocessors.tokenize(dataset, chosen, frames.frame_rate_hz)
        return preprocessors.mix_examples(dataset, chosen, options.max_examples_per_mix)

    _TOKENS[name("train")] = tokens
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


def mixing_rate(task: seqio.Task, temperature: float = 1.0) -> float:
    """The share of a task in a mixture: its training examples ** (1 / temperature).

    They are counted by SeqIO's cache of the task, or by what `mt3x prepare` wrote.

    Raises:
      ValueError: neither is there.
    """
    if task.cache_dir:
        number = task.get_cached_stats("train")["examples"]
    else:
        number = cast(RecordSource, task.source).num_blocks()
    return number ** (1 / temperature)


_Spec = seqio.FeatureConverter.FeatureSpec


class TokensFeatureConverter(seqio.FeatureConverter):
    """`inputs` and `targets` -> the batch of a model that reads frames, writes tokens.

    encoder_input_tokens: float32 TxW frames, padded with zeros.
    encoder_num_frames: int32, how many frames are not padding.
    decoder_target_tokens: int32 L model ids with EOS, padded with PAD.
    decoder_input_tokens: the same behind one PAD.
    decoder_loss_weights: int32 L, 1 for all but padding.
    """

    TASK_FEATURES: ClassVar = {
        "inputs": _Spec(tf.float32, rank=2),
        "targets": _Spec(tf.int32),
    }
    MODEL_FEATURES: ClassVar = {
        "encoder_input_tokens": _Spec(tf.float32, rank=2),
        "encoder_num_frames": _Spec(tf.int32, rank=0),
        "decoder_target_tokens": _Spec(tf.int32),
        "decoder_input_tokens": _Spec(tf.int32),
        "decoder_loss_weights": _Spec(tf.int32),
    }
    PACKING_FEATURE_DTYPES: ClassVar = {}

    def __init__(self, pack: bool = False, **options: Any):
        """Takes SeqIO's options.

        Raises:
          ValueError: for `pack`, which whole segments of audio do not allow.
        """
        if pack:
            raise ValueError("audio segments can not be packed; set pack=False")
        super().__init__(pack=False, **options)

    def _convert_features(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            targets = example["targets"]
            return {
                "encoder_input_tokens": example["inputs"],
                "encoder_num_frames": example["num_frames"],
                "decoder_target_tokens": targets,
                "decoder_input_tokens": seqio.autoregressive_inputs(targets),
                "decoder_loss_weights": seqio.non_padding_position(targets),
            }

        def count_frames(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            frames_TxW = example["inputs"][: task_feature_lengths["inputs"]]
            return {
                "inputs": frames_TxW,
                "num_frames": tf.shape(frames_TxW)[0],
                "targets": example["targets"],
            }

        ds = ds.map(count_frames, num_parallel_calls=tf.data.AUTOTUNE)
        ds = self._pack_or_pad(ds, task_feature_lengths)
        return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

    def get_model_feature_lengths(
        self, task_feature_lengths: Mapping[str, int]
    ) -> dict[str, int]:
        num_frames = task_feature_lengths["inputs"]
        num_tokens = task_feature_lengths["targets"]
        return {
            "encoder_input_tokens": num_frames,
            "encoder_num_frames": 1,  # a scalar: SeqIO leaves it unchecked
            "decoder_target_tokens": num_tokens,
            "decoder_input_tokens": num_tokens,
            "decoder_loss_weights": num_tokens,
        }


def find_task(task: str, module: str) -> seqio.Task | seqio.Mixture:
    """A task or mixture by its name, once the module that registers it is imported.

    Raises:
      ValueError: there is none of that name, or no such module.
    """
    # The device is the model's: TensorFlow would take all of its memory.
    tf.config.set_visible_devices([], "GPU")
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(
            f"there is no module {module}, which was to register {task}: name one "
            "that Python finds"
        ) from error
    known = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if task not in known:
        close = difflib.get_close_matches(task, known, n=3) or sorted(known)
        raise ValueError(
            f"there is no task {task!r} in {module}; close to it are {', '.join(close)}"
        )
    return seqio.get_mixture_or_task(task)


def check_tokens(task: str, module: str, tokens: TokenizerConfig) -> None:
    """Whether a task writes the tokens that a model is made for.

    Programs may be told apart in another way: training tasks are given the model's.

    Raises:
      ValueError: it does not; says how they differ.
    """
    found = find_task(task, module)
    parts = found.tasks if isinstance(found, seqio.Mixture) else [found]
    for part in parts:
        of_task = _TOKENS.get(part.name)
        if of_task is None:
            continue  # not of add_task: its owner knows
        granularity = tokens.program_granularity
        if replace(of_task, program_granularity=granularity) != tokens:
            raise ValueError(
                f"task {part.name} writes {of_task}, but the model is made for {tokens}"
            )


class TaskBatches:
    """Training batches of a task or mixture: a function of the seed and the step.

    The stream of batches begins anew, with another seed, every `span_steps` steps: a
    run that goes on at a step reads no more than a span to find its place.
    """

    def __init__(
        self,
        task: str,
        batch_size: int,
        num_frames: int = 256,
        max_tokens: int = 1024,
        seed: int = 0,
        split: str = "train",
        options: TrainOptions | None = None,
        use_cached: bool = False,
        shuffle_buffer: int = seqio.SHUFFLE_BUFFER_SIZE,
        span_steps: int = 2000,
        module: str = "mt3x.tasks",
    ):
        """Finds the task; data are read when the first batch is asked for.

        Args:
          task: name of a task or mixture.
          batch_size: examples per batch, B.
          num_frames: length of `inputs`, T.
          max_tokens: length of `targets`, L, with EOS.
          seed: with the step, decides every batch.
          split: "train", or "eval" for chunks of validation pieces.
          options: sub-mixes and the like.
          use_cached: read what SeqIO has cached (`seqio.add_global_cache_dirs`).
          shuffle_buffer: examples that are held back (of each task) to be shuffled;
            the first batch, and each span's, waits for them.
          span_steps: how often the stream begins anew.
          module: registers the task when it is imported.

        Raises:
          ValueError: there is no such task, or a number is not positive.
        """
        for name, value in [
            ("batch_size", batch_size),
            ("num_frames", num_frames),
            ("max_tokens", max_tokens),
            ("shuffle_buffer", shuffle_buffer),
            ("span_steps", span_steps),
        ]:
            if value < 1:
                raise ValueError(f"{name} must be at least 1: {value}")
        find_task(task, module)
        self._provider = _with_buffer(seqio.get_mixture_or_task(task), shuffle_buffer)
        self.task, self.batch_size, self.split = task, batch_size, split
        self.seed, self.span_steps = seed, span_steps
        self._lengths = {"inputs": num_frames, "targets": max_tokens}
        self._options = options or TrainOptions()
        self._use_cached = use_cached
        self._next_step = -1
        self._batches: Iterator[dict[str, np.ndarray]] = iter(())

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step, as `TokensFeatureConverter` describes it, stacked.

        Steps in rising order cost nothing extra.

        Raises:
          FileNotFoundError: there are no records; says where they are looked for.
          ValueError: a record is damaged, or of another layout.
        """
        span, offset = divmod(step, self.span_steps)
        if step != self._next_step or offset == 0:
            self._batches = self._stream(span, skip=offset)
        self._next_step = step + 1
        try:
            return next(self._batches)
        except tf.errors.OpError as error:
            self._next_step = -1
            # The first line has the reason, behind the names of TensorFlow's nodes.
            reason = (error.message or str(error)).strip().splitlines()[0]
            reason = re.sub(r".*(\}\} |Iterator::\S+: )", "", reason)
            raise ValueError(f"{self.task}: a record can not be used: {reason}") from (
                error
            )

    def _stream(self, span: int, skip: int) -> Iterator[dict[str, np.ndarray]]:
        mixed = np.random.SeedSequence([self.seed, span]).generate_state(1)[0]
        with train_options(self._options):
            dataset = seqio.get_dataset(
                mixture_or_task_name=self._provider,
                task_feature_lengths=self._lengths,
                feature_converter=TokensFeatureConverter(),
                dataset_split=self.split,
                use_cached=self._use_cached,
                shuffle=True,
                num_epochs=None,
                seed=int(mixed) // 2,
                verbose=False,
            )
        dataset = dataset.batch(self.batch_size, drop_remainder=True).skip(skip)
        return dataset.prefetch(2).as_numpy_iterator()


def _with_buffer(
    provider: seqio.Task | seqio.Mixture, shuffle_buffer: int
) -> seqio.Task | seqio.Mixture:
    """The same task or mixture with another shuffle buffer."""
    if isinstance(provider, seqio.Task):
        return provider.replace(shuffle_buffer_size=shuffle_buffer)
    tasks = [
        (_with_buffer(task, shuffle_buffer), provider.get_rate(task))
        for task in provider.tasks
    ]
    return seqio.Mixture(provider.name, tasks)

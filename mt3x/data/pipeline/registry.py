"""Tasks: registering, finding and checking them, and setting the options of a run.

Tasks of the known data sets have MT3's names, in SeqIO's registry too. Where MT3's own
are imported into the same process, that registry has those which came last, and
`find_task` still finds ours.
"""

import contextlib
import difflib
import functools
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import seqio
import tensorflow as tf

from mt3x.data.pipeline import steps
from mt3x.data.pipeline.data_set import DataSet, RecordSource
from mt3x.music.rolls import RollLabelConfig
from mt3x.music.vocabulary import TokenizerConfig

OWN_MODULE = "mt3x.tasks"
"""Registers the tasks of the known data sets."""


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
    """Options of a run for tasks that are registered already."""

    max_examples_per_mix: int | None = None  # mix 1 to this many examples; None: none
    program_granularity: str | None = None  # instead of the task's
    # Of rolls: instead of the roll task's; of tokens: give what rolls are drawn from.
    labels: RollLabelConfig | None = None
    # Of tokens: what a band model says of each frame follows its samples, so many
    # numbers (`mt3x.data.pipeline.heard_columns`), or so many tokens of a draft.
    band_columns: int | None = None
    draft_columns: int = 0
    draft_early_s: float = 0.0  # (`mt3x.music.drafts.draft_of`)

    def __post_init__(self) -> None:
        has_heard = self.band_columns is not None or self.draft_columns
        if has_heard and self.max_examples_per_mix is not None:
            raise ValueError(
                "max_examples_per_mix must be None where the model reads what a band "
                "model heard: it has not heard the mixes"
            )


@dataclass(frozen=True)
class WritingStep(ABC):
    """The step of a training task that writes targets, with the options of a run."""

    data_set: str
    frames: FrameConfig
    options: TrainOptions = field(default_factory=TrainOptions, kw_only=True)

    @property
    @abstractmethod
    def writes(self) -> TokenizerConfig | FrameConfig:
        """What models must fit: tokens, or the frames of rolls."""

    @abstractmethod
    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Return examples with `targets`."""


_OURS: dict[str, seqio.Task | seqio.Mixture] = {}
"""All that was registered here, by name."""


def _let_others_replace(registry: Any) -> None:
    """Let SeqIO register what has the name of one of ours: it refuses a second one."""
    plain = registry.add_provider

    def add_provider(cls: Any, name: str, provider: Any) -> None:
        if name in _OURS:
            cls.remove(name)
        plain(name, provider)

    registry.add_provider = classmethod(add_provider)


for _registry in (seqio.TaskRegistry, seqio.MixtureRegistry):
    _let_others_replace(_registry)


def _add(provider: seqio.Task | seqio.Mixture) -> None:
    """Put a task or mixture into SeqIO's registry, in the place of others' of its name.

    Raises:
      ValueError: one of ours has its name.
    """
    if provider.name in _OURS:
        raise ValueError(
            f"task {provider.name} is registered twice: give each data set its own name"
        )
    _OURS[provider.name] = provider
    _put(provider)


def _put(provider: seqio.Task | seqio.Mixture) -> None:
    is_task = isinstance(provider, seqio.Task)
    registry: Any = seqio.TaskRegistry if is_task else seqio.MixtureRegistry
    registry.add_provider(provider.name, provider)


def add_mixture(name: str, tasks: Sequence[str], rate: Any) -> None:
    """Register a mixture of tasks that were registered here.

    Args:
      name: of the mixture.
      tasks: their names.
      rate: of each, a number or a function of the task.

    Raises:
      ValueError: a task is not there, or something has the mixture's name.
    """
    missing = [task for task in tasks if task not in _OURS]
    if missing:
        raise ValueError(
            f"mixture {name}: no tasks {', '.join(missing)} are registered"
        )
    _add(seqio.Mixture(name, [(_OURS[task], rate) for task in tasks]))


def register(
    name: Callable[[str], str],
    data: DataSet,
    frames: FrameConfig,
    features: Mapping[str, Any],
    train_steps: Sequence[Any],
    eval_steps: Sequence[Any],
    postprocess_fn: Callable[..., Any],
    metric_fn: Callable[..., Any],
    shuffle_buffer_size: int = seqio.SHUFFLE_BUFFER_SIZE,
) -> None:
    """Register a data set's training task, evaluation tasks and their mixture.

    Args:
      name: suffix -> name of a task.
      data: the records.
      frames: how audio is cut.
      features: SeqIO's output features.
      train_steps: preprocessors after the reading of pieces.
      eval_steps: likewise, of whole pieces.
      postprocess_fn, metric_fn: of the evaluation tasks.
      shuffle_buffer_size: examples held back by the training task.
    """

    def read(trim: bool) -> Any:
        return functools.partial(
            steps.read_pieces,
            layout=data.layout,
            sample_rate_hz=frames.sample_rate_hz,
            hop_samples=frames.hop_samples,
            trim=trim and data.trim_overlaps,
        )

    def source(splits: Mapping[str, str]) -> Any:
        return RecordSource(data, splits)

    _add(
        seqio.Task(
            name("train"),
            source=source({"train": data.train, "eval": data.train_eval}),
            output_features=features,
            preprocessors=[read(trim=True), *train_steps],
            shuffle_buffer_size=shuffle_buffer_size,
        )
    )
    # SeqIO's evaluator asks each example for all features.
    required = {key: feature for key, feature in features.items() if feature.required}
    for split in data.evals:
        _add(
            seqio.Task(
                name(split.suffix),
                source=source({"eval": split.name}),
                output_features=required,
                preprocessors=[
                    read(trim="train" in split.name),
                    seqio.CacheDatasetPlaceholder(),
                    *eval_steps,
                ],
                postprocess_fn=postprocess_fn,
                metric_fns=[metric_fn],
            )
        )
    add_mixture(
        name("eval"),
        [name(split.suffix) for split in data.evals if split.in_mixture],
        rate=1,
    )


def find_task(task: str, module: str) -> seqio.Task | seqio.Mixture:
    """Return a task or mixture by its name; import the module that registers it.

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
    if module == OWN_MODULE and task in _OURS:
        return _OURS[task]
    known = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if task not in known:
        close = difflib.get_close_matches(task, known, n=3) or sorted(known)
        raise ValueError(
            f"there is no task {task!r} in {module}; close to it are {', '.join(close)}"
        )
    return seqio.get_mixture_or_task(task)


def with_options(
    provider: seqio.Task | seqio.Mixture,
    options: TrainOptions,
    shuffle_buffer: int | None = None,
) -> seqio.Task | seqio.Mixture:
    """Return a training task or mixture with the options of a run.

    Args:
      provider: tasks of `add_task` and `add_roll_task`; options do nothing to others.
      options: sub-mixes and the like.
      shuffle_buffer: examples that each task holds back to be shuffled; None: its own.
    """
    if isinstance(provider, seqio.Mixture):
        tasks = [
            (with_options(task, options, shuffle_buffer), provider.get_rate(task))
            for task in provider.tasks
        ]
        return seqio.Mixture(provider.name, tasks)
    changes: dict[str, Any] = {
        "preprocessors": [
            replace(step, options=options) if isinstance(step, WritingStep) else step
            for step in provider.preprocessors
        ]
    }
    if shuffle_buffer is not None:
        changes["shuffle_buffer_size"] = shuffle_buffer
    return provider.replace(**changes)


def register_again(provider: seqio.Task | seqio.Mixture) -> None:
    """Put a task or mixture in the place of the registered one of its name.

    T5X finds tasks by their names: so it finds those with the options of its run.
    """
    mixtures = [provider] if isinstance(provider, seqio.Mixture) else []
    for found in [*parts(provider), *mixtures]:
        seqio.TaskRegistry.remove(found.name)
        seqio.MixtureRegistry.remove(found.name)
        _put(found)


@contextlib.contextmanager
def reading(task: str) -> Iterator[None]:
    """Raise ValueError of one line where TensorFlow complains about a record."""
    try:
        yield
    except tf.errors.OpError as error:
        # The first line has the reason, after the names of TensorFlow's nodes.
        reason = (error.message or str(error)).strip().splitlines()[0]
        reason = re.sub(r".*(\}\} |Iterator::\S+: )", "", reason)
        raise ValueError(f"{task}: a record cannot be used: {reason}") from error


def check_rates(frames: FrameConfig, labels: RollLabelConfig) -> None:
    """Raise ValueError where rolls do not have a row for each frame of audio."""
    if frames.frame_rate_hz != labels.frame_rate_hz:
        raise ValueError(
            f"{frames} has {frames.frame_rate_hz} frames per second and labels "
            f"{labels.frame_rate_hz}: they must be equal"
        )


def check_tokens(task: str, module: str, tokens: TokenizerConfig) -> None:
    """Raise ValueError where a task does not write the tokens of a model.

    Programs may be told apart in another way, and events of one time be in another
    order: training tasks are given the model's.
    """
    for part in parts(find_task(task, module)):
        written = _writes(part) or tokens  # others' tasks: their owner knows
        if isinstance(written, FrameConfig):
            raise ValueError(f"task {part.name} writes rolls, not a token model's")
        given = {
            "program_granularity": tokens.program_granularity,
            "by_pitch": tokens.by_pitch,
        }
        if replace(written, **given) != tokens:
            raise ValueError(
                f"task {part.name} writes {written}, but the model is made for {tokens}"
            )


def check_rolls(task: str, module: str, frames: FrameConfig) -> None:
    """Raise ValueError where a task does not write rolls in the frames of a model."""
    for part in parts(find_task(task, module)):
        written = _writes(part) or frames
        if isinstance(written, TokenizerConfig):
            raise ValueError(
                f"task {part.name} writes tokens, but piano models learn rolls: name a "
                "task of add_roll_task, such as maestrov3_rolls_train"
            )
        if written != frames:
            raise ValueError(
                f"task {part.name} has {written}, but the model is made for {frames}"
            )


def _writes(task: seqio.Task) -> TokenizerConfig | FrameConfig | None:
    """Return what one of our training tasks writes; None for other tasks."""
    steps_of_ours = (s for s in task.preprocessors if isinstance(s, WritingStep))
    return next((step.writes for step in steps_of_ours), None)


def check_data(
    provider: seqio.Task | seqio.Mixture, split: str, use_cached: bool = False
) -> None:
    """Raise FileNotFoundError where a split has no records, or the task no cache."""
    for part in parts(provider):
        if not use_cached:
            if split in part.splits:
                part.source.list_shards(split)  # ours raise
        elif part.cache_dir is None:
            folders = ", ".join(seqio.get_global_cache_dirs()) or "no folder"
            raise FileNotFoundError(
                f"task {part.name} is not cached: looked in {folders}; cache it with "
                "seqio_cache_tasks and give its folder as cache_dir, or set use_cached "
                "to False"
            )


def add_cache_dir(folder: str) -> None:
    """Add a folder to those where SeqIO looks for cached tasks."""
    if folder not in seqio.get_global_cache_dirs():
        seqio.add_global_cache_dirs([folder])


def parts(provider: seqio.Task | seqio.Mixture) -> Sequence[seqio.Task]:
    """Return the tasks of a mixture; a task by itself."""
    return provider.tasks if isinstance(provider, seqio.Mixture) else [provider]


def mixing_rate(task: seqio.Task, temperature: float = 1.0) -> float:
    """Return a task's share in a mixture: its training examples ** (1 / temperature).

    They are counted by SeqIO's cache of the task, or by what `mt3x prepare` wrote.

    Raises:
      ValueError: neither is there.
    """
    if task.cache_dir:
        number = task.get_cached_stats("train")["examples"]
    else:
        number = cast(RecordSource, task.source).num_blocks()
    return number ** (1 / temperature)

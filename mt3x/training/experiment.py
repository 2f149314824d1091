"""An experiment: model, data, validation and training in one description.

Gin files describe one (`mt3x.config`), and so does the `config.json` of a run folder:
a machine without gin goes on with a run, or starts one from a copied `config.json`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mt3x.data.augment import AugmentConfig
from mt3x.data.batches import BatchConfig, Batches
from mt3x.data.clips import Clip, corpus_clips, task_clips
from mt3x.data.corpus import Corpus
from mt3x.data.workers import in_workers
from mt3x.models.features import CQTConfig, LogMelConfig
from mt3x.models.objectives import (
    PianoConfig,
    PianoObjective,
    TokensConfig,
    TokensObjective,
    config_from_dict,
    make_objective,
)
from mt3x.music.rolls import RollLabelConfig
from mt3x.training import partitioning
from mt3x.training.train import Outcome, TrainConfig, train
from mt3x.training.validation import (
    LOSSES,
    LossValidation,
    RollValidation,
    TokenValidation,
)

if TYPE_CHECKING:
    from mt3x.data.pipeline.registry import TrainOptions
    from mt3x.data.pipeline.task_batches import TaskBatches


@dataclass(frozen=True)
class DataConfig:
    """Which corpora to train a piano model on."""

    # Folders written by `mt3x corpus`.
    corpora: tuple[str, ...] = ()
    # How often each is drawn from, relative to the others; None: by its duration.
    weights: tuple[float, ...] | None = None
    # Labels and hop are the objective's: an experiment sets them.
    batches: BatchConfig = field(default_factory=BatchConfig)
    seed: int = 0
    # Processes that make batches, for devices that one core can not keep busy; 0: a
    # thread of the training process does.
    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers={self.workers} must not be negative")
        # Gin and JSON give lists.
        object.__setattr__(self, "corpora", tuple(self.corpora))
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
            if len(self.weights) != len(self.corpora):
                raise ValueError(
                    f"{len(self.weights)} weights for {len(self.corpora)} corpora; "
                    "give one each or none"
                )

    def make_batches(self, shard: tuple[int, int] = (0, 1)) -> Batches:
        """Training batches, or a process's part of them.

        Raises:
          ValueError: no corpora are named, they do not fit together, or the batch does
            not divide over the processes.
          OSError: a corpus is missing.
        """
        if not self.corpora:
            raise ValueError("no corpora to train on; set DataConfig.corpora")
        corpora = [Corpus(folder) for folder in self.corpora]
        return Batches(corpora, self.weights, self.batches, self.seed, shard)


@dataclass(frozen=True)
class TaskConfig:
    """Which SeqIO task or mixture to train on."""

    # Its name: of tokens for token models, such as slakh_notes_ties_vb1_train; of rolls
    # for piano models, such as maestrov3_rolls_train.
    task: str = ""
    # The module that registers it when it is imported.
    module: str = "mt3x.tasks"
    # Of all processes together.
    batch_size: int = 8
    # Of piano models, frames in a clip (20.48 s at 50 frames per second); token models
    # have their own number.
    clip_frames: int = 1024
    # Of token models: train on mixes of 1 to this many examples; None: of one.
    max_examples_per_mix: int | None = None
    # Read what SeqIO has cached of the task, in this folder or those that SeqIO knows.
    use_cached: bool = False
    cache_dir: str | None = None
    # Examples among which each next one is drawn; the first batch waits for them. None:
    # 1000 of tokens, 256 of rolls, which are larger.
    shuffle_buffer: int | None = None
    seed: int = 0

    def make_batches(
        self,
        objective: PianoConfig | TokensConfig,
        shard: tuple[int, int] = (0, 1),
        split: str = "train",
    ) -> "TaskBatches":
        """Training batches for a model, or a process's part of them.

        Raises:
          ValueError: there is no such task, it has other tokens or rolls than the
            model, or the batch does not divide over the processes.
          FileNotFoundError: its records, or its cache, are missing.
        """
        from mt3x.data import pipeline

        options = train_options(objective, self.max_examples_per_mix)
        check_task(self.task, self.module, objective)
        lengths = self.clip_frames, None
        if isinstance(objective, TokensConfig):
            lengths = objective.num_frames, objective.max_tokens
        if self.cache_dir is not None:
            pipeline.add_cache_dir(self.cache_dir)
        return pipeline.TaskBatches(
            self.task,
            self.batch_size,
            *lengths,
            seed=self.seed,
            split=split,
            options=options,
            use_cached=self.use_cached,
            shuffle_buffer=self.shuffle_buffer,
            module=self.module,
            shard=shard,
        )

    def validation_batches(
        self, objective: PianoConfig | TokensConfig
    ) -> "TaskBatches":
        """Batches of the validation pieces, unmixed, in all runs the same.

        Raises:
          ValueError, FileNotFoundError: as `make_batches`.
        """
        plain = dataclasses.replace(self, max_examples_per_mix=None, seed=0)
        return plain.make_batches(objective, split="eval")


def train_options(
    objective: PianoConfig | TokensConfig, max_examples_per_mix: int | None = None
) -> "TrainOptions":
    """What a model asks of the training tasks.

    Raises:
      ValueError: a piano model is to train on mixes.
    """
    from mt3x.data import pipeline

    if isinstance(objective, TokensConfig):
        return pipeline.TrainOptions(
            max_examples_per_mix=max_examples_per_mix,
            program_granularity=objective.tokens.program_granularity,
            labels=objective.rolls.labels if objective.rolls else None,
        )
    if max_examples_per_mix is not None:
        raise ValueError(
            f"max_examples_per_mix={max_examples_per_mix} is for token models; leave "
            "it out for a piano model"
        )
    return pipeline.TrainOptions(labels=objective.labels)


def check_task(task: str, module: str, objective: PianoConfig | TokensConfig) -> None:
    """Whether a training task gives what a model reads.

    Raises:
      ValueError: there is no such task, or it has other tokens, rolls or frames.
    """
    from mt3x.data import pipeline

    if isinstance(objective, TokensConfig):
        pipeline.check_tokens(task, module, objective.tokens)
        return
    features = objective.features
    frames = pipeline.FrameConfig(features.sample_rate_hz, features.hop_samples)
    pipeline.check_rolls(task, module, frames)


@dataclass(frozen=True)
class ValidationConfig:
    """What to validate on."""

    # Folder written by `mt3x corpus`; None: no validation.
    corpus: str | None = None
    # Instead of a corpus: an evaluation task, such as slakh_notes_ties_vb1_validation
    # or maestrov3_rolls_validation, and the module that registers it.
    task: str | None = None
    module: str = "mt3x.tasks"
    # The first seconds of each piece, and how many pieces (None: all).
    clip_s: float = 60.0
    max_clips: int | None = None
    # Batches of the training task's validation pieces (its split "eval") to compute the
    # loss on; 0: none.
    loss_batches: int = 0

    def __post_init__(self) -> None:
        if self.loss_batches < 0:
            raise ValueError(f"loss_batches={self.loss_batches} must not be negative")
        if self.corpus is not None and self.task is not None:
            raise ValueError(
                f"validation on corpus {self.corpus} and task {self.task}: give one"
            )

    def clips(self, features: CQTConfig | LogMelConfig) -> list[Clip]:
        """Recordings with their notes, as a model hears them."""
        rate_hz, part = features.sample_rate_hz, (self.clip_s, self.max_clips)
        if self.task is not None:
            return task_clips(
                self.task, self.module, rate_hz, features.hop_samples, *part
            )
        if self.corpus is not None:
            return corpus_clips(self.corpus, rate_hz, *part)
        return []


@dataclass(frozen=True)
class Experiment:
    """All that makes a run, but the folder it runs in.

    A piano model trains on corpora (`DataConfig`) or a SeqIO task of rolls, a token
    model on a task of tokens (`TaskConfig`).
    """

    objective: PianoConfig | TokensConfig = field(default_factory=PianoConfig)
    data: DataConfig | TaskConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        objective, data = self.objective, self.data
        if isinstance(objective, PianoConfig) and isinstance(data, DataConfig):
            batches = dataclasses.replace(
                data.batches,
                labels=objective.labels,
                hop_samples=objective.features.hop_samples,
            )
            data = dataclasses.replace(data, batches=batches)
            object.__setattr__(self, "data", data)
        elif isinstance(data, DataConfig):
            raise ValueError(
                "a token model can not train on corpora (DataConfig): give it a SeqIO "
                "task (TaskConfig)"
            )
        loss_batches = self.validation.loss_batches
        if loss_batches and isinstance(data, DataConfig):
            raise ValueError(
                f"loss_batches={loss_batches}: corpora (DataConfig) have no validation "
                "pieces; leave it out, or train on a SeqIO task (TaskConfig)"
            )
        if self.train.score in LOSSES:
            raise ValueError(
                f"score={self.train.score!r}: the best step has the highest score, and "
                "losses are better when lower; name accuracy or note_f1"
            )

    def run(
        self,
        run_dir: str | Path,
        trace_dir: str | Path | None = None,
        gin_text: str | None = None,
    ) -> Outcome:
        """Train in `run_dir`, from its newest checkpoint where it has one.

        Args:
          run_dir, trace_dir, gin_text: as for `mt3x.training.train.train`.

        Raises:
          ValueError: data, config and devices do not fit together, or what
            `mt3x.training.train.train` raises.
          OSError: data are missing, or the run folder is in use.
        """
        mesh = partitioning.make_mesh(self.train.mesh)
        batches = self.data.batches if isinstance(self.data, DataConfig) else self.data
        partitioning.check_batch(mesh, batches.batch_size, self.train.microbatches)
        shard = partitioning.data_shard(mesh)
        with ExitStack() as stack:
            if isinstance(self.data, TaskConfig):
                batches = self.data.make_batches(self.objective, shard)
            else:
                batches = self.data.make_batches(shard)
                if self.data.workers:
                    workers = in_workers(batches, self.data.workers)
                    batches = stack.enter_context(workers)
            objective = make_objective(self.objective, self.train.dtype)
            evaluations = self.evaluations(objective)

            def evaluate(params: Any) -> dict[str, Any]:
                return {k: v for one in evaluations for k, v in one(params).items()}

            return train(
                self.train,
                objective,
                batches,
                run_dir,
                evaluate if evaluations else None,
                self.to_dict()["data"],
                trace_dir,
                gin_text,
                read_config=lambda config: Experiment.from_dict(config).to_dict(),
            )

    def evaluations(
        self, objective: PianoObjective | TokensObjective
    ) -> list[Callable[[Any], dict[str, Any]]]:
        """What gives the scores of parameters by name, as `train.train` takes it.

        Raises:
          ValueError, OSError: the data of the validation are missing or do not fit.
        """
        found: list[Callable[[Any], dict[str, Any]]] = []
        if clips := self.validation.clips(objective.config.features):
            if isinstance(objective, TokensObjective):
                found.append(TokenValidation(objective, clips))
            else:
                found.append(RollValidation(objective, clips))
        if isinstance(self.data, TaskConfig) and self.validation.loss_batches:
            batches = self.data.validation_batches(objective.config)
            found.append(
                LossValidation(objective, batches, self.validation.loss_batches)
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """What a run folder's `config.json` holds; `from_dict` reads it back."""
        return {
            "objective": self.objective.to_dict(),
            "train": self.train.to_dict(),
            "data": {
                **dataclasses.asdict(self.data),
                "validation": dataclasses.asdict(self.validation),
            },
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "Experiment":
        """From what `to_dict` gave; what an older version lacks has its default.

        Raises:
          ValueError: it is of a version with other settings, or not of a run.
        """
        try:
            data = dict(config["data"])
            validation = data.pop("validation")
            kind = TaskConfig if "task" in data else _data_config
            return cls(
                objective=config_from_dict(config["objective"]),
                data=kind(**data),
                train=TrainConfig.from_dict(config["train"]),
                validation=ValidationConfig(**validation),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"the run's config does not fit this version of mt3x ({error}): choose "
                "another run folder, or the version that began it"
            ) from error


def _data_config(batches: Mapping[str, Any], **values: Any) -> DataConfig:
    """From JSON."""
    batches = dict(batches)
    batches["labels"] = RollLabelConfig(**batches["labels"])
    if batches["augment"] is not None:
        augment: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in batches["augment"].items()
        }
        batches["augment"] = AugmentConfig(**augment)
    return DataConfig(**values, batches=BatchConfig(**batches))

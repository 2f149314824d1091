"""An experiment: model, data, validation and training in one description.

Gin files describe one (`mt3x.config`), and so does the `config.json` of a run folder:
a machine without gin resumes a run, or starts one from a copied `config.json`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mt3x.data.batches import BatchConfig, CorpusBatches
from mt3x.data.beat_batches import BeatDataConfig
from mt3x.data.clips import Clip, corpus_clips
from mt3x.data.corpus import Corpus
from mt3x.data.mood_batches import MoodDataConfig
from mt3x.data.stem_batches import MixConfig, StemBatches
from mt3x.data.workers import in_workers
from mt3x.files import FieldError, from_json
from mt3x.models.features import CQTConfig, LogMelConfig
from mt3x.models.objectives import (
    BandConfig,
    BeatConfig,
    ModelConfig,
    ModelObjective,
    MusicConfig,
    PianoConfig,
    TokensConfig,
    config_from_dict,
    make_objective,
)
from mt3x.training import partitioning
from mt3x.training.train import Outcome, TrainConfig, train
from mt3x.training.validation import (
    LOSS_VALIDATIONS,
    LOSSES,
    NOTE_VALIDATIONS,
    LossValidation,
    make_validation,
)

if TYPE_CHECKING:
    from mt3x.data.pipeline.registry import TrainOptions
    from mt3x.data.pipeline.task_batches import TaskBatches


@dataclass(frozen=True)
class DataConfig:
    """The corpora that a piano or band model is trained on."""

    name: ClassVar[str] = "corpora (DataConfig)"

    # Folders written by `mt3x corpus` and `mt3x synth --stems`.
    corpora: tuple[str, ...] = ()
    # How often each is drawn from, relative to the others; None: by its duration. Not
    # for mixes, which draw by instrument.
    weights: tuple[float, ...] | None = None
    # Clips of pieces, or mixes of stems (`MixConfig`). Labels and hop are the
    # objective's: an experiment sets them.
    batches: BatchConfig | MixConfig = field(default_factory=BatchConfig)
    seed: int = 0
    # Processes that make batches, for devices that one core cannot keep busy; 0: a
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

    @property
    def batch_size(self) -> int:
        """The examples in a batch, of all processes together."""
        return self.batches.batch_size

    def fitted(self, objective: ModelConfig) -> "DataConfig":
        """Return the same with a model's labels and hop.

        Raises:
          ValueError: a band model is to train on other things than mixes.
        """
        assert isinstance(objective, PianoConfig | BandConfig)
        fields: dict[str, Any] = {
            "labels": objective.labels,
            "hop_samples": objective.features.hop_samples,
        }
        if isinstance(objective, BandConfig):
            if not isinstance(self.batches, MixConfig):
                raise ValueError(
                    "a band model trains on mixes of stems: set DataConfig.batches to "
                    "a MixConfig"
                )
            fields |= {"drum_steps": objective.drum_steps}
        elif isinstance(self.batches, MixConfig):
            if objective.has_pedal:
                raise ValueError(
                    "mixes of stems have no pedal: train a model with pedal_channels "
                    "on clips of piano corpora (BatchConfig)"
                )
            fields |= {"rolls_only": True}
        else:
            fields |= {"pedal": objective.has_pedal}
        batches = dataclasses.replace(self.batches, **fields)
        return dataclasses.replace(self, batches=batches)

    def make_batches(
        self, objective: ModelConfig, shard: tuple[int, int] = (0, 1)
    ) -> CorpusBatches | StemBatches:
        """Return training batches for a model, or a process's part of them.

        Raises:
          ValueError: no corpora are named, they do not fit together or the model, or
            the batch does not divide over the processes.
          OSError: a corpus is missing.
        """
        if not self.corpora:
            raise ValueError("no corpora to train on; set DataConfig.corpora")
        corpora = [Corpus(folder) for folder in self.corpora]
        batches = self.fitted(objective).batches
        if isinstance(batches, MixConfig):
            if self.weights is not None:
                raise ValueError("mixes draw by instrument: leave out weights")
            return StemBatches(corpora, batches, self.seed, shard)
        return CorpusBatches(corpora, self.weights, batches, self.seed, shard)

    def validation_batches(
        self, objective: ModelConfig, corpus: str | None
    ) -> CorpusBatches | StemBatches:
        """Return batches of a validation corpus, in all runs the same.

        Clips are drawn and changed as for training.

        Raises:
          ValueError, OSError: as `make_batches`.
        """
        corpora = () if corpus is None else (corpus,)
        data = dataclasses.replace(self, corpora=corpora, weights=None, seed=0)
        return data.make_batches(objective)

    @contextmanager
    def opened(self, objective: ModelConfig, shard: tuple[int, int]) -> Iterator[Any]:
        """Yield the batches of `make_batches`, made by workers where there are some."""
        batches = self.make_batches(objective, shard)
        if not self.workers:
            yield batches
            return
        with in_workers(batches, self.workers) as made:
            yield made


@dataclass(frozen=True)
class TaskConfig:
    """The SeqIO task or mixture that a model is trained on."""

    name: ClassVar[str] = "SeqIO tasks (TaskConfig)"

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

    def fitted(self, objective: ModelConfig) -> "TaskConfig":
        """Return the same: whether it fits the model is seen when it is read."""
        del objective
        return self

    def make_batches(
        self,
        objective: ModelConfig,
        shard: tuple[int, int] = (0, 1),
        split: str = "train",
    ) -> "TaskBatches":
        """Return training batches for a model, or a process's part of them.

        Raises:
          ValueError: there is no such task, it has other tokens or rolls than the
            model, or the batch does not divide over the processes.
          FileNotFoundError: its records, or its cache, are missing.
        """
        from mt3x.data import pipeline

        options = train_options(objective, self.max_examples_per_mix)
        check_task(self.task, self.module, objective)
        if self.cache_dir is not None:
            pipeline.add_cache_dir(self.cache_dir)
        return pipeline.TaskBatches(
            self.task,
            self.batch_size,
            *objective.example_lengths(self.clip_frames),
            seed=self.seed,
            split=split,
            options=options,
            use_cached=self.use_cached,
            shuffle_buffer=self.shuffle_buffer,
            module=self.module,
            shard=shard,
        )

    @contextmanager
    def opened(self, objective: ModelConfig, shard: tuple[int, int]) -> Iterator[Any]:
        """Yield the batches of `make_batches`."""
        yield self.make_batches(objective, shard)

    def validation_batches(
        self, objective: ModelConfig, corpus: str | None = None
    ) -> "TaskBatches":
        """Return batches of the validation pieces, unmixed, in all runs the same.

        Args:
          objective: the model.
          corpus: not used; a task has validation pieces.

        Raises:
          ValueError, FileNotFoundError: as `make_batches`.
        """
        del corpus
        plain = dataclasses.replace(self, max_examples_per_mix=None, seed=0)
        return plain.make_batches(objective, split="eval")


def train_options(
    objective: ModelConfig, max_examples_per_mix: int | None = None
) -> "TrainOptions":
    """Return what a model asks of the training tasks.

    Raises:
      ValueError: a piano model is to train on mixes.
    """
    from mt3x.data import pipeline

    return pipeline.TrainOptions(**objective.train_options(max_examples_per_mix))


def check_task(task: str, module: str, objective: ModelConfig) -> None:
    """Check that a training task gives what a model reads.

    Raises:
      ValueError: there is no such task, or it has other tokens, rolls or frames.
    """
    from mt3x.data import pipeline

    if not isinstance(objective, PianoConfig | TokensConfig):
        objective.train_options()  # says what it learns from
    elif objective.tokens is not None:
        pipeline.check_tokens(task, module, objective.tokens)
    else:
        features = objective.features
        frames = pipeline.FrameConfig(features.sample_rate_hz, features.hop_samples)
        pipeline.check_rolls(task, module, frames)


@dataclass(frozen=True)
class ValidationConfig:
    """The recordings that a model is validated on."""

    # Folder written by `mt3x corpus`; None: no validation.
    corpus: str | None = None
    # Instead of a corpus: an evaluation task, such as slakh_notes_ties_vb1_validation
    # or maestrov3_rolls_validation, and the module that registers it.
    task: str | None = None
    module: str = "mt3x.tasks"
    # The first seconds of each piece, and how many pieces (None: all).
    clip_s: float = 60.0
    max_clips: int | None = None
    # Batches to compute the loss on: of the corpus, or of the training task's
    # validation pieces (its split "eval"); 0: none.
    loss_batches: int = 0

    def __post_init__(self) -> None:
        if self.loss_batches < 0:
            raise ValueError(f"loss_batches={self.loss_batches} must not be negative")
        if self.corpus is not None and self.task is not None:
            raise ValueError(
                f"validation on corpus {self.corpus} and task {self.task}: give one"
            )

    def clips(self, features: CQTConfig | LogMelConfig) -> list[Clip]:
        """Return recordings with their notes, as a model hears them."""
        rate_hz, part = features.sample_rate_hz, (self.clip_s, self.max_clips)
        if self.task is not None:
            from mt3x.data.pipeline.task_pieces import task_clips

            return task_clips(
                self.task, self.module, rate_hz, features.hop_samples, *part
            )
        if self.corpus is not None:
            return corpus_clips(self.corpus, rate_hz, *part)
        return []


AnyData = DataConfig | TaskConfig | BeatDataConfig | MoodDataConfig
_DATA_OF: Mapping[type[ModelConfig], tuple[type[AnyData], ...]] = {
    PianoConfig: (DataConfig, TaskConfig),  # corpora, or a task of rolls
    BandConfig: (DataConfig,),  # of stems
    TokensConfig: (TaskConfig,),
    BeatConfig: (BeatDataConfig,),
    MusicConfig: (MoodDataConfig,),
}
"""What each kind of model trains on."""


@dataclass(frozen=True)
class Experiment:
    """All that makes a run, except for the folder it runs in."""

    objective: ModelConfig = field(default_factory=PianoConfig)
    # Of a kind that fits the model.
    data: AnyData = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        fitting = _DATA_OF[type(self.objective)]
        if not isinstance(self.data, fitting):
            raise ValueError(
                f"a {self.objective.kind} cannot train on {self.data.name}: give it "
                f"{' or '.join(kind.name for kind in fitting)}"
            )
        object.__setattr__(self, "data", self.data.fitted(self.objective))
        loss_batches = self.validation.loss_batches
        no_pieces = isinstance(self.data, DataConfig) and not self.validation.corpus
        if loss_batches and no_pieces:
            raise ValueError(
                f"loss_batches={loss_batches}: corpora (DataConfig) have no validation "
                "pieces; name ValidationConfig.corpus, or leave it out"
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
        batch_size = self.data.batch_size
        partitioning.check_batch(mesh, batch_size, self.train.microbatches)
        shard = partitioning.data_shard(mesh)
        with self.data.opened(self.objective, shard) as batches:
            objective = make_objective(self.objective, self.train.dtype)
            validations = self.validations(objective)

            def evaluate(params: Any) -> dict[str, Any]:
                return {k: v for one in validations for k, v in one(params).items()}

            return train(
                self.train,
                objective,
                batches,
                run_dir,
                evaluate if validations else None,
                self.to_dict()["data"],
                trace_dir,
                gin_text,
                read_config=lambda config: Experiment.from_dict(config).to_dict(),
            )

    def validations(
        self, objective: ModelObjective
    ) -> list[Callable[[Any], Mapping[str, Any]]]:
        """Return what gives the scores of parameters by name.

        Raises:
          ValueError, OSError: the data of the validation are missing or do not fit.
        """
        found: list[Callable[[Any], Mapping[str, Any]]] = []
        config, chosen = objective.config, self.validation
        if type(config) in NOTE_VALIDATIONS:
            assert isinstance(config, PianoConfig | TokensConfig)
            if clips := chosen.clips(config.features):
                found.append(make_validation(objective, clips))
        if chosen.loss_batches:
            batches = self.data.validation_batches(config, chosen.corpus)
            of_loss = LOSS_VALIDATIONS.get(type(config), LossValidation)
            found.append(of_loss(objective, batches, chosen.loss_batches))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return what a run folder's `config.json` holds; `from_dict` reads it back."""
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
        """Read what `to_dict` gave; what an older version lacks has its default.

        Raises:
          ValueError: it is of a version with other settings, or not of a run.
        """
        try:
            for name in ("data", "objective", "train"):
                if not isinstance(config[name], Mapping):
                    raise FieldError(f"{name} has no settings")
            data = dict(config["data"])
            validation = data.pop("validation")
            kinds = {
                "task": TaskConfig,
                "pieces": BeatDataConfig,
                "moods": MoodDataConfig,
            }
            kind = next((kinds[name] for name in kinds if name in data), DataConfig)
            return cls(
                objective=config_from_dict(config["objective"]),
                data=from_json(kind, data),
                train=from_json(TrainConfig, config["train"]),
                validation=from_json(ValidationConfig, validation),
            )
        except (KeyError, FieldError) as error:
            raise ValueError(
                f"the run's config does not fit this version of mt3x ({error}): choose "
                "another run folder, or the version that began it"
            ) from error

"""An experiment: model, data, validation and training in one description.

Gin files describe one (`mt3x.config`), and so does the `config.json` of a run folder:
a machine without gin goes on with a run, or starts one from a copied `config.json`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mt3x.augment import AugmentConfig
from mt3x.batches import BatchConfig, Batches
from mt3x.clips import Clip, corpus_clips, task_clips
from mt3x.corpus import Corpus
from mt3x.features import CQTConfig, LogMelConfig
from mt3x.objectives import (
    PianoConfig,
    PianoObjective,
    TokensConfig,
    TokensObjective,
    config_from_dict,
)
from mt3x.rolls import RollLabelConfig
from mt3x.train import Outcome, TrainConfig, train
from mt3x.validate import RollValidation, TokenValidation


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

    def __post_init__(self) -> None:
        # Gin and JSON give lists.
        object.__setattr__(self, "corpora", tuple(self.corpora))
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
            if len(self.weights) != len(self.corpora):
                raise ValueError(
                    f"{len(self.weights)} weights for {len(self.corpora)} corpora; "
                    "give one each or none"
                )

    def make_batches(self) -> Batches:
        """Training batches.

        Raises:
          ValueError: no corpora are named, or they do not fit together.
          OSError: a corpus is missing.
        """
        if not self.corpora:
            raise ValueError("no corpora to train on; set DataConfig.corpora")
        corpora = [Corpus(folder) for folder in self.corpora]
        return Batches(corpora, self.weights, self.batches, self.seed)


@dataclass(frozen=True)
class TaskConfig:
    """Which SeqIO task or mixture to train a token model on."""

    # Its name, such as slakh_notes_ties_vb1_train.
    task: str = ""
    # The module that registers it when it is imported.
    module: str = "mt3x.tasks"
    batch_size: int = 8
    # Train on mixes of 1 to this many examples; None: of one.
    max_examples_per_mix: int | None = None
    # Read what SeqIO has cached of the task.
    use_cached: bool = False
    # Examples among which each next one is drawn; the first batch waits for them.
    shuffle_buffer: int = 1000
    seed: int = 0

    def make_batches(self, objective: TokensConfig) -> Any:
        """Training batches for a model (`mt3x.pipeline.TaskBatches`).

        Raises:
          ValueError: there is no such task, or it has other tokens than the model.
        """
        from mt3x import pipeline

        pipeline.check_tokens(self.task, self.module, objective.tokens)
        return pipeline.TaskBatches(
            task=self.task,
            batch_size=self.batch_size,
            num_frames=objective.num_frames,
            max_tokens=objective.max_tokens,
            seed=self.seed,
            options=pipeline.TrainOptions(
                max_examples_per_mix=self.max_examples_per_mix,
                program_granularity=objective.tokens.program_granularity,
            ),
            use_cached=self.use_cached,
            shuffle_buffer=self.shuffle_buffer,
            module=self.module,
        )


@dataclass(frozen=True)
class ValidationConfig:
    """What to validate on."""

    # Folder written by `mt3x corpus`; None: no validation.
    corpus: str | None = None
    # Instead of a corpus, for token models: an evaluation task, such as
    # slakh_notes_ties_vb1_validation, and the module that registers it.
    task: str | None = None
    module: str = "mt3x.tasks"
    # The first seconds of each piece, and how many pieces (None: all).
    clip_s: float = 60.0
    max_clips: int | None = None

    def __post_init__(self) -> None:
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

    A piano model trains on corpora (`DataConfig`), a token model on a SeqIO task
    (`TaskConfig`).
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
        elif isinstance(objective, PianoConfig) or isinstance(data, DataConfig):
            raise ValueError(
                f"{type(objective).__name__} can not train on {type(data).__name__}: "
                "piano models need DataConfig (corpora), token models TaskConfig (a "
                "SeqIO task)"
            )

    def run(self, run_dir: str | Path) -> Outcome:
        """Train in `run_dir`, from its newest checkpoint where it has one.

        Raises:
          ValueError: data and config do not fit, or what `mt3x.train.train` raises.
          OSError: data are missing, or the run folder is in use.
        """
        clips = self.validation.clips(self.objective.features)
        if isinstance(self.data, TaskConfig):
            assert isinstance(self.objective, TokensConfig)
            objective = TokensObjective(self.objective, self.train.dtype)
            batches = self.data.make_batches(self.objective)
            evaluate = TokenValidation(objective, clips) if clips else None
        else:
            assert isinstance(self.objective, PianoConfig)
            objective = PianoObjective(self.objective, self.train.dtype)
            batches = self.data.make_batches()
            evaluate = RollValidation(objective, clips) if clips else None
        return train(
            self.train, objective, batches, run_dir, evaluate, self.data_dict()
        )

    def data_dict(self) -> dict[str, Any]:
        """`data` and `validation` as JSON."""
        return {
            **dataclasses.asdict(self.data),
            "validation": dataclasses.asdict(self.validation),
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "Experiment":
        """From what a run folder's `config.json` holds."""
        data = dict(config["data"])
        validation = data.pop("validation")
        kind = TaskConfig if "task" in data else _data_config
        return cls(
            objective=config_from_dict(config["objective"]),
            data=kind(**data),
            train=TrainConfig.from_dict(config["train"]),
            validation=ValidationConfig(**validation),
        )


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

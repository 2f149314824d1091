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
from mt3x.corpus import Corpus
from mt3x.objectives import PianoConfig, PianoObjective
from mt3x.rolls import RollLabelConfig
from mt3x.train import Outcome, TrainConfig, train
from mt3x.validate import Validation, corpus_clips


@dataclass(frozen=True)
class DataConfig:
    """Which corpora to train on."""

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


@dataclass(frozen=True)
class ValidationConfig:
    """What to validate on."""

    # Folder written by `mt3x corpus`; None: no validation.
    corpus: str | None = None
    # The first seconds of each piece, and how many pieces (None: all).
    clip_s: float = 60.0
    max_clips: int | None = None


@dataclass(frozen=True)
class Experiment:
    """All that makes a run, but the folder it runs in."""

    objective: PianoConfig = field(default_factory=PianoConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        batches = dataclasses.replace(
            self.data.batches,
            labels=self.objective.labels,
            hop_samples=self.objective.features.hop_samples,
        )
        data = dataclasses.replace(self.data, batches=batches)
        object.__setattr__(self, "data", data)

    def run(self, run_dir: str | Path) -> Outcome:
        """Train in `run_dir`, from its newest checkpoint where it has one.

        Raises:
          ValueError: corpora and config do not fit, or what `mt3x.train.train` raises.
          OSError: a corpus is missing, or the run folder is in use.
        """
        if not self.data.corpora:
            raise ValueError("no corpora to train on; set DataConfig.corpora")
        objective = PianoObjective(self.objective, self.train.dtype)
        batches = Batches(
            [Corpus(folder) for folder in self.data.corpora],
            self.data.weights,
            self.data.batches,
            self.data.seed,
        )
        evaluate = None
        if self.validation.corpus is not None:
            clips = corpus_clips(
                self.validation.corpus,
                self.objective.features.sample_rate_hz,
                self.validation.clip_s,
                self.validation.max_clips,
            )
            evaluate = Validation(objective, clips)
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
        batches = dict(data.pop("batches"))
        batches["labels"] = RollLabelConfig(**batches["labels"])
        if batches["augment"] is not None:
            augment: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in batches["augment"].items()
            }
            batches["augment"] = AugmentConfig(**augment)
        return cls(
            objective=PianoConfig.from_dict(config["objective"]),
            data=DataConfig(**data, batches=BatchConfig(**batches)),
            train=TrainConfig(**config["train"]),
            validation=ValidationConfig(**validation),
        )

"""Where a model meets its data: what is computed for training and for transcription.

An objective has a configuration that says all its weights depend on, draws parameters,
and gives the loss of a batch: `mt3x.models.piano_objective`,
`mt3x.models.band_objective`, `mt3x.models.tokens_objective`,
`mt3x.models.beat_objective`, `mt3x.models.adversarial_objective`. The configuration
also says what a model needs of its data, so that training, plans and T5X need not ask
what kind it is: `kind`, `tokens`, `batch_spec`, `example_lengths`,
`train_options`, `converter_options`, `notes`, `summary`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from mt3x.models.adversarial_objective import MusicConfig, MusicObjective
from mt3x.models.band_objective import BandConfig, BandObjective
from mt3x.models.beat_objective import BeatConfig, BeatObjective
from mt3x.models.piano_objective import PianoConfig, PianoObjective
from mt3x.models.tokens_config import RollsConfig, TokensConfig
from mt3x.models.tokens_objective import TokensObjective

__all__ = [
    "BandConfig",
    "BandObjective",
    "BeatConfig",
    "BeatObjective",
    "ModelConfig",
    "ModelObjective",
    "MusicConfig",
    "MusicObjective",
    "PianoConfig",
    "PianoObjective",
    "RollsConfig",
    "TokensConfig",
    "TokensObjective",
    "config_from_dict",
    "make_objective",
]

ModelConfig = PianoConfig | BandConfig | TokensConfig | BeatConfig | MusicConfig
ModelObjective = (
    PianoObjective | BandObjective | TokensObjective | BeatObjective | MusicObjective
)
_CONFIGS = {
    "piano": PianoConfig,
    "band": BandConfig,
    "tokens": TokensConfig,
    "beats": BeatConfig,
    "generator": MusicConfig,
}
_OBJECTIVES = {
    PianoConfig: PianoObjective,
    BandConfig: BandObjective,
    TokensConfig: TokensObjective,
    BeatConfig: BeatObjective,
    MusicConfig: MusicObjective,
}


def config_from_dict(values: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration that a checkpoint carries, of any kind.

    Raises:
      ValueError: it is of another kind, or of another version of mt3x.
    """
    kind = values.get("objective")
    if not isinstance(kind, str) or kind not in _CONFIGS:
        raise ValueError(
            f"configuration of objective {str(kind)[:40]!r}, which is none of "
            f"{', '.join(_CONFIGS)}: give a checkpoint of mt3x"
        )
    return _CONFIGS[kind].from_dict(values)


def make_objective(config: ModelConfig, dtype: Any = jnp.float32) -> ModelObjective:
    """Return the objective of a configuration, its arithmetic in `dtype`."""
    return _OBJECTIVES[type(config)](config, dtype)

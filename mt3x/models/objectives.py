"""Where a model meets its data: what is computed for training and for transcription.

An objective has a config that says all its weights depend on, draws parameters, and
gives the loss of a batch: `mt3x.models.piano_objective`,
`mt3x.models.tokens_objective`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from mt3x.models.piano_objective import PianoConfig, PianoObjective
from mt3x.models.tokens_objective import RollsConfig, TokensConfig, TokensObjective

__all__ = [
    "PianoConfig",
    "PianoObjective",
    "RollsConfig",
    "TokensConfig",
    "TokensObjective",
    "config_from_dict",
    "make_objective",
]


def config_from_dict(values: Mapping[str, Any]) -> PianoConfig | TokensConfig:
    """The config that a checkpoint carries, of either kind.

    Raises:
      ValueError: it is of neither kind, or of another version of mt3x.
    """
    kinds = {"piano": PianoConfig, "tokens": TokensConfig}
    kind = values.get("objective")
    if kind not in kinds:
        raise ValueError(
            f"configuration of objective {kind!r}, which is none of {', '.join(kinds)}:"
            " give a checkpoint of mt3x"
        )
    return kinds[kind].from_dict(values)


def make_objective(
    config: PianoConfig | TokensConfig, dtype: Any = jnp.float32
) -> PianoObjective | TokensObjective:
    """The objective of a config, its arithmetic in `dtype`."""
    if isinstance(config, PianoConfig):
        return PianoObjective(config, dtype)
    return TokensObjective(config, dtype)

"""The loss on examples that are not trained on: finer than scores, and much faster.

Scores of transcriptions move in steps of notes; the loss, and the accuracy of the next
token, move with every weight.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

from mt3x.models.losses import LossSums
from mt3x.music.rolls import ROLL_NAMES
from mt3x.training import processes

LOSSES = ("loss", "cross_entropy", "z_loss", *ROLL_NAMES)
"""What is the better the lower."""


class Objective(Protocol):
    """The part of an objective that is used here."""

    def loss(
        self, params: Any, batch: Mapping[str, jax.Array], rng: None = None
    ) -> LossSums:
        """Without dropout, and with running statistics."""
        ...


class Batches(Protocol):
    """Data as a pure function of the step."""

    def batch(self, step: int) -> Mapping[str, np.ndarray]:
        """Arrays with a leading batch axis."""
        ...


class HeldOutLoss:
    """`loss(params)` -> the loss and its parts by name, over the first few batches.

    They are read once and kept. Several processes share them.
    """

    def __init__(self, objective: Objective, batches: Batches, count: int) -> None:
        """
        Args:
          objective: has a loss.
          batches: of held-out data, the same in all processes.
          count: how many of them.
        """
        self._count = count
        self._batches = [batches.batch(step) for step in processes.share(range(count))]
        self._loss = jax.jit(lambda params, batch: objective.loss(params, batch, None))

    def __call__(self, params: Any) -> dict[str, float]:
        params = jax.device_put(params, jax.local_devices()[0])
        rows = [self._sums(params, batch) for batch in self._batches]
        mean = processes.mean(rows, self._count)
        names = [name for name in mean if f"{name}/weight" in mean]
        return {name: mean[name] / max(mean[f"{name}/weight"], 1e-9) for name in names}

    def _sums(self, params: Any, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Of one batch each part's sum and, as `<name>/weight`, what divides it."""
        total, weight, parts, _ = self._loss(params, batch)
        sums = {"loss": (total, weight), **parts}
        totals = {name: float(total) for name, (total, _) in sums.items()}
        weights = {
            f"{name}/weight": float(weight) for name, (_, weight) in sums.items()
        }
        return totals | weights

"""What configurations of models have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, TypeVar

from mt3x.files import FieldError, from_json

__all__ = ["WithoutTasks", "read_config"]

Config = TypeVar("Config")


def read_config(
    cls: type[Config],
    objective: str,
    values: Mapping[str, Any],
    required: tuple[str, ...],
    upgrades: Mapping[type, Callable[[Any], Any]] | None = None,
) -> Config:
    """Return a configuration from the JSON values that a checkpoint carries.

    Args:
      cls: the configuration's class.
      objective: the name of its objective, which the values must have.
      values, required, upgrades: as for `mt3x.files.from_json`.

    Raises:
      ValueError: the values are those of another objective or version of mt3x.
    """
    values = dict(values)
    if (found := values.pop("objective", None)) != objective:
        raise ValueError(
            f"configuration of objective {found!r} instead of {objective!r}: this is "
            "a checkpoint of another model"
        )
    try:
        return from_json(cls, values, required, upgrades)
    except FieldError as error:
        raise ValueError(
            f"configuration of objective {objective!r} does not fit this version of "
            f"mt3x: {error}"
        ) from error


class WithoutTasks:
    """A configuration of a model that trains on clips, and not on SeqIO tasks."""

    kind: ClassVar[str]
    data: ClassVar[str]
    """What the model is to be given, for error messages."""

    def example_lengths(self, clip_frames: int) -> tuple[int, int | None]:
        """Return the frames and tokens of an example; tokens are None."""
        return clip_frames, None

    def train_options(self, max_examples_per_mix: int | None = None) -> NoReturn:
        """Raise ValueError: no tasks give the model what it learns."""
        raise ValueError(
            f"a {self.kind} cannot train on SeqIO tasks (TaskConfig): give it "
            f"{self.data}"
        )

    def converter_options(self) -> NoReturn:
        """Raise ValueError, as `train_options` does."""
        self.train_options()

    def notes(self, segments: Sequence[tuple[int, Any]]) -> NoReturn:
        """Raise ValueError, as `train_options` does."""
        self.train_options()

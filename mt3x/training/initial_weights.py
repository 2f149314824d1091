"""Weights that a run starts from: all those of a file, or those that fit the model.

A model that shares a part with another (an MT3 with a stem, with MT3) starts from the
other's weights there, and from random ones elsewhere. Another model may also be a part
of it (a band model is an MT3's stem). What fits is told by name, shape
and dtype alone; the report says of every array what became of it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from mt3x.models import weights_file
from mt3x.models.band_objective import HPPNET
from mt3x.models.hppnet import PEDAL_HEADS

REPORT_FILE = "init_report.txt"
"""In the run folder, where a run started from a part of a file."""
GROUPS_SHOWN = 6
"""Groups of arrays that a line of the run log names; the file has all arrays."""
_SPARE = {PEDAL_HEADS, HPPNET}
"""Parts of models that nothing else reads."""


class Array(NamedTuple):
    """The shape and dtype of an array, which must fit."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class InitReport:
    """The arrays of a model and of a file by name, and what became of them."""

    source: str
    # Of the model: from the file; drawn, as the file has none or one of another shape.
    restored: dict[str, Array]
    drawn: dict[str, Array]
    # Of the file: those that the model has not.
    unused: dict[str, Array]
    # Of both, but of another shape or dtype: the file's and the model's.
    differing: dict[str, tuple[Array, Array]]

    def summary(self) -> str:
        """Return how much was restored, in one line."""
        have, new = _size(self.restored), _size(self.drawn)
        return (
            f"init_weights {self.source}: {len(self.restored)} of "
            f"{len(self.restored) + len(self.drawn)} arrays restored "
            f"({_millions(have)} of {_millions(have + new)} parameters)"
        )

    def lines(self) -> list[str]:
        """Return the summary, then at most a line for each kind of the rest."""
        lines = [self.summary()]
        new = {k: v for k, v in self.drawn.items() if k not in self.differing}
        for title, arrays, whole in (
            ("drawn", new, self.drawn | self.restored),
            ("not used", self.unused, self.unused | self._of_file()),
        ):
            if arrays:
                lines.append(f"  {title}: {_listed(_groups(arrays, whole))}")
        if self.differing:
            pairs = dict.fromkeys(
                f"{_pattern(name)} {file}, not {model}"
                for name, (file, model) in self.differing.items()
            )
            lines.append(f"  drawn, as they differ in the file: {_listed(pairs)}")
        return lines

    def text(self) -> str:
        """Return the lines, then a line for every array."""
        rows = [("restored", name, str(array)) for name, array in self.restored.items()]
        for name, array in self.drawn.items():
            differs = name in self.differing
            was = f" (file: {self.differing[name][0]})" if differs else ""
            rows.append(("drawn", name, f"{array}{was}"))
        rows += [("not used", name, str(array)) for name, array in self.unused.items()]
        body = "".join(f"{what:8}  {name}  {array}\n" for what, name, array in rows)
        return "\n".join(self.lines()) + "\n\n" + body

    def _of_file(self) -> dict[str, Array]:
        """Return the arrays of the file that the model has too."""
        return {**self.restored, **{k: v[0] for k, v in self.differing.items()}}


def fitting(
    given: Mapping[str, Any], expected: Mapping[str, Any], source: weights_file.Source
) -> tuple[dict[str, Any], InitReport]:
    """Return the parameters that a model has by the same name, shape and dtype.

    Args:
      given: nested dict of arrays.
      expected: the model's tree of arrays or ShapeDtypeStructs.
      source: where `given` comes from, for the report.

    Returns:
      Nested dict of the arrays that fit, and what became of all.

    Raises:
      ValueError: none fits.
    """
    flat = weights_file.flatten(given)
    have, want = _arrays(flat), _arrays(weights_file.flatten(expected))
    fits = [name for name in want if have.get(name) == want[name]]
    if not fits:
        raise ValueError(
            f"{source}: none of its {len(have)} arrays fits one of the model's "
            f"{len(want)} by name, shape and dtype: give weights of a related model as "
            "init_weights, or none"
        )
    report = InitReport(
        source=str(source),
        restored={name: want[name] for name in fits},
        drawn={k: array for k, array in want.items() if have.get(k) != array},
        unused={k: array for k, array in have.items() if k not in want},
        differing={
            name: (have[name], want[name])
            for name in want
            if name in have and have[name] != want[name]
        },
    )
    return weights_file.unflatten({name: flat[name] for name in fits}), report


def load(
    source: weights_file.Source,
    init: Callable[[jax.Array], Any],
    partial: bool = False,
    under: str = "",
) -> tuple[dict[str, Any], InitReport | None]:
    """Return the parameters of a file, checkpoint or run for a model to start from.

    Args:
      source: as for `weights_file.load`; names of `weights_file.WEIGHTS` are the
        package's, wherever a run starts: a folder of that name is `./band`.
      init: the objective's, to know its parameters; nothing is drawn.
      partial: take those that fit; else all must, but for heads of the pedal or an
        HPPNet beside a band model that the model has not.
      under: the part of the model that they are of, with `/` between names.

    Returns:
      Nested dict of arrays, and the report of a partial start.

    Raises:
      ValueError: they do not fit (where `partial`: none does), or are damaged.
      OSError: there is nothing at `source`.
    """
    if source in weights_file.WEIGHTS:
        source = weights_file.packaged(str(source))
    given = weights_file.load(source).params
    for name in reversed(under.split("/") if under else []):
        given = {name: given}
    expected = jax.eval_shape(init, jax.random.key(0))
    if not partial:
        there = {
            part for name in weights_file.flatten(expected) for part in name.split("/")
        }
        given = weights_file.without(given, *_SPARE - there)
        remedy = "init_partial=True starts from the arrays that fit"
        weights_file.check_params(given, expected, source, remedy)
        return given, None
    return fitting(given, expected, source)


def _arrays(flat: Mapping[str, Any]) -> dict[str, Array]:
    return {
        name: Array(tuple(flat[name].shape), str(flat[name].dtype))
        for name in sorted(flat)
    }


def _groups(arrays: Mapping[str, Array], whole: Mapping[str, Array]) -> list[str]:
    """Name arrays by the shortest prefixes that hold no others of `whole`.

    Groups with names that differ in numbers alone (layers) are one.
    """
    others = {
        "/".join(parts[:length])
        for parts in (name.split("/") for name in whole if name not in arrays)
        for length in range(len(parts) + 1)
    }
    groups: dict[str, list[Array]] = {}
    for name, array in arrays.items():
        parts = name.split("/")
        prefixes = ("/".join(parts[:length]) for length in range(1, len(parts)))
        prefix = next((p for p in prefixes if p not in others), name)
        groups.setdefault(_pattern(prefix), []).append(array)
    return [
        f"{prefix} ({len(group)} array{'s' if len(group) > 1 else ''}, "
        f"{_millions(sum(array.size for array in group))})"
        for prefix, group in groups.items()
    ]


def _pattern(name: str) -> str:
    """Return a name with * for its numbers."""
    return re.sub(r"(?<=_)\d+(?=/|$)", "*", name)


def _listed(items: Iterable[str]) -> str:
    items = list(items)
    rest = len(items) - GROUPS_SHOWN
    more = f" and {rest} more (see {REPORT_FILE})" if rest > 0 else ""
    return "; ".join(items[:GROUPS_SHOWN]) + more


def _size(arrays: Mapping[str, Array]) -> int:
    return sum(array.size for array in arrays.values())


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count:,}"

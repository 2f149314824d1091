"""Batch norm's running statistics as part of the parameters.

Flax keeps `mean` and `var` in a collection of their own. Here they lie in the parameter
tree, beside the `scale` and `bias` of their layer, so that weights files, checkpoints,
averages and shardings carry them like all else. Their gradient is zero; the training
step replaces them by what the forward pass saw
(`mt3x.models.losses.LossSums.statistics`).
"""

from collections.abc import Mapping
from typing import Any

STATISTICS = ("mean", "var")


def variables(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return Flax's collections `params` and, where there are any, `batch_stats`.

    Args:
      params: a nested dict with running statistics among the parameters.
    """
    collections = {"params": _part(params, False), "batch_stats": _part(params, True)}
    return {name: tree for name, tree in collections.items() if tree}


def join(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `variables`."""
    return updated(variables["params"], variables.get("batch_stats", {}))


def updated(params: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested dict with the leaves of another one put in."""
    result = dict(params)
    for name, value in part.items():
        is_tree = isinstance(value, Mapping)
        result[name] = updated(result.get(name, {}), value) if is_tree else value
    return result


def _part(tree: Mapping[str, Any], statistics: bool) -> dict[str, Any]:
    """Return the leaves that are running statistics, or those that are not."""
    part: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            if inner := _part(value, statistics):
                part[name] = inner
        elif (name in STATISTICS) == statistics:
            part[name] = value
    return part

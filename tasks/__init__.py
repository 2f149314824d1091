"""Tasks of the known data sets, registered when this package is imported.

It is `mt3x.tasks` in every installation. By the name of its folder in a checkout it
must never be imported: a second module would register every task again.
"""

if __name__ != "mt3x.tasks":
    raise ImportError(f"import mt3x.tasks, not {__name__}")

from mt3x.tasks import (
    cerberus4,
    guitarset,
    maestro,
    maps,
    mixtures,
    musicnet,
    slakh,
    urmp,
)

__all__ = [
    "cerberus4",
    "guitarset",
    "maestro",
    "maps",
    "mixtures",
    "musicnet",
    "slakh",
    "urmp",
]

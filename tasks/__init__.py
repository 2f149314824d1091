"""Tasks of the known data sets, registered when this package is imported.

It is `mt3x.tasks` in every installation. The name of the folder in a checkout must
never be imported: a second module would register every task again.
"""

if __name__ != "mt3x.tasks":
    raise ImportError(f"import mt3x.tasks, not {__name__}")

from mt3x.tasks import slakh

__all__ = ["slakh"]

"""The bar of commands that work through many things."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


def counted(unit: str, console: Console | None = None) -> Progress:
    """Show on stderr how many units are done, and the time that remains."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
    )

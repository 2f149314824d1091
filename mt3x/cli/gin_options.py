"""What `mt3x train`, `eval` and `infer` share: their options for gin, and progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mt3x.data.clips import TaskPiece

CONTEXT = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Settings of a command that takes --gin.NAME=VALUE."""


def gin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --gin_file and --gin_search_paths, as T5X has them."""
    command = click.option(
        "--gin_search_paths",
        "search_paths",
        multiple=True,
        metavar="DIR,...",
        help="Folders to look for gin files in, before the package's.",
        callback=lambda context, option, values: [
            folder for value in values for folder in value.split(",") if folder
        ],
    )(command)
    return click.option(
        "--gin_file",
        "gin_files",
        multiple=True,
        metavar="FILE",
        help="May be repeated; later files win.",
    )(command)


def gin_bindings(arguments: list[str]) -> list[str]:
    """Return `NAME=VALUE` of `--gin.NAME=VALUE`; others raise UsageError."""
    prefix = "--gin."
    for argument in arguments:
        if not argument.startswith(prefix) or "=" not in argument:
            raise click.UsageError(f"unknown argument {argument!r}")
    return [argument.removeprefix(prefix) for argument in arguments]


def load_program(
    name: str, gin_files: tuple[str, ...], search_paths: list[str], arguments: list[str]
) -> Any:
    """Return a `config.Transcription` of the class `name` of `task_evaluation`.

    Raises:
      ValueError: what gin finds wrong, or a missing package.
    """
    bindings = gin_bindings(arguments)
    command = {"Evaluation": "eval", "Inference": "infer"}[name]
    if not gin_files:
        raise ValueError(
            f"mt3x {command} needs gin files: {command}.gin, a model's and a task's"
        )
    try:
        from mt3x import config
        from mt3x.evaluation import task_evaluation

        kind = getattr(task_evaluation, name)
        return config.load_transcription(kind, gin_files, bindings, search_paths)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"mt3x {command} needs {error.name}, which is not installed: "
            "pip install 'mt3x[train,data]'"
        ) from error


@contextmanager
def piece_progress(
    piece: "TaskPiece", duration_s: float
) -> Iterator[Callable[[float], None]]:
    """Show a bar for a piece on a terminal, a line elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr, highlight=False)
    name = f"{piece.task} {piece.number} {piece.id}"
    if not console.is_terminal:
        click.echo(f"{name} ({duration_s:.0f} s)", err=True)
    hidden = not console.is_terminal
    with Progress(console=console, disable=hidden, transient=True) as progress:
        bar = progress.add_task(name, total=duration_s)
        yield lambda seconds: progress.advance(bar, seconds)

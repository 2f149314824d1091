"""`mt3x compare`: runs and scores side by side."""

from pathlib import Path

import click

from mt3x.files import check_writable, write_whole


@click.command("compare")
@click.argument(
    "paths", metavar="RUN_OR_SCORES...", nargs=-1, type=click.Path(path_type=Path)
)
@click.option(
    "--score",
    "scores",
    multiple=True,
    metavar="NAME",
    help="A column, by its name or the end of it after a /; may be repeated.  "
    "[default: the loss, the validation score, and the main scores of files]",
)
@click.option(
    "--best/--last",
    default=False,
    help="Read learning curves at each run's best step, or at its last.  "
    "[default: last]",
)
@click.option("--out", metavar="FILE", help="Write the table here, not to the screen.")
@click.option(
    "--plot",
    "plot_path",
    metavar="FILE",
    help="Draw the learning curves (.png, .svg or .pdf).",
)
@click.option("--overwrite", is_flag=True, help="Replace files of --out and --plot.")
def command(
    paths: tuple[Path, ...],
    scores: tuple[str, ...],
    best: bool,
    out: str | None,
    plot_path: str | None,
    overwrite: bool,
) -> None:
    """Compare training runs: a Markdown table, and learning curves with bands.

    \b
        mt3x compare runs/* --out table.md --plot curves.png
        mt3x compare runs/mt3_s0 runs/mt3_s1 scores/slakh.json --score note_f1

    Takes run folders of `mt3x train`, output folders of `mt3x eval`, and files of
    `mt3x evaluate --json`. Runs that differ in nothing but seeds are one row: means,
    lowest and highest values. Scores belong to the run in the same folder (such as
    RUN/eval/TASK.json), or to the one that gave `mt3x eval` its weights.
    """
    from mt3x.evaluation import run_comparison

    for path in (out, plot_path):
        if path is not None:
            check_writable(path, overwrite)
    if not paths:
        raise click.UsageError("name a run folder or a file of scores")
    runs = run_comparison.read(paths)
    columns = run_comparison.find_columns(runs, scores)
    groups = run_comparison.grouped(runs)
    text = run_comparison.table(groups, columns, best)
    if plot_path is not None:
        run_comparison.plot(groups, columns, plot_path, overwrite)
    if out is None:
        click.echo(text, nl=False)
        return
    with write_whole(out, overwrite, text=True) as file:
        file.write(text)

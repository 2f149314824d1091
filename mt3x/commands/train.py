"""`mt3x train`: train a model as gin files describe, or go on with a run."""

from pathlib import Path

import click

HELP = """Train a model.

\b
    mt3x train --gin_file=experiments/piano_cpu.gin --run-dir runs/piano \\
        --gin.train.TrainConfig.steps=20000

Gin files are looked for as named and then in the package. The same command, or
`mt3x train --run-dir DIR` alone, goes on with a run that was stopped. Ctrl-C and
SIGTERM save first. --gin.NAME=VALUE sets one parameter (text values in quotes).

A job of several processes runs the command in each of them: by srun, on all workers of
a Cloud TPU, or by hand with the last three options."""


@click.command(
    help=HELP,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.option(
    "--gin_file", "gin_files", multiple=True, metavar="FILE", help="May be repeated."
)
@click.option(
    "--run-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for checkpoints, learning curve and TensorBoard; one with a run goes "
    "on.",
)
@click.option(
    "--coordinator",
    metavar="HOST:PORT",
    envvar="MT3X_COORDINATOR",
    help="Where process 0 of a job of several processes listens.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    envvar="MT3X_PROCESSES",
    help="How many processes the job has.",
)
@click.option(
    "--process-id",
    type=click.IntRange(min=0),
    envvar="MT3X_PROCESS_ID",
    help="The number of this one, from 0. Each option may come from the environment: "
    "MT3X_COORDINATOR, MT3X_PROCESSES, MT3X_PROCESS_ID.",
)
@click.pass_context
def command(
    context: click.Context,
    gin_files: tuple[str, ...],
    run_dir: Path,
    coordinator: str | None,
    processes: int | None,
    process_id: int | None,
) -> None:
    bindings = gin_bindings(context.args)
    if bindings and not gin_files:
        raise ValueError("--gin.NAME=VALUE needs a --gin_file that it changes")
    try:
        experiment = _experiment(gin_files, bindings, run_dir)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"training needs {error.name}, which is not installed: "
            "pip install 'mt3x[train]'"
        ) from error
    from mt3x import distributed

    distributed.start(coordinator, processes, process_id)
    outcome = experiment.run(run_dir)
    best = ""
    if outcome.best_step is not None:
        best = f"; best {experiment.train.score} {outcome.best_score:.4f} at step "
        best += str(outcome.best_step)
    click.echo(f"{run_dir}: {outcome.reason} at step {outcome.step}{best}", err=True)


def gin_bindings(arguments: list[str]) -> list[str]:
    """`NAME=VALUE` of arguments `--gin.NAME=VALUE`; others raise UsageError."""
    prefix = "--gin."
    for argument in arguments:
        if not argument.startswith(prefix) or "=" not in argument:
            raise click.UsageError(f"unknown argument {argument!r}")
    return [argument.removeprefix(prefix) for argument in arguments]


def _experiment(gin_files: tuple[str, ...], bindings: list[str], run_dir: Path):
    if gin_files:
        from mt3x import config

        return config.load(gin_files, bindings)
    import json

    from mt3x.experiment import Experiment

    file = run_dir / "config.json"
    if not file.is_file():
        raise ValueError(f"{run_dir} holds no run yet; name a --gin_file to start one")
    return Experiment.from_dict(json.loads(file.read_text(encoding="utf-8")))

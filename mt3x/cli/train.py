"""`mt3x train`: train a model as gin files describe, or resume a run."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mt3x.cli.gin_options import CONTEXT, gin_bindings, gin_options
from mt3x.cli.main import EXTRAS
from mt3x.models.memory import keep_memory
from mt3x.training.local_processes import run as run_locally

if TYPE_CHECKING:
    from mt3x.training.experiment import Experiment

HELP = """Train a model.

\b
    mt3x train --gin_file=experiments/piano_cpu.gin --run-dir runs/piano \\
        --gin.TRAIN_STEPS=20000
    mt3x train --gin_file=models/mt3_small.gin --gin_file=train.gin \\
        --gin_file=tasks/slakh.gin --gin.TRAIN_STEPS=400000 \\
        --gin.MODEL_DIR="'runs/mt3'"

Gin files are looked for as named and then in the package, which has models, tasks,
train.gin and whole experiments. --gin.NAME=VALUE sets a macro or a parameter (text
values in quotes). The same command, or `mt3x train --run-dir DIR` alone, resumes a run
that was stopped. Ctrl-C and SIGTERM save first.

On CPUs, --local-processes 2 trains in two processes, each on half of the cores. A job
of several machines runs the command on each of them: by srun, on all workers of a
Cloud TPU, or by hand with the last three options."""


@click.command(help=HELP, context_settings=CONTEXT)
@gin_options
@click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for checkpoints, learning curve and TensorBoard; a run in it is "
    "resumed. MODEL_DIR by another name.",
)
@click.option(
    "--profile",
    "trace_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a trace of a few early steps, for TensorBoard and Perfetto.",
)
@click.option(
    "--local-processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes on this machine, each on its part of the cores and of the batch; "
    "for CPUs.",
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
    search_paths: list[str],
    run_dir: Path | None,
    trace_dir: Path | None,
    local_processes: int,
    coordinator: str | None,
    processes: int | None,
    process_id: int | None,
) -> None:
    _check_installed()
    bindings = gin_bindings(context.args)
    if bindings and not gin_files:
        raise ValueError("--gin.NAME=VALUE needs a --gin_file that it changes")
    experiment, run_dir, operative = _training(
        gin_files, bindings, search_paths, run_dir
    )
    if local_processes > 1 and process_id is None:
        context.exit(run_locally(local_processes))
    import jax

    from mt3x.training.processes import start

    keep_memory()
    start(coordinator, processes, process_id)
    outcome = experiment.run(run_dir, trace_dir, operative)
    if jax.process_index() > 0:
        return
    best = ""
    if outcome.best_step is not None:
        best = f"; best {experiment.train.score} {outcome.best_score:.4f} at step "
        best += str(outcome.best_step)
    click.echo(f"{run_dir}: {outcome.reason} at step {outcome.step}{best}", err=True)


def _check_installed() -> None:
    """Raise ValueError where a library of training is missing, before anything else."""
    missing = [x for x in EXTRAS["train"] if importlib.util.find_spec(x) is None]
    if missing:
        raise ValueError(
            f"training needs {', '.join(missing)}, which is not installed: "
            "pip install 'mt3x[train]'"
        )


def _training(
    gin_files: tuple[str, ...],
    bindings: list[str],
    search_paths: list[str],
    run_dir: Path | None,
) -> tuple["Experiment", Path, str | None]:
    """Return the experiment, its folder, and its gin file where it comes from one."""
    if gin_files:
        from mt3x import config

        return config.load_training(gin_files, bindings, search_paths, run_dir)
    from mt3x.training.experiment import Experiment
    from mt3x.training.run_folder import RunFolder

    if run_dir is None:
        raise ValueError("name a --gin_file to start a run, or the --run-dir of one")
    config = RunFolder(run_dir).config
    try:
        return Experiment.from_dict(config), run_dir, None
    except ValueError as error:
        raise ValueError(f"{run_dir / 'config.json'}: {error}") from error

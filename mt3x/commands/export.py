"""`mt3x export`: the weights of a run as one file."""

from pathlib import Path

import click


@click.command(
    help="Write the best weights of a run folder (or of one step folder "
    "RUN/checkpoints/STEP) to one .safetensors file with its config inside."
)
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--note",
    "notes",
    multiple=True,
    metavar="NAME=TEXT",
    help="Text for the file's header, such as licence=CC-BY-4.0; may be repeated.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def command(run_dir: Path, out: Path, notes: tuple[str, ...], overwrite: bool) -> None:
    from mt3x import checkpoints
    from mt3x.files import check_writable

    for note in notes:
        if "=" not in note:
            raise click.BadParameter(f"{note!r} is not NAME=TEXT", param_hint="--note")
    check_writable(out, overwrite=overwrite)
    weights = checkpoints.load(run_dir)
    metadata = weights.metadata | dict(note.split("=", 1) for note in notes)
    checkpoints.save_weights(
        out, weights.params, weights.config, metadata, overwrite=overwrite
    )
    click.echo(f"{out}: step {metadata.get('step', '?')} of {run_dir}", err=True)

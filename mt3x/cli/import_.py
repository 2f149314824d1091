"""`mt3x import`: published checkpoints of other projects become mt3x weights."""

from pathlib import Path

import click

from mt3x.cli.help import WholeLinesGroup

T5X_MODELS = ("mt3", "ismir2021")


@click.group(cls=WholeLinesGroup)
def command() -> None:
    """Convert a published checkpoint into mt3x weights."""


@command.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="FILE.pt")
@click.argument("target", type=click.Path(path_type=Path), metavar="OUT.safetensors")
@click.option("--overwrite", is_flag=True, help="Replace an existing OUT.safetensors.")
def hppnet(source: Path, target: Path, overwrite: bool) -> None:
    """Convert weights of the authors' HPPNet (github WX-Wei/HPPNet).

    FILE.pt is a whole model or a state dict as torch.save wrote it. PyTorch is not
    needed and nothing in the file is executed.
    """
    from mt3x.interop.hppnet_torch import import_hppnet, read_torch_file
    from mt3x.models.objectives import PianoConfig
    from mt3x.models.weights_file import save_weights

    state = read_torch_file(source)
    try:
        model, params = import_hppnet(state)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    config = PianoConfig(model=model)
    metadata = {"source": "HPPNet by its authors", "file": source.name}
    save_weights(target, params, config.to_dict(), metadata, overwrite=overwrite)
    subnets = "two subnets" if len(model.subnets) > 1 else "one subnet"
    click.echo(f"{target}: HPPNet of {model.channels} channels, {subnets}", err=True)


@command.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", type=click.Path(path_type=Path), metavar="OUT")
@click.option(
    "--model",
    type=click.Choice(T5X_MODELS),
    help="What the tokens mean; by default guessed from the size of the vocabulary.",
)
@click.option(
    "--head-dim",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Channels of an attention head, which a checkpoint does not tell.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing OUT.")
def t5x(
    source: str, target: Path, model: str | None, head_dim: int, overwrite: bool
) -> None:
    """Convert a checkpoint that T5X wrote with MT3's network, or with mt3x's models.

    SOURCE is a run's folder, one of its `checkpoint_STEP`, or gs://BUCKET/FOLDER: MT3's
    authors' own are gs://mt3/checkpoints/mt3 and gs://mt3/checkpoints/ismir2021. What
    `gin/t5x` trained brings its model's config in config.json. OUT ending in
    .safetensors becomes one file, otherwise a folder; both are what `--checkpoint`
    takes.
    """
    from mt3x.files import check_writable
    from mt3x.interop.published import read_published
    from mt3x.models import weights_file

    one_file = target.suffix == ".safetensors"
    check, save = (
        (check_writable, weights_file.save_weights)
        if one_file
        else (weights_file.check_replaceable, weights_file.save_checkpoint)
    )
    check(target, overwrite)
    params, config, step = read_published(source, model, head_dim)
    metadata = {"source": source, "step": str(step)}
    save(target, params, config.to_dict(), metadata, overwrite=overwrite)
    click.echo(f"{target}: {config.summary()}, step {step}", err=True)

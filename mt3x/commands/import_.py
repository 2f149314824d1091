"""`mt3x import`: published checkpoints of other projects become mt3x weights."""

from pathlib import Path

import click


@click.group(short_help="Convert a published checkpoint into mt3x weights.")
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
    from mt3x.checkpoints import save_weights
    from mt3x.objectives import PianoConfig
    from mt3x.reference import import_hppnet, read_torch_file

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

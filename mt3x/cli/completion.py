"""`mt3x completion`: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")
_WHERE = """\b
bash:  mt3x completion bash >> ~/.bashrc
zsh:   mt3x completion zsh >> ~/.zshrc
fish:  mt3x completion fish > ~/.config/fish/completions/mt3x.fish"""


@click.command(epilog=_WHERE)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands, options and file names.

    Put it where the shell reads it when it starts:
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click has one for each of `_SHELLS`
    root = ctx.find_root().command
    click.echo(kind(root, {}, "mt3x", "_MT3X_COMPLETE").source())

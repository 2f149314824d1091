"""The `mt3x` command: a group that imports its subcommands when they are called.

Subcommand `NAME` is the click command `command` of `mt3x/cli/NAME.py`, so that
`mt3x evaluate` pays for no JAX and `mt3x transcribe` for no training library.
"""

import atexit
import gc
import importlib
import os
import sys
import warnings
from collections.abc import Mapping

import click

SUBCOMMANDS: Mapping[str, str] = {
    "transcribe": "Turn recordings into MIDI.",
    "evaluate": "Score transcriptions against reference notes.",
    "train": "Train a model from a gin file.",
    "plan": "Tell what a training step needs on a TPU slice.",
    "eval": "Score a checkpoint on an evaluation task.",
    "infer": "Transcribe the pieces of a task with a checkpoint.",
    "compare": "Put training runs side by side: scores over seeds, curves.",
    "export": "Write the weights of a training run to one file.",
    "prepare": "Turn a published data set into TFRecords.",
    "corpus": "Build training data: render MIDI, read MAPS and MAESTRO.",
    "synth": "Render a set of multi-instrument songs in Slakh's layout.",
    "import": "Convert a published checkpoint into mt3x weights.",
    "info": "Print versions, devices, cache and optional parts.",
}


class LazyGroup(click.Group):
    """A group that knows its subcommands' names and imports one on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        module = "import_" if cmd_name == "import" else cmd_name
        return importlib.import_module(f"mt3x.cli.{module}").command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mt3x")
def group() -> None:
    """Music transcription: audio in, notes and MIDI out."""


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 1."""
    # What JAX loads lives as long as the command. By default Python's collector walks
    # it dozens of times meanwhile, and once more at the end: 0.3 s.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    # TensorFlow reads data on the CPU here; it reports every GPU that it cannot use.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        group.main(standalone_mode=True)
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)

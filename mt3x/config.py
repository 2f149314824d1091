"""Gin files -> `Experiment`. The only module that imports gin.

Gin files name classes by their modules (dynamic registration), so the library carries
no gin decorators:

    from __gin__ import dynamic_registration
    from mt3x import train
    train.TrainConfig.steps = 1000

The library's own files lie in `gin_dir()`: models, training defaults, experiments.
"""

import contextlib
import logging
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

import gin
from gin import config as gin_tables

from mt3x.experiment import Experiment

# What a binding on the command line may name, whether or not a gin file imports it.
HEADER = """
from __gin__ import dynamic_registration
from mt3x import augment
from mt3x import batches
from mt3x import codec
from mt3x import experiment
from mt3x import features
from mt3x import objectives
from mt3x import optimizers
from mt3x import partitioning
from mt3x import rolls
from mt3x import tokens
from mt3x import train
from mt3x.models import hppnet
from mt3x.models import seq2seq
"""


def gin_dir() -> Path:
    """The folder of the library's gin files, in a checkout or an installation."""
    package = Path(__file__).resolve().parent
    # Installed: inside the package. Checkout and editable installation: beside it.
    for folder in (package / "gin", package.parent / "gin"):
        if (folder / "train.gin").is_file():
            return folder
    raise FileNotFoundError(f"{package}: its gin files are missing; install mt3x again")


def load(gin_files: Sequence[str | Path], bindings: Sequence[str] = ()) -> Experiment:
    """Read gin files and bindings (`NAME=VALUE`) into an experiment.

    Files are looked for as they are named and then in `gin_dir()`; later ones and then
    the bindings win. The call leaves no trace in gin's global state.

    Raises:
      ValueError: a file or binding can not be parsed, names something unknown, has a
        value that its config refuses, or has no effect.
      OSError: a file is missing.
    """
    with _clean_gin():
        for file in gin_files:
            path = find_file(file)
            with _explained(str(path)):
                gin.parse_config_file(str(path))
        for binding in bindings:
            with _explained(f"--gin.{binding}"):
                gin.parse_config(HEADER + binding)
        with _explained(", ".join(map(str, gin_files))):
            experiment = gin.get_configurable(Experiment)()
        unused = unused_bindings()
        if unused:
            raise ValueError(
                f"{', '.join(map(str, gin_files))}: bindings without effect: "
                f"{', '.join(unused)}; remove them or use what they configure"
            )
    return experiment


def find_file(name: str | Path) -> Path:
    """A gin file as named, or in the library's folder."""
    for path in (Path(name), gin_dir() / name):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{name}: no such gin file, neither here nor in {gin_dir()}"
    )


def unused_bindings() -> list[str]:
    """Parameters that were bound but that nothing has read since."""
    # Gin has this pair of tables in no public form but text.
    bound = gin_tables._CONFIG
    read = gin_tables._OPERATIVE_CONFIG
    return sorted(
        "/".join(filter(None, [scope, f"{selector}.{name}"]))
        for (scope, selector), values in bound.items()
        for name in values
        if name not in read.get((scope, selector), {})
    )


@contextlib.contextmanager
def _clean_gin() -> Iterator[None]:
    """An empty gin configuration that knows the library's folder, and none after."""
    gin.clear_config()
    if str(gin_dir()) not in gin_tables._LOCATION_PREFIXES:
        gin.add_config_file_search_path(str(gin_dir()))
    # Gin logs a path that it does not find and then raises the same.
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        gin.clear_config()


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    """Gin's errors as one line that names the file or binding."""
    try:
        yield
    except (
        *(ValueError, TypeError, AttributeError),
        *(SyntaxError, tokenize.TokenError, ImportError),
    ) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"{source}: {'; '.join(lines[:2])}") from error

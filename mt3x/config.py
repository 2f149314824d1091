"""Gin files -> what a command runs. The only module that imports gin.

Gin files name classes by their modules (dynamic registration), so the library carries
no gin decorators:

    from __gin__ import dynamic_registration
    from mt3x.training import train
    train.TrainConfig.steps = 1000

The library's own files lie in `gin_dir()`: models, tasks, train, eval, infer, and
experiments that include them. What a user sets has MT3's names there (`MACROS`).
"""

import contextlib
import copy
import logging
import re
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gin
from gin import config as gin_tables

from mt3x.files import check_local
from mt3x.models.objectives import ModelConfig
from mt3x.training.experiment import Experiment

# What a binding on the command line may name, whether or not a gin file imports it.
HEADER = """
from __gin__ import dynamic_registration
from mt3x.data import augment
from mt3x.data import batches
from mt3x.data import stem_batches
from mt3x.music import vocabulary
from mt3x.training import experiment
from mt3x.models import features
from mt3x.models import objectives
from mt3x.training import optimizers
from mt3x.training import partitioning
from mt3x.music import piano_postprocessing
from mt3x.music import drum_decoder
from mt3x.music import instrument_assignment
from mt3x.music import roll_decoder
from mt3x.music import rolls
from mt3x.data import task_names
from mt3x.training import train
from mt3x.models import hppnet
from mt3x.models import band
from mt3x.models import seq2seq
from mt3x.models import stem
"""

MACROS = {
    "TASK_PREFIX": "'slakh_notes_ties'",
    "TASK_FEATURE_LENGTHS": "{'inputs': 256, 'targets': 1024}",
    "NUM_VELOCITY_BINS": "1",
    "PROGRAM_GRANULARITY": "'full'",
    "ONSETS_ONLY": "False",
    "USE_TIES": "True",
    "VOCAB_CONFIG": "None",
    "Z_LOSS": "1e-4",
    "LABEL_SMOOTHING": "0.0",
    "TRAIN_STEPS": "100000",
    "MODEL_DIR": "'runs/one'",
    "BATCH_SIZE": "32",
    "LEARNING_RATE": "1e-3",
    "SEED": "1",
    "USE_CACHED_TASKS": "True",
    "MAX_EXAMPLES_PER_MIX": "8",
    "TRAIN_TASK_SUFFIX": "'train'",
    "EVAL_TASK_SUFFIX": "'validation'",
    "TASK_SUFFIX": "'test'",
    "CHECKPOINT_PATH": "'runs/one'",
    "EVAL_OUTPUT_DIR": "'scores'",
    "INFER_OUTPUT_DIR": "'transcriptions'",
}
"""The macros of the library's gin files, with an example of each.

A file may set one that the command at hand has no use for; others are refused.
"""

Program = TypeVar("Program")


class Training(NamedTuple):
    """The run of `mt3x train`."""

    experiment: Experiment
    run_dir: Path
    operative: str  # a gin file that gives the same experiment


class Transcription(NamedTuple):
    """The run of `mt3x eval` and `mt3x infer`."""

    program: Any
    # The model that the gin files describe; None: they leave it to the checkpoint.
    objective: ModelConfig | None


class MissingMacro(ValueError):
    """A macro was read that has no value."""


def gin_dir() -> Path:
    """Return the folder of the library's gin files, in a checkout or installed."""
    package = Path(__file__).resolve().parent
    # Installed: inside the package. Checkout and editable installation: beside it.
    for folder in (package / "gin", package.parent / "gin"):
        if (folder / "train.gin").is_file():
            return folder
    raise FileNotFoundError(f"{package}: its gin files are missing; install mt3x again")


def load(
    gin_files: Sequence[str | Path],
    bindings: Sequence[str] = (),
    search_paths: Sequence[str | Path] = (),
) -> Experiment:
    """Read gin files and bindings (`NAME=VALUE`) into an experiment.

    Files are looked for as they are named, in `search_paths`, and in `gin_dir()`; later
    ones and then the bindings win. The call leaves no trace in gin's global state.

    Raises:
      ValueError: a file or binding cannot be parsed, names something unknown, has a
        value that its config refuses, or has no effect; a macro has no value.
      OSError: a file is missing.
    """
    with _parsed(gin_files, bindings, search_paths) as source:
        experiment = _build(Experiment, source)
        if _is_given("MODEL_DIR"):
            _value("MODEL_DIR", source)
        _check_unused(unused_bindings(), bindings, source)
    return experiment


def load_training(
    gin_files: Sequence[str | Path],
    bindings: Sequence[str] = (),
    search_paths: Sequence[str | Path] = (),
    run_dir: Path | None = None,
) -> Training:
    """Load as `load` does, with the folder to run in: MODEL_DIR or `run_dir`.

    Raises:
      ValueError: neither is given, or both and they differ.
    """
    with _parsed(gin_files, bindings, search_paths) as source:
        experiment = _build(Experiment, source)
        if run_dir is None or _is_given("MODEL_DIR"):
            model_dir = Path(_value("MODEL_DIR", source))
            if run_dir is not None and run_dir.resolve() != model_dir.resolve():
                raise ValueError(
                    f"--run-dir {run_dir} and MODEL_DIR {model_dir} differ: give one"
                )
            run_dir = model_dir
        check_local(run_dir)
        _check_unused(unused_bindings(), bindings, source)
        return Training(experiment, run_dir, gin.operative_config_str())


def load_transcription(
    kind: type,
    gin_files: Sequence[str | Path],
    bindings: Sequence[str] = (),
    search_paths: Sequence[str | Path] = (),
) -> Transcription:
    """Read gin files and bindings into an `Evaluation` or `Inference`.

    The files may describe a whole experiment: of that, the model is read.

    Raises:
      ValueError, OSError: as `load` does.
    """
    header = HEADER + "from mt3x.evaluation import task_evaluation\n"
    with _parsed(gin_files, bindings, search_paths, header) as source:
        program = _build(kind, source)
        objective = _bound(f"{_EXPERIMENT}.objective")
        with _explained(source):
            objective = copy.deepcopy(objective)  # gin's way to call what it names
        # What the files say of training is not for this command.
        unused = [name for name in unused_bindings() if _is_own(name, bindings)]
        _check_unused(unused, bindings, source)
        return Transcription(program, objective)


_EXPERIMENT = "mt3x.training.experiment.Experiment"


def find_file(name: str | Path, search_paths: Sequence[str | Path] = ()) -> Path:
    """Find a gin file as named, in a folder of `search_paths`, or in the library's."""
    for folder in (Path(), *map(Path, search_paths), gin_dir()):
        if (folder / name).is_file():
            return folder / name
    places = ", ".join(["here", *map(str, search_paths), str(gin_dir())])
    raise FileNotFoundError(f"{name}: no such gin file; looked for it {places}")


def unset(name: str) -> None:
    """Raise MissingMacro: stands where a value is required that nobody gave."""
    example = MACROS.get(name, "VALUE")
    raise MissingMacro(
        f'{name} is not set: give --gin.{name}="{example}" or the like, or a gin file '
        "that sets it, after the others"
    )


def unused_bindings() -> list[str]:
    """Return parameters and macros that were bound and that nothing has read since."""
    # Gin gives these tables to the public as text only.
    bound = gin_tables._CONFIG
    read = {
        (_binding_scope(scope, selector, name), selector, name)
        for (scope, selector), values in gin_tables._OPERATIVE_CONFIG.items()
        for name in values
    }
    return sorted(
        _name(scope, selector, name)
        for (scope, selector), values in bound.items()
        for name, value in values.items()
        if (scope, selector, name) not in read
        and selector != _UNSET
        and not _is_unset(value)
    )


def _binding_scope(scope: str, selector: str, name: str) -> str:
    """Return the scope of the binding that holds in a scope: its own or an outer."""
    parts = scope.split("/")
    while parts:
        if name in gin_tables._CONFIG.get(("/".join(parts), selector), {}):
            break
        parts.pop()
    return "/".join(parts)


_MACRO = "gin.macro"
_UNSET = "mt3x.config.unset"


def _name(scope: str, selector: str, parameter: str) -> str:
    if selector == _MACRO:
        return scope
    return "/".join(filter(None, [scope, f"{selector}.{parameter}"]))


def _build(kind: type[Program], source: str) -> Program:
    with _explained(source):
        return gin.get_configurable(kind)()


def _is_unset(value: Any) -> bool:
    return repr(value).endswith("/config.unset()")


def _bound(parameter: str) -> Any:
    """Return what a parameter is bound to; None where it is not."""
    try:
        return gin.query_parameter(parameter)
    except ValueError:  # it is not bound, or its class is not imported
        return None


def _is_given(macro: str) -> bool:
    value = _bound(f"{macro}/{_MACRO}.value")
    return value is not None and not _is_unset(value)


def _value(macro: str, source: str) -> Any:
    if _bound(f"{macro}/{_MACRO}.value") is None:
        unset(macro)
    with _explained(source), gin.config_scope(macro):
        return gin.get_configurable(_MACRO)()


def _is_own(name: str, bindings: Sequence[str]) -> bool:
    """Return whether a binding must have an effect on `mt3x eval` and `mt3x infer`."""
    own = "." not in name or "mt3x.evaluation.task_evaluation." in name
    return own or any(_binds(binding, name) for binding in bindings)


def _binds(binding: str, name: str) -> bool:
    """Return whether a binding (`a.B.c=1`) is that of a full name (`mt3x.a.B.c`)."""
    scope, _, selector = binding.partition("=")[0].strip().rpartition("/")
    full_scope, _, full = name.rpartition("/")
    return scope == full_scope and f".{full}".endswith(f".{selector}")


def _check_unused(unused: Sequence[str], bindings: Sequence[str], source: str) -> None:
    """Raise where a binding has no effect.

    Files may hold macros that another command or model reads, and ways to work out what
    a later file sets itself.
    """
    wrong = [
        name
        for name in unused
        if not (name in MACROS or "mt3x.data.task_names." in name)
        or any(_binds(binding, name) for binding in bindings)
    ]
    if wrong:
        raise ValueError(
            f"{source}: bindings without effect: {', '.join(wrong)}; remove them or "
            "use what they configure"
        )


@contextlib.contextmanager
def _parsed(
    gin_files: Sequence[str | Path],
    bindings: Sequence[str],
    search_paths: Sequence[str | Path],
    header: str = HEADER,
) -> Iterator[str]:
    """Parse files and bindings alone; yield the files' names for messages."""
    for folder in search_paths:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder}: no such folder of gin files")
    # Gin has no public way to take a search path away.
    before = list(gin_tables._LOCATION_PREFIXES)
    gin.clear_config()
    for folder in (*search_paths, gin_dir()):
        if str(folder) not in gin_tables._LOCATION_PREFIXES:
            gin.add_config_file_search_path(str(folder))
    # Gin logs a path that it does not find and then raises the same.
    logging.disable(logging.ERROR)
    try:
        gin.parse_config(header)
        for file in gin_files:
            path = find_file(file, search_paths)
            with _explained(str(path)):
                gin.parse_config_file(str(path))
        for binding in bindings:
            with _explained(f"--gin.{binding}{_quoting_hint(binding)}"):
                gin.parse_config(header + binding)
        _mark_unset()
        yield ", ".join(map(str, gin_files))
    finally:
        logging.disable(logging.NOTSET)
        gin_tables._LOCATION_PREFIXES[:] = before
        gin.clear_config()


def _quoting_hint(binding: str) -> str:
    """Return what to do about a text without quotes, where a binding's value is one."""
    name, _, value = binding.partition("=")
    literals = ("True", "False", "None")
    if re.fullmatch(r"[A-Za-z/.~][^'\"()\[\]{}]*", value) and value not in literals:
        return f" (text needs quotes: --gin.{name}=\"'{value}'\")"
    return ""


def _mark_unset() -> None:
    """Let whoever reads a macro without a value say so."""
    missing = set()
    for (scope, selector), values in gin_tables._CONFIG.items():
        for parameter, value in values.items():
            if repr(value) == "%gin.REQUIRED":
                if selector != _MACRO:
                    unset(_name(scope, selector, parameter))
                missing.add(scope)
    for reference in gin_tables.iterate_references(gin_tables._CONFIG):
        scope, selector = reference.config_key
        if selector == _MACRO and reference.config_key not in gin_tables._CONFIG:
            missing.add(scope)
    for name in missing:
        gin.parse_config(
            f"{HEADER}from mt3x import config\n{name} = @{name}/config.unset()\n"
            f"{name}/config.unset.name = '{name}'\n"
        )


_GIN_ERRORS = (
    AttributeError,
    ImportError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    """Raise gin's errors as one line that names the file or binding."""
    try:
        yield
    except MissingMacro as error:
        raise MissingMacro(str(error).splitlines()[0]) from error
    except _GIN_ERRORS as error:
        lines = [line.strip() for line in str(error).splitlines()]
        lines = [line for line in lines if line and not line.startswith("In call to")]
        raise ValueError(f"{source}: {'; '.join(lines[:2])}") from error

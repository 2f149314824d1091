"""Gin files -> what a command runs.

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
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gin
from gin import config as gin_tables

from mt3x.files import check_local
from mt3x.interop.gin_errors import MissingMacro, Source, explained, find_file, refuse
from mt3x.interop.gin_files import FOREIGN, gin_dir
from mt3x.interop.gin_names import HEADER, MACROS
from mt3x.models.objectives import ModelConfig
from mt3x.training.experiment import Experiment

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


__all__ = [
    "HEADER",
    "MACROS",
    "MissingMacro",
    "Training",
    "Transcription",
    "find_file",
    "gin_dir",
    "load",
    "load_training",
    "load_transcription",
    "unset",
    "unused_bindings",
]


def load(
    gin_files: Sequence[str | Path],
    bindings: Sequence[str] = (),
    search_paths: Sequence[str | Path] = (),
) -> Experiment:
    """Read gin files and bindings (`NAME=VALUE`) into an experiment.

    Files are looked for as they are named, in `search_paths`, and in `gin_dir()`; later
    ones and then the bindings win. The call leaves no trace in gin's global state.

    Macros of a file that another command reads have no effect, and cause a warning.

    Raises:
      ValueError: a file or binding cannot be parsed, names something unknown, has a
        value that its config refuses, or has no effect; a macro has no value.
      OSError: a file is missing.
    """
    with _parsed(gin_files, bindings, search_paths) as source:
        experiment = _experiment(source)
        if _is_given("MODEL_DIR"):
            _value("MODEL_DIR", source)
        _check_training(experiment, source)
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
        experiment = _experiment(source)
        if run_dir is None or _is_given("MODEL_DIR"):
            model_dir = Path(_value("MODEL_DIR", source))
            if run_dir is not None and run_dir.resolve() != model_dir.resolve():
                raise ValueError(
                    f"--run-dir {run_dir} and MODEL_DIR {model_dir} differ: give one"
                )
            run_dir = model_dir
        check_local(run_dir)
        operative = gin.operative_config_str()
        _check_training(experiment, source, run_dir)
        return Training(experiment, run_dir, operative)


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
        with explained(source):
            objective = copy.deepcopy(objective)  # gin's way to call what it names
        # What the files say of training is not for this command.
        unused = [name for name in unused_bindings() if _is_own(name, source)]
        refuse(_without_use(unused, source), source)
        return Transcription(program, objective)


_EXPERIMENT = "mt3x.training.experiment.Experiment"


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


_INITIAL = "mt3x.training.train.TrainConfig.init_weights"


def _experiment(source: Source) -> Experiment:
    if _is_given("INITIAL_CHECKPOINT_PATH") and _bound(_INITIAL) is None:
        gin.parse_config(
            f"{HEADER}train.TrainConfig.init_weights = %INITIAL_CHECKPOINT_PATH"
        )
    experiment = _build(Experiment, source)
    with explained(source):
        try:  # as a resumed run would: gin checks no types
            Experiment.from_dict(experiment.to_dict())
        except ValueError as error:
            raise ValueError(str(error.__cause__ or error)) from error
    return experiment


def _build(kind: type[Program], source: Source) -> Program:
    with explained(source):
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


def _value(macro: str, source: Source) -> Any:
    if _bound(f"{macro}/{_MACRO}.value") is None:
        unset(macro)
    with explained(source), gin.config_scope(macro):
        return gin.get_configurable(_MACRO)()


def _is_own(name: str, source: Source) -> bool:
    """Return whether a binding must have an effect on `mt3x eval` and `mt3x infer`."""
    module, _, rest = name.rpartition("/")[2].partition(".")
    own = not rest or module in FOREIGN or ".task_evaluation." in name
    return own or source.is_bound_directly(name)


def _without_use(unused: Sequence[str], source: Source) -> list[str]:
    """Return the bindings that are wrong where they have no effect.

    Files may hold macros that another command or model reads, and ways to work out what
    a later file sets itself.
    """
    return [
        name
        for name in unused
        if not (name in MACROS or "mt3x.data.task_names." in name)
        or source.is_bound_directly(name)
    ]


def _check_training(
    experiment: Experiment, source: Source, run_dir: Path | None = None
) -> None:
    """Raise where a binding has no effect on training; warn of other commands' macros.

    A run that was to begin with a checkpoint must not begin at random.
    """
    unused = unused_bindings()
    wrong = _without_use(unused, source)
    own_files = {name: source.place(name) for name in unused if name in MACROS}
    spare = {name: place for name, place in own_files.items() if place}
    if "INITIAL_CHECKPOINT_PATH" in spare:
        wrong.append("INITIAL_CHECKPOINT_PATH")  # init_weights names another one
    if "CHECKPOINT_PATH" in spare and experiment.train.init_weights is None:
        checkpoint = _value("CHECKPOINT_PATH", source)
        model_dir = run_dir or (_is_given("MODEL_DIR") and _value("MODEL_DIR", source))
        if not model_dir or not _lies_in(checkpoint, model_dir):
            wrong.append("CHECKPOINT_PATH")
    refuse(list(dict.fromkeys(wrong)), source)
    if spare:
        places = ", ".join(f"{name} ({place})" for name, place in spare.items())
        warnings.warn(f"no effect on training: {places}", stacklevel=4)


def _lies_in(path: Any, folder: Any) -> bool:
    whole = Path(str(path)).resolve()
    return Path(str(folder)).resolve() in (whole, *whole.parents)


@contextlib.contextmanager
def _parsed(
    gin_files: Sequence[str | Path],
    bindings: Sequence[str],
    search_paths: Sequence[str | Path],
    header: str = HEADER,
) -> Iterator[Source]:
    """Parse files and bindings alone; yield them for messages."""
    source = Source(gin_files, bindings, search_paths)
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
            with explained(path, source._replace(gin_files=[path])):
                gin.parse_config_file(str(path))
        for binding in bindings:
            with explained(f"--gin.{binding}{_quoting_hint(binding)}"):
                gin.parse_config(header + binding)
        _mark_unset()
        yield source
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

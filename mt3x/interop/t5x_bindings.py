"""What gin binds under T5X without an effect on our models: it ends the run.

T5X takes any binding. One that nothing reads would train another model than was asked
for, or begin at random where a checkpoint was named.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from gin import config as gin_tables

from mt3x.interop import gin_names
from mt3x.interop.gin_errors import Source
from mt3x.interop.gin_files import gin_dir, statements

MACRO = "gin.macro"
Key = tuple[str, str, str]
"""Scope, selector, parameter."""


def check_bindings() -> None:
    """Raise ValueError where gin binds what has no effect under T5X, if gin is used.

    Files may hold macros that another command reads, and settings of `mt3x train`; the
    command line may not. CHECKPOINT_PATH would begin a training run, as MT3's does, and
    must not be passed over.
    """
    roots = _roots()
    if not roots:
        return
    reached = set(_reached(roots))
    foreign = sorted({selector for _, selector in reached if _is_mt3s(selector)})
    if foreign:
        raise ValueError(
            f"gin uses {', '.join(foreign)} of MT3 or T5X: gin/t5x has a model and "
            "tasks of its own, so leave out model.gin, train.gin and the like of MT3"
        )
    known, source = _known(), _source()
    wrong = {}
    for scope, selector, name in sorted(_bound() - _read(reached)):
        full = scope if selector == MACRO else f"{scope}/{selector}.{name}".lstrip("/")
        place = source.place(full)
        if selector.startswith(("mt3x.training.", "mt3x.evaluation.")):
            is_spare = True
        elif full == "CHECKPOINT_PATH":
            is_spare = not _begins_at_random()
        else:  # the library's files hold what a later one of them replaces
            is_spare = _short(full) in known and (selector == MACRO or not place)
        if not is_spare or source.is_bound_directly(full):
            wrong[full] = f"{full} ({place})" if place else full
    if wrong:
        raise ValueError(
            f"bindings without effect under T5X: {', '.join(wrong.values())}; remove "
            "them or use what they configure"
            f"{gin_names.advice(wrong, near=False, under_t5x=True)}"
        )


def _is_mt3s(selector: str) -> bool:
    return selector.startswith(("mt3.", "t5x.examples."))


def _bound() -> set[Key]:
    return {
        (scope, selector, name)
        for (scope, selector), values in gin_tables._CONFIG.items()
        for name in values
    }


def _roots() -> list[tuple[str, str]]:
    """Return what T5X's program calls by itself: all that carries gin's decorator."""
    return [
        (scope, selector)
        for scope, selector in gin_tables._CONFIG
        if selector != MACRO and gin_tables._REGISTRY[selector].import_source is None
    ]


def _reached(roots: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Return the scope and selector of all that roots call, directly or not."""
    waiting, seen = list(roots), set()
    while waiting:
        call = waiting.pop()
        if call in seen:
            continue
        seen.add(call)
        yield call
        scope, selector = call
        for outer in _outer(scope):
            values = gin_tables._CONFIG.get((outer, selector), {})
            for reference in gin_tables.iterate_references(values):
                # A reference without a scope is called in that of its caller.
                inner, called = reference.config_key
                waiting.append((inner or scope, called))


def _outer(scope: str) -> list[str]:
    """Return a scope and those that it lies in; bindings of all of them hold."""
    parts = scope.split("/") if scope else []
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]


def _read(reached: set[tuple[str, str]]) -> set[Key]:
    return {
        (outer, selector, name)
        for scope, selector in reached
        for outer in _outer(scope)
        for name in gin_tables._CONFIG.get((outer, selector), {})
    }


def _short(name: str) -> str:
    """Return SCOPE/CLASS.PARAMETER, or a macro."""
    scope, slash, selector = name.rpartition("/")
    return scope + slash + ".".join(selector.split(".")[-2:])


def _known() -> set[str]:
    """Return what the library's own files bind, for any command."""
    files = list(gin_dir().rglob("*.gin"))
    found = statements(files, lambda name: gin_dir() / name)
    return {_short(one.name) for one in found if not one.is_import}


def _source() -> Source:
    """Return what T5X's command line names."""
    options = flags.FLAGS
    if not options.is_parsed() or "gin_bindings" not in options:
        return Source([], [], [])
    return Source(
        options.gin_file or [], options.gin_bindings, options.gin_search_paths
    )


def _macro(name: str) -> Any:
    return gin_tables._CONFIG.get((name, MACRO), {}).get("value")


def _begins_at_random() -> bool:
    """Return whether training begins without the checkpoint of CHECKPOINT_PATH."""
    if (
        _macro("INITIAL_CHECKPOINT_PATH")
        or ("MODEL_DIR", MACRO) not in gin_tables._CONFIG
    ):
        return False
    checkpoint, run = _macro("CHECKPOINT_PATH"), _macro("MODEL_DIR")
    if repr(checkpoint) == "%MODEL_DIR":
        return False
    checkpoint, run = Path(str(checkpoint)), Path(str(run))
    return run not in (checkpoint, *checkpoint.parents)

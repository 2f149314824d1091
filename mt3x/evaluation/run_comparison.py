"""Runs side by side: a table of scores over seeds, and learning curves with bands.

A run folder gives its learning curve, and the scores that `mt3x eval` and `mt3x
evaluate --json` wrote into it, as columns: `loss`, `valid/note_f1`,
`eval/TASK/note_f1`. Scores written elsewhere belong to the run that gave `mt3x eval`
its weights, as `TASK/note_f1`; without such a run they are a row of their own.

Runs with configs that differ in nothing but seeds are one row: the mean of each column,
and its lowest and highest value.
"""

import functools
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mt3x.evaluation.reports import is_scores, read_mean
from mt3x.files import write_whole
from mt3x.models.weights_file import flatten
from mt3x.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Group", "Run", "find_columns", "grouped", "plot", "read", "table"]

SEEDS = ("train/seed", "data/seed")
"""Settings in which runs of one row may differ."""

DEFAULT_SCORES = ("note_f1", "Onset + offset + program F1 (full)", "integrated_f1")
"""Of the scores in files, those that are shown where none are named."""


@dataclass
class Run:
    """The results of a run, or of a file of scores without one."""

    path: Path
    # Its config.json with `/` between the names; empty without a run.
    settings: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)  # of the same, as it is
    # Rows of the learning curve by step.
    curve: list[dict[str, float]] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """The seed of the parameters."""
        return self.settings.get("train/seed")

    def value(self, column: str, until_step: float) -> float | None:
        """Return a score, or what the learning curve last said of it up to a step."""
        if column in self.scores:
            return self.scores[column]
        rows = (r for r in reversed(self.curve) if r["step"] <= until_step)
        return next((row[column] for row in rows if column in row), None)

    def step(self, best: bool) -> float:
        """Return the last step, or the first with the best score; 0 without a run.

        Raises:
          ValueError: the best step of a run that was not validated.
        """
        if not self.curve:
            return 0
        if not best:
            return self.curve[-1]["step"]
        column = f"valid/{self.settings.get('train/score')}"
        rows = [row for row in self.curve if column in row]
        if not rows:
            raise ValueError(
                f"{self.path}: no {column} in its learning curve, so no best step: "
                "leave --best out, or the run"
            )
        return max(rows, key=lambda row: row[column])["step"]


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but seeds."""

    name: str
    runs: tuple[Run, ...]


def read(paths: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """Read run folders, files of scores, and folders that `mt3x eval` wrote.

    Raises:
      ValueError: a path is none of these, or has nothing to show.
      OSError: a path does not exist.
    """
    runs: dict[Path, Run] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such run folder or file of scores")
        if RunFolder(path).has_run:
            _add_run(runs, path)
            continue
        files = [path] if path.is_file() else _score_files(path, "*.json")
        if not files:
            raise ValueError(
                f"{path}: no run with a learning curve, and no scores; give a folder "
                "of `mt3x train` or `mt3x eval`, or a file of `mt3x evaluate --json`"
            )
        for file in files:
            _add_scores(runs, file)
    return list(runs.values())


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Group runs that differ in nothing but seeds, in the order given."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        same = {k: v for k, v in run.settings.items() if k not in SEEDS}
        key = json.dumps(same, sort_keys=True) if same else str(run.path)
        groups.setdefault(key, []).append(run)
    root = Path(os.path.commonpath([run.path.resolve().parent for run in runs]))
    names = [_name(group, root) for group in groups.values()]
    return [
        Group(name if names.count(name) == 1 else _relative(group[0], root), (*group,))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def find_columns(runs: Sequence[Run], names: Sequence[str] = ()) -> list[str]:
    """Return the columns that are meant: `note_f1` is any `.../note_f1`.

    Args:
      runs: what has columns.
      names: of columns, or their ends; none: the loss, the score by which runs choose
        their best step, and the main scores of files.

    Raises:
      ValueError: a name is that of no column.
    """
    there = dict.fromkeys(itertools.chain.from_iterable(map(_columns, runs)))
    if not names:
        chosen = {"loss"} | {f"valid/{run.settings.get('train/score')}" for run in runs}
        ends = tuple(f"/{name}" for name in DEFAULT_SCORES)
        of_files = {name for run in runs for name in run.scores if name.endswith(ends)}
        return [column for column in there if column in chosen | of_files]
    found: dict[str, None] = {}
    for name in names:
        meant = [c for c in there if c == name or c.endswith(f"/{name}")]
        if not meant:
            raise ValueError(f"no score {name!r}; there are {', '.join(there)}")
        found |= dict.fromkeys(meant)
    return list(found)


def table(groups: Sequence[Group], columns: Sequence[str], best: bool = False) -> str:
    """Return a Markdown table of the groups, and what settings tell them apart.

    Args:
      groups: the rows.
      columns: as from `find_columns`.
      best: take the learning curve at each run's best step, not at its last.

    Raises:
      ValueError: `best`, and a run was not validated.
    """
    rows = [["run", "seeds", "steps", "parameters", *columns]]
    for group in groups:
        steps = [run.step(best) for run in group.runs]
        ends = list(zip(group.runs, steps, strict=True))
        values = [[run.value(column, end) for run, end in ends] for column in columns]
        rows.append(
            [
                group.name,
                ", ".join(str(r.seed) for r in group.runs if r.seed is not None) or "-",
                _mean_and_range([step for step in steps if step], "{:,.0f}".format),
                _parameters(group.runs[0]),
                *(_mean_and_range(v, "{:.4g}".format) for v in values),
            ]
        )
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines.insert(1, " | ".join(["---"] + ["---:"] * (len(rows[0]) - 1)))
    return (
        "".join(f"| {line} |\n" for line in lines)
        + "\nMeans over runs that differ in nothing but seeds (lowest to highest); the "
        f"learning curve at each run's {'best' if best else 'last'} step.\n"
        + _differences(groups)
    )


def plot(
    groups: Sequence[Group],
    columns: Sequence[str],
    path: str | os.PathLike[str],
    overwrite: bool = False,
) -> None:
    """Draw learning curves: means over seeds, and bands from lowest to highest.

    Args:
      groups: each a line, over the steps that all of its runs have.
      columns: each a panel; those of files have no curve and are left out.
      path: the picture; its ending is the format (.png, .svg, .pdf).
      overwrite: replace an existing file.

    Raises:
      ValueError: no column has a curve, or the format is unknown.
      ModuleNotFoundError: matplotlib is missing; the message names the extra.
      OSError: the file exists, or cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib: pip install 'mt3x[plot]'"
        ) from error
    runs = [run for group in groups for run in group.runs]
    drawn = [c for c in columns if any(c in row for run in runs for row in run.curve)]
    if not drawn:
        raise ValueError(
            f"none of {', '.join(columns)} has a learning curve to draw: leave --plot "
            "out, or name others by --score"
        )
    figure = Figure(figsize=(5.5 * len(drawn), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, column in zip(panels, drawn, strict=True):
        _draw(axes, groups, column)
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    kind = Path(path).suffix.removeprefix(".") or "png"
    with write_whole(path, overwrite) as file:
        figure.savefig(file, format=kind, dpi=120)


def _draw(axes: "Axes", groups: Sequence[Group], column: str) -> None:
    for number, group in enumerate(groups):
        curves = [
            {row["step"]: row[column] for row in run.curve if column in row}
            for run in group.runs
        ]
        curves = [curve for curve in curves if curve]
        steps = sorted(set.intersection(*map(set, curves))) if curves else []
        values = [[curve[step] for curve in curves] for step in steps]
        color = f"C{number % 10}"
        style = ("-", "--", ":", "-.")[number // 10 % 4]
        means = [sum(v) / len(v) for v in values]
        axes.plot(steps, means, style, color=color, label=group.name)
        if len(curves) > 1:
            low, high = [min(v) for v in values], [max(v) for v in values]
            axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
    axes.set_xlabel("step")
    axes.set_title(column)
    axes.grid(color="0.9")


def _run_around(path: Path) -> Path | None:
    """Return the run folder that holds a path, or is it."""
    return next((p for p in (path, *path.parents) if RunFolder(p).has_run), None)


def _add_run(runs: dict[Path, Run], path: Path) -> Run:
    key = path.resolve()
    if key in runs:
        return runs[key]
    folder = RunFolder(path)
    run = Run(
        path,
        settings=flatten(folder.config),
        objective=folder.config.get("objective", {}),
        curve=folder.curve,
    )
    runs[key] = run
    for file in _score_files(path, "*.json") + _score_files(path, "*/*.json"):
        run.scores |= _named(file, file.relative_to(path))
    return run


def _add_scores(runs: dict[Path, Run], file: Path) -> None:
    """Give scores to their run: around the file, or the one that gave the weights."""
    folder = _run_around(file.absolute())
    name = Path(file.name) if folder is None else file.absolute().relative_to(folder)
    config = file.parent / "config.json"
    if folder is None and config.is_file():
        told = json.loads(config.read_text(encoding="utf-8"))
        if "checkpoint" in told:
            folder = _run_around(Path(told["checkpoint"]).absolute())
    if folder is not None:
        run = _add_run(runs, folder)
    else:
        run = runs.setdefault(file.resolve(), Run(file))
    scores = _named(file, name)
    clash = next((k for k in scores if run.scores.get(k, scores[k]) != scores[k]), None)
    if clash is not None:
        raise ValueError(
            f"{file}: {run.path} has another {clash} already; give one of the two, or "
            "rename the file"
        )
    run.scores |= scores


def _named(file: Path, name: Path) -> dict[str, float]:
    """Return the scores of a file as columns, named after the file."""
    prefix = name.with_suffix("").as_posix()
    return {f"{prefix}/{score}": value for score, value in read_mean(file).items()}


def _score_files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in sorted(folder.glob(pattern)) if is_scores(path)]


def _columns(run: Run) -> Iterable[str]:
    of_curve = (name for row in run.curve for name in row if name != "step")
    return itertools.chain(of_curve, run.scores)


def _relative(run: Run, root: Path) -> str:
    return run.path.resolve().relative_to(root).as_posix().removesuffix(".json")


def _name(runs: Sequence[Run], root: Path) -> str:
    """Return the runs' name without the seed where they share it, else the first's."""
    # Of one run alone, a number at the end is the seed where it says so.
    mark = "[-_./](s|seed)?[-_]?" if len(runs) > 1 else "[-_./](s|seed)[-_]?"
    names = {re.sub(f"{mark}{run.seed}$", "", _relative(run, root)) for run in runs}
    return names.pop() if len(names) == 1 else _relative(runs[0], root)


def _mean_and_range(
    values: Sequence[float | None], form: Callable[[float], str]
) -> str:
    """Return `mean (lowest to highest)`, and of how many where some have no value."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, high = form(min(known)), form(max(known))
    text = form(math.fsum(known) / len(known))
    if len(known) > 1 and low != high:
        text += f" ({low} to {high})"
    if len(known) < len(values):
        text += f" [{len(known)} of {len(values)}]"
    return text


def _parameters(run: Run) -> str:
    if not run.objective:
        return "-"
    return f"{_num_parameters(json.dumps(run.objective, sort_keys=True)):,}"


@functools.cache
def _num_parameters(objective: str) -> int:
    """Count the parameters of a model, without batch norm's statistics."""
    import jax

    from mt3x.models import batch_norm
    from mt3x.models.objectives import config_from_dict, make_objective

    model = make_objective(config_from_dict(json.loads(objective)))
    params: Any = jax.eval_shape(model.init, jax.random.key(0))
    trained = batch_norm.variables(params)["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(trained))


def _differences(groups: Sequence[Group]) -> str:
    """Return a line for each group with the settings in which groups differ."""
    of_runs = [group for group in groups if group.runs[0].settings]
    settings = [group.runs[0].settings for group in of_runs]
    names = sorted(
        name
        for name in set().union(*settings) - set(SEEDS)
        if len({name in each and json.dumps(each[name]) for each in settings}) > 1
    )
    if not names:
        return ""
    lines = ["\nWhat tells them apart:\n"]
    for group, each in zip(of_runs, settings, strict=True):
        told = [
            f"{n.replace('/', '.')}={json.dumps(each[n])}" for n in names if n in each
        ]
        lines.append(f"- {group.name}: `{', '.join(told)}`")
    return "\n".join(lines) + "\n"

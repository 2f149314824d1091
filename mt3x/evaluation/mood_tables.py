"""How well a generator makes music of a wished mood: tables and JSON."""

import json
import sys
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mt3x.evaluation.mood_evaluation import Estimate, MoodReport

__all__ = ["print_tables", "to_json"]


def to_json(report: MoodReport) -> str:
    """Return all scores as JSON; an estimate is its value and its interval's ends."""
    return json.dumps(asdict(report), indent=1, default=list) + "\n"


def print_tables(report: MoodReport) -> None:
    """Print likelihood, control, likeness to real clips and copies."""
    console = Console(file=sys.stdout, highlight=False)
    table = _table("Likelihood of real clips", ["", "nats a token"])
    for name, estimate in report.likelihood.items():
        table.add_row(name, _shown(estimate, 4))
    console.print(table)

    systems = report.systems
    for judge, own in report.judges.items():
        table = _table(f"Wished and heard moods, judge: {judge}", ["", "pieces", *own])
        cells = [_shown(estimate) for estimate in own.values()]
        table.add_row("cross-validated", "", *cells)
        for system in systems:
            cells = [_shown(system.control[judge][name]) for name in own]
            table.add_row(system.name, str(system.num_pieces), *cells)
        console.print(table)

    columns = [system.name for system in systems]
    table = _table("Medians, and distances from real clips", ["", *columns])
    for name in systems[0].medians:
        cells = [f"{s.medians[name]:.2f} ({s.distances[name]:.2f})" for s in systems]
        table.add_row(name, *cells)
    console.print(table)

    table = _table("Longest copy from training: median, longest", ["", *columns])
    for kind in systems[0].copies:
        table.add_row(
            kind, *("{:.0f}, {:.0f}".format(*s.copies[kind]) for s in systems)
        )
    console.print(table)


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        justify: Any = "right" if number else "left"
        table.add_column(column, justify=justify)
    return table


def _shown(estimate: Estimate, decimals: int = 2) -> str:
    value, low, high = (f"{number:.{decimals}f}" for number in estimate)
    return f"{value} ({low}..{high})"

"""`mt3x evaluate`: score transcriptions against reference notes."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mt3x.files import check_writable, write_whole

if TYPE_CHECKING:
    from mt3x.evaluate import PieceResult


@click.command("evaluate")
@click.argument("ref", type=click.Path(path_type=Path))
@click.argument("est", type=click.Path(path_type=Path))
@click.option(
    "--no-pedal",
    is_flag=True,
    help="End notes at key release: no CC64 in MIDI, the key-up column in tables.",
)
@click.option(
    "--align",
    is_flag=True,
    help="Take each piece's median onset shift off its estimate, and report it.",
)
@click.option(
    "--start",
    "start_s",
    type=float,
    default=0.0,
    metavar="S",
    help="Only notes that begin at or after this many seconds.",
)
@click.option(
    "--end",
    "end_s",
    type=float,
    default=math.inf,
    metavar="S",
    help="Only notes that begin before this; their offsets are clipped to it.",
)
@click.option(
    "--json",
    "json_path",
    metavar="FILE",
    help="Write all scores as JSON; - for standard output instead of the table.",
)
@click.option(
    "--csv",
    "csv_path",
    metavar="FILE",
    help="Write all scores as CSV; - for standard output instead of the table.",
)
@click.option("--overwrite", is_flag=True, help="Replace files of --json and --csv.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes.  [default: the cores, for folders large enough]",
)
def command(
    ref: Path,
    est: Path,
    no_pedal: bool,
    align: bool,
    start_s: float,
    end_s: float,
    json_path: str | None,
    csv_path: str | None,
    overwrite: bool,
    workers: int | None,
) -> None:
    """Score the notes of EST against those of REF: files, or folders paired by name.

    Note files are MIDI, TSV (onset, offset, pitch, velocity, key-up: the MAPS
    labels), and the CSV and JSON of `mt3x transcribe`.

    Scores are precision, recall and F1 of: frames of 20 ms; notes (pitch, and onset
    within 50 ms); notes with offset (within 20 % of the duration or 50 ms); notes
    with offset and velocity (within 0.1). All by mir_eval's conventions. The mean
    weighs every piece the same.

    The sustain pedal counts on both sides as in MAESTRO: a note is held until the
    pedal's release or the key's next onset.
    """
    # Deferred, so that `--help` answers at once: mir_eval takes seconds to import.
    from mt3x import evaluate

    if json_path == csv_path == "-":
        raise click.UsageError("only one of --json and --csv can go to -")
    for path in (json_path, csv_path):
        if path not in (None, "-"):
            check_writable(path, overwrite)
    config = evaluate.EvaluationConfig(not no_pedal, align, start_s, end_s)
    pairing = evaluate.pair_paths(ref, est)
    results: list[evaluate.PieceResult] = []
    failed: list[evaluate.FailedPiece] = []
    for outcome in evaluate.evaluate_pairs(pairing.pairs, config, workers):
        if isinstance(outcome, evaluate.FailedPiece):
            failed.append(outcome)
        else:
            results.append(outcome)

    if json_path is not None:
        text = evaluate.to_json(results, failed, pairing, config)
        _deliver(text, json_path, overwrite)
    if csv_path is not None:
        _deliver(evaluate.to_csv(results), csv_path, overwrite)
    if "-" not in (json_path, csv_path) and results:
        _print_tables(results)
    _report_alone("no estimate for", pairing.ref_alone)
    _report_alone("no reference for", pairing.est_alone)
    for piece in failed:
        click.echo(f"error: {piece.error}", err=True)
    if failed:
        sys.exit(1)


def _deliver(text: str, path: str, overwrite: bool) -> None:
    if path == "-":
        click.echo(text, nl=False)
        return
    with write_whole(path, overwrite, text=True) as file:
        file.write(text)


def _report_alone(what: str, paths: Sequence[Path]) -> None:
    if not paths:
        return
    shown = ", ".join(path.name for path in paths[:5])
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    click.echo(f"note: not scored, {what} {shown}{more}", err=True)


def _print_tables(results: Sequence["PieceResult"]) -> None:
    """F1 of every piece, then precision, recall and F1 of the mean, in percent."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mt3x.metrics import mean_scores

    titles = {
        "frame": "frame",
        "note": "note",
        "note_offset": "+offset",
        "note_offset_velocity": "+velocity",
    }
    style: dict[str, Any] = {
        "title_justify": "left",
        "box": box.SIMPLE_HEAD,
        "pad_edge": False,
        "padding": (0, 1, 0, 0),
    }
    is_aligned = results[0].shift_s is not None
    console = Console(file=sys.stdout, highlight=False)
    table = Table(title="F1, %", **style)
    table.add_column("piece", overflow="fold")
    for title in ("notes", *titles.values(), *(["shift ms"] if is_aligned else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for result in results:
        cells = [f"{100 * getattr(result.scores, kind).f1:.2f}" for kind in titles]
        if result.shift_s is not None:
            cells.append(f"{1000 * result.shift_s:+.1f}")
        table.add_row(Text(result.name), str(result.num_ref), *cells)
    console.print(table)

    mean = mean_scores([result.scores for result in results])
    pieces = "1 piece" if len(results) == 1 else f"{len(results)} pieces"
    table = Table(title=f"Mean of {pieces}, %", **style)
    table.add_column("score")
    for title in ("precision", "recall", "F1"):
        table.add_column(title, justify="right")
    for kind, title in titles.items():
        of_kind = getattr(mean, kind)
        numbers = (of_kind.precision, of_kind.recall, of_kind.f1)
        table.add_row(title, *(f"{100 * number:.2f}" for number in numbers))
    console.print(table)

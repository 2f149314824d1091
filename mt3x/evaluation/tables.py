"""The scores of a set of pieces as tables for a terminal."""

import sys
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mt3x.evaluation.reports import (
    mean_of_bands,
    mean_of_instruments,
    mean_of_integrated,
    pooled_bands,
    pooled_cells,
)
from mt3x.evaluation.transcriptions import PieceResult
from mt3x.music.band_metrics import EXTRA, MISSED, BandScores, Confusion, Counts
from mt3x.music.metrics import Cells, mean_scores

TITLES = {
    "frame": "frame",
    "note": "note",
    "note_offset": "+offset",
    "note_offset_velocity": "+velocity",
}
BAND_TITLES = {
    "note": "note, whatever its instrument",
    "note_offset": "+offset",
    "frame": "frame",
    "note_class": "note and class of 24",
    "note_family": "note and family of 13",
    "drums": "drums by class of 8",
    "kick_snare_hats": "kick, snare, hats",
}
MOST_SHOWN = 3  # classes that a class is taken for
NUMBERS = ("precision", "recall", "F1")
PROGRAM_F1 = "Onset + offset + program F1 (full)"


def print_tables(results: Sequence[PieceResult], frame_rate_hz: float | None) -> None:
    """Print F1 of every piece, then the mean's precision, recall and F1, in percent.

    What is remarked of pieces comes last.

    Args:
      results: of the pieces.
      frame_rate_hz: of their integrated scores, where they have them.
    """
    instruments = mean_of_instruments(results)
    is_aligned = any(result.shift_s is not None for result in results)
    console = Console(file=sys.stdout, highlight=False)
    columns = ["piece", "notes", *TITLES.values()]
    columns += ["+program"] if instruments else []
    table = _table("F1, %", [*columns, *(["shift ms"] if is_aligned else [])])
    for result in results:
        numbers = [getattr(result.scores, kind).f1 for kind in TITLES]
        numbers += [result.instruments[PROGRAM_F1]] if result.instruments else []
        cells = _percent(numbers)
        if result.shift_s is not None:
            cells.append(f"{1000 * result.shift_s:+.1f}")
        elif is_aligned:
            cells.append("none")
        table.add_row(Text(result.name), str(result.num_ref), *cells)
    console.print(table)

    mean = mean_scores([result.scores for result in results])
    pieces = "1 piece" if len(results) == 1 else f"{len(results)} pieces"
    table = _table(f"Mean of {pieces}, %", ["score", *NUMBERS])
    for kind, title in TITLES.items():
        table.add_row(title, *_percent(vars(getattr(mean, kind)).values()))
    console.print(table)

    if instruments:
        table = _table(f"Mean of {pieces}, MT3's scores, %", ["score", *NUMBERS])
        names = list(instruments)  # precision, recall, F1 of each score
        for triple in zip(names[0::3], names[1::3], names[2::3], strict=True):
            title = triple[2].replace(" F1", "")
            # Drums have no program, so that their scores are one at all granularities.
            if title not in ("Drum onset (flat)", "Drum onset (midi_class)"):
                table.add_row(title, *_percent(instruments[name] for name in triple))
        console.print(table)

    if frame_rate_hz is not None and any(result.integrated for result in results):
        console.print(_integrated_table(results, pieces, frame_rate_hz))

    band, means = pooled_bands(results), mean_of_bands(results)
    if band is not None and means is not None:
        table = _table(f"Bands: mean of {pieces}, %", ["score", *NUMBERS])
        for name, score in means.items():
            table.add_row(BAND_TITLES[name], *_percent(vars(score).values()))
        console.print(table)
        _print_by_class(console, band, pieces)

    for remark in (remark for result in results for remark in result.remarks):
        console.print(Text(f"warning: {remark}"), soft_wrap=True)


def _print_by_class(console: Console, band: BandScores, pieces: str) -> None:
    together = f"{pieces} together" if pieces != "1 piece" else pieces
    for title, counts in (
        ("class", band.classes),
        ("family", band.families),
        ("drum", band.drum_classes),
    ):
        if counts:
            console.print(_counts_table(title, counts, together))
    if left_out := band.num_ref_left_out + band.num_est_left_out:
        console.print(
            f"Left out: {left_out} drums of no class, {band.num_ref_left_out} of them "
            "in references.\n"
        )
    if band.confusion:
        console.print(_confusion_table(band.confusion, together))


def _counts_table(title: str, by_name: Mapping[str, Counts], together: str) -> Table:
    columns = [title, "reference", "estimate", *NUMBERS]
    table = _table(f"By {title}: {together}, %", columns)
    for name, counts in by_name.items():
        numbers = _percent(vars(counts.score).values())
        table.add_row(name, str(counts.num_ref), str(counts.num_est), *numbers)
    return table


def _confusion_table(confusion: Confusion, together: str) -> Table:
    """Name what the notes of each class are taken for, the most frequent first."""
    table = _table(f"What notes are taken for: {together}", ["class", "right", MISSED])
    table.add_column("taken for", overflow="fold")
    for name, row in confusion.items():
        others = {k: count for k, count in row.items() if k not in (name, MISSED)}
        most = sorted(others.items(), key=lambda item: -item[1])[:MOST_SHOWN]
        taken = [f"{other} {count}" for other, count in most]
        if rest := sum(others.values()) - sum(count for _, count in most):
            taken.append(f"others {rest}")
        counts = ("", "") if name == EXTRA else (row.get(name, 0), row.get(MISSED, 0))
        table.add_row(name, *map(str, counts), ", ".join(taken))
    return table


def _integrated_table(
    results: Sequence[PieceResult], pieces: str, frame_rate_hz: float
) -> Table:
    table = _table(
        f"Integrated: all but drums in one roll, {frame_rate_hz:g} frames/s, %",
        ["piece", *NUMBERS, "TP", "FP", "FN"],
    )

    def add(name: str, cells: Cells | None) -> None:
        if cells is not None:
            numbers = _percent(vars(cells.score).values())
            table.add_row(Text(name), *numbers, *map(str, vars(cells).values()))

    for result in results:
        add(result.name, result.integrated)
    if mean := mean_of_integrated(results):
        table.add_row(f"mean of {pieces}", *_percent(vars(mean).values()))
    add("pooled", pooled_cells(results))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _percent(numbers: Iterable[float]) -> list[str]:
    return [f"{100 * number:.2f}" for number in numbers]

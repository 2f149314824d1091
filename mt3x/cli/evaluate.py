"""`mt3x evaluate`: score transcriptions against reference notes."""

import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mt3x.files import check_writable, write_whole
from mt3x.inference.wish import Wish

if TYPE_CHECKING:
    from mt3x.evaluation.mood_evaluation import MoodEvaluationConfig


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
    help="Take each piece's median onset shift (up to 5 s) off its estimate, and "
    "report it.",
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
    "--full",
    is_flag=True,
    help="MT3's scores by instrument, even where no piece has several.",
)
@click.option(
    "--integrated",
    is_flag=True,
    help="Also compare the piano rolls of all pitched instruments together.",
)
@click.option(
    "--frame-rate",
    "frame_rate_hz",
    type=float,
    metavar="HZ",
    help="Frames per second of --integrated.  [default: 50]",
)
@click.option(
    "--band",
    is_flag=True,
    help="Also scores by classes of instruments and drums, and what is taken for what.",
)
@click.option(
    "--confusion",
    "confusion_path",
    metavar="FILE.png",
    help="Draw the classes of instruments, true and written; implies --band.",
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
@click.option(
    "--moods",
    is_flag=True,
    help="Score the generator EST with the clips REF instead; takes minutes.",
)
@click.option(
    "--judge",
    "judge_clips",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="With --moods: clips for another judge than that of REF's held-out clips.",
)
@click.option(
    "--trained-on",
    "trained_on",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="With --moods: more clips that EST was trained on, searched for copies.",
)
@click.option(
    "--seeds",
    "num_seeds",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="With --moods: how often all pieces are made, 64 each time.",
)
@click.option(
    "--guidance",
    type=float,
    default=Wish.guidance,
    show_default=True,
    help="With --moods: how much the mood counts, as for mt3x generate.",
)
@click.option(
    "--top-p",
    type=float,
    default=Wish.top_p,
    show_default=True,
    help="With --moods: how daring the music is, as for mt3x generate.",
)
@click.option(
    "--key",
    help="With --moods: any, to leave the key to the model; by default it is drawn as "
    "by mt3x generate.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
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
    full: bool,
    integrated: bool,
    frame_rate_hz: float | None,
    band: bool,
    confusion_path: str | None,
    json_path: str | None,
    csv_path: str | None,
    moods: bool,
    judge_clips: tuple[Path, ...],
    trained_on: tuple[Path, ...],
    num_seeds: int,
    guidance: float,
    top_p: float,
    key: str | None,
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

    Where pieces have drums or several programs, MT3's scores follow: notes without
    drums, drums by their onsets, notes with their program (one for all, one for each
    family of eight, all 128), and other tolerances than 50 ms.

    --integrated adds precision, recall and F1 of the piano roll of all instruments
    together, drums left out: a cell is a frame and a pitch, and counts once. The counts
    of cells in both (TP), in EST alone (FP) and in REF alone (FN) are shown for each
    piece and added up (pooled).

    --band scores notes whatever their instrument (unisons once), notes with their class
    of instrument (24) and family (13), and drums by class (8) within 50 ms; then each
    class and what it is taken for, all pieces together.

    --moods scores a generator, EST (weights or a run folder), with clips whose moods
    are known, REF (a file of `mt3x corpus moods`): how likely it finds music of the
    right mood and of others, whether a judge hears the moods that were wished for, what
    the music is like beside real clips, and how much of it is copied. No listener is
    asked.
    """
    if moods and csv_path is not None:
        raise click.UsageError("--moods writes --json; leave out --csv")
    if not moods and (judge_clips or trained_on):
        raise click.UsageError("--judge and --trained-on are for --moods: give it too")
    if moods:
        from mt3x.evaluation.mood_evaluation import MoodEvaluationConfig

        config = MoodEvaluationConfig(
            num_seeds, sampling=Wish(guidance=guidance, top_p=top_p, key=key)
        )
        _evaluate_moods(ref, est, judge_clips, trained_on, config, json_path, overwrite)
        return
    # Deferred, so that `--help` answers at once: mir_eval takes seconds to import.
    from mt3x.evaluation import reports, transcriptions
    from mt3x.evaluation.tables import print_tables
    from mt3x.music.band_metrics import confusion_matrix
    from mt3x.music.metrics import FRAME_RATE_HZ
    from mt3x.music.plot import plot_confusion

    if frame_rate_hz is not None and not integrated:
        raise click.UsageError("--frame-rate is for --integrated: give both")
    if json_path == csv_path == "-":
        raise click.UsageError("only one of --json and --csv can go to -")
    for path in (json_path, csv_path):
        if path not in (None, "-"):
            check_writable(path, overwrite)
    if confusion_path is not None:
        if importlib.util.find_spec("matplotlib") is None:
            raise ValueError("pictures need matplotlib: pip install 'mt3x[plot]'")
        check_writable(confusion_path, overwrite)
        band = True
    if integrated and frame_rate_hz is None:
        frame_rate_hz = FRAME_RATE_HZ
    config = transcriptions.EvaluationConfig(
        not no_pedal, align, start_s, end_s, frame_rate_hz
    )
    pairing = transcriptions.pair_paths(ref, est)
    results: list[transcriptions.PieceResult] = []
    failed: list[transcriptions.FailedPiece] = []
    outcomes = transcriptions.evaluate_pairs(pairing.pairs, config, workers, full, band)
    for outcome in outcomes:
        if isinstance(outcome, transcriptions.FailedPiece):
            failed.append(outcome)
        else:
            results.append(outcome)

    if json_path is not None:
        text = reports.to_json(results, failed, pairing, config)
        _deliver(text, json_path, overwrite)
    if csv_path is not None:
        _deliver(reports.to_csv(results), csv_path, overwrite)
    if confusion_path is not None and (found := reports.pooled_bands(results)):
        matrix = confusion_matrix(found.confusion)
        plot_confusion(*matrix, confusion_path, overwrite=overwrite)
    if "-" not in (json_path, csv_path) and results:
        print_tables(results, frame_rate_hz)
    if csv_path == "-":  # tables and JSON have them
        for remark in (remark for piece in results for remark in piece.remarks):
            click.echo(f"warning: {remark}", err=True)
    _report_alone("no estimate for", pairing.ref_alone)
    _report_alone("no reference for", pairing.est_alone)
    for piece in failed:
        click.echo(f"error: {piece.error}", err=True)
    if failed:
        sys.exit(1)


def _evaluate_moods(
    clips: Path,
    generator: Path,
    judge_clips: tuple[Path, ...],
    trained_on: tuple[Path, ...],
    config: "MoodEvaluationConfig",
    json_path: str | None,
    overwrite: bool,
) -> None:
    from mt3x.cli.progress import counted
    from mt3x.evaluation import mood_evaluation, mood_tables

    if json_path not in (None, "-"):
        check_writable(json_path, overwrite)
    with counted("moods") as progress:
        bar = progress.add_task("composing", total=None)
        report = mood_evaluation.evaluate_moods(
            generator,
            clips,
            judge_clips,
            trained_on,
            config,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if json_path is not None:
        _deliver(mood_tables.to_json(report), json_path, overwrite)
    if json_path != "-":
        mood_tables.print_tables(report)


def _deliver(text: str, path: str, overwrite: bool) -> None:
    if path == "-":
        if sys.stdout is None:
            raise ValueError("standard output is closed: name a file instead of -")
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

"""`mt3x prepare`: data sets as published -> TFRecords for training."""

import hashlib
import sys
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from mt3x.cli.progress import counted
from mt3x.files import check_local


def _check_name(context: click.Context, _: click.Parameter, name: str) -> str:
    """Raise UsageError for `mt3x prepare synth`, as the command was called before."""
    if name == "synth":
        raise click.UsageError("songs are rendered by `mt3x synth`", context)
    return name


@click.command()
@click.argument("name", callback=_check_name, is_eager=True)
@click.option(
    "--raw",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder where the data set is unpacked.",
)
@click.option(
    "--out",
    required=True,
    help="Folder of records (local or gs://); they are written to OUT/NAME. Training "
    "finds them where MT3X_DATA_DIR names OUT.",
)
@click.option(
    "--audio",
    type=click.Choice(["flac", "wav"]),
    default="flac",
    show_default=True,
    help="How audio is stored: flac is half the size, wav faster to read.",
)
@click.option(
    "--submixes",
    default=0,
    help="Random sub-mixes of stems in place of each training piece (MT3's Slakh: 10).",
)
@click.option(
    "--programs",
    type=click.Choice(["class", "midi"]),
    default="class",
    show_default=True,
    help="Slakh: notes have the program of their stem's class, or of its MIDI file.",
)
@click.option(
    "--band-rolls",
    is_flag=True,
    help="Also write what the package's band model hears in each piece, for token "
    "models that read it (experiments/acoustic/band_rolls.gin); 10 MB a minute.",
)
@click.option(
    "--drafts",
    is_flag=True,
    help="Also write the notes that the package's band model hears in each piece, for "
    "token models that revise them (experiments/acoustic/draft.gin).",
)
@click.option("--pieces-per-shard", default=16, show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Processes on this machine.")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 where anything was left out (not for pitch bends).",
)
@click.argument("beam_arguments", nargs=-1, type=click.UNPROCESSED)
def command(
    name: str,
    raw: Path,
    out: str,
    audio: str,
    submixes: int,
    programs: str,
    band_rolls: bool,
    drafts: bool,
    pieces_per_shard: int,
    jobs: int,
    strict: bool,
    beam_arguments: tuple[str, ...],
) -> None:
    """Turn the data set NAME, as its owner publishes it, into TFRecords.

    NAME is maestrov1, maestrov3, slakh, cerberus4 (from Slakh's folders), guitarset,
    urmp, musicnet, musicnet_em or maps; tasks/README.md says what to download. What
    cannot be used is left out and listed in OUT/NAME/manifest.json. A run that was
    stopped resumes when it is started again, and adds what can be used by then.

    Arguments after -- go to Apache Beam, such as -- --runner=DataflowRunner
    --project=...; without them it runs on this machine.
    """
    from mt3x.data.pipeline.write_records import RecordOptions, num_left_out, prepare
    from mt3x.data.published.catalogue import find_sources
    from mt3x.data.published.source import ReadOptions

    options = RecordOptions(
        read=ReadOptions(midi_programs=programs == "midi"),
        form=audio.upper(),
        num_submixes=submixes,
    )
    if band_rolls or drafts:
        check_local(out)
    sources = find_sources(name, raw)
    arguments = list(beam_arguments)
    if jobs > 1:
        arguments += [
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={jobs}",
        ]
    begin_s = time.monotonic()
    with counted("shards") as progress:
        bar = progress.add_task(name, total=None)

        def report(finished: int, total: int) -> None:
            progress.update(bar, completed=finished, total=total)

        manifest = prepare(
            name=name,
            sources=sources,
            folder=f"{out.rstrip('/')}/{name}",
            options=options,
            pieces_per_shard=pieces_per_shard,
            beam_arguments=arguments,
            report=report,
        )
    _report(manifest, time.monotonic() - begin_s)
    if not any(split["pieces"] for split in manifest["splits"].values()):
        raise ValueError(f"no piece can be used: {manifest['problems'][0]['what']}")
    for wanted, kind in ((band_rolls, "band_rolls"), (drafts, "drafts")):
        if wanted:
            _write_heard(Path(out) / name, kind)
    if strict and num_left_out(manifest):
        sys.exit(1)


def _write_heard(folder: Path, kind: str) -> None:
    from mt3x.data.pipeline.heard_columns import write_heard
    from mt3x.data.pipeline.record_format import NOTE_DTYPE, pack_notes
    from mt3x.inference.transcriber import Transcriber
    from mt3x.models import weights_file
    from mt3x.music.band_rolls import BandRolls

    weights = weights_file.packaged("band")
    model = Transcriber(weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    rate_hz = model.sample_rate_hz

    def hear(samples_S: np.ndarray) -> np.ndarray:
        if kind == "drafts":
            return np.frombuffer(pack_notes(model(samples_S, rate_hz)), NOTE_DTYPE)
        rolls = model.rolls(samples_S, rate_hz)
        assert isinstance(rolls, BandRolls)
        return rolls.columns()

    with counted("pieces") as progress:
        bar = progress.add_task(kind.replace("_", " "), total=None)
        done = write_heard(folder, kind, digest, rate_hz, hear)
        for finished, total in done:
            progress.update(bar, completed=finished, total=total)


def _report(manifest: dict, elapsed_s: float) -> None:
    table = Table("split", "pieces", "hours", "notes")
    for split, total in manifest["splits"].items():
        pieces, notes = str(total["pieces"]), str(total["notes"])
        table.add_row(split, pieces, f"{total['hours']:.2f}", notes)
    console = Console()
    console.print(table)
    for kind, number in manifest["problem_counts"].items():
        console.print(f"{kind}: {number}")
    files = len(manifest["files"])
    console.print(f"{files} files in {elapsed_s:.0f} s; manifest.json lists them")

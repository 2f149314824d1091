"""`mt3x prepare`: data sets as published -> TFRecords for training."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mt3x.cli.progress import counted

POLL_S = 0.5


class _Prepare(click.Command):
    """`prepare NAME ...`, except `prepare synth ...`, which has options of its own."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if args[:1] == ["synth"]:
            from mt3x.cli.synth import command as synth

            name = f"{info_name} synth"
            return synth.make_context(name, args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(cls=_Prepare)
@click.argument("name")
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
@click.option("--stems", is_flag=True, help="Store the audio of stems too.")
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
    stems: bool,
    submixes: int,
    programs: str,
    pieces_per_shard: int,
    jobs: int,
    strict: bool,
    beam_arguments: tuple[str, ...],
) -> None:
    """Turn the data set NAME, as its owner publishes it, into TFRecords.

    NAME is maestrov1, maestrov3, slakh, cerberus4 (from Slakh's folders), guitarset,
    urmp, musicnet, musicnet_em or maps; tasks/README.md says what to download. What
    can not be used is left out and listed in OUT/NAME/manifest.json. A run that was
    stopped goes on when it is started again.

    `mt3x prepare synth --help`: how to render a set of songs in Slakh's layout.

    Arguments after -- go to Apache Beam, such as -- --runner=DataflowRunner
    --project=...; without them it runs on this machine.
    """
    from mt3x.data.pipeline.write_records import (
        RecordOptions,
        Shard,
        num_left_out,
        prepare,
    )
    from mt3x.data.published.catalogue import find_sources
    from mt3x.data.published.source import ReadOptions

    options = RecordOptions(
        read=ReadOptions(stem_audio=stems, midi_programs=programs == "midi"),
        form=audio.upper(),
        num_submixes=submixes,
    )
    sources = find_sources(name, raw)
    arguments = list(beam_arguments)
    if jobs > 1:
        arguments += [
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={jobs}",
        ]
    with counted("shards") as progress:
        bar = progress.add_task(name, total=None)
        done = threading.Event()
        watchers = []

        def started(shards: list[Shard]) -> None:
            def watch() -> None:
                # The workers may be anywhere: what they share with us is the folder.
                import tensorflow as tf

                while not done.wait(POLL_S):
                    finished = [tf.io.gfile.exists(s.about_path) for s in shards]
                    progress.update(bar, completed=sum(finished), total=len(shards))

            watchers.append(threading.Thread(target=watch, daemon=True))
            watchers[0].start()

        begin_s = time.monotonic()
        try:
            manifest = prepare(
                name,
                sources,
                f"{out.rstrip('/')}/{name}",
                options,
                pieces_per_shard,
                arguments,
                started,
            )
        finally:
            done.set()
            for watcher in watchers:
                watcher.join()
        num_shards = len(manifest["files"])
        progress.update(bar, completed=num_shards, total=num_shards)
    _report(manifest, time.monotonic() - begin_s)
    if strict and num_left_out(manifest):
        sys.exit(1)


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

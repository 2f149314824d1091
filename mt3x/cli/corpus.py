"""`mt3x corpus`: build, read in and list training corpora."""

import collections
import concurrent.futures
import multiprocessing
import os
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from mt3x.cli.progress import counted
from mt3x.data.corpus import Corpus, CorpusWriter, write_corpus
from mt3x.data.published.maestro import MAESTRO_SPLITS, find_maestro
from mt3x.data.published.maps import read_maps
from mt3x.data.published.pairs import find_pairs
from mt3x.data.published.source import NotesSource
from mt3x.data.synthesis.piano_corpora import (
    CorpusSpec,
    find_midi,
    read_recipe,
    render_unit,
    units,
)

_OUT = click.argument("out", type=click.Path(path_type=Path))
_JOBS = click.option(
    "--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes."
)
_PIANO = click.option(
    "--piano",
    required=True,
    type=click.Path(exists=True),
    help=".sfz, .sf2, .sf3 file or folder of Salamander packages.",
)
_PROGRAM = click.option("--program", default=0, help="Preset of a soundfont.")
_MATCH = click.option("--match", default="", help="Only SFZ samples with this text.")
_HOURS = click.option("--hours", required=True, type=float, help="Length to render.")
_SEED = click.option("--seed", default=0, show_default=True)


@click.group()
def command() -> None:
    """Build training corpora: folders of audio with the notes played in it.

    Nothing is overwritten. A command that was stopped resumes when it is run again.
    """


@command.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_OUT
@click.option(
    "--pianos", required=True, type=click.Path(exists=True), help="Folder of pianos."
)
@click.option("--midi", type=click.Path(exists=True), help="Folder of played MIDI.")
@click.option("--scores", type=click.Path(exists=True), help="Folder of scores' MIDI.")
@_JOBS
def recipe(
    recipe: Path,
    out: Path,
    pianos: str,
    midi: str | None,
    scores: str | None,
    jobs: int,
) -> None:
    """Render every corpus of a recipe file into the folder OUT.

    Finished corpora are skipped; their names are appended to OUT/READY.
    """
    specs = read_recipe(recipe, pianos, midi, scores)
    with _pool(jobs) as pool:
        for spec in specs:
            if (out / spec.name).exists():
                continue
            _render(spec, out / spec.name, pool, jobs)
            with (out / "READY").open("a") as file:
                file.write(f"{spec.name}\n")


@command.command()
@_OUT
@_PIANO
@_PROGRAM
@_MATCH
@_HOURS
@_SEED
@_JOBS
def random(
    out: Path,
    piano: str,
    program: int,
    match: str,
    hours: float,
    seed: int,
    jobs: int,
) -> None:
    """Compose random polyphony and render it into the corpus OUT."""
    spec = CorpusSpec(out.name, piano, "random", hours, seed, program, match)
    with _pool(jobs) as pool:
        _render(spec, out, pool, jobs)


@command.command()
@click.argument("midi", type=click.Path(exists=True, path_type=Path))
@_OUT
@_PIANO
@_PROGRAM
@_MATCH
@_HOURS
@_SEED
@_JOBS
def render(
    midi: Path,
    out: Path,
    piano: str,
    program: int,
    match: str,
    hours: float,
    seed: int,
    jobs: int,
) -> None:
    """Render varied parts of a folder of MIDI files into the corpus OUT."""
    paths = find_midi(midi)
    spec = CorpusSpec(out.name, piano, "midi", hours, seed, program, match, paths)
    with _pool(jobs) as pool:
        _render(spec, out, pool, jobs)


@command.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@_OUT
def maps(folder: Path, out: Path) -> None:
    """Read MAPS recordings below FOLDER (audio with .tsv or .mid) into OUT."""
    _read(read_maps(folder), out)


@command.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@_OUT
@click.option("--split", type=click.Choice(MAESTRO_SPLITS), default="train")
def maestro(folder: Path, out: Path, split: str) -> None:
    """Read one split of MAESTRO (v1 to v3, as unpacked) into OUT."""
    _read(find_maestro(folder, split), out)


@command.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@_OUT
def pairs(folder: Path, out: Path) -> None:
    """Read MIDI files below FOLDER and the audio of the same names into OUT."""
    _read(find_pairs(folder), out)


@command.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def info(folders: tuple[Path, ...]) -> None:
    """List corpora: pieces, hours and notes."""
    table = Table("corpus", "pieces", "hours", "notes", "notes per s")
    for folder in folders:
        corpus = Corpus(folder)
        num_notes = sum(piece.num_notes for piece in corpus.pieces)
        table.add_row(
            folder.name,
            str(len(corpus)),
            f"{corpus.duration_s / 3600:.2f}",
            str(num_notes),
            f"{num_notes / max(corpus.duration_s, 1e-9):.1f}",
        )
    Console().print(table)


def _read(pieces: list[NotesSource], out: Path) -> None:
    with counted("recordings") as progress:
        bar = progress.add_task(out.name, total=len(pieces))
        for _ in write_corpus(pieces, out):
            progress.advance(bar)


def _pool(jobs: int) -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn")
    )


def _render(
    spec: CorpusSpec,
    folder: Path,
    pool: concurrent.futures.ProcessPoolExecutor,
    jobs: int,
) -> None:
    """Render units in the pool, in order, until the corpus is long enough."""
    minutes = round(60 * spec.hours)
    with CorpusWriter(folder) as writer, counted("min") as progress:
        bar = progress.add_task(spec.name, total=minutes)
        progress.update(bar, completed=round(writer.duration_s / 60))
        todo = units(spec, len(writer))
        skip = len(writer) % spec.unit_pieces
        pending: collections.deque = collections.deque()
        while writer.duration_s < 3600 * spec.hours:
            while len(pending) < jobs + 1:
                pending.append(pool.submit(render_unit, spec, next(todo)))
            for piece in pending.popleft().result()[skip:]:
                writer.add(piece.name, piece.samples_S, piece.notes, piece.info)
            skip = 0
            progress.update(bar, completed=round(writer.duration_s / 60))
        for future in pending:
            future.cancel()

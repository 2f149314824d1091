"""`mt3x corpus`: build, read in and list training corpora."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from mt3x.cli.help import WholeLinesGroup
from mt3x.cli.progress import counted
from mt3x.data.beat_pieces import write_pieces
from mt3x.data.corpus import Corpus, CorpusWriter, write_corpus
from mt3x.data.mood_pieces import SPLITS, read_moods, write_moods
from mt3x.data.published.beat_sources import SOURCES
from mt3x.data.published.maestro import MAESTRO_SPLITS, find_maestro
from mt3x.data.published.maps import read_maps
from mt3x.data.published.mood_sources import read_folder
from mt3x.data.published.pairs import find_pairs
from mt3x.data.published.source import NotesSource
from mt3x.data.synthesis.piano_corpora import (
    CorpusSpec,
    find_midi,
    read_recipe,
    render_unit,
    units,
)
from mt3x.data.workers import in_processes
from mt3x.files import check_writable, one_line

_OUT = click.argument("out", type=click.Path(path_type=Path))
_JOBS = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default=True,
    help="Processes.",
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
_STRICT = click.option(
    "--strict", is_flag=True, help="Exit with 1 where anything was left out."
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")


@click.group(cls=WholeLinesGroup)
def command() -> None:
    """Build training corpora: folders of audio with the notes played in it.

    Corpora are not overwritten. A command that was stopped resumes when it is run
    again. What cannot be read is left out and listed; where a recording was, the same
    command adds it once it can be read.
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
    for spec in specs:
        if not (out / spec.name).exists():
            _render(spec, out / spec.name, jobs)
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
    _render(spec, out, jobs)


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
    _render(spec, out, jobs)


@command.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@_OUT
@_STRICT
def maps(folder: Path, out: Path, strict: bool) -> None:
    """Read MAPS recordings below FOLDER (audio with .tsv or .mid) into OUT."""
    _read(read_maps(folder), out, strict)


@command.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@_OUT
@click.option("--split", type=click.Choice(MAESTRO_SPLITS), default="train")
@_STRICT
def maestro(folder: Path, out: Path, split: str, strict: bool) -> None:
    """Read one split of MAESTRO (v1 to v3, as unpacked) into OUT."""
    _read(find_maestro(folder, split), out, strict)


@command.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@_OUT
@_STRICT
def pairs(folder: Path, out: Path, strict: bool) -> None:
    """Read MIDI files below FOLDER and the audio of the same names into OUT."""
    _read(find_pairs(folder), out, strict)


@command.command()
@click.argument("kind", type=click.Choice([*SOURCES]))
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@_OUT
@_STRICT
@_OVERWRITE
def beats(kind: str, folder: Path, out: Path, strict: bool, overwrite: bool) -> None:
    """Read music whose beats are known into the file OUT (.npz), for beat models.

    KIND is pop909 or groove, as unpacked, or scores: MusicXML and MIDI of scores.
    """
    check_writable(out, overwrite)
    problems: list[str] = []
    with counted("pieces") as progress:
        bar = progress.add_task(one_line(out.name), total=None)
        pieces = []
        for piece in SOURCES[kind](folder, problems.append):
            pieces.append(piece)
            progress.advance(bar)
    for problem in problems:
        click.echo(f"left out: {one_line(problem)}", err=True)
    if not pieces:
        raise ValueError(f"{folder}: no {kind} with beats; name another folder")
    write_pieces(out, pieces, overwrite)
    if problems and strict:
        sys.exit(1)


@command.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@_OUT
@click.option(
    "--splits-of",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Clips that are read already: take only their pieces, with their splits.",
)
@_STRICT
@_OVERWRITE
def moods(
    folders: tuple[Path, ...],
    out: Path,
    splits_of: Path | None,
    strict: bool,
    overwrite: bool,
) -> None:
    """Read piano music and its moods into the file OUT (.npz), for generators.

    A folder is EMOPIA as unpacked, VGMIDI as cloned, clips with labels.csv (file,
    piece, source, split, valence, arousal), or else any MIDI files. Those are cut into
    clips of 30 s; what their mood is, a model guesses from mode, density and the like,
    and ranks within each folder.
    """
    check_writable(out, overwrite)
    problems: list[str] = []
    clips = []
    with counted("folders") as progress:
        bar = progress.add_task(one_line(out.name), total=len(folders))
        for folder in folders:
            found = read_folder(folder, problems.append)
            if not found:
                raise ValueError(
                    f"{folder}: no piano music of 30 s; name another folder"
                )
            clips += found
            progress.advance(bar)
    for problem in problems:
        click.echo(f"left out: {one_line(problem)}", err=True)
    if splits_of is not None:
        known = {clip.piece: clip.split for clip in read_moods(splits_of)}
        clips = [replace(c, split=known[c.piece]) for c in clips if c.piece in known]
        if not clips:
            raise ValueError(
                f"{splits_of} has none of these pieces: its pieces are named after "
                f"their folder, such as {next(iter(known))}; rename the folder"
            )
    write_moods(out, clips, overwrite)
    for split in SPLITS:
        chosen = [clip for clip in clips if clip.split == split]
        num_notes = sum(len(clip.notes) for clip in chosen)
        click.echo(f"{split}: {len(chosen)} clips, {num_notes} notes")
    if problems and strict:
        sys.exit(1)


@command.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def info(folders: tuple[Path, ...]) -> None:
    """List corpora: pieces, hours and notes."""
    table = Table("corpus", "pieces", "left out", "hours", "notes", "notes per s")
    for folder in folders:
        corpus = Corpus(folder)
        num_notes = sum(piece.num_notes for piece in corpus.pieces)
        table.add_row(
            Text(one_line(folder.name)),
            str(len(corpus)),
            str(len(corpus.left_out)),
            f"{corpus.duration_s / 3600:.2f}",
            str(num_notes),
            f"{num_notes / max(corpus.duration_s, 1e-9):.1f}",
        )
    Console().print(table)


def _read(pieces: Sequence[NotesSource], out: Path, strict: bool) -> None:
    num_left_out = 0
    with counted("recordings") as progress:
        bar = progress.add_task(one_line(out.name), total=len(pieces))
        for written in write_corpus(pieces, out):
            if written.problem:
                num_left_out += 1
                _tell(progress, written.problem)
            progress.advance(bar)
    if num_left_out:
        click.echo(
            f"{out}: {num_left_out} of {len(pieces)} recordings are left out; repair "
            "them and run the same command to add them",
            err=True,
        )
    if num_left_out and strict:
        sys.exit(1)


def _render(spec: CorpusSpec, folder: Path, jobs: int) -> None:
    """Render units in processes until the corpus is long enough."""
    minutes = round(60 * spec.hours)
    problems: set[str] = set()
    with (
        CorpusWriter(folder) as writer,
        counted("min") as progress,
        in_processes(render_unit, jobs, "give fewer --jobs") as processes,
    ):
        bar = progress.add_task(one_line(spec.name), total=minutes)
        progress.update(bar, completed=round(writer.duration_s / 60))
        skip = len(writer) % spec.unit_pieces
        results = processes.results((spec, unit) for unit in units(spec, len(writer)))
        while writer.duration_s < 3600 * spec.hours:
            for piece in next(results)[skip:]:
                writer.add(piece.name, piece.samples_S, piece.notes, piece.info)
                for problem in piece.problems:
                    if problem not in problems:
                        _tell(progress, problem)
                    problems.add(problem)
            skip = 0
            progress.update(bar, completed=round(writer.duration_s / 60))


def _tell(progress: Progress, problem: str) -> None:
    progress.console.print(
        f"left out: {problem}", markup=False, highlight=False, soft_wrap=True
    )

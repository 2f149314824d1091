"""`mt3x score`: note files to sheet music."""

from pathlib import Path

import click

from mt3x.cli.option_types import Tempo
from mt3x.files import check_writable, write_whole
from mt3x.inference.beat_choice import BeatChoice
from mt3x.music.note_files import read_performance

WRITERS = {".musicxml": "to_musicxml", ".svg": "to_svg", ".pdf": "to_pdf"}


@click.command(
    help="Write notes down as a score: NOTES is a MIDI file (.mid), or a table of "
    "notes as mt3x transcribe writes it (.csv, .json)."
)
@click.argument("notes", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Score; it ends in .musicxml, .svg or .pdf.  [default: NOTES, .musicxml]",
)
@click.option(
    "--tempo",
    type=Tempo(),
    default="detect",
    show_default=True,
    help="Beats that bars follow: found in the notes, or even ones. A file's own tempo "
    "is left out.",
)
@click.option(
    "--beats",
    "beat_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Beats as a text file: seconds and position in the bar, one beat a line.",
)
@click.option("--meter", metavar="3/4", help="Time signature.  [default: found]")
@click.option("--title", help="Of the piece.  [default: the file's name]")
@click.option("--overwrite", is_flag=True, help="Replace a score that exists.")
def command(
    notes: Path,
    output: Path | None,
    tempo: float | str,
    beat_file: Path | None,
    meter: str | None,
    title: str | None,
    overwrite: bool,
) -> None:
    from mt3x.notation.notate import notate

    out = notes.with_suffix(".musicxml") if output is None else output
    writer = WRITERS.get(out.suffix.lower())
    if writer is None:
        raise ValueError(f"{out}: name a score that ends in {', '.join(WRITERS)}")
    if tempo == "none":
        raise click.BadParameter("scores need beats", param_hint="--tempo")
    choice = BeatChoice(tempo, beat_file, meter)  # pyright: ignore[reportArgumentType]
    check_writable(out, overwrite=overwrite)
    # Ends of keys, and marks of the pedal, are what is written down.
    found = read_performance(notes)
    try:
        beats = choice.of(found.keys)
        assert beats is not None
        score = notate(
            found.keys,
            beats,
            title=notes.stem if title is None else title,
            pedal_s=found.pedal_s,
        )
    except ValueError as error:
        raise ValueError(f"{notes}: {error}") from error
    data = getattr(score, writer)()
    with write_whole(out, overwrite) as file:
        file.write(data)
    click.echo(
        f"{out}: {len(score.bars)} bars in {beats.meter}, {score.key.name}", err=True
    )

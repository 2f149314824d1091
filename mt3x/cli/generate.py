"""`mt3x generate`: music of a wished mood."""

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mt3x.cli.help import SectionedCommand, options_of
from mt3x.cli.log import TextLog, Unit
from mt3x.cli.option_types import Formats, MoodPoint, Tempo, Time, as_json
from mt3x.cli.recordings import format_of
from mt3x.files import check_writable, one_line, write_whole
from mt3x.inference.beat_choice import BeatChoice
from mt3x.inference.outputs import MUSIC_ENDINGS, MUSIC_FORMATS, Composition
from mt3x.inference.wish import Wish, draw_seed, seeds
from mt3x.music.note_files import NOTE_SUFFIXES, read_notes
from mt3x.music.notes import Notes

MUSIC = Unit("s of music", "x realtime", "progress", "s")

EXAMPLES = """\b
Examples:
  mt3x generate --valence 0.8 --arousal 0.4 -o happy.mid
  mt3x generate --valence -0.7 --arousal -0.6 --seconds 2:00 -f midi,wav,png
  mt3x generate --mood 0:0.8,0.2 --mood 30:-0.5,-0.6 -o turn.mid
  mt3x generate --prompt tune.mid --seconds 30 -n 4 -o more.mid
  mt3x transcribe song.mp3 -o - | mt3x generate --prompt - -o more.mid
"""

music_option = options_of("Music")
sampling_option = options_of("Sampling")
output_option = options_of("Output")


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@music_option(
    "--valence", type=float, metavar="-1..1", help="From sad (-1) to happy (1)."
)
@music_option(
    "--arousal", type=float, metavar="-1..1", help="From calm (-1) to excited (1)."
)
@music_option(
    "--mood",
    "moods",
    type=MoodPoint(),
    multiple=True,
    help="The mood at a time, as 30:-0.5,0.8; several make one that moves evenly from "
    "each to the next.",
)
@music_option(
    "--seconds",
    type=Time(),
    default=60.0,
    help="How long it is, in seconds or as 1:30; the last notes may ring on for 2 s. "
    "A prompt comes on top.  [default: 60]",
)
@music_option(
    "--prompt",
    metavar="FILE",
    help="Continue the notes of a MIDI file, or of a table of notes as mt3x transcribe "
    "writes it (.csv, .json); - is MIDI on standard input.",
)
@music_option(
    "--guidance",
    type=float,
    default=Wish.guidance,
    show_default=True,
    help="How much the mood counts: 1 as in the music that was learnt from, 0 not at "
    "all; high values are clearer and less varied.",
)
@music_option(
    "--key",
    help="Prefer the notes of a key, such as Eb or C#m, or of any.  [default: major or "
    "minor by the valence, on the prompt's tonic or a drawn one]",
)
@sampling_option(
    "--seed",
    type=int,
    help="The same seed gives the same music; outputs keep it.  [default: drawn]",
)
@sampling_option(
    "-n",
    "--number",
    type=int,
    default=1,
    help="How many pieces to compose, with seeds that follow each other.",
)
@sampling_option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    help="Lower is plainer, higher wilder.",
)
@sampling_option(
    "--top-p",
    type=float,
    default=Wish.top_p,
    show_default=True,
    help="Choose from the fewest tokens whose probabilities reach p together.",
)
@sampling_option(
    "--top-k", type=int, default=0, help="Choose from the k likeliest tokens."
)
@output_option(
    "-o",
    "--output",
    metavar="OUT",
    help="Output file; - is standard output. Its ending chooses the format unless -f "
    "does. Several pieces are numbered.  [default: generated-SEED.mid]",
)
@output_option(
    "-f",
    "--format",
    "formats",
    type=Formats(MUSIC_FORMATS, MUSIC_ENDINGS),
    help="What to write, separated by commas: midi, csv, json and jsonl (notes), wav "
    "(sound), plot and svg-plot (a picture of the notes), musicxml, svg and pdf (the "
    "score).  [default: midi]",
)
@output_option("--overwrite", is_flag=True, help="Replace outputs that exist already.")
@output_option(
    "--tempo",
    type=Tempo(),
    default="detect",
    show_default=True,
    help="Beats that bars of MIDI files and scores follow, while notes stay where they "
    "are: found in the notes, even ones, or none (120 a minute).",
)
@output_option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Weights file or run folder of a generator.  [default: the package's weights]",
)
@output_option(
    "-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors."
)
def command(
    seed: int | None,
    number: int,
    prompt: str | None,
    output: str | None,
    formats: list[str] | None,
    overwrite: bool,
    tempo: float | str,
    checkpoint: Path | None,
    quiet: bool,
    **wishes: Any,
) -> None:
    """Compose piano music of a wished mood, from nothing or to continue notes.

    Without a mood, anything may come. What the moods mean was learnt from labels that
    a small model had predicted, not from listeners.
    """
    wish = Wish(**wishes, seed=draw_seed() if seed is None else seed)
    all_seeds = seeds(wish, number)
    pieces_outputs = _choose_outputs(output, formats, all_seeds)
    _check_outputs([x for outputs in pieces_outputs for x in outputs], overwrite)
    choice = BeatChoice(tempo)  # pyright: ignore[reportArgumentType]
    notes = None if prompt is None else _read_prompt(prompt)
    options = _as_options(wishes) | as_json(
        {"prompt": prompt, "checkpoint": checkpoint}
    )
    # Here, so that wrong options and --help do not wait for JAX.
    from mt3x.inference.composer import Composer
    from mt3x.models.memory import reuse_memory

    reuse_memory()
    composer = Composer(checkpoint)
    log = TextLog(quiet)
    with log.bar(wish.seconds, MUSIC) as bar:
        bar.begin("composing")
        pieces = composer.compose(
            wish, notes, number, lambda done_s: bar.reach(done_s, wish.seconds)
        )
    for piece, outputs, seed in zip(pieces, pieces_outputs, all_seeds, strict=True):
        for name, path in outputs:
            made = Composition(
                piece,
                "music" if path is None else path.name,
                options | {"seed": seed},
                plot_theme="light",
                beats=lambda piece=piece: choice.of(piece),
            )
            _write(path, name, made, overwrite)
        written = ", ".join(one_line(path or "standard output") for _, path in outputs)
        length_s = piece.offset_s.max(initial=0.0)
        about = f"{length_s:.1f} s, {len(piece)} notes, seed {seed}"
        log.event("done", f"{written}: {about}")


def _choose_outputs(
    output: str | None, formats: Sequence[str] | None, all_seeds: Sequence[int]
) -> list[list[tuple[str, Path | None]]]:
    """Return the formats and files of each piece; None is standard output.

    Raises:
      ValueError: they cannot go to standard output, or an ending is unknown.
    """
    path = None if output is None or output == "-" else Path(output)
    formats = formats or [format_of(path, MUSIC_ENDINGS)]
    is_one = len(all_seeds) == len(formats) == 1
    if output == "-" and not is_one:
        raise ValueError(
            "standard output takes one piece in one format: name a file with -o"
        )
    if output is not None and is_one:
        return [[(formats[0], path)]]
    outputs = []
    for number, seed in enumerate(all_seeds, start=1):
        base = f"generated-{seed}"
        if path is not None:
            known = path.suffix[1:].lower() in MUSIC_ENDINGS
            base = str(path.with_suffix("") if known else path)
            base += f"-{number}" if len(all_seeds) > 1 else ""
        outputs.append([(x, Path(base + MUSIC_FORMATS[x].suffix)) for x in formats])
    return outputs


def _check_outputs(outputs: Sequence[tuple[str, Path | None]], overwrite: bool) -> None:
    """Raise early where an output cannot be written."""
    for name, path in outputs:
        if missing := MUSIC_FORMATS[name].missing:
            raise ModuleNotFoundError(
                f"the format {name} needs {', '.join(missing)}: "
                f"pip install 'mt3x[{MUSIC_FORMATS[name].extra}]'"
            )
        if path is not None:
            check_writable(path, overwrite)
        elif sys.stdout is None or sys.stdout.isatty():
            raise ValueError(
                "standard output is not a file or pipe: name a file with -o"
            )


def _read_prompt(prompt: str) -> Notes:
    if prompt != "-":
        if Path(prompt).suffix.lower() not in NOTE_SUFFIXES:
            raise ValueError(
                f"{prompt} is not a file of notes: give one that ends in "
                f"{' '.join(NOTE_SUFFIXES)}, or make one by `mt3x transcribe`"
            )
        try:
            return read_notes(prompt)
        except FileNotFoundError as error:
            raise type(error)(f"{prompt}: no such file; check the name") from error
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("no prompt comes in: pipe a MIDI file, or name one")
    data = sys.stdin.buffer.read()
    try:
        return Notes.from_midi(data)
    except ValueError as error:
        raise ValueError(f"the prompt on standard input: {error}") from error


def _as_options(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was wished for, as values for JSON."""
    given = {name: value for name, value in wishes.items() if value not in (None, ())}
    return {name: given[name] for name in sorted(given)}


def _write(path: Path | None, name: str, made: Composition, overwrite: bool) -> None:
    if path is not None:
        with write_whole(path, overwrite) as file:
            MUSIC_FORMATS[name].write(file, made)
        return
    buffer = io.BytesIO()
    MUSIC_FORMATS[name].write(buffer, made)
    sys.stdout.buffer.write(buffer.getvalue())
    sys.stdout.buffer.flush()

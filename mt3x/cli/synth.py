"""`mt3x synth`: songs played by soundfonts, in Slakh's layout; or dry stems."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mt3x.cli.progress import counted
from mt3x.data.synthesis.arrange import PARTS


def _apply_recipe(
    context: click.Context, _: click.Parameter, path: Path | None
) -> Path | None:
    """Make a recipe's values the defaults of the options."""
    if path is None:
        return None
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path}: a JSON object of options is expected")
    for name in recipe:
        if name not in _RECIPE_OPTIONS:
            raise ValueError(
                f"{path}: unknown option {name!r}; a recipe may have "
                f"{', '.join(_RECIPE_OPTIONS)}"
            )
    context.default_map = {**(context.default_map or {}), **recipe}
    return path


_RECIPE_OPTIONS = (
    "train",
    "validation",
    "test",
    "seconds",
    "sample_rate",
    "seed",
    "parts",
    "programs",
    "semitones",
    "gain_db",
)
_FOLDER = click.Path(path_type=Path)


@click.command()
@click.option("--out", required=True, type=_FOLDER, help="Folder of the set.")
@click.option(
    "--midi", "midi", multiple=True, type=_FOLDER, help="Folder of whole songs."
)
@click.option(
    "--arrange",
    "leads",
    multiple=True,
    type=_FOLDER,
    help="Folder of songs to arrange: MIDI with tracks MELODY and PIANO (POP909).",
)
@click.option(
    "--grooves",
    type=_FOLDER,
    help="Folder of drum grooves (Groove); without it patterns are made up.",
)
@click.option(
    "--soundfont",
    "soundfonts",
    multiple=True,
    type=_FOLDER,
    help=".sf2 or .sf3 file that plays training and validation; give several.",
)
@click.option(
    "--test-soundfont",
    "test_soundfonts",
    multiple=True,
    type=_FOLDER,
    help="The same for the test split, which shares none.",
)
@click.option(
    "--stems",
    "stem_recipe",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON recipe of dry stems, such as tasks/band_corpus.json: OUT gets a corpus "
    "for each kind of music in it, to be mixed in training. Of the other options only "
    "--sounds, --notes and --workers count.",
)
@click.option("--sounds", type=_FOLDER, help="Folder of the sounds that --stems names.")
@click.option(
    "--notes",
    "notes",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Folder of the notes that --stems calls NAME; give several.",
)
@click.option(
    "--recipe",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_apply_recipe,
    is_eager=True,
    help="JSON file of the options below; options given here come before it.",
)
@click.option("--train", default=240, show_default=True, help="Tracks for training.")
@click.option("--validation", default=24, show_default=True, help="... validation.")
@click.option("--test", default=24, show_default=True, help="... testing.")
@click.option("--seconds", default=60.0, show_default=True, help="Length of a track.")
@click.option(
    "--sample-rate", default=44100, show_default=True, help="Hz; 8000..44100."
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--parts",
    default=",".join(PARTS),
    show_default=True,
    help="Parts of arranged songs.",
)
@click.option(
    "--programs",
    multiple=True,
    help="Programs that a part may have, such as bass=33,38; one is drawn per song.",
)
@click.option(
    "--semitones",
    default=5,
    show_default=True,
    help="Most that arranged songs are transposed, up or down.",
)
@click.option(
    "--gain-db",
    default=4.0,
    show_default=True,
    help="Most that a stem is louder or softer than the others.",
)
@click.option(
    "--workers", default=os.cpu_count() or 1, show_default=True, help="Processes."
)
def command(
    out: Path,
    workers: int,
    stem_recipe: Path | None,
    sounds: Path | None,
    notes: tuple[str, ...],
    **given: Any,
) -> None:
    """Render a set of multi-instrument songs in Slakh2100's layout, or dry stems.

    OUT gets train/, validation/ and test/ with folders TrackNNNNN, for `mt3x prepare
    slakh --raw OUT`. The splits share no songs, and the test split no soundfonts. The
    same options and files give the same bytes; a run that was stopped resumes.
    """
    from mt3x.data.synthesis.band_plan import begin, plan
    from mt3x.files import locked

    if workers < 1:
        raise ValueError(f"--workers must be 1 or more: {workers}")
    if stem_recipe is not None:
        _render_stems(out, stem_recipe, sounds, notes, workers)
        return
    config, material = _config(given), _material(given)
    tracks = plan(config, material)
    begin(out, config, material)
    with locked(out):
        _render(tracks, config, out, workers)


def _render_stems(
    out: Path, path: Path, sounds: Path | None, notes: tuple[str, ...], workers: int
) -> None:
    from mt3x.data.synthesis.stem_corpora import write_stems
    from mt3x.data.synthesis.stems import read_stem_recipe

    if sounds is None:
        raise ValueError("--stems needs the folder of its sounds: give --sounds")
    folders = {}
    for text in notes:
        name, _, folder = text.partition("=")
        if not folder:
            raise ValueError(f"--notes {text!r}: such as pop909=FOLDER is expected")
        folders[name] = Path(folder)
    recipe = read_stem_recipe(path, sounds, folders)
    console = Console(stderr=True)
    for spec in recipe.music:
        if (out / spec.name).exists():
            continue
        with counted("min", console) as progress:
            bar = progress.add_task(spec.name, total=round(60 * spec.hours))

            def tell(problem: str) -> None:
                console.print(f"left out: {problem}", markup=False)

            for seconds in write_stems(recipe, spec, out / spec.name, workers, tell):
                progress.update(bar, completed=round(seconds / 60))


def _render(tracks: list[Any], config: Any, out: Path, workers: int) -> None:
    from mt3x.data.synthesis.band_tracks import render_all

    begun_s = time.monotonic()
    kept = sum(track.folder(out).is_dir() for track in tracks)
    problems, seconds = [], 0.0
    console = Console(stderr=True)
    with counted("tracks", console) as progress:
        bar = progress.add_task(out.name, total=len(tracks), completed=kept)
        for outcome in render_all(tracks, config, out, workers):
            seconds += outcome.seconds
            if outcome.problem:
                problems.append(outcome.problem)
                console.print(f"left out: {outcome.problem}", markup=False)
            progress.advance(bar)
    made = len(tracks) - kept - len(problems)
    elapsed_s = time.monotonic() - begun_s
    click.echo(
        f"{out}: {made} tracks ({seconds / 3600:.2f} h) in {elapsed_s:.0f} s, {kept} "
        f"were there, {len(problems)} left out"
    )
    if not made and not kept:
        raise ValueError(f"nothing was rendered: {problems[0]}")


def _config(given: dict[str, Any]) -> Any:
    from mt3x.data.synthesis.band_plan import PROGRAMS, SynthConfig

    chosen = [part.strip() for part in given["parts"].split(",") if part.strip()]
    programs = {part: PROGRAMS.get(part, ()) for part in chosen}
    for text in given["programs"]:
        found = re.fullmatch(r"(\w+)=(\d+(?:,\d+)*)", text.replace(" ", ""))
        if found is None:
            raise ValueError(f"--programs {text!r}: such as bass=33,38 is expected")
        if found[1] not in programs:
            raise ValueError(
                f"--programs {text!r}: not one of --parts {given['parts']}"
            )
        programs[found[1]] = tuple(int(number) for number in found[2].split(","))
    return SynthConfig(
        train=given["train"],
        validation=given["validation"],
        test=given["test"],
        seconds=given["seconds"],
        sample_rate_hz=given["sample_rate"],
        seed=given["seed"],
        programs=programs,
        max_semitones=given["semitones"],
        max_gain_db=given["gain_db"],
    )


def _material(given: dict[str, Any]) -> Any:
    from mt3x.data.synthesis.band_plan import Material
    from mt3x.data.synthesis.songs import find_grooves, find_songs

    songs = {}
    for name, is_lead in (("midi", False), ("leads", True)):
        for folder in given[name]:
            for song in find_songs(folder, is_lead):
                songs.setdefault(song.md5, song)
    if not songs:
        raise ValueError("no songs; give a folder with --midi or --arrange")
    return Material(
        songs=list(songs.values()),
        grooves=find_grooves(given["grooves"]) if given["grooves"] else [],
        soundfonts=given["soundfonts"],
        test_soundfonts=given["test_soundfonts"],
    )

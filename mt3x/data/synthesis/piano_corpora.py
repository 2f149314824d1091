"""Recipes: which pianos play what music, and how much of it, for a training corpus.

A recipe is a JSON file:
  {"seed": 1,
   "pianos": {NAME: {"path": ..., "program": 0, "match": ""}, ...},
   "corpora": [{"name": ..., "piano": NAME, "music": "random" | "midi" |
                "score", "hours": 1.5}, ...]}
Paths are relative to the folder of pianos given with it. Every piece is a function
of (seed, corpus name, index), so that a recipe gives the same corpora again.
"""

import functools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mt3x.data.augment import NUM_STRING_SETS
from mt3x.data.synthesis.compose import compose
from mt3x.data.synthesis.humanize import humanize
from mt3x.data.synthesis.performance import clean, vary
from mt3x.data.synthesis.pianos import SampledPiano, SoundFont, load_piano
from mt3x.data.synthesis.render import RenderConfig, render_many
from mt3x.data.synthesis.resonance import StringsConfig, with_strings
from mt3x.files import find_files, one_line
from mt3x.music.midi import read_pedal
from mt3x.music.notes import Notes
from mt3x.music.performance import Performance
from mt3x.music.samples import to_int16

# Composed; performances, as they are; scores, played by `mt3x.data.synthesis.humanize`.
MUSIC = ("random", "midi", "score")
# How much earlier than the pedal dampers move, and the standard deviation of each time:
# as on MAPS's Disklavier (docs/results/piano.md).
PEDAL_EARLY_S = 0.05
PEDAL_JITTER_S = 0.015
# How loud strings are that the pedal leaves undamped, over what is played.
STRINGS_DB = (-32.0, -12.0)


@dataclass(frozen=True)
class CorpusSpec:
    """One corpus of a recipe, with its paths resolved."""

    name: str
    piano_path: str
    music: str  # of MUSIC
    hours: float
    seed: int
    program: int = 0  # preset of a soundfont
    match: str = ""  # microphone of an SFZ piano, see `load_piano`
    midi_paths: tuple[str, ...] = ()
    min_piece_s: float = 50.0
    max_piece_s: float = 120.0
    max_tuning_cents: float = 20.0
    strings_prob: float = 0.0  # how often all strings answer while the pedal is down

    def __post_init__(self) -> None:
        if self.music not in MUSIC:
            raise ValueError(f"{self.name}: music must be one of {MUSIC}: {self.music}")
        if self.music != "random" and not self.midi_paths:
            option = {"midi": "--midi", "score": "--scores"}[self.music]
            raise ValueError(f"{self.name}: no .mid files; give a folder with {option}")
        if not self.hours > 0:
            raise ValueError(f"{self.name}: hours must be above 0: {self.hours}")

    @property
    def is_soundfont(self) -> bool:
        return self.piano_path.lower().endswith((".sf2", ".sf3"))

    @property
    def unit_pieces(self) -> int:
        """The number of pieces rendered in one go; a synthesiser is slow to start."""
        return 12 if self.is_soundfont else 2


@dataclass(frozen=True)
class RenderedPiece:
    """A piece ready for `CorpusWriter.add`."""

    name: str
    samples_S: np.ndarray  # int16
    notes: Notes | Performance
    info: dict[str, Any]
    problems: tuple[str, ...] = ()  # files that could not be read, others were taken


def read_recipe(
    path: str | os.PathLike[str],
    pianos_folder: str | os.PathLike[str],
    midi_folder: str | os.PathLike[str] | None = None,
    scores_folder: str | os.PathLike[str] | None = None,
) -> list[CorpusSpec]:
    """Read the corpora of a recipe file.

    Raises:
      ValueError: naming the recipe and its faulty entry.
    """
    path = Path(path)
    try:
        recipe = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    folders = {"midi": midi_folder, "score": scores_folder}
    paths = {music: find_midi(f) for music, f in folders.items() if f}
    specs = []
    for entry in recipe.get("corpora", []):
        piano = recipe.get("pianos", {}).get(entry.get("piano"))
        if piano is None:
            raise ValueError(f"{path}: corpus {entry.get('name')!r}: unknown piano")
        fields = {key: value for key, value in entry.items() if key != "piano"}
        specs.append(
            CorpusSpec(
                piano_path=str(Path(pianos_folder) / piano["path"]),
                program=piano.get("program", 0),
                match=piano.get("match", ""),
                seed=int(recipe.get("seed", 0)),
                midi_paths=paths.get(entry.get("music"), ()),
                **fields,
            )
        )
    if not specs:
        raise ValueError(f"{path}: the recipe lists no corpora")
    return specs


def find_midi(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return all .mid and .midi files under a folder, sorted.

    Raises:
      OSError: a folder cannot be read.
    """
    return tuple(str(path) for path in find_files(folder, {".mid", ".midi"}))


def render_unit(spec: CorpusSpec, unit: int) -> list[RenderedPiece]:
    """Compose or vary, and render, the pieces of one unit of a corpus."""
    first = unit * spec.unit_pieces
    rngs = [_rng(spec, i) for i in range(first, first + spec.unit_pieces)]
    scores = [_score(spec, rng) for rng in rngs]
    rng = _rng(spec, -1 - unit)
    config = RenderConfig(
        tuning_cents=float(rng.uniform(-spec.max_tuning_cents, spec.max_tuning_cents)),
        gamma=float(rng.uniform(1.6, 2.8)),
        release_gain_db=float(rng.uniform(-46, -34)) if rng.random() < 0.5 else None,
        damper_scale=float(np.exp(rng.uniform(np.log(0.7), np.log(3.0)))),
        restrike_fade_s=float(rng.uniform(0.1, 1.5)),
        key_level_db=float(rng.uniform(0.0, 2.5)),
        note_level_db=float(rng.uniform(0.0, 1.0)),
        level_seed=int(rng.integers(2**31)),
        peak=None,
    )
    piano = _piano(spec.piano_path, spec.program, spec.match)
    # Dampers fall before a pedal is all the way up, and rise as soon as it goes down.
    sounds, undamped = [], []
    for _, performance, _ in scores:
        early_s = rng.normal(PEDAL_EARLY_S, PEDAL_JITTER_S, len(performance.pedal_s))
        sounds.append(performance.notes(early_s))
        undamped.append(performance.pedal_s - early_s[:, None])
    pieces = []
    strings = StringsConfig(
        level_db=float(rng.uniform(*STRINGS_DB)),
        piano=int(rng.integers(NUM_STRING_SETS)),
        damper_s=float(rng.uniform(0.08, 0.3)),
    )
    sound_along = rng.random() < spec.strings_prob
    rendered = render_many(sounds, piano, config)
    for i, (samples_S, (origin, performance, problems)) in enumerate(
        zip(rendered, scores, strict=True)
    ):
        if sound_along:
            samples_S = with_strings(samples_S, undamped[i], strings)
        peak = float(rngs[i].uniform(0.25, 0.9))
        samples_S = samples_S * (peak / max(float(np.abs(samples_S).max()), 1e-6))
        info = {
            "origin": origin,
            "piano": Path(spec.piano_path).name,
            "tuning_cents": round(config.tuning_cents, 2),
        }
        name = f"{spec.name}-{first + i:05d}"
        samples_S = to_int16(samples_S)
        pieces.append(RenderedPiece(name, samples_S, performance, info, problems))
    return pieces


def units(spec: CorpusSpec, first_piece: int = 0) -> Iterator[int]:
    """Yield the numbers of the unit that holds a piece and of all after it."""
    unit = first_piece // spec.unit_pieces
    while True:
        yield unit
        unit += 1


def _score(
    spec: CorpusSpec, rng: np.random.Generator
) -> tuple[str, Performance, tuple[str, ...]]:
    """Return where the music comes from, the music, and what could not be read."""
    duration_s = float(rng.uniform(spec.min_piece_s, spec.max_piece_s))
    if spec.music == "random":
        return "random", compose(rng, duration_s), ()
    paths, problems = list(spec.midi_paths), []
    while paths:
        path = str(rng.choice(np.array(paths, dtype=object)))
        try:
            performance = _performance(path)
        except (OSError, ValueError) as error:
            problems.append(one_line(error))
            paths.remove(path)
            continue
        if spec.music == "score":
            performance = humanize(performance.keys, rng)
        start_s, performance = vary(performance, rng, duration_s)
        origin = f"{Path(path).stem} from {start_s:.1f} s"
        return origin, performance, tuple(problems)
    raise ValueError(
        f"{spec.name}: none of {len(problems)} MIDI files can be used: {problems[0]}"
    )


@functools.lru_cache(maxsize=64)
def _performance(path: str) -> Performance:
    notes = Notes.from_midi(path, sustain_pedal=False)
    if not len(clean(notes)):
        raise ValueError(f"{path}: there are no notes for a piano")
    return Performance(notes, read_pedal(path))


@functools.lru_cache(maxsize=1)
def _piano(path: str, program: int, match: str) -> SampledPiano | SoundFont:
    return load_piano(path, program=program, match=match)


def _rng(spec: CorpusSpec, index: int) -> np.random.Generator:
    words: Sequence[int] = (
        spec.seed,
        zlib.crc32(spec.name.encode()),
        index & 0xFFFFFFFF,
    )
    return np.random.default_rng(words)

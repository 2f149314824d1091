"""Multi-instrument training sets: songs played by soundfonts, laid out as Slakh2100.

Songs are MIDI files as they are, or lead sheets that are arranged for a band. No song,
groove or soundfont of the test split is in another one; training and validation share
soundfonts, not songs. A track is a function of the configuration, its songs' and its
soundfonts' bytes and its number: not of the workers, nor of when it is made.
"""

import concurrent.futures
import functools
import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr

from mt3x.arrange import PARTS, arrange
from mt3x.compose import excerpt
from mt3x.files import write_whole
from mt3x.midi import read_midi
from mt3x.notes import Notes
from mt3x.render import PLAY_RATE_HZ, play, synthesizer
from mt3x.slakh_layout import Origin, RenderedStem, write_track
from mt3x.songs import SongFile, nearest_groove, read_groove, read_lead_sheet
from mt3x.soundfonts import DRUM_BANK, read_presets

SPLITS = ("train", "validation", "test")
FORMAT = "mt3x-synth-1"
CONFIG_NAME = "synth.json"
PROGRAMS: Mapping[str, tuple[int, ...]] = {
    "drums": (0, 8, 16, 25, 32, 40),
    "bass": tuple(range(32, 40)),
    "chords": (0, 1, 2, 4, 5, 6, 11, 16, 17, 24, 25, 26, 27, 28, 48, 49, 50),
    "melody": (
        *(0, 11, 22, 26, 30, 40, 41, 42, 52, 56, 57, 59, 60, 64, 65, 66, 68, 71),
        *(73, 74, 75, 80, 81),
    ),
}
"""What plays a part where nothing else is said: General MIDI programs (drums: kits)."""
# The first programs that Slakh has no class for.
_NOT_RENDERED = 96
_MIN_NOTES = 8
_MAX_PROGRAMS = 15  # melodic channels of a MIDI file
_GAP_S = 5  # between stems that are played in one go


@dataclass(frozen=True)
class SynthConfig:
    """What a set is like."""

    train: int = 240  # tracks of each split
    validation: int = 24
    test: int = 24
    seconds: float = 60.0  # length of a track; shorter where its song is
    sample_rate_hz: int = 44100
    seed: int = 0
    # Parts of arranged songs and the programs that each may have.
    programs: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: dict(PROGRAMS)
    )
    max_semitones: int = 5  # random transposition of arranged songs, up or down
    max_gain_db: float = 4.0  # random level of each stem, up or down

    def __post_init__(self) -> None:
        counts = [getattr(self, split) for split in SPLITS]
        if min(counts) < 0 or not sum(counts):
            raise ValueError(
                f"numbers of tracks must not be below 0, nor all 0: {counts}"
            )
        if not self.seconds >= 1:
            raise ValueError(f"seconds must be 1 or more: {self.seconds}")
        if self.sample_rate_hz not in range(8000, PLAY_RATE_HZ + 1):
            raise ValueError(f"sample rate must be 8000..44100: {self.sample_rate_hz}")
        for part, programs in self.programs.items():
            if part not in PARTS:
                raise ValueError(f"unknown part {part!r}; parts are {', '.join(PARTS)}")
            if not programs or not all(0 <= p < _NOT_RENDERED for p in programs):
                raise ValueError(f"programs of {part} must be in 0..95: {programs}")
        if not self.programs:
            raise ValueError(f"no parts are named; parts are {', '.join(PARTS)}")


@dataclass(frozen=True)
class Material:
    """What a set is made from."""

    songs: Sequence[SongFile]
    grooves: Sequence[SongFile]
    soundfonts: Sequence[Path]  # of training and validation
    test_soundfonts: Sequence[Path]


@dataclass(frozen=True)
class Track:
    """One track, not rendered yet."""

    split: str
    name: str
    seed: tuple[int, ...]
    song: SongFile
    grooves: tuple[SongFile, ...]
    soundfonts: tuple[Path, ...]

    def folder(self, out: Path) -> Path:
        return out / self.split / self.name


class Outcome(NamedTuple):
    """What became of a track: seconds of audio, or why it was left out."""

    track: Track
    seconds: float
    problem: str


def plan(config: SynthConfig, material: Material) -> list[Track]:
    """The tracks of a set, numbered on from split to split as Slakh's.

    Raises:
      ValueError: there is too little material, or it can not be kept apart.
    """
    _check(config, material)
    songs = _split(config, material.songs, "songs")
    grooves = _split(config, material.grooves, "grooves") if material.grooves else {}
    tracks = []
    for number, split in enumerate(SPLITS):
        fonts = material.test_soundfonts if split == "test" else material.soundfonts
        for index in range(getattr(config, split)):
            tracks.append(
                Track(
                    split=split,
                    name=f"Track{len(tracks) + 1:05d}",
                    seed=(config.seed, number, index),
                    song=songs[split][index % len(songs[split])],
                    grooves=tuple(grooves.get(split, ())),
                    soundfonts=tuple(fonts),
                )
            )
    return tracks


def begin(out: Path, config: SynthConfig, material: Material) -> None:
    """Makes a set's folder and records what it is made of.

    Raises:
      ValueError: the folder holds another set, or other things.
    """
    about = _record(config, material)
    path = out / CONFIG_NAME
    if path.is_file():
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: damaged ({error}); remove {out}") from error
        for key, value in about.items():
            if begun.get(key) != value:
                raise ValueError(
                    f"{out} was begun with {key} {_short(begun.get(key))}, not "
                    f"{_short(value)}; name another --out, or remove it"
                )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is no set of mt3x: name another --out")
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        if getattr(config, split):
            (out / split).mkdir()
    with write_whole(path, text=True) as file:
        json.dump(about, file, indent=1)


def render_all(
    tracks: Sequence[Track], config: SynthConfig, out: Path, workers: int
) -> Iterator[Outcome]:
    """Renders the tracks that are not there yet, in any order.

    Raises:
      OSError: the disk is full, the synthesiser fails, ...
    """
    todo = [track for track in tracks if not track.folder(out).is_dir()]
    if workers == 1:
        for track in todo:
            yield render_track(track, config, out)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )
    try:
        futures = [pool.submit(render_track, track, config, out) for track in todo]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Ends this worker when its parent is killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def render_track(track: Track, config: SynthConfig, out: Path) -> Outcome:
    """Writes one track's folder; what is wrong with its song is in the outcome."""
    rng = np.random.default_rng(track.seed)
    try:
        parts = _parts(track, config, rng)
        duration_s = min(config.seconds, max(_end_s(p) for p in parts) + 2.0)
        stems = _play(parts, track, config, rng, duration_s)
        origin = Origin(track.song.name, track.song.md5)
        write_track(track.folder(out), stems, config.sample_rate_hz, origin)
    except ValueError as error:
        return Outcome(track, 0.0, f"{track.name}: {track.song.name}: {error}")
    return Outcome(track, duration_s, "")


def _parts(track: Track, config: SynthConfig, rng: np.random.Generator) -> list[Notes]:
    """The notes of each stem."""
    if track.song.is_lead:
        lead = read_lead_sheet(track.song)
        programs = {p: int(rng.choice(config.programs[p])) for p in config.programs}
        semitones = rng.integers(-config.max_semitones, config.max_semitones + 1)
        groove = None
        if track.grooves:
            groove = read_groove(nearest_groove(track.grooves, lead.bpm, rng))
        parts = list(
            arrange(
                lead, programs, rng, config.seconds, groove, int(semitones)
            ).values()
        )
    else:
        parts = _by_instrument(_some(read_midi(track.song.path), config.seconds, rng))
    parts = [notes for notes in parts if len(notes)]
    if sum(len(notes) for notes in parts) < _MIN_NOTES:
        raise ValueError(f"less than {_MIN_NOTES} notes")
    return parts


def _some(notes: Notes, seconds: float, rng: np.random.Generator) -> Notes:
    """A random excerpt, from just before one of the song's notes on."""
    if not len(notes):
        return notes
    latest_s = float(notes.offset_s.max()) - seconds
    starts_s = notes.onset_s[notes.onset_s <= max(latest_s, notes.onset_s[0])]
    start_s = float(rng.choice(starts_s)) - 0.1
    return excerpt(notes, start_s, seconds)


def _by_instrument(notes: Notes) -> list[Notes]:
    keys = notes.program + 128 * notes.is_drum
    return [notes[keys == key] for key in np.unique(keys)]


def _play(
    parts: list[Notes],
    track: Track,
    config: SynthConfig,
    rng: np.random.Generator,
    duration_s: float,
) -> list[RenderedStem]:
    """The parts as sound, each played by a random one of the soundfonts that can."""
    chosen = [_soundfont(notes, track.soundfonts, rng) for notes in parts]
    gains_db = rng.uniform(-config.max_gain_db, config.max_gain_db, len(parts))
    samples: dict[int, np.ndarray] = {}
    for font in track.soundfonts:
        played = [index for index, own in enumerate(chosen) if own == font]
        for first in range(0, len(played), _MAX_PROGRAMS):
            some = played[first : first + _MAX_PROGRAMS]
            sounds = _play_in_turn([parts[i] for i in some], font, duration_s)
            samples.update(zip(some, sounds, strict=True))
    return [
        RenderedStem(
            notes=notes,
            program=int(notes.program[0]),
            is_drum=bool(notes.is_drum[0]),
            plugin=font.name if font else "None",
            samples_S=_resampled(samples.get(index), config.sample_rate_hz),
            gain_db=round(float(gains_db[index]), 2),
        )
        for index, (notes, font) in enumerate(zip(parts, chosen, strict=True))
    ]


def _play_in_turn(
    parts: list[Notes], font: Path, duration_s: float
) -> list[np.ndarray]:
    """Each part's samples at PLAY_RATE_HZ; a synthesiser is slow to start."""
    slot_s = int(np.ceil(duration_s)) + _GAP_S
    joined = Notes.concatenate([p.shift(i * slot_s) for i, p in enumerate(parts)])
    samples_S = play(joined, font)
    slot, length = slot_s * PLAY_RATE_HZ, round(duration_s * PLAY_RATE_HZ)
    missing = max(0, slot * len(parts) - len(samples_S))
    samples_S = np.pad(samples_S, (0, missing))
    return [samples_S[i * slot :][:length] for i in range(len(parts))]


def _resampled(samples_S: np.ndarray | None, rate_hz: int) -> np.ndarray | None:
    # Synthesisers have no low-pass: at a lower rate they would fold the treble back.
    if samples_S is None or rate_hz == PLAY_RATE_HZ:
        return samples_S
    return soxr.resample(samples_S, in_rate=PLAY_RATE_HZ, out_rate=rate_hz)


def _soundfont(
    notes: Notes, fonts: Sequence[Path], rng: np.random.Generator
) -> Path | None:
    program, is_drum = int(notes.program[0]), bool(notes.is_drum[0])
    if program >= _NOT_RENDERED and not is_drum:
        return None
    preset = (DRUM_BANK if is_drum else 0, program)
    able = [font for font in fonts if preset in _presets(font)]
    return able[int(rng.integers(len(able)))] if able else None


@functools.lru_cache(maxsize=32)
def _presets(font: Path) -> frozenset[tuple[int, int]]:
    return read_presets(font)


def _end_s(notes: Notes) -> float:
    return float(notes.offset_s.max())


def _split(
    config: SynthConfig, songs: Sequence[SongFile], what: str
) -> dict[str, list[SongFile]]:
    """Songs for each split, in proportion to its tracks and one at least."""
    counts = {s: getattr(config, s) for s in SPLITS if getattr(config, s)}
    if len(songs) < len(counts):
        raise ValueError(
            f"{len(songs)} {what} for {len(counts)} splits that share none; give more, "
            "or no tracks to a split (--validation 0)"
        )
    order = np.random.default_rng(config.seed).permutation(len(songs))
    bounds = np.cumsum(list(counts.values())) / sum(counts.values()) * len(songs)
    ends, free = [], 0
    for index, bound in enumerate(bounds):
        later = len(counts) - 1 - index
        free = int(np.clip(round(bound), free + 1, len(songs) - later))
        ends.append(free)
    starts = [0, *ends[:-1]]
    return {
        split: [songs[i] for i in order[start:end]]
        for split, start, end in zip(counts, starts, ends, strict=True)
    }


def _check(config: SynthConfig, material: Material) -> None:
    if config.train + config.validation and not material.soundfonts:
        raise ValueError("no soundfont for training and validation; give --soundfont")
    if config.test and not material.test_soundfonts:
        raise ValueError(
            "no soundfont for the test split, which shares none: give "
            "--test-soundfont, or --test 0"
        )
    own = {_digest(font): font for font in material.soundfonts}
    for font in material.test_soundfonts:
        if _digest(font) in own:
            raise ValueError(
                f"{font} is {own[_digest(font)]}, which training has: give the test "
                "split another soundfont"
            )
    if not any(song.is_lead for song in material.songs):
        return
    for fonts in (material.soundfonts, material.test_soundfonts):
        presets = frozenset().union(*map(_presets, fonts))
        for part, programs in config.programs.items():
            bank = DRUM_BANK if part == "drums" else 0
            missing = [p for p in programs if fonts and (bank, p) not in presets]
            if missing:
                names = ", ".join(font.name for font in fonts)
                raise ValueError(
                    f"{names}: no preset for {part} {missing[0]}; give --programs "
                    f"{part}=... or another soundfont"
                )


@functools.lru_cache(maxsize=32)
def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(config: SynthConfig, material: Material) -> dict[str, Any]:
    """The configuration as JSON, with what decides the bytes of the tracks."""

    def songs(files: Sequence[SongFile]) -> list[list[str]]:
        return [[song.name, song.md5] for song in files]

    def fonts(paths: Sequence[Path]) -> list[list[str]]:
        return [[path.name, _digest(path)] for path in paths]

    about = {
        "format": FORMAT,
        **asdict(config),
        "synthesizer": synthesizer(),
        "soundfonts": fonts(material.soundfonts),
        "test_soundfonts": fonts(material.test_soundfonts),
        "songs": songs(material.songs),
        "grooves": songs(material.grooves),
    }
    return json.loads(json.dumps(about))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""What a set of `mt3x synth` is made of: its tracks, songs and soundfonts.

No song, groove or soundfont of the test split is in another one; training and
validation share soundfonts, not songs. A set is recorded in its folder, so that a run
that resumes it cannot mix it with another.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mt3x.data.synthesis.arrange import PARTS
from mt3x.data.synthesis.songs import SongFile
from mt3x.data.synthesis.soundfonts import DRUM_BANK, read_presets
from mt3x.data.synthesis.synthesizer import PLAY_RATE_HZ, synthesizer_version
from mt3x.files import write_whole

SPLITS = ("train", "validation", "test")
FORMAT = "mt3x-synth-1"
CONFIG_NAME = "synth.json"
# fmt: off
PROGRAMS: Mapping[str, tuple[int, ...]] = {
    "drums": (0, 8, 16, 25, 32, 40),
    "bass": tuple(range(32, 40)),
    "chords": (0, 1, 2, 4, 5, 6, 11, 16, 17, 24, 25, 26, 27, 28, 48, 49, 50),
    "melody": (
        0, 11, 22, 26, 30, 40, 41, 42, 52, 56, 57, 59, 60, 64, 65, 66, 68, 71, 73, 74,
        75, 80, 81,
    ),
}
# fmt: on
"""What plays a part where nothing else is said: General MIDI programs (drums: kits)."""
NUM_RENDERED = 96  # programs that Slakh was rendered with: the first ones


@dataclass(frozen=True)
class SynthConfig:
    """Options of a set."""

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
            if not programs or not all(0 <= p < NUM_RENDERED for p in programs):
                raise ValueError(f"programs of {part} must be in 0..95: {programs}")
        if not self.programs:
            raise ValueError(f"no parts are named; parts are {', '.join(PARTS)}")
        # Their order must not matter: random choices follow it.
        ordered = {p: self.programs[p] for p in PARTS if p in self.programs}
        object.__setattr__(self, "programs", ordered)


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


def plan(config: SynthConfig, material: Material) -> list[Track]:
    """Return the tracks of a set, numbered through all splits as Slakh's.

    Raises:
      ValueError: there is too little material, or it cannot be kept apart.
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
    """Make a set's folder and record what it is made of.

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
        raise ValueError(f"{out} exists and is not a set of mt3x: name another --out")
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        if getattr(config, split):
            (out / split).mkdir()
    with write_whole(path, text=True) as file:
        json.dump(about, file, indent=1)


@functools.lru_cache(maxsize=32)
def presets_of(font: Path) -> frozenset[tuple[int, int]]:
    """Return `read_presets`, read once per soundfont."""
    return read_presets(font)


def _split(
    config: SynthConfig, songs: Sequence[SongFile], what: str
) -> dict[str, list[SongFile]]:
    """Return songs for each split, in proportion to its tracks, at least one."""
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
    for font in (*material.soundfonts, *material.test_soundfonts):
        presets_of(font)  # says what is wrong with it
    own = {_digest(font): font for font in material.soundfonts}
    for font in material.test_soundfonts:
        if _digest(font) in own:
            raise ValueError(
                f"{font} is {own[_digest(font)]}, which training has: give the test "
                "split another soundfont"
            )
    if not any(song.is_lead for song in material.songs):
        return
    for fonts in filter(len, (material.soundfonts, material.test_soundfonts)):
        presets = frozenset().union(*map(presets_of, fonts))
        for part, programs in config.programs.items():
            bank = DRUM_BANK if part == "drums" else 0
            missing = [p for p in programs if (bank, p) not in presets]
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
    """Return the configuration as JSON, with what decides the bytes of the tracks."""

    def songs(files: Sequence[SongFile]) -> list[list[str]]:
        return [[song.name, song.md5] for song in files]

    def fonts(paths: Sequence[Path]) -> list[list[str]]:
        return [[path.name, _digest(path)] for path in paths]

    about = {
        "format": FORMAT,
        **asdict(config),
        "synthesizer": synthesizer_version(),
        "soundfonts": fonts(material.soundfonts),
        "test_soundfonts": fonts(material.test_soundfonts),
        "songs": songs(material.songs),
        "grooves": songs(material.grooves),
    }
    return json.loads(json.dumps(about))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

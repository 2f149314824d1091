"""Dry stems: parts of songs, ensembles and solos, each played by one instrument.

A recipe is a JSON file:
  {"seed": 1,
   "sounds": {NAME: {"path": ..., "program": 65, "match": [...], ...}, ...},
   "music": [{"name": ..., "kind": one of KINDS, "hours": 4.0, "sources": [...]}, ...]}
Paths are relative to a folder of sounds. A unit is an excerpt with one stem for each
part, in the time of the excerpt, so that stems of a unit may be heard together. Every
unit is a function of (seed, name, number).
"""

import functools
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mt3x.data.synthesis.arrange import arrange, fit_range, pitch_range
from mt3x.data.synthesis.compose import compose
from mt3x.data.synthesis.drums import pattern_drums
from mt3x.data.synthesis.parts import guitar, melody, voices
from mt3x.data.synthesis.piano_corpora import RenderedPiece, find_midi
from mt3x.data.synthesis.songs import (
    SongFile,
    find_grooves,
    find_songs,
    groove_bpm,
    nearest_groove,
    read_groove,
    read_lead_sheet,
)
from mt3x.data.synthesis.speech import check_voice
from mt3x.data.synthesis.stem_players import Sound, StemPlayer
from mt3x.files import FieldError, from_json, one_line
from mt3x.music.instrument_classes import CLASS_OF_PROGRAM, CLASSES
from mt3x.music.midi import read_tracks
from mt3x.music.notes import Notes
from mt3x.music.samples import to_int16

RATE_HZ = 16000
KINDS = ("songs", "bands", "voices", "scores", "melody", "guitar", "chords", "drums")
DRUMS = "drums"
# How often each class plays a part of one voice, of chords, of the bass.
# fmt: off
_MONO = {
    "violin and viola": 4, "cello and double bass": 2, "trumpet": 2,
    "trombone and tuba": 2, "horn": 2, "saxophone": 3, "oboe and English horn": 2,
    "clarinet": 3, "bassoon": 2.5, "flutes": 3, "voice": 5, "synth lead": 1.5,
    "distorted guitar": 1, "clean electric guitar": 1, "accordion and harmonica": 1,
    "acoustic guitar": 1, "mallets": 0.8, "piano": 0.8, "electric piano": 0.7,
    "organ": 0.5, "pizzicato and harp": 0.7, "string ensemble": 0.7,
}
_CHORDS = {
    "piano": 3, "electric piano": 2, "mallets": 1.2, "organ": 2,
    "accordion and harmonica": 1, "acoustic guitar": 3, "clean electric guitar": 2,
    "distorted guitar": 1, "pizzicato and harp": 1.2, "string ensemble": 2, "voice": 1,
    "synth pad": 1.5, "trumpet": 0.4,
}
_BASS = {
    "bass": 6, "cello and double bass": 0.7, "trombone and tuba": 0.4,
    "pizzicato and harp": 0.4, "synth lead": 0.2,
}
# fmt: on
# Programs that do not sound as written: at other pitches, or without one.
_UNUSED = {31, 47, 55, 86, 93, 95, *range(96, 128)}
_POLYPHONY = {"acoustic guitar": 6, "clean electric guitar": 6, "distorted guitar": 3}


@dataclass(frozen=True)
class MusicSpec:
    """A part of a recipe: what music, and how much of it."""

    name: str
    kind: str
    hours: float  # of stems
    excerpt_s: float = 60.0
    # Folders of notes, as they are named with `--notes NAME=FOLDER`.
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind must be one of {KINDS}: {self.kind}")
        if not self.hours > 0 or not self.excerpt_s >= 5:
            raise ValueError(
                f"{self.name}: hours must be above 0 and excerpt_s 5 or more"
            )


@dataclass(frozen=True)
class StemRecipe:
    """A whole recipe, with its folders."""

    seed: int
    sounds: Mapping[str, Sound]
    music: tuple[MusicSpec, ...]
    folder: Path  # of the sounds
    notes: Mapping[str, Path] = field(default_factory=dict)


def read_stem_recipe(
    path: Path, sounds: Path, notes: Mapping[str, Path] | None = None
) -> StemRecipe:
    """Read a recipe.

    Args:
      path: the JSON file.
      sounds: the folder that its sounds lie in.
      notes: folders of notes by the names that the recipe uses.

    Raises:
      OSError, ValueError: what is wrong, by name.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = {
            name: from_json(Sound, value, ("path",))
            for name, value in values["sounds"].items()
        }
        music = tuple(
            from_json(MusicSpec, value, ("name", "kind", "hours"))
            for value in values["music"]
        )
        seed = int(values.get("seed", 0))
    except (KeyError, TypeError, AttributeError, FieldError, ValueError) as error:
        raise ValueError(f"{path}: not a recipe of stems: {error}") from error
    notes = dict(notes or {})
    for spec in music:
        for source in spec.sources:
            if source not in notes:
                raise ValueError(
                    f"{path}: {spec.name} needs notes of {source!r}: give a folder "
                    f"with --notes {source}=FOLDER"
                )
    for name, sound in found.items():
        if sound.voice is not None:
            try:
                check_voice(sound.voice)
            except ValueError as error:
                raise ValueError(f"{path}: {name}: {error}") from error
        elif not (sounds / sound.path).exists():
            raise FileNotFoundError(f"{sounds / sound.path}: no such sound ({name})")
    return StemRecipe(seed, found, music, sounds, notes)


def render_stems(recipe: StemRecipe, spec: MusicSpec, unit: int) -> list[RenderedPiece]:
    """Compose or read the parts of a unit and play each.

    Returns:
      One piece for each stem; its info has `program`, `is_drum`, `group` (the unit),
      `sound` and `origin`.
    """
    key = recipe.seed, zlib.crc32(spec.name.encode()), unit
    rng = np.random.default_rng(key)
    player = _player(recipe.folder, tuple(recipe.sounds.items()))
    origin, parts, problems = _Excerpt(recipe, spec, rng).parts()
    pieces = []
    for number, (part, program, notes) in enumerate(parts):
        is_drum = part == DRUMS
        played = player.play(notes, program, is_drum, rng) if len(notes) else None
        if played is None or not len(played.notes):
            continue
        num = round(spec.excerpt_s * RATE_HZ)
        samples_S = played.samples_S[:num]
        samples_S = np.pad(samples_S, (0, num - len(samples_S)))
        peak = float(np.abs(samples_S).max(initial=0.0))
        if not peak > 0:
            continue
        info = {
            "program": played.program,
            "is_drum": is_drum,
            "group": f"{spec.name}-{unit:05d}",
            "sound": played.sound,
            "origin": origin,
        }
        name = f"{spec.name}-{unit:05d}-{number}"
        samples_S = to_int16(samples_S * np.float32(0.7 / peak))
        pieces.append(RenderedPiece(name, samples_S, played.notes, info, problems))
    return pieces


Part = tuple[str, int, Notes]  # name, program, notes
_MOST_DRAWN = 50
"""Songs that are drawn for a unit, as long as none can be read."""


class _Excerpt:
    """The parts of one unit."""

    def __init__(
        self, recipe: StemRecipe, spec: MusicSpec, rng: np.random.Generator
    ) -> None:
        self._recipe, self._spec, self._rng = recipe, spec, rng
        self._length_s = spec.excerpt_s - 1.5  # the last notes ring

    def parts(self) -> tuple[str, list[Part], tuple[str, ...]]:
        """Return where the music comes from, its parts, and what could not be read.

        Where a song cannot be read, another is drawn.
        """
        problems = []
        while True:
            try:
                return *getattr(self, f"_{self._spec.kind}")(), tuple(problems)
            except (OSError, ValueError) as error:
                problems.append(one_line(error))
                if len(problems) == _MOST_DRAWN:
                    raise

    def _program(self, weights: Mapping[str, float]) -> int:
        """Draw a class, then one of its programs."""
        names = list(weights)
        chances = np.array([weights[name] for name in names], float)
        name = names[self._rng.choice(len(names), p=chances / chances.sum())]
        programs = next(found.programs for found in CLASSES if found.name == name)
        return int(self._rng.choice([p for p in programs if p not in _UNUSED]))

    def _songs(self) -> tuple[str, list[Part]]:
        """Arrange a lead sheet."""
        rng = self._rng
        songs, grooves = self._found(is_lead=True)
        song = songs[int(rng.integers(len(songs)))]
        lead = read_lead_sheet(song)
        programs = {
            "drums": 0,
            "bass": self._program(_BASS),
            "chords": self._program(_CHORDS),
            "melody": self._program(_MONO),
        }
        groove = None
        if grooves and rng.random() < 0.85:
            groove = read_groove(nearest_groove(grooves, lead.bpm, rng))
        semitones = int(rng.integers(-6, 7))
        band = arrange(lead, programs, rng, self._length_s, groove, semitones)
        parts = [(name, programs[name], notes) for name, notes in band.items()]
        # What else a band may have: the second voice, and a pad of the long notes.
        if len(band.get("melody", ())) and rng.random() < 0.5:
            program = self._program(_MONO)
            shift = int(rng.choice([-12, -5, 0, 7, 12]))
            second = band["melody"]
            second = second[rng.random(len(second)) < 0.8]
            second = _fitted(second.transposed(shift), program)
            parts.append(("second", program, second))
        return song.name, parts

    def _bands(self) -> tuple[str, list[Part]]:
        """Take whole songs as they are, with instruments of the same classes."""
        rng = self._rng
        songs, _ = self._found(is_lead=False)
        song = songs[int(rng.integers(len(songs)))]
        notes = Notes.from_midi(song.path)
        latest_s = max(float(notes.offset_s.max(initial=0)) - self._length_s, 0.0)
        start_s = float(rng.uniform(0, latest_s)) if latest_s else 0.0
        notes = notes.clip(start_s, start_s + self._length_s).shift(-start_s)
        parts = [(DRUMS, 0, notes[notes.is_drum])]
        pitched = notes[~notes.is_drum]
        for program in np.unique(pitched.program)[:6]:
            found = CLASSES[CLASS_OF_PROGRAM[program]].programs
            chosen = int(rng.choice([p for p in found if p not in _UNUSED]))
            part = pitched[pitched.program == program]
            parts.append((f"program {program}", chosen, _fitted(part, chosen)))
        return song.name, [part for part in parts if len(part[2])]

    def _voices(self) -> tuple[str, list[Part]]:
        """Compose for an ensemble of two to five."""
        rng = self._rng
        num = int(rng.choice([2, 3, 4, 4, 4, 5]))
        ranges = [(60, 84), (55, 77), (48, 69), (38, 60), (52, 76)][:num]
        chosen = [self._voice_program(bounds) for bounds in ranges]
        bounds = [
            _common(bounds, pitch_range(program))
            for bounds, program in zip(ranges, chosen, strict=True)
        ]
        parts = voices(rng, self._length_s, bounds)
        return "composed", [
            (f"voice {n}", program, notes)
            for n, (program, notes) in enumerate(zip(chosen, parts, strict=True))
        ]

    def _voice_program(self, bounds: tuple[int, int]) -> int:
        """Draw an instrument that has at least an octave of a voice's range."""
        for _ in range(50):
            program = self._program(_MONO)
            low, high = _common(bounds, pitch_range(program))
            if high - low >= 11:
                return program
        return 40

    def _scores(self) -> tuple[str, list[Part]]:
        """Play parts of scores: MIDI files with a track for each player."""
        rng = self._rng
        paths = [p for s in self._spec.sources for p in _midi_of(self._recipe.notes[s])]
        path = str(rng.choice(np.array(paths, dtype=object)))
        tracks = [Notes(*rows) for rows in read_tracks(Path(path)).values()]
        tracks = [notes for notes in tracks if len(notes) > 8][:6]
        tempo = float(np.exp(rng.uniform(np.log(0.8), np.log(1.3))))
        end_s = max(float(notes.offset_s.max()) for notes in tracks) * tempo
        start_s = float(rng.uniform(0, max(end_s - self._length_s, 0.0)))
        parts = []
        shift = int(rng.integers(-4, 5))
        for number, notes in enumerate(tracks):
            notes = notes.stretched(tempo).clip(start_s, start_s + self._length_s)
            notes = _human(notes.shift(-start_s).transposed(shift), rng)
            if not len(notes):
                continue
            low, high = int(notes.pitch.min()), int(notes.pitch.max())
            program = self._score_program(low, high)
            parts.append((f"part {number}", program, _fitted(notes, program)))
        return Path(path).name, parts

    def _score_program(self, low: int, high: int) -> int:
        """Draw an instrument for the range of a part, of strings half of the time."""
        if self._rng.random() < 0.4:
            return 40 if low >= 55 else 41 if low >= 48 else 42
        return self._voice_program((low, max(high, low + 12)))

    def _melody(self) -> tuple[str, list[Part]]:
        """Compose a solo; a third of those for strings have double stops."""
        program = self._program({**_MONO, "bass": 2.5})
        is_string = program in (40, 41, 42, 43)
        double = 0.3 if is_string and self._rng.random() < 0.5 else 0.0
        if program in (24, 25, 26, 27, 0, 4, 11):
            double = 0.1
        notes = melody(self._rng, self._length_s, pitch_range(program), double)
        return "composed", [("solo", program, notes)]

    def _guitar(self) -> tuple[str, list[Part]]:
        weights = {k: _CHORDS[k] for k in ("acoustic guitar", "clean electric guitar")}
        program = self._program({**weights, "distorted guitar": 0.7})
        notes = guitar(self._rng, self._length_s)
        return "composed", [("guitar", program, notes)]

    def _chords(self) -> tuple[str, list[Part]]:
        """Compose polyphony as for a piano, for any instrument that has it."""
        program = self._program(_CHORDS)
        notes = compose(self._rng, self._length_s).notes()
        notes = replace(notes, program=np.full(len(notes), program))
        most = _POLYPHONY.get(CLASSES[CLASS_OF_PROGRAM[program]].name, 10)
        notes = _thinned(_fitted(notes, program), most)
        return "composed", [("chords", program, notes)]

    def _drums(self) -> tuple[str, list[Part]]:
        """Play grooves one after the other, or made up patterns."""
        rng = self._rng
        _, grooves = self._found(is_lead=True)
        if not grooves or rng.random() < 0.15:
            beat_s = 60 / rng.uniform(60, 190)
            beats_s = np.arange(0.2, self._length_s, beat_s)
            notes = pattern_drums(beats_s, np.arange(0, len(beats_s), 4), rng)
            return "composed", [(DRUMS, 0, notes)]
        song = grooves[int(rng.integers(len(grooves)))]
        notes, blocks, time_s = read_groove(song).notes, [], 0.0
        speed = float(rng.uniform(0.9, 1.1))
        bar_s = 240 / groove_bpm(song)
        length_s = max(np.ceil(float(notes.offset_s.max()) / bar_s) * bar_s, bar_s)
        while time_s < self._length_s:
            blocks.append(notes.stretched(speed).shift(time_s))
            time_s += length_s * speed
        notes = Notes.concatenate(blocks).clip(0, self._length_s)
        return song.name, [(DRUMS, 0, notes)]

    def _found(self, is_lead: bool) -> tuple[list[SongFile], list[SongFile]]:
        folders = [self._recipe.notes[source] for source in self._spec.sources]
        return _songs_of(tuple(folders), is_lead)


@functools.lru_cache(maxsize=8)
def _songs_of(
    folders: tuple[Path, ...], is_lead: bool
) -> tuple[list[SongFile], list[SongFile]]:
    """Return songs and grooves of folders; grooves are told by their names."""
    songs: list[SongFile] = []
    grooves: list[SongFile] = []
    for folder in folders:
        try:
            grooves += find_grooves(folder)
        except FileNotFoundError:
            songs += find_songs(folder, is_lead)
    return songs, grooves


@functools.lru_cache(maxsize=8)
def _midi_of(folder: Path) -> tuple[str, ...]:
    return find_midi(folder)


@functools.lru_cache(maxsize=1)
def _player(folder: Path, sounds: tuple[tuple[str, Sound], ...]) -> StemPlayer:
    return StemPlayer(folder, dict(sounds))


def _common(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), min(one[1], other[1])


def _fitted(notes: Notes, program: int) -> Notes:
    return fit_range(notes, *pitch_range(program)) if len(notes) else notes


def _thinned(notes: Notes, most: int) -> Notes:
    """Leave out notes that begin while `most` others sound."""
    kept, sounding = np.zeros(len(notes), bool), []
    for n in range(len(notes)):
        sounding = [end_s for end_s in sounding if end_s > notes.onset_s[n]]
        if len(sounding) < most:
            kept[n] = True
            sounding.append(float(notes.offset_s[n]))
    return notes[kept]


def _human(notes: Notes, rng: np.random.Generator) -> Notes:
    """Play a written part: a little off the beat, in phrases that swell."""
    if not len(notes):
        return notes
    onset_s = notes.onset_s + rng.normal(0, 0.012, len(notes)) + rng.normal(0, 0.01)
    onset_s = np.maximum(onset_s, 0.0)
    length_s = (notes.offset_s - notes.onset_s) * rng.choice([1.0, 0.97, 0.85])
    swell = np.sin(2 * np.pi * (onset_s / rng.uniform(4, 12) + rng.random()))
    level = rng.normal(72, 14) + 9 * swell + rng.normal(0, 5, len(notes))
    velocity = np.clip(np.round(level), 15, 120).astype(int)
    length_s = np.maximum(length_s + rng.uniform(-0.02, 0.03, len(notes)), 0.05)
    offset_s = onset_s + length_s
    order = np.argsort(onset_s, kind="stable")
    return Notes(onset_s, offset_s, notes.pitch, velocity)[order]

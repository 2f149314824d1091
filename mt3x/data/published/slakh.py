"""Slakh2100 (Manilow et al. 2019, arXiv:1909.08494): tracks are read and written.

    Track00001/metadata.yaml  mix.flac  all_src.mid  MIDI/S00.mid  stems/S00.flac

Stems have one loudness by ITU-R BS.1770-4. Then all of them are lowered so that the
mix, which is their sum, peaks at -1 dB. The keys of metadata.yaml are Slakh's.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from mt3x.data.pieces import Stem
from mt3x.data.published.source import (
    Problem,
    ReadOptions,
    StemsSource,
    pitch_bends,
)
from mt3x.music.instruments import FAMILY_NAMES, PROGRAM_NAMES, SLAKH_PROGRAMS
from mt3x.music.label_files import naming, read_text
from mt3x.music.notes import Notes
from mt3x.music.samples import to_int16

DRUMS = "Drums"
CERBERUS4_PROGRAMS = {"Bass": 32, DRUMS: 0, "Guitar": 24, "Piano": 0}
LOUDNESS_LUFS = -13.0
PEAK_DB = -1.0
# Slakh's names of General MIDI's families where they differ, and its number of drums.
_SLAKH_FAMILIES = {"Ensemble": "Strings (continued)"}
_DRUM_PROGRAM = 128
# The programs that are not their class's first one, by the classes that Slakh was
# rendered with (ethman/slakh-generation); those from 96 on were not rendered.
_SLAKH_PROGRAM_CLASSES = {
    "Electric Piano": (2, 5, 7),
    "Acoustic Piano": (1, 3, 6),
    "Clean Electric Guitar": (27, 28, 31),
    "Electric Bass": range(34, 40),
    "String Ensemble": (44, 45, 49),
    "Trumpet": (59,),
    "Pipe": range(72, 80),
}
_GATING_BLOCK_S = 0.4  # of BS.1770


@dataclass(frozen=True)
class SlakhSource(StemsSource):
    """A track; its notes have the programs of their classes, or of the MIDI files."""

    def _mix(self) -> Path:
        return self.folder / "mix.flac"

    def _parts(
        self, options: ReadOptions, problems: list[Problem]
    ) -> tuple[list[tuple[Path, Stem]], int]:
        parts, num_missing = [], 0
        for name, about in read_metadata(self.folder / "metadata.yaml").items():
            if not about.get("audio_rendered", True):
                continue  # its owner left it out of the mix
            try:
                audio_path = self.folder / "stems" / f"{name}.flac"
                midi_path = self.folder / "MIDI" / f"{name}.mid"
                for path in (audio_path, midi_path):
                    if not path.is_file():
                        raise FileNotFoundError(f"{path} is missing")
                notes = Notes.from_midi(midi_path)
                problems += pitch_bends(midi_path)
                if not len(notes):
                    raise ValueError(f"{midi_path}: there are no notes")
                stem = _stem(name, about, notes, options)
            except (OSError, ValueError) as error:
                problems.append(Problem("missing stem", f"{self.id}: {error}"))
                num_missing += 1
                continue
            parts.append((audio_path, stem))
        return parts, num_missing


@dataclass(frozen=True)
class Cerberus4Source(SlakhSource):
    """The bass, drums, guitar and piano of a track of Slakh, all stems of each.

    Notes have MT3's program for each of the four.
    """

    def _parts(
        self, options: ReadOptions, problems: list[Problem]
    ) -> tuple[list[tuple[Path, Stem]], int]:
        metadata = read_metadata(self.folder / "metadata.yaml")
        parts, _ = super()._parts(options, problems)
        chosen = []
        for path, stem in parts:
            family = _family(metadata[stem.name])
            program = CERBERUS4_PROGRAMS.get(family)
            if program is not None:
                programs = np.full(len(stem.notes), program)
                notes = replace(stem.notes, program=programs)
                chosen.append((path, replace(stem, instrument=family, notes=notes)))
        found = {stem.instrument for _, stem in chosen}
        if len(found) < len(CERBERUS4_PROGRAMS):
            missing = sorted(CERBERUS4_PROGRAMS.keys() - found)
            raise ValueError(f"no {' and no '.join(missing)} that can be used")
        return chosen, len(metadata)  # never the mix's file: it has the others, too


def find_slakh(
    folder: Path, kind: type[SlakhSource] = SlakhSource
) -> list[SlakhSource]:
    """Return the tracks with Slakh's splits: the folders train, validation and test."""
    return [
        kind(path.parent.name, split, path.parent)
        for split in ("train", "validation", "test")
        for path in folder.glob(f"{split}/Track*/metadata.yaml")
    ]


def find_cerberus4(folder: Path) -> list[SlakhSource]:
    """Return the tracks of Slakh that have bass, drums, guitar and piano."""
    tracks = []
    for track in find_slakh(folder, Cerberus4Source):
        try:
            stems = read_metadata(track.folder / "metadata.yaml").values()
        except (OSError, ValueError):
            tracks.append(track)  # that it cannot be read is told when it is
            continue
        if {_family(about) for about in stems} >= CERBERUS4_PROGRAMS.keys():
            tracks.append(track)
    return tracks


def read_metadata(path: Path) -> dict[str, dict]:
    """Return the stems of a track's metadata.yaml by name.

    Raises:
      OSError, ValueError: the file is missing, or it is not such a file.
    """
    import yaml

    _, text = read_text(path)
    with naming(path, "not Slakh's metadata"):
        try:
            stems = yaml.safe_load(text)["stems"]
        except yaml.YAMLError as error:
            raise ValueError(error) from error
        for about in stems.values():
            _ = int(about["program_num"]), bool(about["is_drum"])
    return stems


def slakh_class(program: int) -> str:
    """Return the class of Slakh that a General MIDI program belongs to.

    Raises:
      ValueError: programs from 96 on have none.
    """
    if not 0 <= program < 96:
        raise ValueError(f"program {program} has no class in Slakh; 0 to 95 have")
    for name, programs in _SLAKH_PROGRAM_CLASSES.items():
        if program in programs:
            return name
    # Else it is a class's first program, or follows it.
    return max(
        (name for name, first in SLAKH_PROGRAMS.items() if first <= program),
        key=SLAKH_PROGRAMS.__getitem__,
    )


def _stem(name: str, about: dict, notes: Notes, options: ReadOptions) -> Stem:
    """Return the stem of an entry of metadata.yaml."""
    is_drum = bool(about["is_drum"])
    # Slakh numbers drums 128.
    program = 0 if is_drum else int(about["program_num"])
    instrument = DRUMS if is_drum else slakh_class(program)
    if not options.midi_programs:
        program = SLAKH_PROGRAMS.get(instrument, 0)
    number = len(notes)
    notes = replace(
        notes, program=np.full(number, program), is_drum=np.full(number, is_drum)
    )
    return Stem(name, instrument, notes)


def _family(about: dict) -> str:
    """Return an instrument's family, such as "Bass", as metadata.yaml has it."""
    return DRUMS if about["is_drum"] else about.get("inst_class", "")


@dataclass(frozen=True, eq=False)
class RenderedStem:
    """One instrument's part; without samples where nothing could play it."""

    notes: Notes
    program: int
    is_drum: bool
    plugin: str  # what played it
    samples_S: np.ndarray | None
    gain_db: float = 0.0  # above Slakh's common loudness


@dataclass(frozen=True)
class Origin:
    """The MIDI file that a track comes from."""

    path: str
    md5: str


def write_track(
    folder: Path, stems: Sequence[RenderedStem], sample_rate_hz: int, origin: Origin
) -> None:
    """Write a track's folder, whole or not at all.

    Raises:
      ValueError: no stem can be heard.
      OSError: the folder exists, or cannot be written.
    """
    loudness = [_loudness(stem, sample_rate_hz) for stem in stems]
    levelled = [
        _scaled(stem.samples_S, LOUDNESS_LUFS + stem.gain_db - lufs)
        for stem, lufs in zip(stems, loudness, strict=True)
        if stem.samples_S is not None and np.isfinite(lufs)
    ]
    if not levelled:
        raise ValueError("no instrument of it can be heard")
    peak = float(np.abs(np.sum(levelled, axis=0)).max())
    overall_gain = 10 ** (PEAK_DB / 20) / peak
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)  # of a run that was stopped
    (part / "stems").mkdir(parents=True)
    (part / "MIDI").mkdir()
    about, mix_S = {}, 0
    for index, (stem, lufs) in enumerate(zip(stems, loudness, strict=True)):
        name = f"S{index:02d}"
        stem.notes.to_midi(part / "MIDI" / f"{name}.mid")
        is_rendered = bool(np.isfinite(lufs))
        if is_rendered:
            samples_S = to_int16(overall_gain * levelled.pop(0))
            _write_flac(part / "stems" / f"{name}.flac", samples_S, sample_rate_hz)
            mix_S = mix_S + samples_S.astype(np.int32)
        about[name] = _about(stem, is_rendered)
    mix_S = np.clip(mix_S, -32768, 32767).astype(np.int16)
    _write_flac(part / "mix.flac", mix_S, sample_rate_hz)
    Notes.concatenate([stem.notes for stem in stems]).to_midi(part / "all_src.mid")
    _write_metadata(part / "metadata.yaml", about, overall_gain, origin)
    os.rename(part, folder)


def integrated_loudness(samples_S: np.ndarray, sample_rate_hz: int) -> float:
    """Return the loudness of a mono signal in LUFS; -inf where it is silent.

    A signal that is shorter than a gating block of 0.4 s is measured as one block.
    """
    import pyloudnorm

    if not len(samples_S):
        return -np.inf
    # A little less than all: a product of rounded numbers must not exceed it.
    whole_s = float(np.nextafter(len(samples_S) / sample_rate_hz, 0))
    meter = pyloudnorm.Meter(
        rate=sample_rate_hz,
        filter_class="DeMan",  # right at all rates, the default at 48 kHz alone
        block_size=min(_GATING_BLOCK_S, whole_s),
    )
    return float(meter.integrated_loudness(np.asarray(samples_S, np.float64)))


def _loudness(stem: RenderedStem, sample_rate_hz: int) -> float:
    if stem.samples_S is None:
        return -np.inf
    return integrated_loudness(stem.samples_S, sample_rate_hz)


def _scaled(samples_S: np.ndarray, gain_db: float) -> np.ndarray:
    return samples_S.astype(np.float64) * 10 ** (gain_db / 20)


def _about(stem: RenderedStem, is_rendered: bool) -> dict:
    family = FAMILY_NAMES[stem.program // 8]
    family = DRUMS if stem.is_drum else _SLAKH_FAMILIES.get(family, family)
    about = {
        "audio_rendered": is_rendered,
        "inst_class": family,
        "is_drum": stem.is_drum,
        "midi_program_name": DRUMS if stem.is_drum else PROGRAM_NAMES[stem.program],
        "midi_saved": True,
        "plugin_name": stem.plugin if is_rendered else "None",
        "program_num": _DRUM_PROGRAM if stem.is_drum else stem.program,
    }
    if is_rendered:
        about["integrated_loudness"] = LOUDNESS_LUFS + stem.gain_db
    return about


def _write_metadata(
    path: Path, stems: dict[str, dict], overall_gain: float, origin: Origin
) -> None:
    import yaml

    metadata = {
        "UUID": origin.md5,
        "audio_dir": "stems",
        "lmd_midi_dir": origin.path,
        "midi_dir": "MIDI",
        "normalization_factor": LOUDNESS_LUFS,
        "normalized": True,
        "overall_gain": overall_gain,
        "stems": stems,
        "target_peak": PEAK_DB,
    }
    path.write_text(yaml.safe_dump(metadata, allow_unicode=True), encoding="utf-8")


def _write_flac(path: Path, samples_S: np.ndarray, sample_rate_hz: int) -> None:
    soundfile.write(path, samples_S, sample_rate_hz, format="FLAC", subtype="PCM_16")

"""Data sets with a stem per instrument, as they are published: Slakh, URMP."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mt3x.data.pieces import Piece, Stem
from mt3x.data.published.label_files import played_by, read_urmp_notes
from mt3x.data.published.source import (
    Problem,
    ReadOptions,
    StemsSource,
    midi_notes,
    mix_samples,
)
from mt3x.music.instruments import SLAKH_PROGRAMS
from mt3x.music.notes import Notes

DRUMS = "Drums"
URMP_PROGRAMS = {
    **{"vn": 40, "va": 41, "vc": 42, "db": 43, "tpt": 56, "tbn": 57, "tba": 58},
    **{"hn": 60, "sax": 64, "ob": 68, "bn": 70, "cl": 71, "fl": 73},
}
"""URMP's instrument codes, as MT3 maps them."""
CERBERUS4_PROGRAMS = {"Bass": 32, DRUMS: 0, "Guitar": 24, "Piano": 0}

# The programs that are not their class's first one, by the classes that Slakh was
# rendered with (ethman/slakh-generation); those from 96 on were not rendered.
_SLAKH_PROGRAM_CLASSES = {
    **{"Electric Piano": (2, 5, 7), "Acoustic Piano": (1, 3, 6)},
    **{"Clean Electric Guitar": (27, 28, 31), "Electric Bass": range(34, 40)},
    **{"String Ensemble": (44, 45, 49), "Trumpet": (59,), "Pipe": range(72, 80)},
}


@dataclass(frozen=True)
class SlakhSource(StemsSource):
    """A track of Slakh2100: metadata.yaml, mix.flac, stems/S00.flac, MIDI/S00.mid."""

    def _mix(self, folder: Path) -> Path:
        return folder / "mix.flac"

    def _parts(
        self, folder: Path, options: ReadOptions, problems: list[Problem]
    ) -> tuple[list[tuple[Path, Stem]], int]:
        parts, num_missing = [], 0
        for name, about in read_slakh_metadata(folder / "metadata.yaml").items():
            if not about.get("audio_rendered", True):
                continue  # its owner left it out of the mix
            try:
                audio_path = folder / "stems" / f"{name}.flac"
                midi_path = folder / "MIDI" / f"{name}.mid"
                for path in (audio_path, midi_path):
                    if not path.is_file():
                        raise FileNotFoundError(f"{path} is missing")
                stem = self._stem(name, about, midi_path, options, problems)
            except (OSError, ValueError) as error:
                problems.append(Problem("missing stem", f"{self.id}: {error}"))
                num_missing += 1
                continue
            parts.append((audio_path, stem))
        return parts, num_missing

    def _stem(
        self,
        name: str,
        about: dict,
        midi_path: Path,
        options: ReadOptions,
        problems: list[Problem],
    ) -> Stem:
        is_drum, program = bool(about["is_drum"]), int(about["program_num"])
        # Slakh numbers drums 128.
        program = 0 if is_drum else program
        instrument = DRUMS if is_drum else slakh_class(program)
        notes = midi_notes(midi_path, problems)
        if not len(notes):
            raise ValueError(f"{midi_path}: there are no notes")
        used = program if options.midi_programs else SLAKH_PROGRAMS.get(instrument, 0)
        return Stem(name, instrument, program, is_drum, played_by(notes, used, is_drum))


@dataclass(frozen=True)
class Cerberus4Source(SlakhSource):
    """The bass, drums, guitar and piano of a track of Slakh, all stems of each.

    Notes have MT3's program for each of the four.
    """

    def _parts(
        self, folder: Path, options: ReadOptions, problems: list[Problem]
    ) -> tuple[list[tuple[Path, Stem]], int]:
        metadata = read_slakh_metadata(folder / "metadata.yaml")
        parts, _ = super()._parts(folder, options, problems)
        chosen = []
        for path, stem in parts:
            family = DRUMS if stem.is_drum else metadata[stem.name]["inst_class"]
            program = CERBERUS4_PROGRAMS.get(family)
            if program is not None:
                notes = played_by(stem.notes, program, stem.is_drum)
                renamed = {"instrument": family, "program": program, "notes": notes}
                chosen.append((path, Stem(**{**vars(stem), **renamed})))
        found = {stem.instrument for _, stem in chosen}
        if len(found) < len(CERBERUS4_PROGRAMS):
            missing = sorted(CERBERUS4_PROGRAMS.keys() - found)
            raise ValueError(f"no {' and no '.join(missing)} that can be used")
        return chosen, len(metadata)  # never the mix's file: it has the others too


@dataclass(frozen=True)
class UrmpSource(StemsSource):
    """A piece of URMP: AuMix_*.wav, AuSep_1_vn_*.wav, Notes_1_vn_*.txt, ..."""

    def _mix(self, folder: Path) -> Path:
        return folder / f"AuMix_{folder.name}.wav"

    def _parts(
        self, folder: Path, options: ReadOptions, problems: list[Problem]
    ) -> tuple[list[tuple[Path, Stem]], int]:
        # 01_Jupiter_vn_vc: number, name, and the code of each part's instrument.
        number, title, *codes = folder.name.split("_")
        parts, num_missing = [], 0
        for index, code in enumerate(codes, start=1):
            name = f"{index}_{code}_{number}_{title}"
            try:
                if code not in URMP_PROGRAMS:
                    raise ValueError(f"instrument {code!r} is none of URMP's")
                notes = read_urmp_notes(folder / f"Notes_{name}.txt")
                if not len(notes):
                    raise ValueError(f"Notes_{name}.txt: there are no notes")
            except (OSError, ValueError) as error:
                problems.append(Problem("missing stem", f"{self.id}: {error}"))
                num_missing += 1
                continue
            program = URMP_PROGRAMS[code]
            stem = Stem(name, code, program, False, played_by(notes, program, False))
            parts.append((folder / f"AuSep_{name}.wav", stem))
        return parts, num_missing


def submixes(piece: Piece, number: int, least: int = 4) -> list[Piece]:
    """Random sub-mixes of a piece's stems, of `least` stems or more, as MT3's Slakh.

    The sum of their audio, scaled down where it is louder than 1. The same piece gives
    the same ones again.
    """
    rng = np.random.default_rng(list(piece.id.encode()))
    pieces = []
    for index in range(number):
        num_stems = rng.integers(min(least, len(piece.stems)), len(piece.stems) + 1)
        chosen = sorted(rng.permutation(len(piece.stems))[:num_stems])
        stems = tuple(piece.stems[i] for i in chosen)
        samples_S = mix_samples(
            stem.samples_S for stem in stems if stem.samples_S is not None
        )
        notes = Notes.concatenate([stem.notes for stem in stems])
        id = f"{piece.id}_mix{index}"
        pieces.append(Piece(id, samples_S, piece.sample_rate_hz, notes, stems))
    return pieces


def slakh_class(program: int) -> str:
    """The class of Slakh that a General MIDI program belongs to.

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


def read_slakh_metadata(path: Path) -> dict[str, dict]:
    """The stems of a track's metadata.yaml by name.

    Raises:
      OSError, ValueError: the file is missing or not such a file.
    """
    import yaml

    try:
        stems = yaml.safe_load(path.read_text(encoding="utf-8"))["stems"]
        for about in stems.values():
            _ = int(about["program_num"]), bool(about["is_drum"])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path}: not Slakh's metadata ({reason})") from error
    return stems

"""URMP (Li et al. 2019): small classical ensembles, each part recorded by itself."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mt3x.data.pieces import Stem
from mt3x.data.published.source import Problem, ReadOptions, StemsSource
from mt3x.music.label_files import naming, read_text
from mt3x.music.notes import Notes

URMP_PROGRAMS = {
    "vn": 40,
    "va": 41,
    "vc": 42,
    "db": 43,
    "tpt": 56,
    "tbn": 57,
    "tba": 58,
    "hn": 60,
    "sax": 64,
    "ob": 68,
    "bn": 70,
    "cl": 71,
    "fl": 73,
}
"""URMP's instrument codes, as MT3 maps them."""
# MT3's (Gardner et al. 2022, appendix).
_VALIDATION = frozenset("01 02 12 13 24 25 31 38 39".split())


@dataclass(frozen=True)
class UrmpSource(StemsSource):
    """A piece of URMP: AuMix_*.wav, AuSep_1_vn_*.wav, Notes_1_vn_*.txt, ..."""

    def _mix(self) -> Path:
        return self.folder / f"AuMix_{self.folder.name}.wav"

    def _parts(
        self, options: ReadOptions, problems: list[Problem]
    ) -> tuple[list[tuple[Path, Stem]], int]:
        # 01_Jupiter_vn_vc: number, name, and the code of each part's instrument.
        number, title, *codes = self.folder.name.split("_")
        parts, num_missing = [], 0
        for index, code in enumerate(codes, start=1):
            name = f"{index}_{code}_{number}_{title}"
            try:
                if code not in URMP_PROGRAMS:
                    raise ValueError(f"URMP has no instrument {code!r}")
                notes = read_urmp_notes(
                    self.folder / f"Notes_{name}.txt", URMP_PROGRAMS[code]
                )
                if not len(notes):
                    raise ValueError(f"Notes_{name}.txt: there are no notes")
            except (OSError, ValueError) as error:
                problems.append(Problem("missing stem", f"{self.id}: {error}"))
                num_missing += 1
                continue
            parts.append((self.folder / f"AuSep_{name}.wav", Stem(name, code, notes)))
        return parts, num_missing


def read_urmp_notes(path: Path, program: int) -> Notes:
    """Read a note table: onset in s, frequency in Hz, duration in s.

    Raises:
      OSError, ValueError: there is no such file, or a line is wrong; names the line.
    """
    rows = []
    _, text = read_text(path)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        with naming(f"{path}, line {number}", "not a note of URMP"):
            onset_s, frequency_hz, duration_s = map(float, line.split())
            pitch = round(69 + 12 * math.log2(frequency_hz / 440))
        rows.append((onset_s, onset_s + duration_s, pitch))
    onset_s, offset_s, pitch = np.array(rows, float).reshape(-1, 3).T
    with naming(path, "not a note table of URMP"):
        return Notes(onset_s, offset_s, pitch, program=np.full(len(rows), program))


def find_urmp(folder: Path) -> list[UrmpSource]:
    """Return the pieces with MT3's splits."""
    pieces = []
    for path in folder.glob("**/AuMix_*.wav"):
        id = path.parent.name
        split = "validation" if id[:2] in _VALIDATION else "train"
        pieces.append(UrmpSource(id, split, path.parent))
    return pieces

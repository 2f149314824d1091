"""What is in an SF2 or SF3 soundfont, as far as mt3x asks: its presets.

The format: SoundFont Technical Specification 2.04, chapters 4 and 7.2. An SF3 file is
the same with compressed samples.
"""

import os
import struct
from pathlib import Path
from typing import IO

DRUM_BANK = 128
_PRESET_BYTES = 38


def read_presets(path: str | os.PathLike[str]) -> frozenset[tuple[int, int]]:
    """Return (bank, program) of each preset of a soundfont; drum kits are bank 128.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not a soundfont, or it is cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such soundfont; give an .sf2 or .sf3 file")
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"sfbk":
            raise ValueError(f"{path}: not a soundfont; give an .sf2 or .sf3 file")
        end = 8 + int.from_bytes(head[4:8], "little")
        if end > path.stat().st_size:
            raise ValueError(f"{path}: cut short; download it again")
        headers = _find(file, 12, end, b"phdr")
    if headers is None:
        raise ValueError(f"{path}: a soundfont without presets; give another")
    presets = set()
    # The last record only marks the end.
    for start in range(0, len(headers) - _PRESET_BYTES, _PRESET_BYTES):
        program, bank = struct.unpack_from("<20xHH", headers, start)
        presets.add((bank, program))
    return frozenset(presets)


def _find(file: IO[bytes], start: int, end: int, name: bytes) -> bytes | None:
    """Return the contents of the first chunk of a name between two places of a file."""
    while start + 8 <= end:
        file.seek(start)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind == name:
            return file.read(length)
        if kind == b"LIST" and file.read(4) == b"pdta":
            return _find(file, start + 12, start + 8 + length, name)
        start += 8 + length + length % 2
    return None

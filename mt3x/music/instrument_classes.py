"""The classes of instruments and drums that a band model tells apart.

24 classes of pitched instruments hold all programs of General MIDI; 13 families hold
the classes. Eight classes of drums hold the keys of a drum kit.
"""

from typing import NamedTuple

import numpy as np


class InstrumentClass(NamedTuple):
    """Programs that sound alike."""

    name: str
    family: str
    program: int  # what the class is written as
    programs: tuple[int, ...]


class DrumClass(NamedTuple):
    """Keys of a drum kit that sound alike."""

    name: str
    key: int  # what the class is written as
    keys: tuple[int, ...]


# fmt: off
CLASSES = (
    InstrumentClass("piano", "piano", 0, (0, 1, 3, 6)),
    InstrumentClass("electric piano", "piano", 4, (2, 4, 5, 7)),
    InstrumentClass(
        "mallets", "mallets", 11, (*range(8, 16), 47, 108, *range(112, 120))
    ),
    InstrumentClass("organ", "organ", 16, tuple(range(16, 21))),
    InstrumentClass("accordion and harmonica", "organ", 21, (21, 22, 23)),
    InstrumentClass("acoustic guitar", "guitar", 25, (24, 25, *range(104, 108))),
    InstrumentClass("clean electric guitar", "guitar", 27, (26, 27, 28)),
    InstrumentClass("distorted guitar", "guitar", 30, (29, 30, 31)),
    InstrumentClass("bass", "bass", 33, tuple(range(32, 40))),
    InstrumentClass("violin and viola", "strings", 40, (40, 41, 110)),
    InstrumentClass("cello and double bass", "strings", 42, (42, 43)),
    InstrumentClass("pizzicato and harp", "plucked strings", 45, (45, 46)),
    InstrumentClass("string ensemble", "string ensemble", 48, (44, *range(48, 52), 55)),
    InstrumentClass("trumpet", "brass", 56, (56, 59, 61, 62, 63)),
    InstrumentClass("trombone and tuba", "brass", 57, (57, 58)),
    InstrumentClass("horn", "brass", 60, (60,)),
    InstrumentClass("saxophone", "reeds", 65, tuple(range(64, 68))),
    InstrumentClass("oboe and English horn", "reeds", 68, (68, 69, 109, 111)),
    InstrumentClass("clarinet", "reeds", 71, (71,)),
    InstrumentClass("bassoon", "reeds", 70, (70,)),
    InstrumentClass("flutes", "flutes", 73, tuple(range(72, 80))),
    InstrumentClass("voice", "voice", 53, (52, 53, 54, 85)),
    InstrumentClass("synth lead", "synth", 80, (*range(80, 85), 86, 87)),
    InstrumentClass("synth pad", "synth", 89, (*range(88, 104), *range(120, 128))),
)
"""The classes in the order of a model's outputs."""

DRUM_CLASSES = (
    DrumClass("kick", 36, (35, 36)),
    DrumClass("snare", 38, (38, 40)),
    DrumClass("rim and clap", 37, (37, 39)),
    DrumClass("closed hat", 42, (22, 42, 44)),
    DrumClass("open hat", 46, (26, 46)),
    DrumClass("ride", 51, (51, 53, 59)),
    DrumClass("crash", 49, (49, 52, 55, 57)),
    DrumClass("toms", 45, (41, 43, 45, 47, 48, 50, 58)),
)
"""The classes of drums in the order of a model's outputs."""
# fmt: on

FAMILIES = tuple(dict.fromkeys(found.family for found in CLASSES))
CLASS_NAMES = {each.program: each.name[0].upper() + each.name[1:] for each in CLASSES}
"""What tracks are called, by the programs that classes are written as."""


def _table(size: int, members: list[tuple[int, ...]]) -> np.ndarray:
    table = np.full(size, -1)
    for index, numbers in enumerate(members):
        table[list(numbers)] = index
    table.flags.writeable = False
    return table


CLASS_OF_PROGRAM = _table(128, [found.programs for found in CLASSES])
"""The class of each program."""
DRUM_CLASS_OF_KEY = _table(128, [found.keys for found in DRUM_CLASSES])
"""The class of each key of a drum kit; -1 where it has none."""
FAMILY_OF_CLASS = np.array([FAMILIES.index(found.family) for found in CLASSES])
FAMILY_OF_CLASS.flags.writeable = False

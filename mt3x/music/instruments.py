"""Instruments: General MIDI's programs and families, and Slakh's classes.

Programs are numbered from 0, as in MIDI files. A family is 8 programs; its first one
stands for it where programs are told apart by family only (`midi_class`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mt3x.music.instrument_classes import CLASSES, FAMILIES

PROGRAM_NAMES = tuple(
    name.strip()
    for name in """
    Acoustic Grand Piano|Bright Acoustic Piano|Electric Grand Piano|Honky-tonk Piano
    Electric Piano 1|Electric Piano 2|Harpsichord|Clavinet
    Celesta|Glockenspiel|Music Box|Vibraphone
    Marimba|Xylophone|Tubular Bells|Dulcimer
    Drawbar Organ|Percussive Organ|Rock Organ|Church Organ
    Reed Organ|Accordion|Harmonica|Tango Accordion
    Acoustic Guitar (nylon)|Acoustic Guitar (steel)|Electric Guitar (jazz)
    Electric Guitar (clean)|Electric Guitar (muted)|Overdriven Guitar
    Distortion Guitar|Guitar Harmonics
    Acoustic Bass|Electric Bass (finger)|Electric Bass (pick)|Fretless Bass
    Slap Bass 1|Slap Bass 2|Synth Bass 1|Synth Bass 2
    Violin|Viola|Cello|Contrabass
    Tremolo Strings|Pizzicato Strings|Orchestral Harp|Timpani
    String Ensemble 1|String Ensemble 2|Synth Strings 1|Synth Strings 2
    Choir Aahs|Voice Oohs|Synth Voice|Orchestra Hit
    Trumpet|Trombone|Tuba|Muted Trumpet
    French Horn|Brass Section|Synth Brass 1|Synth Brass 2
    Soprano Sax|Alto Sax|Tenor Sax|Baritone Sax
    Oboe|English Horn|Bassoon|Clarinet
    Piccolo|Flute|Recorder|Pan Flute
    Blown Bottle|Shakuhachi|Whistle|Ocarina
    Lead 1 (square)|Lead 2 (sawtooth)|Lead 3 (calliope)|Lead 4 (chiff)
    Lead 5 (charang)|Lead 6 (voice)|Lead 7 (fifths)|Lead 8 (bass + lead)
    Pad 1 (new age)|Pad 2 (warm)|Pad 3 (polysynth)|Pad 4 (choir)
    Pad 5 (bowed)|Pad 6 (metallic)|Pad 7 (halo)|Pad 8 (sweep)
    FX 1 (rain)|FX 2 (soundtrack)|FX 3 (crystal)|FX 4 (atmosphere)
    FX 5 (brightness)|FX 6 (goblins)|FX 7 (echoes)|FX 8 (sci-fi)
    Sitar|Banjo|Shamisen|Koto
    Kalimba|Bagpipe|Fiddle|Shanai
    Tinkle Bell|Agogo|Steel Drums|Woodblock
    Taiko Drum|Melodic Tom|Synth Drum|Reverse Cymbal
    Guitar Fret Noise|Breath Noise|Seashore|Bird Tweet
    Telephone Ring|Helicopter|Applause|Gunshot
    """.strip()
    .replace("\n", "|")
    .split("|")
)
"""General MIDI's names of programs 0 to 127."""

FAMILY_NAMES = (
    "Piano",
    "Chromatic Percussion",
    "Organ",
    "Guitar",
    "Bass",
    "Strings",
    "Ensemble",
    "Brass",
    "Reed",
    "Pipe",
    "Synth Lead",
    "Synth Pad",
    "Synth Effects",
    "Ethnic",
    "Percussive",
    "Sound Effects",
)
"""General MIDI's names of the families: programs 0 to 7, 8 to 15, ..."""

SLAKH_PROGRAMS = {
    "Acoustic Piano": 0,
    "Electric Piano": 4,
    "Chromatic Percussion": 8,
    "Organ": 16,
    "Acoustic Guitar": 24,
    "Clean Electric Guitar": 26,
    "Distorted Electric Guitar": 29,
    "Acoustic Bass": 32,
    "Electric Bass": 33,
    "Violin": 40,
    "Viola": 41,
    "Cello": 42,
    "Contrabass": 43,
    "Orchestral Harp": 46,
    "Timpani": 47,
    "String Ensemble": 48,
    "Synth Strings": 50,
    "Choir and Voice": 52,
    "Orchestral Hit": 55,
    "Trumpet": 56,
    "Trombone": 57,
    "Tuba": 58,
    "French Horn": 60,
    "Brass Section": 61,
    "Soprano/Alto Sax": 64,
    "Tenor Sax": 66,
    "Baritone Sax": 67,
    "Oboe": 68,
    "English Horn": 69,
    "Bassoon": 70,
    "Clarinet": 71,
    "Pipe": 73,
    "Synth Lead": 80,
    "Synth Pad": 88,
}
"""The program of each class of MT3's Slakh vocabulary; drums are a class besides."""


@dataclass(frozen=True)
class Instruments:
    """A set of instruments: programs, and drums or not."""

    programs: frozenset[int]
    drums: bool


def family_programs(family: int) -> range:
    """Return the programs of a family, by its place in `FAMILY_NAMES`."""
    return range(8 * family, 8 * family + 8)


def parse_instruments(text: str) -> Instruments:
    """Read a list such as `piano, drums, 33, 40-43, Alto Sax`.

    Its items, separated by commas, in any case: a family of General MIDI, `drums`, the
    number of a program or of the first and last of several, the name of a program, a
    class of Slakh, or a class or family of band models, as their tracks are called.

    Raises:
      ValueError: an item is none of these, or there is none.
    """
    programs: set[int] = set()
    drums = False
    items = [item.strip() for item in text.split(",") if item.strip()]
    for item in items:
        if item.lower() == "drums":
            drums = True
        else:
            programs |= set(_programs_of(item))
    if not items:
        raise ValueError("no instruments are named; name some, such as piano,drums")
    return Instruments(frozenset(programs), drums)


def _programs_of(item: str) -> Iterable[int]:
    name = item.lower()
    numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", item)
    if numbers:
        low, high = int(numbers[1]), int(numbers[2] or numbers[1])
        if not 0 <= low <= high <= 127:
            raise ValueError(f"programs {item} do not lie in 0..127, in rising order")
        return range(low, high + 1)
    families = [family.lower() for family in FAMILY_NAMES]
    if name in families:
        return family_programs(families.index(name))
    named = {program.lower(): i for i, program in enumerate(PROGRAM_NAMES)}
    named = {slakh.lower(): i for slakh, i in SLAKH_PROGRAMS.items()} | named
    if name in named:
        return [named[name]]
    heard = [found for found in CLASSES if name in (found.name.lower(), found.family)]
    if not heard:
        raise ValueError(
            f"{item!r} is not an instrument; name drums, a program (0..127 or its "
            f"General MIDI name), a family ({', '.join(families)}) or what band models "
            f"tell apart ({', '.join(_heard_alone(families))})"
        )
    return [program for found in heard for program in found.programs]


def _heard_alone(others: list[str]) -> list[str]:
    """Return the families and classes of band models that have no other name."""
    names = (*FAMILIES, *(found.name.lower() for found in CLASSES))
    known = {name.lower() for name in (*PROGRAM_NAMES, *SLAKH_PROGRAMS)} | {*others}
    return [name for name in dict.fromkeys(names) if name not in known]

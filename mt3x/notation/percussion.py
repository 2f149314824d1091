"""Where the drums of General MIDI stand on a staff of five lines.

After Norman Weinberg, "Guidelines for drumset notation", 1994.
"""

from typing import NamedTuple

__all__ = ["Drum", "drum_of"]


class Drum(NamedTuple):
    """A drum's place on the staff, as if in the treble clef, and its note head."""

    step: str
    octave: int
    head: str = "normal"


_DRUMS = {
    **dict.fromkeys((35, 36), Drum("F", 4)),  # bass drums
    **dict.fromkeys((38, 40), Drum("C", 5)),  # snares
    **dict.fromkeys((37, 39), Drum("C", 5, "x")),  # side stick, hand clap
    **dict.fromkeys((41, 43), Drum("A", 4)),  # floor toms
    **dict.fromkeys((45, 47), Drum("D", 5)),  # low toms
    48: Drum("E", 5),
    50: Drum("E", 5),
    42: Drum("G", 5, "x"),  # closed hi-hat
    46: Drum("G", 5, "circle-x"),  # open hi-hat
    44: Drum("D", 4, "x"),  # pedal hi-hat
    **dict.fromkeys((49, 52, 55, 57), Drum("A", 5, "x")),  # crash, china, splash
    **dict.fromkeys((51, 59), Drum("F", 5, "x")),  # ride
    53: Drum("F", 5, "diamond"),  # ride bell
    54: Drum("B", 4, "triangle"),  # tambourine
    56: Drum("E", 5, "triangle"),  # cowbell
}


def drum_of(pitch: int) -> Drum:
    """Return where a drum stands; others of hand percussion are on the middle line."""
    return _DRUMS.get(pitch, Drum("B", 4, "triangle"))

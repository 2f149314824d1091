"""Names of pitches, with middle C as C4, MIDI's 60."""

import re

NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"#": 1, "♯": 1, "b": -1, "♭": -1}


def pitch_name(pitch: int) -> str:
    """Return the name of a MIDI pitch, as C4 for 60."""
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


def parse_pitch(text: str) -> int:
    """Return the MIDI pitch of a name, such as C4, F#3, Bb2 or E♭5, or of a number.

    Raises:
      ValueError: it is neither, or outside of 0..127.
    """
    match = re.fullmatch(r"([A-Ga-g])([#♯b♭]*)(-?\d{1,2})", text.strip())
    if match:
        letter, accidentals, octave = match.groups()
        pitch = _LETTERS[letter.upper()] + 12 * (int(octave) + 1)
        pitch += sum(_ACCIDENTALS[sign] for sign in accidentals)
    elif text.strip().isdecimal():
        pitch = int(text)
    else:
        pitch = -1
    if not 0 <= pitch <= 127:
        raise ValueError(
            f"{text!r} is not a pitch: give a name such as C4 (middle C), F#3 or Bb2, "
            "or a MIDI number from 0 to 127"
        )
    return pitch

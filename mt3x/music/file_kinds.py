"""What a file is, by its first bytes, where no sound can be read from it."""

import re

_KINDS = {
    rb"MThd|RIFF....RMID": "a MIDI file, which holds notes and no sound; give the "
    "recording itself",
    rb"\s*<(!doctype|html|head|\?xml)": "a web page or XML; download the recording "
    "itself",
    rb"%PDF": "a PDF document; give a recording",
    rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf": "an archive; unpack it and give the "
    "recording inside",
    rb"\x89PNG|\xff\xd8\xff|GIF8": "a picture; give a recording",
}
_SOUND = rb"RIFF|RF64|FORM|OggS|fLaC|ID3|caff"


def kind_without_sound(beginning: bytes) -> str | None:
    """Return what a file is and what to do; None where its beginning does not tell."""
    for pattern, text in _KINDS.items():
        if re.match(pattern, beginning, re.DOTALL | re.IGNORECASE):
            return text
    return None


def is_sound(beginning: bytes) -> bool:
    """Return whether a file begins as sound files do."""
    return re.match(_SOUND, beginning) is not None

"""What a MIDI file was made with, kept in it where no player or editor shows it.

The record is JSON in a sequencer-specific event at the beginning of the first track,
under the identifier that the standard sets aside for private use. Text events and
markers would be shown as lyrics and marks.
"""

import json
from collections.abc import Mapping
from typing import Any

import mido

_MARK = b"\x7dmt3x"
_BEGIN = 22
"""Where the events of the first track begin: after the headers of file and track."""


def add_record(midi: bytes, record: Mapping[str, Any]) -> bytes:
    """Return the bytes of a MIDI file with a record, which JSON can hold."""
    if midi[:4] != b"MThd" or midi[14:18] != b"MTrk":
        raise ValueError("these are not the bytes of a MIDI file")
    data = _MARK + json.dumps(record).encode()
    meta = mido.MetaMessage("sequencer_specific", data=data)
    event = b"\0" + bytes(meta.bytes())
    size = int.from_bytes(midi[_BEGIN - 4 : _BEGIN]) + len(event)
    return midi[: _BEGIN - 4] + size.to_bytes(4) + event + midi[_BEGIN:]


def read_record(midi: bytes) -> dict[str, Any] | None:
    """Return the record of a MIDI file, or None; its beginning is enough."""
    try:
        begin = midi.index(_MARK, _BEGIN) + len(_MARK)
        text = midi[begin:].decode("latin-1")
        record, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None

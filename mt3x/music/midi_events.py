"""The events of a Standard MIDI File that notes are made of, from its bytes.

Files in the wild break the standard in ways that leave their notes intact, and that
mido refuses. Here:

- What comes before the header (of RIFF or of a Mac) and chunks of other makers are
  skipped. A second header ends the file.
- All tracks that are there are read, whatever the header counts. Where it counts more,
  a warning says so.
- The length of a track counts where the file or another chunk begins or ends there;
  else the track is read up to its end-of-track event.
- Of meta events, only tempos, the first name of a track and its end are read, and of
  tempos only those above 0. System messages are skipped.
- Running status outlasts meta and system events. Data bytes above 127 count as 127.

A track that breaks off is an error: nobody knows what it lacks.
"""

import struct
import warnings
from typing import NamedTuple

__all__ = [
    "CONTROL_CHANGE",
    "NOTE_OFF",
    "NOTE_ON",
    "PITCH_BEND",
    "PROGRAM_CHANGE",
    "TEMPO",
    "MidiFile",
    "Track",
    "parse_midi",
]

NOTE_OFF = 0x80
NOTE_ON = 0x90
CONTROL_CHANGE = 0xB0
PROGRAM_CHANGE = 0xC0
PITCH_BEND = 0xE0
TEMPO = 0x51
_TRACK_NAME = 0x03
_END_OF_TRACK = 0x2F
_KEPT = (NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE, PITCH_BEND)
_NUM_DATA_BYTES = {0xC0: 1, 0xD0: 1, 0xF1: 1, 0xF3: 1, 0xF2: 2, 0xF4: -1, 0xF5: -1}
"""Of channel messages by their kind, and of system messages; else two, or none."""
_LARGEST = 1 << 53

Event = tuple[int, int, int, int, int]
"""Tick, kind (a constant of this module), channel, and the two data bytes; of a tempo
the first is its microseconds per beat."""


class Track(NamedTuple):
    """What is kept of a track."""

    name: str  # "" where it has none
    events: list[Event]
    end_tick: int


class MidiFile(NamedTuple):
    """What is kept of a file."""

    type: int
    ticks_per_beat: int  # negative: -(frames per second) << 8 | ticks per frame
    tracks: list[Track]


def parse_midi(name: str, data: bytes) -> MidiFile:
    """Read a file's bytes.

    Raises:
      ValueError: not a MIDI file, or a damaged one; begins with `name`.
    """
    start = data.find(b"MThd")
    if start < 0:
        reason = "it has no MThd header" if data else "it is empty"
        raise ValueError(_unreadable(name, reason))
    header = data[start : start + 14]
    if len(header) < 14:
        raise ValueError(_unreadable(name, "its header breaks off"))
    type, num_tracks, ticks_per_beat = struct.unpack(">8xHHh", header)
    at = start + 14
    tracks: list[Track] = []
    while len(data) - at >= 8:
        end = _chunk_end(data, at)
        if data.startswith(b"MThd", at):
            warnings.warn(
                f"{name}: a second MIDI file follows in it, which is not read",
                stacklevel=2,
            )
            break
        if data.startswith(b"MTrk", at):
            try:
                track, at = _read_track(data, at + 8, end)
            except (IndexError, ValueError) as error:
                reason = str(error) if isinstance(error, ValueError) else "breaks off"
                reason = f"track {len(tracks) + 1} {reason}"
                raise ValueError(_unreadable(name, reason)) from error
            tracks.append(track)
        elif end is not None:
            at = end
        else:
            found = data.find(b"MTrk", at + 1)
            at = found if found >= 0 else len(data)
    if num_tracks and not tracks:
        raise ValueError(_unreadable(name, "it has no tracks"))
    if num_tracks > len(tracks):
        warnings.warn(
            f"{name}: its header counts {num_tracks} tracks, but it has {len(tracks)}; "
            "some may be lost",
            stacklevel=2,
        )
    return MidiFile(type, ticks_per_beat, tracks)


def _unreadable(name: str, reason: str) -> str:
    return f"{name}: not a readable MIDI file ({reason}); check or re-export it"


def _chunk_end(data: bytes, at: int) -> int | None:
    """Return where the chunk there ends; None where its length is wrong."""
    end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
    return end if _is_boundary(data, end) else None


def _is_boundary(data: bytes, at: int) -> bool:
    """Return whether the file ends there or another chunk may begin."""
    if at >= len(data):
        return at == len(data)
    tag, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
    if len(data) - at < 8 or not all(32 <= byte < 127 for byte in tag):
        return False
    return tag == b"MTrk" or at + 8 + length <= len(data)


def _read_track(data: bytes, at: int, end: int | None) -> tuple[Track, int]:
    """Read events up to the end of the track, and return where that is.

    Args:
      data: the file.
      at: where its events begin.
      end: where they end at the latest; None: with the end-of-track event.

    Raises:
      IndexError: it breaks off.
      ValueError: the bytes are not events.
    """
    begin, limit = at, len(data) if end is None else end
    name: str | None = None
    events: list[Event] = []
    tick = running = 0
    while at < limit or end is None:
        delta, at = _number(data, at)
        tick += delta
        if tick > _LARGEST:
            raise ValueError("has a time that is too large")
        status = data[at]
        if status >= 0x80:
            at += 1
        elif running:
            status = running
        else:
            raise ValueError(f"has no event at byte {at - begin}")
        if status == 0xFF:
            kind = data[at]
            length, at = _number(data, at + 1)
            if kind == _END_OF_TRACK:
                return Track(name or "", events, tick), at if end is None else end
            if kind == TEMPO and (tempo := int.from_bytes(data[at : at + 3], "big")):
                if length >= 3:
                    events.append((tick, TEMPO, 0, tempo, 0))
            elif kind == _TRACK_NAME and name is None:
                name = data[at : at + length].decode("latin-1")
            at += length
            continue
        if status in (0xF0, 0xF7):
            length, at = _number(data, at)
            at += length
            continue
        is_system = status >= 0xF0
        kind = status if is_system else status & 0xF0
        size = _NUM_DATA_BYTES.get(kind, 0 if is_system else 2)
        if size < 0:
            raise ValueError(f"has an undefined event at byte {at - begin}")
        if not is_system:
            running = status
            if kind in _KEPT:
                first = min(data[at], 127)
                second = min(data[at + 1], 127) if size == 2 else 0
                events.append((tick, kind, status & 0x0F, first, second))
        at += size
    if at > limit:
        raise IndexError
    return Track(name or "", events, tick), limit


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and where the next thing begins."""
    number = 0
    while True:
        byte = data[at]
        at += 1
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at
        if number > _LARGEST:
            raise ValueError("has a number that is too large")

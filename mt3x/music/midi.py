"""Standard MIDI Files <-> arrays of notes; `Notes.from_midi` and `to_midi` use it.

Reading turns key strokes and the sustain pedal into notes as the MAESTRO data set
does (Hawthorne et al. 2019, arXiv:1810.12247): while CC64 of a channel is 64 or
more, a released key sounds on until the pedal is released or the same key is struck
again, whichever comes first. The pedal never shortens a note.

How notes are read, in detail:
- A note-off belongs to the sounding note of its track, channel and key.
- A note-on of a key that still sounds ends the earlier note there.
- Keys and pedals still down at the end of the file end with the file.
- A note-on and note-off in one tick give a note of zero length.
- Programs belong to a track's channel, or else to the channel; pedals to a channel.
  Pedal changes come before notes of the same tick. Without a program it is 0.
- Channel 10 holds drums, which no pedal extends.
- Pitch bends and all other messages are ignored.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import mido
import numpy as np

from mt3x.music.instruments import PROGRAM_NAMES

__all__ = [
    "Columns",
    "read_beats",
    "read_columns",
    "read_pedal",
    "read_tracks",
    "write_columns",
]

DRUM_CHANNEL = 9
SUSTAIN_PEDAL = 64
PEDAL_THRESHOLD = 64
DEFAULT_TEMPO_US = 500_000  # microseconds per beat: 120 beats a minute
TICKS_PER_BEAT = 960
TICKS_PER_SECOND = TICKS_PER_BEAT * 1_000_000 / DEFAULT_TEMPO_US


class _Note(NamedTuple):
    on_tick: int
    off_tick: int
    channel: int
    pitch: int
    velocity: int
    program: int


class Columns(NamedTuple):
    """N notes, in the order of the arguments of `Notes`."""

    onset_s: np.ndarray
    offset_s: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    program: np.ndarray
    is_drum: np.ndarray

    @classmethod
    def concatenate(cls, parts: "Sequence[Columns]") -> "Columns":
        """Join the notes of all parts."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


def read_columns(
    source: str | os.PathLike[str] | bytes | IO[bytes], sustain_pedal: bool = True
) -> Columns:
    """Read the notes of a MIDI file of type 0 or 1.

    Args:
      source: a path, the file's bytes, or an open binary file.
      sustain_pedal: extend notes by CC64 (see the module's docstring); without it a
        note ends when its key is released.

    Raises:
      OSError: the file cannot be opened.
      ValueError: not a MIDI file, damaged, or of type 2; names the file.
    """
    midi = _parsed(source)
    notes, pedals, tempos, end_tick = _parse(midi)
    return _played(midi, notes, pedals if sustain_pedal else {}, tempos, end_tick)


def read_pedal(source: str | os.PathLike[str] | bytes | IO[bytes]) -> np.ndarray:
    """Read when the sustain pedal goes down and up: K x 2 seconds, of all channels.

    Raises:
      OSError, ValueError: as `read_columns`.
    """
    midi = _parsed(source)
    _, pedals, tempos, end_tick = _parse(midi)
    spans = [np.zeros((0, 2), int)]
    for changes in pedals.values():
        tick, down = np.array([(0, False), *changes, (end_tick, False)], int).T
        turns = np.flatnonzero(np.diff(down)) + 1
        spans.append(tick[turns].reshape(-1, 2))
    return _seconds(np.concatenate(spans), tempos, midi.ticks_per_beat)


def read_tracks(
    source: str | os.PathLike[str] | bytes | IO[bytes],
) -> dict[str, Columns]:
    """Read the notes of a MIDI file by the names of its tracks, pedal applied.

    Tracks of one name are one; a track without has the name "".

    Raises:
      OSError, ValueError: as `read_columns`.
    """
    midi = _parsed(source)
    _, _, tempos, _ = _parse(midi)
    tracks: dict[str, Columns] = {}
    for track in midi.tracks:
        alone = mido.MidiFile(type=1, ticks_per_beat=midi.ticks_per_beat)
        alone.tracks.append(track)
        notes, pedals, _, end_tick = _parse(alone)
        played = _played(midi, notes, pedals, tempos, end_tick)
        if track.name in tracks:
            played = Columns.concatenate([tracks[track.name], played])
        tracks[track.name] = played
    return tracks


def _played(
    midi: mido.MidiFile,
    notes: list[_Note],
    pedals: dict[int, list[tuple[int, bool]]],
    tempos: list[tuple[int, int]],
    end_tick: int,
) -> Columns:
    rows = np.array(notes, int).reshape(-1, len(_Note._fields))
    on_tick, off_tick, channel, pitch, velocity, program = rows.T
    off_tick = _extend(on_tick, off_tick, channel, pitch, pedals, end_tick)
    return Columns(
        onset_s=_seconds(on_tick, tempos, midi.ticks_per_beat),
        offset_s=_seconds(off_tick, tempos, midi.ticks_per_beat),
        pitch=pitch,
        velocity=velocity,
        program=program,
        is_drum=channel == DRUM_CHANNEL,
    )


def _parsed(source: str | os.PathLike[str] | bytes | IO[bytes]) -> mido.MidiFile:
    name, data = _read_bytes(source)
    try:
        midi = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except Exception as error:
        # Damaged data makes mido fail in many ways, some of them plain `Exception`.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{name}: not a readable MIDI file ({reason}); check or re-export it"
        ) from error
    if midi.type == 2:
        raise ValueError(f"{name}: MIDI type 2 is not supported; convert it to type 1")
    if midi.ticks_per_beat == 0:
        raise ValueError(f"{name}: zero ticks per beat; re-export the file")
    return midi


def read_beats(source: str | os.PathLike[str] | bytes | IO[bytes]) -> np.ndarray:
    """Read the seconds of the quarter notes, by a file's tempos, up to its end.

    Raises:
      OSError, ValueError: as `read_columns`.
    """
    midi = _parsed(source)
    *_, tempos, end_tick = _parse(midi)
    step = midi.ticks_per_beat
    return _seconds(np.arange(0, end_tick + step, step), tempos, step)


def write_columns(notes: Columns, names: Mapping[int, str] | None = None) -> bytes:
    """Return the bytes of a type 1 MIDI file: a track per program, drums on channel 10.

    Times are rounded to ticks of 0.52 ms (120 beats a minute, 960 ticks a beat) and
    a note lasts at least one tick. What a key cannot do is resolved per program and
    pitch: a note ends where the next one begins, and of notes that begin in one tick
    the longest stays. More than 15 programs share channels: the 16th to the 30th are
    sent to a second MIDI port, and so on. Players that know one port mix them up, mt3x
    reads them back right.

    Args:
      notes: those to write.
      names: of the tracks, by program; by default General MIDI's.

    Raises:
      ValueError: a note begins before time 0.
    """
    first_s = min(notes.onset_s, default=0.0)
    if first_s < 0:
        raise ValueError(
            f"the first onset is at {first_s:.6g} s and MIDI begins at 0; "
            "shift or cut the notes"
        )
    midi = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT)
    midi.tracks.append(
        mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=DEFAULT_TEMPO_US)])
    )
    parts = sorted(
        set(zip(notes.is_drum.tolist(), notes.program.tolist(), strict=True))
    )
    melodic_channels = [c for c in range(16) if c != DRUM_CHANNEL]
    for index, (is_drum, program) in enumerate(parts):
        played = (notes.is_drum == is_drum) & (notes.program == program)
        part = Columns(*(column[played] for column in notes))
        port, melodic = divmod(index, 15)
        name = (names or {}).get(program) or PROGRAM_NAMES[program]
        if is_drum:
            port, name = 0, "Drums"
        channel = DRUM_CHANNEL if is_drum else melodic_channels[melodic]
        midi.tracks.append(_track(part, port, channel, program, name))
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()


def _parse(
    midi: mido.MidiFile,
) -> tuple[list[_Note], dict[int, list[tuple[int, bool]]], list[tuple[int, int]], int]:
    """Play the file through: notes, pedal changes per channel, tempos, last tick."""
    events = []
    end_tick = 0
    for track_index, track in enumerate(midi.tracks):
        tick = 0
        for message in track:
            tick += message.time
            if message.type in _USED_MESSAGES:
                events.append((tick, track_index, message))
        end_tick = max(end_tick, tick)
    events.sort(key=lambda event: event[0])  # stable: file order within a tick

    notes: list[_Note] = []
    pedals: dict[int, list[tuple[int, bool]]] = {}
    tempos: list[tuple[int, int]] = []
    programs: dict[tuple[int, int] | int, int] = {}
    # (track, channel, pitch) -> on tick, velocity, program, whether it cut a note off
    sounding: dict[tuple[int, int, int], tuple[int, int, int, bool]] = {}
    for tick, track_index, message in events:
        kind = message.type
        if kind == "set_tempo":
            tempos.append((tick, message.tempo))
            continue
        channel = message.channel
        if kind == "control_change":
            if message.control == SUSTAIN_PEDAL:
                is_down = message.value >= PEDAL_THRESHOLD
                pedals.setdefault(channel, []).append((tick, is_down))
            continue
        if kind == "program_change":
            programs[track_index, channel] = programs[channel] = message.program
            continue
        pitch = message.note
        key = (track_index, channel, pitch)
        previous = sounding.pop(key, None)
        if kind == "note_on" and message.velocity > 0:
            own_program = programs.get((track_index, channel))
            if own_program is None:
                own_program = programs.get(channel, 0)
            cuts = False
            if previous is not None and previous[0] < tick:
                cuts = True
                on_tick, velocity, program, _ = previous
                notes.append(_Note(on_tick, tick, channel, pitch, velocity, program))
            sounding[key] = (tick, message.velocity, own_program, cuts)
        elif previous is not None:
            on_tick, velocity, program, cuts = previous
            if cuts and on_tick == tick:
                # The late note-off of the note that was cut off in this very tick.
                sounding[key] = (on_tick, velocity, program, False)
            else:
                notes.append(_Note(on_tick, tick, channel, pitch, velocity, program))
    for (_, channel, pitch), (on_tick, velocity, program, _) in sounding.items():
        notes.append(_Note(on_tick, end_tick, channel, pitch, velocity, program))
    return notes, pedals, tempos, end_tick


_USED_MESSAGES = frozenset(
    ["note_on", "note_off", "control_change", "program_change", "set_tempo"]
)


def _extend(
    on_tick: np.ndarray,
    off_tick: np.ndarray,
    channel: np.ndarray,
    pitch: np.ndarray,
    pedals: dict[int, list[tuple[int, bool]]],
    end_tick: int,
) -> np.ndarray:
    """Return note ends in ticks, with the sustain pedal of each channel applied."""
    extended = off_tick.copy()
    for pedal_channel, changes in pedals.items():
        in_channel = np.flatnonzero(channel == pedal_channel)
        if not len(in_channel) or pedal_channel == DRUM_CHANNEL:
            continue
        change_ticks = np.array([tick for tick, _ in changes])
        is_down = np.array([False] + [down for _, down in changes])
        release_ticks = np.append(change_ticks[~is_down[1:]], end_tick)
        ends = off_tick[in_channel]
        held = is_down[np.searchsorted(change_ticks, ends, side="right")]
        release = np.searchsorted(release_ticks[:-1], ends, side="right")
        until = release_ticks[release]
        for one_pitch in np.unique(pitch[in_channel]):
            same_key = pitch[in_channel] == one_pitch
            onsets = np.sort(on_tick[in_channel][same_key])
            following = np.searchsorted(
                onsets, on_tick[in_channel][same_key], side="right"
            )
            next_onset = np.append(onsets, end_tick)[following]
            until[same_key] = np.minimum(until[same_key], next_onset)
        extended[in_channel] = np.where(held, np.maximum(ends, until), ends)
    return extended


def _seconds(
    ticks: np.ndarray, tempos: list[tuple[int, int]], ticks_per_beat: int
) -> np.ndarray:
    """Turn ticks into seconds by the tempo map, or by frame rate for SMPTE files."""
    if ticks_per_beat < 0:
        # A negative division: minus the frame rate above, ticks per frame below.
        frame_rate_hz, ticks_per_frame = -(ticks_per_beat >> 8), ticks_per_beat & 0xFF
        if frame_rate_hz == 29:
            frame_rate_hz = 30_000 / 1001
        return ticks / (frame_rate_hz * max(ticks_per_frame, 1))
    starts = np.array([0] + [tick for tick, _ in tempos])
    tick_s = np.array([DEFAULT_TEMPO_US] + [tempo for _, tempo in tempos]) / (
        1e6 * ticks_per_beat
    )
    start_s = np.concatenate([[0.0], np.cumsum(np.diff(starts) * tick_s[:-1])])
    segment = np.searchsorted(starts, ticks, side="right") - 1
    return start_s[segment] + (ticks - starts[segment]) * tick_s[segment]


def _track(
    notes: Columns, port: int, channel: int, program: int, name: str
) -> mido.MidiTrack:
    """Return a track of one program; in a tick, note-offs come before note-ons."""
    on_tick = np.rint(notes.onset_s * TICKS_PER_SECOND).astype(np.int64)
    off_tick = np.rint(notes.offset_s * TICKS_PER_SECOND).astype(np.int64)
    off_tick = np.maximum(off_tick, on_tick + 1)
    # Of notes of one key in one tick, the longest comes last and is the one to keep.
    order = np.lexsort((off_tick, on_tick, notes.pitch))
    on_tick, off_tick = on_tick[order], off_tick[order]
    pitch, velocity = notes.pitch[order], notes.velocity[order]
    is_followed = pitch[:-1] == pitch[1:]
    off_tick[:-1][is_followed] = np.minimum(off_tick[:-1], on_tick[1:])[is_followed]
    kept = off_tick > on_tick
    events = [
        (tick, kind, key, strength)
        for ticks, kind, strengths in (
            (off_tick, "note_off", np.full_like(velocity, 64)),
            (on_tick, "note_on", velocity),
        )
        for tick, key, strength in zip(
            ticks[kept].tolist(),
            pitch[kept].tolist(),
            strengths[kept].tolist(),
            strict=True,
        )
    ]
    events.sort(key=lambda event: event[0])  # stable, so note-offs stay first
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
    if port:
        track.append(mido.MetaMessage("midi_port", port=port))
    track.append(mido.Message("program_change", channel=channel, program=program))
    now = 0
    for tick, kind, key, strength in events:
        track.append(
            mido.Message(
                kind, channel=channel, note=key, velocity=strength, time=tick - now
            )
        )
        now = tick
    return track


def _read_bytes(
    source: str | os.PathLike[str] | bytes | IO[bytes],
) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        return "MIDI data", source
    if isinstance(source, str | os.PathLike):
        return str(source), Path(source).read_bytes()
    return str(getattr(source, "name", "MIDI data")), source.read()

"""Standard MIDI Files <-> arrays of notes; `Notes.from_midi` and `to_midi` use it.

Reading turns key strokes and the sustain pedal into notes as the MAESTRO data set
does (Hawthorne et al. 2019, arXiv:1810.12247): while CC64 of a channel is 64 or
more, a released key sounds on until the pedal is released or the same key is struck
again, whichever comes first. The pedal never shortens a note.

How notes are read, in detail:
- A note-off belongs to the sounding note of its track, channel and key.
- A note-on of a key that still sounds ends the earlier note there.
- All notes off (CC 123 to 127) ends those of its track and channel. All sound off (CC
  120) does, too, and lifts the channel's pedal, as reset all controllers (CC 121) does.
- Keys and pedals still down at the end of the file end with the file.
- A note-on and note-off in one tick give a note of zero length.
- Programs belong to a track's channel, or else to the channel; pedals to a channel.
  Pedal changes come before notes of the same tick. Without a program it is 0.
- Channel 10 holds drums, which no pedal extends.
- Pitch bends and all other messages are ignored. Files may break the standard in many
  ways, see `mt3x.music.midi_events`.
"""

import io
import os
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

import mido
import numpy as np

from mt3x.music.beats import Beats
from mt3x.music.instruments import PROGRAM_NAMES
from mt3x.music.label_files import LATEST_S, read_limited
from mt3x.music.midi_events import (
    CONTROL_CHANGE,
    NOTE_OFF,
    NOTE_ON,
    PITCH_BEND,
    PROGRAM_CHANGE,
    TEMPO,
    MidiFile,
    Track,
    parse_midi,
)
from mt3x.music.midi_tempo import (
    DEFAULT_TEMPO_US,
    TICKS_PER_QUARTER,
    TempoMap,
    even_tempo,
    tempo_of_beats,
)

__all__ = [
    "Columns",
    "count_pitch_bends",
    "read_beats",
    "read_columns",
    "read_pedal",
    "read_tracks",
    "write_columns",
]

Source = str | os.PathLike[str] | bytes | IO[bytes]
Pedals = dict[int, list[tuple[int, bool]]]
"""Of each channel, the ticks at which the pedal is moved, and whether it is down."""

DRUM_CHANNEL = 9
SUSTAIN_PEDAL = 64
ALL_SOUND_OFF, RESET_CONTROLLERS = 120, 121
PEDAL_CHANGES = (SUSTAIN_PEDAL, ALL_SOUND_OFF, RESET_CONTROLLERS)
NOTES_OFF = (ALL_SOUND_OFF, *range(123, 128))
PEDAL_THRESHOLD = 64
MOST_BYTES = 8_000_000
"""A million notes and more, which no recording has; they would take minutes."""
MOST_BEATS = 10_000_000
PITCH_WHEEL_AT_REST = (0, 64)
LONGEST_DELTA = (1 << 28) - 1
"""Of the four bytes that a time between events may have."""


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


def read_columns(source: Source, sustain_pedal: bool = True) -> Columns:
    """Read the notes of a MIDI file of type 0 or 1.

    Args:
      source: a path, the file's bytes, or an open binary file.
      sustain_pedal: extend notes by CC64 (see the module's docstring); without it a
        note ends when its key is released.

    Raises:
      OSError: the file cannot be opened.
      ValueError: not a MIDI file, damaged, or of type 2; names the file.
    """
    midi = _read(source)
    notes, pedals = _play(midi.tracks)
    return _columns(midi, notes, pedals if sustain_pedal else {})


def read_pedal(source: Source) -> np.ndarray:
    """Read when the sustain pedal goes down and up: K x 2 seconds, of all channels.

    Raises:
      OSError, ValueError: as `read_columns`.
    """
    midi = _read(source)
    _, pedals = _play(midi.tracks)
    spans = [np.zeros((0, 2), int)]
    for changes in pedals.values():
        rows = [(0, False), *changes, (_end_tick(midi.tracks), False)]
        tick, down = np.array(rows, int).T
        turns = np.flatnonzero(np.diff(down)) + 1
        spans.append(tick[turns].reshape(-1, 2))
    return _seconds(np.concatenate(spans), midi)


def read_tracks(source: Source) -> dict[str, Columns]:
    """Read the notes of a MIDI file by the names of its tracks, pedal applied.

    Tracks of one name are one; a track without has the name "".

    Raises:
      OSError, ValueError: as `read_columns`.
    """
    midi = _read(source)
    parts: dict[str, list[Columns]] = {}
    for track in midi.tracks:
        notes, pedals = _play([track])
        columns = _columns(midi, notes, pedals, track.end_tick)
        parts.setdefault(track.name, []).append(columns)
    return {name: Columns.concatenate(of_name) for name, of_name in parts.items()}


def read_beats(source: Source) -> np.ndarray:
    """Read the seconds of the quarter notes, by a file's tempos, up to its end.

    Raises:
      OSError, ValueError: as `read_columns`; or it counts frames and not beats, or more
        than ten million.
    """
    midi = _read(source)
    step, end_tick = midi.ticks_per_beat, _end_tick(midi.tracks)
    if not 0 <= end_tick <= MOST_BEATS * step:
        raise ValueError(
            f"{_name(source)}: it has no beats, or more than {MOST_BEATS}; re-export it"
        )
    return _seconds(np.arange(0, end_tick + step, step), midi)


def count_pitch_bends(source: Source) -> int:
    """Count the pitch bends of a MIDI file that do not end one.

    Raises:
      OSError, ValueError: as `read_columns`.
    """
    return sum(
        kind == PITCH_BEND and (first, second) != PITCH_WHEEL_AT_REST
        for track in _read(source).tracks
        for _, kind, _, first, second in track.events
    )


def _read(source: Source) -> MidiFile:
    name = _name(source)
    data = source if isinstance(source, bytes) else read_limited(source, MOST_BYTES)
    if isinstance(data, str):
        raise ValueError(f"{name}: opened as text; open it in binary mode")
    midi = parse_midi(name, data)
    if midi.type == 2 and len(midi.tracks) > 1:
        raise ValueError(f"{name}: MIDI type 2 is not supported; convert it to type 1")
    if midi.ticks_per_beat == 0:
        raise ValueError(f"{name}: zero ticks per beat; re-export the file")
    end_s = _seconds(np.array([_end_tick(midi.tracks)]), midi)[0]
    if end_s > LATEST_S:
        raise ValueError(f"{name}: it lasts for {end_s:.0g} s; re-export the file")
    return midi


def _name(source: Source) -> str:
    if isinstance(source, str | os.PathLike):
        return str(source)
    return str(getattr(source, "name", "MIDI data"))


def _end_tick(tracks: Sequence[Track]) -> int:
    return max((track.end_tick for track in tracks), default=0)


def _columns(
    midi: MidiFile,
    notes: list[_Note],
    pedals: Pedals,
    end_tick: int | None = None,
) -> Columns:
    if end_tick is None:
        end_tick = _end_tick(midi.tracks)
    rows = np.array(notes, int).reshape(-1, len(_Note._fields))
    on_tick, off_tick, channel, pitch, velocity, program = rows.T
    off_tick = _extend(on_tick, off_tick, channel, pitch, pedals, end_tick)
    return Columns(
        onset_s=_seconds(on_tick, midi),
        offset_s=_seconds(off_tick, midi),
        pitch=pitch,
        velocity=velocity,
        program=program,
        is_drum=channel == DRUM_CHANNEL,
    )


def write_columns(
    notes: Columns,
    names: Mapping[int, str] | None = None,
    beats: Beats | None = None,
    key: str | None = None,
    pedal_s: np.ndarray | None = None,
) -> bytes:
    """Return the bytes of a type 1 MIDI file: a track per program, drums on channel 10.

    Times are rounded to ticks, 960 a quarter note (0.52 ms without beats, at 120 a
    minute), and a note lasts at least one tick. What a key cannot do is resolved per
    program and pitch: a note ends where the next one begins, and of notes that begin in
    one tick the longest stays. More than 15 programs share channels: the 16th to the
    30th are sent to a second MIDI port, and so on. Players that know one port mix them
    up, mt3x reads them back right.

    Args:
      notes: those to write.
      names: of the tracks, by program; by default General MIDI's.
      beats: what tempo and bars are made from (see `mt3x.music.midi_tempo`).
      key: the key signature, such as `Eb` or `C#m`.
      pedal_s: K x 2 seconds, in order, when the sustain pedal goes down and up: CC64 of
        all programs. Notes then end where their keys are released.

    Raises:
      ValueError: a note begins before time 0, or a beat is too long.
    """
    first_s = min(notes.onset_s, default=0.0)
    if first_s < 0:
        raise ValueError(
            f"the first onset is at {first_s:.6g} s and MIDI begins at 0; "
            "shift or cut the notes"
        )
    tempo = even_tempo() if beats is None else tempo_of_beats(beats)
    midi = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_QUARTER)
    midi.tracks.append(tempo.track(key))
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
        pedal_tick = np.zeros((0, 2), int)
        if pedal_s is not None and not is_drum:
            pedal_tick = tempo.ticks(np.maximum(pedal_s, 0.0))
        track = _track(part, pedal_tick, tempo, port, channel, program, name)
        midi.tracks.append(track)
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()


def _play(tracks: Sequence[Track]) -> tuple[list[_Note], Pedals]:
    """Play tracks through together: notes, and the pedal changes of each channel."""
    events = [
        (tick, index, kind, channel, first, second)
        for index, track in enumerate(tracks)
        for tick, kind, channel, first, second in track.events
    ]
    events.sort(key=lambda event: event[0])  # stable: file order within a tick

    notes: list[_Note] = []
    pedals: Pedals = {}
    programs: dict[tuple[int, int] | int, int] = {}
    # By track and channel the keys that sound: pitch -> on tick, velocity, program,
    # whether it cut a note off
    sounding: dict[tuple[int, int], dict[int, tuple[int, int, int, bool]]] = {}

    def end(tick: int, channel: int, pitch: int, note: tuple) -> None:
        on_tick, velocity, program, _ = note
        notes.append(_Note(on_tick, tick, channel, pitch, velocity, program))

    for tick, index, kind, channel, first, second in events:
        if kind == CONTROL_CHANGE:
            if first in PEDAL_CHANGES:
                is_down = first == SUSTAIN_PEDAL and second >= PEDAL_THRESHOLD
                pedals.setdefault(channel, []).append((tick, is_down))
            if first in NOTES_OFF:
                for pitch, note in sounding.pop((index, channel), {}).items():
                    end(tick, channel, pitch, note)
            continue
        if kind == PROGRAM_CHANGE:
            programs[index, channel] = programs[channel] = first
            continue
        if kind not in (NOTE_ON, NOTE_OFF):
            continue
        keys = sounding.setdefault((index, channel), {})
        previous = keys.pop(first, None)
        if kind == NOTE_ON and second > 0:
            own_program = programs.get((index, channel))
            if own_program is None:
                own_program = programs.get(channel, 0)
            cuts = previous is not None and previous[0] < tick
            if previous is not None and cuts:
                end(tick, channel, first, previous)
            keys[first] = (tick, second, own_program, cuts)
        elif previous is not None:
            if previous[3] and previous[0] == tick:
                # The late note-off of the note that was cut off in this very tick.
                keys[first] = (*previous[:3], False)
            else:
                end(tick, channel, first, previous)
    end_tick = _end_tick(tracks)
    for (_, channel), keys in sounding.items():
        for pitch, note in keys.items():
            end(end_tick, channel, pitch, note)
    return notes, pedals


def _extend(
    on_tick: np.ndarray,
    off_tick: np.ndarray,
    channel: np.ndarray,
    pitch: np.ndarray,
    pedals: Pedals,
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


def _seconds(ticks: np.ndarray, midi: MidiFile) -> np.ndarray:
    """Turn ticks into seconds by the tempo map, or by frame rate for SMPTE files."""
    ticks_per_beat = midi.ticks_per_beat
    if ticks_per_beat < 0:
        # A negative division: minus the frame rate above, ticks per frame below.
        frame_rate_hz, ticks_per_frame = -(ticks_per_beat >> 8), ticks_per_beat & 0xFF
        if frame_rate_hz == 29:
            frame_rate_hz = 30_000 / 1001
        return ticks / (frame_rate_hz * max(ticks_per_frame, 1))
    tempos = [
        (tick, tempo)
        for track in midi.tracks
        for tick, kind, _, tempo, _ in track.events
        if kind == TEMPO
    ]
    tempos = [(0, DEFAULT_TEMPO_US), *sorted(tempos, key=lambda found: found[0])]
    starts, tempo_us = np.array(tempos).T
    tick_s = tempo_us / (1e6 * ticks_per_beat)
    start_s = np.concatenate([[0.0], np.cumsum(np.diff(starts) * tick_s[:-1])])
    segment = np.searchsorted(starts, ticks, side="right") - 1
    return start_s[segment] + (ticks - starts[segment]) * tick_s[segment]


def _track(
    notes: Columns,
    pedal_tick: np.ndarray,
    tempo: TempoMap,
    port: int,
    channel: int,
    program: int,
    name: str,
) -> mido.MidiTrack:
    """Return a track of one program.

    In a tick the pedal comes first, then note-offs, then note-ons.
    """
    on_tick, off_tick = tempo.ticks(notes.onset_s), tempo.ticks(notes.offset_s)
    off_tick = np.maximum(off_tick, on_tick + 1)
    # Of notes of one key in one tick, the longest comes last and is the one to keep.
    order = np.lexsort((off_tick, on_tick, notes.pitch))
    on_tick, off_tick = on_tick[order], off_tick[order]
    pitch, velocity = notes.pitch[order], notes.velocity[order]
    is_followed = pitch[:-1] == pitch[1:]
    off_tick[:-1][is_followed] = np.minimum(off_tick[:-1], on_tick[1:])[is_followed]
    kept = off_tick > on_tick
    moves = [(down, 127) for down, up in pedal_tick.tolist() if up > down]
    moves += [(up, 0) for down, up in pedal_tick.tolist() if up > down]
    # Where it goes up and down in one tick, up comes first.
    events = [
        (tick, {"type": "control_change", "control": SUSTAIN_PEDAL, "value": value})
        for tick, value in sorted(moves)
    ]
    for ticks, kind, strengths in (
        (off_tick, "note_off", np.full_like(velocity, 64)),
        (on_tick, "note_on", velocity),
    ):
        rows = np.stack([ticks[kept], pitch[kept], strengths[kept]], axis=1)
        events += [
            (tick, {"type": kind, "note": key, "velocity": strength})
            for tick, key, strength in rows.tolist()
        ]
    events.sort(key=lambda event: event[0])  # stable, so that their order stays
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
    if port:
        track.append(mido.MetaMessage("midi_port", port=port))
    track.append(mido.Message("program_change", channel=channel, program=program))
    now = 0
    for tick, message in events:
        while tick - now > LONGEST_DELTA:
            track.append(mido.MetaMessage("text", time=LONGEST_DELTA))
            now += LONGEST_DELTA
        track.append(mido.Message(channel=channel, time=tick - now, **message))
        now = tick
    return track

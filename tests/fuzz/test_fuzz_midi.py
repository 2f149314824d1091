"""Damaged MIDI files: notes, or one line that names the file."""

from pathlib import Path

import mutations
from midi_bytes import midi_bytes, off, on, pedal

from mt3x.music.midi import read_beats, read_pedal, read_tracks
from mt3x.music.note_files import read_notes

GOLDEN = Path(__file__).parents[1] / "golden"


def samples() -> list[bytes]:
    import mido

    def meta(kind, **values):
        return mido.MetaMessage(kind, **values)

    small = midi_bytes(
        [(0, meta("set_tempo", tempo=400_000)), (0, meta("key_signature", key="Am"))],
        [
            *((0, meta("track_name", name="A")), (0, pedal(127)), (5, on(60))),
            *((9, off(60)), (9, mido.Message("control_change", control=123))),
            *((10, on(60)), (12, mido.Message("pitchwheel", pitch=100)), (20, off(60))),
            (20, mido.Message("sysex", data=[1, 2, 3])),
        ],
        [(tick, (on, off)[tick % 2](60 + tick // 20)) for tick in range(40)],
    )
    smpte = midi_bytes([(0, on(60)), (50, off(60))])
    smpte = smpte[:12] + bytes([256 - 25, 40]) + smpte[14:]
    return [small, smpte, (GOLDEN / "pedal.mid").read_bytes()]


def test_damaged_midi_files(tmp_path):
    def read(path):
        for read in (read_notes, read_pedal, read_tracks, read_beats):
            read(path)

    counts = mutations.try_all(read, tmp_path / "damaged.mid", samples())
    assert counts["read"]

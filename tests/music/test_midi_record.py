"""Records in MIDI files: read back, and in nobody's way."""

import io

import mido
import pytest

from mt3x.music.midi_record import add_record, read_record
from mt3x.music.notes import Notes

MIDI = Notes([0.5, 1], [1, 2], [60, 72], program=[0, 40]).to_midi()


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 20_000])
def test_a_record_is_read_back_and_changes_no_note(size):
    record = {"model": "piano model", "options": {"checkpoint": "é" * size}}
    midi = add_record(MIDI, record)
    assert read_record(midi) == record
    assert Notes.from_midi(midi).equals(Notes.from_midi(MIDI))
    track, plain = (mido.MidiFile(file=io.BytesIO(x)).tracks for x in (midi, MIDI))
    assert track[0][0].type == "sequencer_specific"
    assert track[0][1:] == plain[0] and track[1:] == plain[1:]


def test_without_a_record():
    assert read_record(MIDI) is read_record(b"") is read_record(b"no MIDI") is None
    with_list = add_record(MIDI, {"a": 1}).replace(b'{"a": 1}', b"[1234567")
    assert read_record(with_list) is None
    with pytest.raises(ValueError, match="not the bytes of a MIDI file"):
        add_record(b"RIFF", {})

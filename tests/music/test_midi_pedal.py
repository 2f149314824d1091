"""The sustain pedal of MIDI files: which notes it holds, and its times."""

import json
from pathlib import Path

import mido
import numpy as np
import pytest
from midi_bytes import midi_bytes, off, on, pedal, spans

from mt3x.music.midi import read_pedal
from mt3x.music.notes import Notes

GOLDEN = Path(__file__).parents[1] / "golden"


def test_pedal_holds_until_release():
    track = [(0, on(60)), (100, pedal(127)), (200, off(60)), (900, pedal(0))]
    assert spans(midi_bytes(track)) == [(60, 0, 900)]
    assert spans(midi_bytes(track), sustain_pedal=False) == [(60, 0, 200)]


@pytest.mark.parametrize("value, end", [(63, 200), (64, 900)])
def test_pedal_threshold(value, end):
    track = [(0, pedal(value)), (0, on(60)), (200, off(60)), (900, pedal(0))]
    assert spans(midi_bytes(track)) == [(60, 0, end)]


def test_pedal_holds_until_the_same_key_again():
    track = [
        (0, pedal(127)),
        (0, on(60)),
        (10, on(64)),
        (100, off(60)),
        (110, off(64)),
        (500, on(60)),
        (600, off(60)),
        (900, pedal(0)),
    ]
    assert spans(midi_bytes(track)) == [(60, 0, 500), (64, 10, 900), (60, 500, 900)]


def test_pedal_pressed_after_release_holds_nothing():
    track = [(0, on(60)), (200, off(60)), (201, pedal(127)), (900, pedal(0))]
    assert spans(midi_bytes(track)) == [(60, 0, 200)]


def test_pedal_does_not_shorten():
    track = [(0, pedal(127)), (0, on(60)), (300, pedal(0)), (500, off(60))]
    assert spans(midi_bytes(track)) == [(60, 0, 500)]


def test_pedal_stays_down_over_changing_values():
    track = [(0, pedal(127)), (0, on(60)), (100, off(60)), (200, pedal(70))]
    track += [(300, pedal(90)), (400, pedal(10)), (500, pedal(0))]
    assert spans(midi_bytes(track)) == [(60, 0, 400)]


def test_half_pedalled_repedalling():
    """Up and down in one tick: what sounded ends there, what ends there is held."""
    track = [(0, pedal(127)), (0, on(60)), (0, on(62)), (100, off(60))]
    track += [(500, pedal(0)), (500, pedal(127)), (500, off(62)), (900, pedal(0))]
    assert spans(midi_bytes(track)) == [(60, 0, 500), (62, 0, 900)]


def test_pedal_down_at_the_end_ends_with_the_file():
    track = [(0, pedal(127)), (0, on(60)), (100, off(60)), (700, on(62))]
    track += [(800, off(62)), (1000, mido.MetaMessage("end_of_track"))]
    assert spans(midi_bytes(track)) == [(60, 0, 1000), (62, 700, 1000)]


def test_pedal_is_its_channels_alone_but_of_any_track():
    piano = [(0, on(60)), (100, off(60))]
    other = [(0, on(62, channel=1)), (100, off(62, channel=1))]
    pedals = [(0, pedal(127)), (900, pedal(0))]
    assert spans(midi_bytes(piano, other, pedals)) == [(60, 0, 900), (62, 0, 100)]


def test_drums_have_no_pedal():
    track = [(0, pedal(127, 9)), (0, on(36, channel=9)), (50, off(36, channel=9))]
    track += [(900, pedal(0, 9))]
    assert spans(midi_bytes(track)) == [(36, 0, 50)]
    assert Notes.from_midi(midi_bytes(track)).is_drum.tolist() == [True]


def test_times_of_the_pedal():
    tracks = (
        [(0, pedal(127)), (300, pedal(20)), (300, pedal(90)), (400, pedal(100))],
        [(100, pedal(64, 1)), (200, pedal(63, 1)), (500, pedal(127, 1)), (900, on(60))],
    )
    times_ms = np.rint(1000 * read_pedal(midi_bytes(*tracks)))
    # One channel's after the other's, that of the last to the end of the file.
    assert times_ms.tolist() == [[0, 300], [300, 900], [100, 200], [500, 900]]
    assert read_pedal(midi_bytes([(0, on(60)), (9, off(60))])).shape == (0, 2)


def test_pedal_as_note_seq_applies_it():
    """Golden file of tests/golden/make_midi.py."""
    ref = np.array(json.loads((GOLDEN / "pedal.json").read_text()))
    notes = Notes.from_midi(GOLDEN / "pedal.mid")
    est = np.stack(
        [
            notes.onset_s,
            notes.offset_s,
            notes.pitch,
            notes.velocity,
            notes.program,
            notes.is_drum,
        ],
        axis=1,
    )

    def ordered(rows):
        key = np.round(rows, 4)
        return rows[np.lexsort((key[:, 0], key[:, 2], key[:, 4], key[:, 5]))]

    np.testing.assert_allclose(ordered(est), ordered(ref), atol=1e-6)
    bare = Notes.from_midi(GOLDEN / "pedal.mid", sustain_pedal=False)
    assert np.count_nonzero(bare.offset_s != notes.offset_s) > 50

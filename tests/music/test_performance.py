"""Performances: what is heard of keys and pedal, and their files."""

import io
import json

import mido
import numpy as np
import pytest

from mt3x.music.beats import Beats
from mt3x.music.note_files import read_notes, read_performance
from mt3x.music.notes import Notes
from mt3x.music.performance import NO_PEDAL, Performance

# C4 is held by the pedal, E4 by its key beyond the pedal, G4 is struck again under it,
# B4 comes without.
KEYS = Notes([0.0, 0.0, 0.5, 1.0, 3.0], [0.4, 2.5, 0.7, 1.2, 3.2], [60, 64, 67, 67, 71])
PLAYED = Performance(KEYS, np.array([[0.2, 2.0], [3.4, 4.0]]))
HEARD_S = [2.0, 2.5, 1.0, 2.0, 3.2]
MS = 0.001


def controls(midi: bytes) -> list[tuple[float, int]]:
    """Return the seconds and values of CC64."""
    time_s, found = 0.0, []
    for message in mido.MidiFile(file=io.BytesIO(midi)):
        time_s += message.time
        if message.type == "control_change" and message.control == 64:
            found.append((round(time_s, 2), message.value))
    return found


def test_the_pedal_holds_what_is_released_under_it():
    notes = PLAYED.notes()
    np.testing.assert_allclose(notes.offset_s, HEARD_S)
    assert notes.pitch.tolist() == KEYS.pitch.tolist()
    assert PLAYED.keys.equals(KEYS)


def test_dampers_may_move_before_the_pedal():
    early = PLAYED.notes(np.array([0.1, 0.5]))
    np.testing.assert_allclose(early.offset_s, [1.9, 2.5, 1.0, 1.9, 3.5])


def test_drums_ring_by_themselves():
    drums = Notes([0.0], [0.1], [38], is_drum=[True])
    assert Performance(drums, np.array([[0.0, 1.0]])).notes().offset_s == [0.1]


def test_spans_that_overlap_or_meet_are_one():
    spans = [[3, 4], [0, 1], [0.1, 0.3], [0.5, 2], [2, 2.5], [2.7, 2.7]]
    pedal_s = Performance(KEYS, np.array(spans)).pedal_s
    np.testing.assert_array_equal(pedal_s, [[0.0, 2.5], [3.0, 4.0]])
    assert Performance(KEYS, NO_PEDAL).notes().equals(KEYS)


@pytest.mark.parametrize(
    ("pedal_s", "what"),
    [
        ([[1.0, 0.5]], "may end before"),
        ([[0.0, np.nan]], "finite"),
        ([0.0, 1.0], "K x 2"),
        ([[0.0, 1.0, 2.0]], "K x 2"),
    ],
)
def test_bad_pedals_are_refused(pedal_s, what):
    with pytest.raises(ValueError, match=what):
        Performance(KEYS, np.array(pedal_s))


def test_moved_stretched_and_cut():
    moved = PLAYED.shift(1.0)
    np.testing.assert_allclose(moved.pedal_s, [[1.2, 3.0], [4.4, 5.0]])
    assert moved.notes().equals(PLAYED.notes().shift(1.0))
    np.testing.assert_allclose(
        PLAYED.stretched(2.0).notes().offset_s, 2 * np.array(HEARD_S)
    )
    part = PLAYED.clip(0.3, 1.5)
    np.testing.assert_allclose(part.pedal_s, [[0.3, 1.5]])
    assert part.keys.onset_s.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("beats", [None, Beats.from_bpm(77.0, 0.1, 4.0)])
def test_midi_has_key_ends_and_the_pedal_and_sounds_as_it_did(beats):
    midi = PLAYED.to_midi(beats=beats)
    assert controls(midi) == [(0.2, 127), (2.0, 0), (3.4, 127), (4.0, 0)]
    keys = Notes.from_midi(midi, sustain_pedal=False)
    np.testing.assert_allclose(keys.offset_s, KEYS.offset_s, atol=MS)
    np.testing.assert_allclose(Notes.from_midi(midi).offset_s, HEARD_S, atol=MS)


def test_in_a_tick_the_pedal_comes_first_and_goes_up_before_it_goes_down():
    keys = Notes([0.0, 0.5], [0.5, 1.0], [60, 62])
    pedal_s = np.array([[0.1, 0.5], [0.5001, 0.9], [0.95, 0.9501]])
    midi = mido.MidiFile(file=io.BytesIO(Performance(keys, pedal_s).to_midi()))
    sent = [
        (message.type, message.bytes()[2])
        for message in midi.tracks[1]
        if not message.is_meta and message.type != "program_change"
    ]
    assert sent == [
        ("note_on", 100),
        ("control_change", 127),
        ("control_change", 0),
        ("control_change", 127),
        ("note_off", 64),
        ("note_on", 100),
        ("control_change", 0),
        ("note_off", 64),
    ]


def test_midi_is_written_to_files(tmp_path):
    PLAYED.to_midi(tmp_path / "a.mid")
    with pytest.raises(FileExistsError):
        PLAYED.to_midi(tmp_path / "a.mid")
    found = read_performance(tmp_path / "a.mid")
    np.testing.assert_allclose(found.pedal_s, PLAYED.pedal_s, atol=MS)
    np.testing.assert_allclose(found.notes().offset_s, HEARD_S, atol=MS)


def test_tables_have_both_ends(tmp_path):
    (tmp_path / "a.csv").write_text(PLAYED.to_csv())
    (tmp_path / "a.json").write_text(PLAYED.to_json({"file": "a"}))
    for name in ("a.csv", "a.json"):
        assert read_notes(tmp_path / name).offset_s.tolist() == HEARD_S
        found = read_performance(tmp_path / name)
        assert found.keys.offset_s.tolist() == KEYS.offset_s.tolist()
        pedal_s = PLAYED.pedal_s if name == "a.json" else NO_PEDAL
        np.testing.assert_array_equal(found.pedal_s, pedal_s)
    assert "key_up_s" in PLAYED.to_csv().splitlines()[0].split(",")
    first = json.loads(PLAYED.to_jsonl().splitlines()[0])
    assert (first["offset_s"], first["key_up_s"]) == (2.0, 0.4)
    assert json.loads(PLAYED.to_json())["pedal"][1] == {"down_s": 3.4, "up_s": 4.0}


def test_tables_without_pedal_have_keys_alone(tmp_path):
    KEYS.to_json(tmp_path / "a.json")
    found = read_performance(tmp_path / "a.json")
    assert found.keys.equals(KEYS) and not len(found.pedal_s)


@pytest.mark.parametrize("pedal", ["5", '[{"down_s": 1}]', '[["x", 2]]', '"ab"'])
def test_a_damaged_pedal_in_a_file_names_it(tmp_path, pedal):
    path = tmp_path / "a.json"
    path.write_text(f'{{"pedal": {pedal}, "notes": []}}')
    with pytest.raises(ValueError, match=r"a\.json.*pedal"):
        read_performance(path)

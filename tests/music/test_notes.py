"""Notes: checks, sorting, indexing, tables."""

import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt3x.music.instruments import Instruments
from mt3x.music.notes import Notes

TWO = Notes([1.0, 0.5], [2.0, 0.75], [60, 72], [1, 127], [0, 40], [False, True])


@st.composite
def any_notes(draw):
    """Notes on microseconds, so that tables hold them exactly."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 10**9),
                st.integers(0, 10**8),
                st.integers(0, 127),
                st.integers(1, 127),
                st.integers(0, 127),
                st.booleans(),
                st.integers(-1, 10**4),
            ),
            max_size=20,
        )
    )
    on, length, *rest, sure = np.array(rows, np.int64).reshape(-1, 7).T
    confidence = np.where(sure < 0, np.nan, sure / 1e4)
    return Notes(on / 1e6, (on + length) / 1e6, *rest, confidence)


def test_sorts_by_onset_program_pitch():
    notes = Notes([1, 0, 1, 1], [2, 2, 2, 3], [50, 70, 60, 40], program=[0, 9, 0, 1])
    assert notes.onset_s.tolist() == [0, 1, 1, 1]
    assert notes.pitch.tolist() == [70, 50, 60, 40]
    assert notes.offset_s.tolist() == [2, 2, 2, 3]


def test_fills_in_what_is_left_out():
    notes = Notes([0], [1], [60])
    assert notes.velocity.tolist() == [100]
    assert notes.program.tolist() == [0]
    assert notes.is_drum.tolist() == [False]
    assert [a.dtype for a in (notes.onset_s, notes.pitch, notes.is_drum)] == [
        np.float64,
        np.int32,
        np.bool_,
    ]


def test_arrays_are_read_only_copies():
    onset_s = np.array([0.0, 1.0])
    notes = Notes(onset_s, onset_s + 1, [60, 61])
    onset_s[0] = 7
    assert notes.onset_s[0] == 0
    for copy in (notes, pickle.loads(pickle.dumps(notes)), notes[:1]):
        with pytest.raises(ValueError, match="read-only"):
            copy.pitch[0] = 1


@pytest.mark.parametrize(
    "arrays, message",
    [
        (([np.nan], [1], [60]), "onset_s of note 0 is not finite"),
        (([0], [np.inf], [60]), "offset_s of note 0 is not finite"),
        (([0, 2], [1, 1], [60, 60]), "note 1 ends at 1 s, before its onset at 2 s"),
        (([0], [1], [128]), "pitch of note 0 is 128"),
        (([0], [1], [60.5]), "pitch of note 0 is 60.5"),
        (([0], [1], [np.nan]), "pitch of note 0 is nan"),
        (([0], [1], [60], [0]), "velocity of note 0 is 0"),
        (([0], [1], [60], [1], [-1]), "program of note 0 is -1"),
        (([0], [1, 2], [60]), "offset_s has shape"),
        (([0], [1], [60], [1], [1], [0, 1]), "is_drum has shape"),
        (([0], [1], [60], [1], [0], [0], [1.5]), "confidence of note 0 is 1.5"),
    ],
)
def test_refuses_bad_arrays(arrays, message):
    with pytest.raises(ValueError, match=message):
        Notes(*arrays)


def test_indexing():
    notes = Notes(np.arange(4), np.arange(4) + 1, [60, 61, 62, 63])
    assert notes[1:3].pitch.tolist() == [61, 62]
    assert notes[notes.pitch > 61].pitch.tolist() == [62, 63]
    assert notes[[3, 0]].pitch.tolist() == [60, 63]
    assert len(notes[[]]) == len(notes[np.zeros(4, bool)]) == 0
    with pytest.raises(TypeError, match="slice"):
        notes[0]


BAND = Notes(
    [0.5, 1.0, 1.0, 2.0, 3.0],
    [0.9, 2.0, 1.1, 3.0, 9.0],
    [60, 62, 36, 60, 60],
    [20, 40, 60, 80, 120],
    [0, 0, 0, 33, 0],
    [False, False, True, False, False],
)


def test_clip():
    cut = BAND.clip(1.0, 3.0)
    assert cut.equals(BAND[1:4])
    assert BAND.clip(3.0, 4.0).offset_s.tolist() == [4.0]
    assert BAND.clip(0.0, np.inf).equals(BAND)
    assert BAND.clip(5.0, 6.0).equals(Notes.empty())


def test_transposed_keeps_drums_and_drops_what_leaves_the_range():
    up = BAND.transposed(66)
    assert up.pitch.tolist() == [126, 36, 126, 126]
    assert up.is_drum.tolist() == [False, True, False, False]
    assert up.velocity.tolist() == [20, 60, 80, 120]


def test_stretched():
    slow = BAND.stretched(2.0)
    np.testing.assert_array_equal(slow.offset_s, 2 * BAND.offset_s)
    assert slow.is_drum.tolist() == BAND.is_drum.tolist()
    with pytest.raises(ValueError, match=r"ratio is 0\.0"):
        BAND.stretched(0.0)


def test_next_onsets():
    inf = np.inf
    assert BAND.next_onsets().tolist() == [3.0, inf, inf, inf, inf]
    together = Notes([1.0, 1.0, 2.0], [1.5, 1.7, 3.0], [60, 60, 60])
    assert together.next_onsets().tolist() == [1.0, 2.0, inf]
    assert len(Notes.empty().next_onsets()) == 0


def test_select():
    assert BAND.select(Instruments(frozenset({33}), True)).pitch.tolist() == [36, 60]


def test_midi_is_read_and_written(tmp_path):
    BAND.to_midi(tmp_path / "a.mid")
    for source in (tmp_path / "a.mid", (tmp_path / "a.mid").read_bytes()):
        back = Notes.from_midi(source)
        np.testing.assert_array_equal(back.program, BAND.program)
        np.testing.assert_allclose(back.onset_s, BAND.onset_s, atol=1e-3)


def test_equals_shift_concatenate_empty():
    assert TWO.equals(TWO[:])
    for other in (TWO[:1], TWO.shift(1e-9), Notes([1, 0.5], [2, 0.75], [60, 72])):
        assert not TWO.equals(other)
    assert TWO.shift(-3).onset_s.tolist() == [-2.5, -2]
    assert Notes.concatenate([TWO[1:], TWO[:1]]).equals(TWO)
    assert Notes.concatenate([]).equals(Notes.empty())
    assert len(Notes.empty()) == 0 and repr(Notes.empty()) == "Notes(0 notes)"
    assert repr(TWO) == "Notes(2 notes, 0.500 to 2.000 s, pitch 60 to 72)"


@given(any_notes())
def test_csv_and_json_round_trip(notes):
    assert Notes.from_csv(io.StringIO(notes.to_csv())).equals(notes)
    assert Notes.from_json(io.StringIO(notes.to_json())).equals(notes)


def test_confidence_goes_with_its_note():
    notes = Notes([1, 0], [2, 1], [60, 72], confidence=[0.25, np.nan])
    assert np.isnan(notes.confidence[0]) and notes.confidence[1] == 0.25
    assert not notes.equals(Notes([1, 0], [2, 1], [60, 72]))
    changed = Notes.concatenate([notes.shift(1).clip(0, 2.5), notes[:0]])
    assert changed.equals(Notes([2, 1], [2.5, 2], [60, 72], confidence=[0.25, np.nan]))
    assert notes.to_csv().splitlines()[1:] == [
        "0.000000,1.000000,72,100,0,0,",
        "1.000000,2.000000,60,100,0,0,0.25",
    ]
    records = json.loads(notes.to_json())["notes"]
    assert [record["confidence"] for record in records] == [None, 0.25]


def test_csv_text():
    assert TWO.to_csv().splitlines() == [
        "onset_s,offset_s,pitch,velocity,program,is_drum",
        "0.500000,0.750000,72,127,40,1",
        "1.000000,2.000000,60,1,0,0",
    ]


def test_json_text():
    assert json.loads(TWO.to_json())["notes"][0] == {
        "onset_s": 0.5,
        "offset_s": 0.75,
        "pitch": 72,
        "velocity": 127,
        "program": 40,
        "is_drum": True,
    }


def test_json_says_more_and_lines_are_notes():
    text = TWO.to_json(about={"file": "a.wav", "options": {"lowest": 21}})
    assert json.loads(text)["options"] == {"lowest": 21}
    assert Notes.from_json(io.StringIO(text)).equals(TWO)
    lines = TWO.to_jsonl().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(text)["notes"]
    assert Notes.empty().to_jsonl() == ""
    empty = Notes.empty().to_json(about={"file": "a.wav"})
    assert json.loads(empty) == {"file": "a.wav", "notes": []}


@pytest.mark.parametrize("name", ["midi", "csv", "json"])
def test_files_hold_what_no_path_returns(tmp_path, name):
    write = getattr(TWO, f"to_{name}")
    path = tmp_path / f"a.{name}"
    assert write(path) is None
    data = write()
    assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode())
    with pytest.raises(FileExistsError, match="--overwrite"):
        write(path)
    write(path, overwrite=True)


def test_csv_columns_by_name_in_any_order():
    notes = Notes.from_csv(io.StringIO("pitch,offset_s,onset_s\n60,1,0.5\n"))
    assert notes.equals(Notes([0.5], [1], [60]))


MAPS = "# onset\toffset\tnote\tvelocity\tkey_up\n0.5\t6.7\t62\t74\t0.9\n"


def test_tsv_takes_the_offset_with_pedal_or_the_key_up():
    assert Notes.from_tsv(io.StringIO(MAPS)).equals(Notes([0.5], [6.7], [62], [74]))
    by_key = Notes.from_tsv(io.StringIO(MAPS), key_up=True)
    assert by_key.equals(Notes([0.5], [0.9], [62], [74]))


@pytest.mark.parametrize(
    "text",
    ["OnsetTime\tOffsetTime\tMidiPitch\n1\t2\t60\n", "1 2 60", "\n# x\n1 2 60\n\n"],
)
def test_tsv_headers_and_missing_velocity(text):
    assert Notes.from_tsv(io.StringIO(text)).equals(Notes([1], [2], [60]))


def test_tsv_without_key_up():
    assert Notes.from_tsv(io.StringIO("1 2 60 7")).equals(Notes([1], [2], [60], [7]))


PARTS = """# onset offset pitch velocity program is_drum
0.5\t6.7\t62\t74\t40\t0
0.5\t0.6\t36\t90\t0\t1
"""


@pytest.mark.parametrize("key_up", [False, True])
def test_tsv_with_programs_and_drums(key_up):
    """They are found by their names, and have no other offset than the one."""
    parts = Notes([0.5, 0.5], [6.7, 0.6], [62, 36], [74, 90], [40, 0], [False, True])
    assert Notes.from_tsv(io.StringIO(PARTS), key_up).equals(parts)
    head, *rows = PARTS.splitlines()
    turned = [" ".join(reversed(line.strip("# ").split())) for line in (head, *rows)]
    assert Notes.from_tsv(io.StringIO("\n".join(turned)), key_up).equals(parts)


@pytest.mark.parametrize("text", ["", "# onset offset note\n"])
def test_tsv_without_notes_is_empty(text):
    assert len(Notes.from_tsv(io.StringIO(text))) == 0


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("tsv", "1 2 60\n1 x 60\n", "line 2"),
        ("tsv", "1 2\n", "line 1: 2 columns"),
        ("tsv", "3 2 60\n", "ends at 2 s, before"),
        ("tsv", "onset offset pitch program\n1 2 60\n", "no valid program"),
        ("csv", "a,b\n1,2\n", "no column onset_s or offset_s or pitch"),
        ("csv", "onset_s,offset_s,pitch\n1,2\n", "no valid pitch"),
        ("csv", "onset_s,offset_s,pitch\n1,2,300\n", "pitch of note 0 is 300"),
        ("csv", "", "no column"),
        ("json", "{", "not a note file"),
        ("json", "[]", "not a note file"),
        ("json", '{"notes": [3]}', "not a note file"),
        ("json", '{"notes": 3}', "not a note file"),
        ("json", '{"notes": [{"pitch": 1}]}', "no column onset_s"),
    ],
)
def test_bad_tables_name_the_file(tmp_path, name, text, message):
    path = tmp_path / f"bad.{name}"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        getattr(Notes, f"from_{name}")(path)
    assert "bad." in str(caught.value) and "\n" not in str(caught.value)


def test_key_up_column_is_needed_to_be_asked_for():
    with pytest.raises(ValueError, match="key-up time in column 5"):
        Notes.from_tsv(io.StringIO("1 2 60 70"), key_up=True)


@pytest.mark.parametrize("read", [Notes.from_csv, Notes.from_tsv, Notes.from_json])
def test_binary_file_is_no_table(tmp_path, read):
    (tmp_path / "a.flac").write_bytes(b"fLaC\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.flac"):
        read(tmp_path / "a.flac")

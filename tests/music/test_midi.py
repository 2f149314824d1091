"""MIDI: round trip, pedal, tempo, programs, odd and damaged files."""

import io
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midi_bytes import midi_bytes, off, on, pedal, spans

from mt3x.music.instruments import PROGRAM_NAMES
from mt3x.music.midi import count_pitch_bends, read_beats, read_tracks
from mt3x.music.notes import Notes

GOLDEN = Path(__file__).parents[1] / "golden"


@st.composite
def playable_notes(draw):
    """Notes that keys can play: one of a program and pitch at a time."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([(0, False), (3, False), (127, False), (0, True)]),
                st.sampled_from([0, 21, 60, 61, 108, 127]),
                st.integers(0, 3_000_000),  # rest before, in microseconds
                st.integers(1, 2_000_000),  # length
                st.integers(1, 127),
            ),
            max_size=30,
        )
    )
    clock, columns = {}, []
    for (program, is_drum), pitch, rest_us, length_us, velocity in rows:
        # Strokes at least 1.1 ms apart fall on different ticks.
        onset_us = clock.get((program, is_drum, pitch), 0) + rest_us
        clock[program, is_drum, pitch] = onset_us + max(length_us, 1100)
        columns.append(
            (
                onset_us / 1e6,
                (onset_us + length_us) / 1e6,
                pitch,
                velocity,
                program,
                is_drum,
            )
        )
    return Notes(*np.array(columns).reshape(-1, 6).T)


def in_order(notes: Notes) -> np.ndarray:
    """All columns, sorted by key and then time, so that rounding moves no row."""
    columns = np.stack(
        [
            notes.is_drum,
            notes.program,
            notes.pitch,
            notes.onset_s,
            notes.offset_s,
            notes.velocity,
        ]
    )
    return columns[:, np.lexsort(columns[3::-1])]


@given(playable_notes())
def test_round_trip_within_a_millisecond(notes):
    back = Notes.from_midi(notes.to_midi())
    assert len(back) == len(notes)
    ref, est = in_order(notes), in_order(back)
    np.testing.assert_array_equal(est[[0, 1, 2, 5]], ref[[0, 1, 2, 5]])
    assert np.abs(est[3] - ref[3]).max(initial=0) < 0.0003
    assert np.abs(est[4] - ref[4]).max(initial=0) < 0.001


def test_long_recording_keeps_its_time():
    notes = Notes([36000.1234], [36001.5], [60])
    back = Notes.from_midi(notes.to_midi())
    assert abs(back.onset_s[0] - notes.onset_s[0]) < 0.0003


def test_rests_longer_than_a_delta_time_can_be():
    """139,810 s are the most that four bytes hold."""
    notes = Notes([0, 500_000], [1, 500_001], [60, 62])
    data = notes.to_midi()
    back = Notes.from_midi(data)
    np.testing.assert_allclose(back.onset_s, notes.onset_s, atol=0.001)
    assert all(
        message.time < 1 << 28
        for track in mido.MidiFile(file=io.BytesIO(data)).tracks
        for message in track
    )


def test_pitch_bends_are_counted_but_not_their_ends():
    bends = [mido.Message("pitchwheel", pitch=pitch) for pitch in (4096, 1, 0)]
    data = midi_bytes([(0, on(60)), *((50, bend) for bend in bends), (100, off(60))])
    assert count_pitch_bends(data) == 2


def test_no_notes():
    assert len(Notes.from_midi(Notes.empty().to_midi())) == 0
    assert len(Notes.from_midi(midi_bytes())) == 0


def test_written_layout():
    notes = Notes(
        [0, 0, 0], [1, 1, 1], [60, 61, 36], program=[0, 40, 0], is_drum=[0, 0, 1]
    )
    midi = mido.MidiFile(file=io.BytesIO(notes.to_midi()))
    assert [track.name for track in midi.tracks] == [
        "",
        "Acoustic Grand Piano",
        "Violin",
        "Drums",
    ]
    found = {(m.channel, m.note) for m in midi if m.type == "note_on"}
    assert found == {(0, 60), (1, 61), (9, 36)}
    assert len(PROGRAM_NAMES) == len(set(PROGRAM_NAMES)) == 128
    assert PROGRAM_NAMES[127] == "Gunshot"


def test_tracks_may_have_other_names():
    notes = Notes([0, 0], [1, 1], [60, 61], program=[0, 40])
    midi = mido.MidiFile(file=io.BytesIO(notes.to_midi(names={40: "Fiddler"})))
    names = [track.name for track in midi.tracks]
    assert names == ["", "Acoustic Grand Piano", "Fiddler"]


def test_more_programs_than_channels():
    notes = Notes(
        np.arange(40) / 10, np.arange(40) / 10 + 1, [60] * 40, program=range(40)
    )
    midi = mido.MidiFile(file=io.BytesIO(notes.to_midi()))
    places = []
    for track in midi.tracks[1:]:
        port = sum(m.port for m in track if m.type == "midi_port")
        places += [(port, m.channel) for m in track if m.type == "program_change"]
    # No two programs share a channel of a port, and none is where the drums are.
    assert len(set(places)) == 40 and {port for port, _ in places} == {0, 1, 2}
    assert all(channel != 9 for _, channel in places)
    back = Notes.from_midi(notes.to_midi())
    assert back.program.tolist() == list(range(40))
    assert not back.is_drum.any()
    np.testing.assert_allclose(back.offset_s, notes.offset_s, atol=1e-3)


def test_overlapping_strokes_of_a_key_are_cut_when_written():
    notes = Notes([0, 1, 1, 3], [2, 2, 2.5, 3], [60] * 4, [10, 20, 30, 40])
    back = Notes.from_midi(notes.to_midi())
    assert back.velocity.tolist() == [10, 30, 40]
    np.testing.assert_allclose(back.offset_s, [1, 2.5, 3], atol=1e-3)


def test_write_refuses_negative_times_and_keeps_its_input():
    notes = Notes([-0.01], [1], [60])
    with pytest.raises(ValueError, match=r"-0\.01 s.*shift"):
        notes.to_midi()
    assert notes.onset_s[0] == -0.01


def test_next_note_begins_where_the_last_ends():
    data = Notes([0, 1], [1, 2], [60, 60], [10, 20]).to_midi()
    assert spans(data) == [(60, 0, 1000), (60, 1000, 2000)]


# Odd files.


def test_tempo_map_of_another_track():
    tempos = [
        (500, mido.MetaMessage("set_tempo", tempo=1_000_000)),
        (1000, mido.MetaMessage("set_tempo", tempo=250_000)),
    ]
    track = [(0, on(60)), (250, off(60)), (750, on(62)), (2000, off(62))]
    data = midi_bytes(track, tempos)
    assert spans(data) == [(60, 0, 250), (62, 1000, 2000)]


def test_smpte_time():
    data = bytearray(midi_bytes([(0, on(60)), (50, off(60))]))
    data[12:14] = bytes([256 - 25, 40])  # 25 frames a second, 40 ticks each: 1 ms
    assert spans(bytes(data)) == [(60, 0, 50)]


def test_programs_by_track_or_else_by_channel():
    def program(number, channel=0):
        return mido.Message("program_change", program=number, channel=channel)

    setup = [(0, program(5)), (0, program(6, 1))]
    own = [(0, program(40)), (0, on(60)), (9, off(60)), (9, program(41))]
    own += [(10, on(61)), (19, off(61))]
    shared = [(0, on(62, channel=1)), (9, off(62, channel=1))]
    notes = Notes.from_midi(midi_bytes(setup, own, shared))
    assert dict(zip(notes.pitch.tolist(), notes.program.tolist(), strict=True)) == {
        60: 40,
        61: 41,
        62: 6,
    }


def test_pitch_bends_are_ignored_and_a_missing_program_is_a_piano():
    bends = [(0, mido.Message("pitchwheel", pitch=4096))]
    bends += [(50, mido.Message("pitchwheel", pitch=-8192))]
    track = [(0, on(60)), *bends, (100, off(60))]
    assert spans(midi_bytes(track)) == [(60, 0, 100)]
    assert Notes.from_midi(midi_bytes(track)).program.tolist() == [0]


def test_velocity_zero_is_note_off():
    assert spans(midi_bytes([(0, on(60)), (100, on(60, velocity=0))])) == [(60, 0, 100)]


def test_unclosed_note_ends_with_the_file():
    assert spans(midi_bytes([(0, on(60)), (5, on(62)), (9, off(62))])) == [
        (60, 0, 9),
        (62, 5, 9),
    ]


def test_zero_length_note_is_kept():
    assert spans(midi_bytes([(7, on(60)), (7, off(60))])) == [(60, 7, 7)]


def test_stroke_of_a_sounding_key_ends_the_note():
    track = [(0, on(60)), (100, on(60)), (150, off(60)), (200, off(60))]
    assert spans(midi_bytes(track)) == [(60, 0, 100), (60, 100, 150)]


def test_note_off_after_the_next_note_on_of_one_tick():
    track = [(0, on(60)), (100, on(60)), (100, off(60)), (200, off(60))]
    assert spans(midi_bytes(track)) == [(60, 0, 100), (60, 100, 200)]


def test_one_key_in_two_tracks():
    left = [(0, on(60)), (300, off(60))]
    right = [(100, on(60)), (200, off(60))]
    assert spans(midi_bytes(left, right)) == [(60, 0, 300), (60, 100, 200)]
    pedals = [(0, pedal(127)), (900, pedal(0))]
    # The pedal neither shortens the first nor reaches past the second's release.
    held = spans(midi_bytes(left, right, pedals))
    assert held == [(60, 0, 300), (60, 100, 900)]


def control(number, channel=0):
    return mido.Message("control_change", control=number, channel=channel)


@pytest.mark.parametrize("number", [120, 123, 124, 127])
def test_all_notes_off_ends_the_notes_of_its_channel(number):
    notes = [(0, on(60)), (0, on(64)), (0, on(60, channel=1))]
    track = [*notes, (100, control(number)), (200, on(60)), (900, off(62))]
    assert spans(midi_bytes(track, [(0, on(65))])) == [
        *((60, 0, 100), (60, 0, 900), (64, 0, 100), (65, 0, 900), (60, 200, 900))
    ]


@pytest.mark.parametrize("number, end_ms", [(120, 500), (121, 500), (123, 900)])
def test_what_lifts_the_pedal(number, end_ms):
    """All notes off does not: it releases keys, and the pedal holds them."""
    track = [(0, pedal(127)), (0, on(60)), (100, off(60)), (500, control(number))]
    assert spans(midi_bytes([*track, (900, pedal(0))])) == [(60, 0, end_ms)]


def test_stray_note_off_is_nothing():
    assert spans(midi_bytes([(5, off(60))])) == []


def test_reads_path_bytes_and_file(tmp_path):
    data = Notes([0], [1], [60]).to_midi()
    (tmp_path / "a.mid").write_bytes(data)
    with open(tmp_path / "a.mid", "rb") as file:
        from_file = Notes.from_midi(file)
    for notes in (
        from_file,
        Notes.from_midi(data),
        Notes.from_midi(str(tmp_path / "a.mid")),
    ):
        assert notes.pitch.tolist() == [60]


def test_velocity_above_127_is_127():
    data = midi_bytes([(0, on(60, velocity=101)), (5, off(60))])
    notes = Notes.from_midi(data.replace(bytes([60, 101]), bytes([60, 200])))
    assert notes.velocity.tolist() == [127]


# Damaged files.


DAMAGED = {
    "empty": b"",
    "text": b"not MIDI",
    "short track": b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0"
    b"MTrk\x00\x00\x00\x20\x00\x90",
    "truncated": (GOLDEN / "pedal.mid").read_bytes()[:2000],
    "no ticks per beat": b"MThd\x00\x00\x00\x06\x00\x01\x00\x00\x00\x00",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_named(tmp_path, name):
    (tmp_path / "bad.mid").write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"bad\.mid: ") as caught:
        Notes.from_midi(tmp_path / "bad.mid")
    assert "\n" not in str(caught.value)


def test_type_2_is_refused(tmp_path):
    with pytest.raises(ValueError, match="type 2"):
        Notes.from_midi(midi_bytes([(0, on(60))], [(0, on(62))], kind=2))
    # Of one track it is like type 0.
    assert spans(midi_bytes([(0, on(60)), (9, off(60))], kind=2)) == [(60, 0, 9)]


def test_missing_file(tmp_path):
    with pytest.raises(OSError, match=r"none\.mid"):
        Notes.from_midi(tmp_path / "none.mid")


DATA = midi_bytes(
    [(0, mido.MetaMessage("set_tempo", tempo=400_000)), (9, pedal(127))],
    [(tick, (on, off)[tick % 2](60 + tick // 20)) for tick in range(40)],
)


@pytest.mark.filterwarnings("ignore:MIDI data")
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255))))
def test_any_damage_gives_notes_or_a_value_error(changes):
    data = bytearray(DATA)
    for position, value in changes:
        data[position] = value
    try:
        notes = Notes.from_midi(bytes(data))
    except ValueError as error:
        assert str(error).startswith("MIDI data: ")
    else:
        assert isinstance(notes, Notes)


def test_ten_thousand_notes():
    rng = np.random.default_rng(0)
    pitch = np.arange(10_000) % 88 + 21
    onset_s = np.arange(10_000) * 0.05
    notes = Notes(onset_s, onset_s + rng.uniform(0.1, 2, 10_000), pitch)
    assert len(Notes.from_midi(notes.to_midi())) == 10_000


def test_tracks_by_name_and_beats_follow_the_files_tempos():
    """The first track has the tempos: 120 beats a minute, 60 from 500 ticks on."""
    data = midi_bytes(
        [
            (0, mido.MetaMessage("set_tempo", tempo=500_000)),
            (500, mido.MetaMessage("set_tempo", tempo=1_000_000)),
        ],
        [(0, mido.MetaMessage("track_name", name="A")), (250, on(60)), (750, off(60))],
        [
            (0, mido.MetaMessage("track_name", name="B")),
            *((0, on(50, channel=1)), (10, pedal(127, channel=1))),
            *((100, off(50, channel=1)), (1000, pedal(0, channel=1))),
        ],
        [(0, mido.MetaMessage("track_name", name="A")), (0, on(62)), (250, off(62))],
    )
    tracks = {name: Notes(*track) for name, track in read_tracks(data).items()}
    assert list(tracks) == ["", "A", "B"] and not len(tracks[""])
    np.testing.assert_allclose(tracks["A"].onset_s, [0.0, 0.25])
    np.testing.assert_allclose(tracks["A"].offset_s, [0.25, 1.0])
    np.testing.assert_allclose(tracks["B"].offset_s, [1.5])  # the pedal's
    np.testing.assert_allclose(read_beats(data), [0.0, 0.5, 1.5])
    with pytest.raises(ValueError, match="not a readable MIDI file"):
        read_tracks(b"no")

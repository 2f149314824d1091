"""Tempo maps: notes stay where they are, beats and bars fall on ticks of their own."""

import io

import mido
import numpy as np
import pytest

from mt3x.music.beats import Beats
from mt3x.music.midi_tempo import TICKS_PER_QUARTER
from mt3x.music.notes import Notes

STARTS_S = [0.0, 0.01, 0.2, 0.5, 1.3, 8.3]


def rubato(start_s, is_dotted=False, position=1):
    rng = np.random.default_rng(3)
    time_s = start_s + np.cumsum(np.append(0.0, rng.uniform(0.4, 1.2, 200)))
    position = (np.arange(201) + position - 1) % 4 + 1
    return Beats(time_s, position, 4, 8 if is_dotted else 4, is_dotted)


def written(notes, beats, key=None):
    return mido.MidiFile(file=io.BytesIO(notes.to_midi(beats=beats, key=key)))


def events(track, kind):
    tick, found = 0, []
    for event in track:
        tick += event.time
        if event.type == kind:
            found.append((tick, event))
    return found


def signatures(midi):
    return [
        (tick, event.numerator, event.denominator)
        for tick, event in events(midi.tracks[0], "time_signature")
    ]


@pytest.mark.parametrize("start_s", STARTS_S)
@pytest.mark.parametrize("is_dotted", [False, True])
def test_notes_stay_where_they_are(start_s, is_dotted):
    beats = rubato(start_s, is_dotted)
    onset_s = np.linspace(0.0, beats.time_s[-1] + 5, 1000)
    notes = Notes(onset_s, onset_s + 0.05, np.arange(1000) % 80 + 20)
    again = Notes.from_midi(notes.to_midi(beats=beats))
    slowest_s = np.diff(beats.time_s).max() / beats.quarters_per_beat
    bound_s = 0.51 * slowest_s / TICKS_PER_QUARTER
    assert np.abs(again.onset_s - notes.onset_s).max() < bound_s


@pytest.mark.parametrize("start_s", STARTS_S)
@pytest.mark.parametrize("is_dotted", [False, True])
def test_beats_fall_on_the_beats_of_bars(start_s, is_dotted):
    beats = rubato(start_s, is_dotted)
    down_s = beats.downbeat_s[1:]
    midi = written(Notes(down_s, down_s + 0.1, np.arange(len(down_s)) % 80), beats)
    ticks = np.array([tick for tick, _ in events(midi.tracks[1], "note_on")])
    begin, numerator, denominator = signatures(midi)[-1]
    assert f"{numerator}/{denominator}" == beats.meter
    bar = 4 * TICKS_PER_QUARTER * numerator // denominator
    assert not ((ticks - begin) % bar).any()


def test_a_fragment_without_a_downbeat_stands_for_a_bar():
    beats = Beats(np.array([0.1, 0.5]), np.array([2, 3]), 3)
    notes = Notes([0.1, 0.5], [0.3, 0.9], [60, 64])
    assert signatures(written(notes, beats))[-1][1:] == (3, 4)


@pytest.mark.parametrize(
    ("start_s", "position", "expected"),
    [
        (0.0, 1, [(0, 4, 4)]),
        (0.0, 3, [(0, 2, 4), (1920, 4, 4)]),
        (1.3, 1, [(0, 3, 4), (2880, 4, 4)]),
        (0.1, 1, [(0, 1, 16), (240, 4, 4)]),
    ],
)
def test_what_comes_before_the_first_downbeat_is_a_pick_up(start_s, position, expected):
    beats = Beats(
        start_s + 0.4 * np.arange(20), (np.arange(20) + position - 1) % 4 + 1, 4
    )
    assert signatures(written(Notes([1.0], [1.5], [60]), beats)) == expected


def test_a_bar_of_another_length_has_its_own_signature():
    position = [1, 2, 3, 4, 1, 2, 3, 1, 2, 3, 4]
    beats = Beats(0.5 * np.arange(11), position, 4)
    assert signatures(written(Notes([1.0], [1.5], [60]), beats)) == [
        (0, 4, 4),
        (4 * 960, 3, 4),
        (7 * 960, 4, 4),
    ]


def test_whole_microseconds_of_tempos_do_not_add_up():
    beats = Beats(np.arange(10_000) / 3, np.arange(10_000) % 4 + 1, 4)
    late = Notes([3330.0], [3331.0], [60])
    again = Notes.from_midi(late.to_midi(beats=beats))
    assert again.onset_s[0] == pytest.approx(3330.0, abs=2e-4)


def test_keys_are_written():
    midi = written(Notes([1.0], [1.5], [60]), rubato(0.0), key="C#m")
    assert [e.key for _, e in events(midi.tracks[0], "key_signature")] == ["C#m"]


def test_beats_before_time_zero_are_left_out():
    beats = rubato(-3.0)
    down_s = beats.downbeat_s[beats.downbeat_s > 0]
    notes = Notes(down_s, down_s + 0.1, np.arange(len(down_s)) % 80)
    midi = written(notes, beats)
    again = Notes.from_midi(notes.to_midi(beats=beats))
    np.testing.assert_allclose(again.onset_s, down_s, atol=1e-3)
    ticks = np.array([tick for tick, _ in events(midi.tracks[1], "note_on")])
    assert not ((ticks - signatures(midi)[-1][0]) % (4 * TICKS_PER_QUARTER)).any()


def test_beats_that_midi_cannot_hold_are_refused():
    beats = Beats([0.0, 1.0, 30.0], [1, 2, 3], 4)
    with pytest.raises(ValueError, match="the beat that ends at 30 s is longer"):
        Notes([1.0], [1.5], [60]).to_midi(beats=beats)


def markers(beats):
    midi = written(Notes([beats.time_s[0]], [beats.time_s[0] + 0.1], [60]), beats)
    return [(tick, event.text) for tick, event in events(midi.tracks[0], "marker")]


@pytest.mark.parametrize(
    ("start_s", "first", "expected_beats"),
    [(0.0, 1, None), (0.0, 4, 1), (0.25, 1, 0.5), (1.0, 3, 4)],
)
def test_a_marker_is_on_the_first_downbeat(start_s, first, expected_beats):
    position = (np.arange(9) + first - 1) % 4 + 1
    beats = Beats(start_s + 0.5 * np.arange(9), position, 4)
    expected = (
        []
        if expected_beats is None
        else [(expected_beats * TICKS_PER_QUARTER, "First downbeat")]
    )
    assert markers(beats) == expected


def test_changes_of_meter_have_markers():
    position = [1, 2, 3, 4] * 2 + [1, 2, 3] * 2 + [1, 2, 3, 4] * 2
    beats = Beats(0.5 * np.arange(len(position)), position, 4)
    ticks = np.array([8, 14]) * TICKS_PER_QUARTER
    assert markers(beats) == list(zip(ticks, ["3/4", "4/4"], strict=True))

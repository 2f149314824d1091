"""Beats: their checks, positions in beats, and files."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt3x.music.beats import Beats, read_meter

UNEVEN = Beats([1.0, 1.5, 2.5, 3.0, 3.25], [2, 3, 1, 2, 3], 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_s": [0.0], "position": [1]}, "two or more"),
        ({"time_s": [0.0, 0.0]}, "beat 1 at 0 s does not come after"),
        ({"time_s": [0.0, np.nan]}, "beat 1 is at nan s"),
        ({"position": [0, 1]}, "beat 0 has position 0"),
        ({"position": [1, 1.5]}, "beat 1 has position 1.5"),
        ({"position": [1, 2, 3]}, "a position for each"),
        ({"beats_per_bar": 0}, "0 beats in a bar"),
        ({"beat_unit": 3}, "beat unit is 3"),
    ],
)
def test_what_is_no_beats_is_refused_by_name(change, message):
    good = {"time_s": [0.0, 1.0], "position": [1, 2], "beats_per_bar": 2}
    Beats(**good)
    with pytest.raises(ValueError, match=message):
        Beats(**{**good, **change})


def test_arrays_are_copied_and_read_only():
    time_s = np.array([0.0, 1.0])
    beats = Beats(time_s, [1, 2], 2)
    time_s[0] = 0.5
    assert beats.time_s[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        beats.time_s[0] = 0.5


@pytest.mark.parametrize(
    ("time_s", "beat"),
    [(1.0, 0), (1.25, 0.5), (2.0, 1.5), (3.25, 4), (0.5, -1), (3.5, 5)],
)
def test_beats_are_interpolated_and_go_on_at_the_nearest_tempo(time_s, beat):
    assert UNEVEN.beat_at(time_s) == pytest.approx(beat)
    assert UNEVEN.time_at(beat) == pytest.approx(time_s)


@given(st.lists(st.floats(-10, 20), max_size=20))
def test_time_at_undoes_beat_at(time_s):
    np.testing.assert_allclose(
        UNEVEN.time_at(UNEVEN.beat_at(time_s)), time_s, atol=1e-9
    )


@pytest.mark.parametrize(
    ("end_s", "num"), [(1.0, 2), (2.0, 3), (2.1, 4), (0.0, 2), (60.0, 119)]
)
def test_even_beats_reach_the_end(end_s, num):
    beats = Beats.from_bpm(120, 1.0, end_s, 3)
    assert len(beats) == num
    assert beats.bpm == pytest.approx(120)
    assert beats.position.tolist() == [i % 3 + 1 for i in range(num)]


@pytest.mark.parametrize("bpm", [0.0, -1.0, 1001.0, float("nan")])
def test_impossible_tempos_are_refused(bpm):
    with pytest.raises(ValueError, match="beats a minute"):
        Beats.from_bpm(bpm, 0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3/4", (3, 4, False)),
        ("2/2", (2, 2, False)),
        ("6/8", (2, 8, True)),
        ("12/16", (4, 16, True)),
        ("3/8", (3, 8, False)),
        ("7/8", (7, 8, False)),
        (" 4 / 4 ", (4, 4, False)),
    ],
)
def test_meters_of_time_signatures(text, expected):
    assert read_meter(text) == expected
    assert Beats([0, 1], [1, 2], *expected).meter == text.replace(" ", "")


@pytest.mark.parametrize("text", ["", "4", "4/3", "0/4", "99/4", "a/b", "3/4/4"])
def test_what_is_no_meter_is_refused(text):
    with pytest.raises(ValueError, match="meter"):
        read_meter(text)


@pytest.mark.parametrize("beats", [UNEVEN, Beats([0, 1.1], [1, 2], 2, 8, True)])
def test_files_keep_beats(beats, tmp_path):
    path = tmp_path / "a.beats"
    beats.to_text(path)
    again = Beats.from_text(path)
    assert again.meter == beats.meter
    np.testing.assert_allclose(again.time_s, beats.time_s)
    np.testing.assert_array_equal(again.position, beats.position)


def test_files_of_times_alone_begin_with_a_downbeat():
    beats = Beats.from_text(io.StringIO("0.5\n1.0\n1.5\n2.0\n"), meter="3/4")
    assert beats.position.tolist() == [1, 2, 3, 1]


def test_the_most_common_bar_of_a_file_is_its_meter():
    lines = [f"{t} {p}" for t, p in enumerate([3, 1, 2, 3, 1, 2, 3, 1, 2, 1])]
    assert Beats.from_text(io.StringIO("\n".join(lines))).meter == "3/4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.0 1\nhello\n", "song.txt, line 2: 'hello' is not"),
        ("", "song.txt: beats have shapes"),
        ("2.0 1\n1.0 2\n", "song.txt: beat 1 at 1 s does not come after"),
        ("# meter 4/5\n1.0\n2.0\n", "song.txt: '4/5' is not a meter"),
    ],
)
def test_bad_files_are_refused_by_name(text, message, tmp_path):
    path = tmp_path / "song.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Beats.from_text(path)

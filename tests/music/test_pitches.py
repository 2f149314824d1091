"""Names of pitches."""

import pytest

from mt3x.music.pitches import parse_pitch, pitch_name


def test_names_are_read_as_they_are_written():
    assert [pitch_name(p) for p in (21, 60, 61, 108)] == ["A0", "C4", "C♯4", "C8"]
    assert [parse_pitch(pitch_name(p)) for p in range(128)] == list(range(128))


@pytest.mark.parametrize(
    ("text", "pitch"),
    [("a4", 69), ("F#3", 54), ("Bb2", 46), ("Cb4", 59), ("F##3", 55), (" 60 ", 60)],
)
def test_other_ways_to_write_them(text, pitch):
    assert parse_pitch(text) == pitch


@pytest.mark.parametrize("text", ["", "H4", "C", "128", "-1", "C99", "G#9", "4.5"])
def test_what_is_no_pitch_is_refused(text):
    with pytest.raises(ValueError, match="is not a pitch: give a name such as C4"):
        parse_pitch(text)

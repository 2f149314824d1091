"""Types of options: what is read, and what is refused."""

import click
import pytest

from mt3x.cli.option_types import (
    DeviceName,
    Formats,
    MoodPoint,
    Pitch,
    Tempo,
    Time,
    as_json,
)
from mt3x.music.instruments import parse_instruments


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Time(), "90.5", 90.5),
        (Time(), "1:30", 90.0),
        (Time(), "1:02:03.5", 3723.5),
        (Time(), ".5", 0.5),
        (Time(), 2.0, 2.0),
        (Tempo(), "detect", "detect"),
        (Tempo(), "97.5", 97.5),
        (Pitch(), "E2", 40),
        (Pitch(), 40, 40),
        (MoodPoint(), "30:-0.5,0.8", (30.0, -0.5, 0.8)),
        (MoodPoint(), "1:30: 1,-1", (90.0, 1.0, -1.0)),
        (MoodPoint(), (0.0, 0.0, 1.0), (0.0, 0.0, 1.0)),
        (DeviceName(), "gpu:1", "gpu:1"),
        (Formats(), "mid, PNG,.npz,midi", ["midi", "plot", "rolls"]),
        (Formats(), "wav,svg,jsonl", ["sonify", "svg", "jsonl"]),
    ],
)
def test_values_are_read(kind, text, value):
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((Time(), text) for text in ("", "1:2:3:4", "-1", "1m", "1:", "nan")),
        *((Tempo(), text) for text in ("fast", "0", "nan", "1e9")),
        *((MoodPoint(), text) for text in ("", "3", "0.5,1", "3:1", ":1,1", "x:1,1")),
        *((MoodPoint(), text) for text in ("3:1,1,1", "3:a,b")),
        (Pitch(), "H2"),
        *((DeviceName(), text) for text in ("cuda", "gpu:", "gpu:-1", "gpu:1:2")),
        (Formats(), "xml"),
    ],
)
def test_others_are_refused(kind, text):
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


def test_what_was_chosen_is_json():
    options = {
        "tuning": 3.0,
        "constrain": False,
        "beams": None,
        "instruments": parse_instruments("drums,33,32"),
    }
    assert as_json(options) == {"instruments": "32,33,drums", "tuning": 3.0}

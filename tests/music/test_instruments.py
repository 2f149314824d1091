"""Lists of instruments, and the notes that they select."""

import pytest

from mt3x.music.instrument_classes import CLASS_NAMES, CLASSES
from mt3x.music.instruments import (
    FAMILY_NAMES,
    PROGRAM_NAMES,
    SLAKH_PROGRAMS,
    Instruments,
    parse_instruments,
)
from mt3x.music.notes import Notes


def test_names_are_general_midi():
    assert len(PROGRAM_NAMES) == len(set(PROGRAM_NAMES)) == 128
    assert len(FAMILY_NAMES) == 16
    assert PROGRAM_NAMES[40] == "Violin"
    assert FAMILY_NAMES[40 // 8] == "Strings"


def test_slakh_has_34_classes():
    assert len(SLAKH_PROGRAMS) == len(set(SLAKH_PROGRAMS.values())) == 34


@pytest.mark.parametrize(
    ("text", "programs", "drums"),
    [
        ("piano", range(8), False),
        ("drums", [], True),
        (" Drums , 33", [33], True),
        ("40-43", range(40, 44), False),
        ("alto sax,ELECTRIC BASS (FINGER)", [65, 33], False),
        ("Soprano/Alto Sax", [64], False),
        ("strings,strings", range(40, 48), False),
        ("voice,Trombone and tuba", [52, 53, 54, 85, 57, 58], False),
        ("mallets", [*range(8, 16), 47, 108, *range(112, 120)], False),
        ("127,0", [0, 127], False),
    ],
)
def test_parse(text, programs, drums):
    assert parse_instruments(text) == Instruments(frozenset(programs), drums)


@pytest.mark.parametrize("text", ["", " , ", "128", "9-3", "-1", "kazoo", "3-", "1.5"])
def test_bad_lists_are_refused(text):
    with pytest.raises(ValueError, match=r"instrument|0\.\.127"):
        parse_instruments(text)


def test_tracks_of_band_models_can_be_named():
    for found in CLASSES:
        named = parse_instruments(CLASS_NAMES[found.program])
        assert named.programs & {*found.programs}, found.name


def test_select():
    notes = Notes(
        [0, 1, 2, 3],
        [1, 2, 3, 4],
        [60, 61, 62, 36],
        program=[0, 33, 40, 0],
        is_drum=[False, False, False, True],
    )
    assert notes.select(parse_instruments("piano")).pitch.tolist() == [60]
    assert notes.select(parse_instruments("drums,bass")).pitch.tolist() == [61, 36]

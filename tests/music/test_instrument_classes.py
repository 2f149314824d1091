"""The classes cover every program, each once, and write programs of their own."""

from collections import Counter

from mt3x.music.instrument_classes import (
    CLASS_OF_PROGRAM,
    CLASSES,
    DRUM_CLASS_OF_KEY,
    DRUM_CLASSES,
    FAMILIES,
    FAMILY_OF_CLASS,
)


def test_each_program_is_in_one_class():
    counts = Counter(p for found in CLASSES for p in found.programs)
    assert counts == Counter(range(128))
    assert len(CLASSES) == 24 and len(FAMILIES) == 13


def test_a_class_is_written_as_one_of_its_own():
    for index, found in enumerate(CLASSES):
        assert CLASS_OF_PROGRAM[found.program] == index
        assert FAMILIES[FAMILY_OF_CLASS[index]] == found.family
    for index, drum in enumerate(DRUM_CLASSES):
        assert DRUM_CLASS_OF_KEY[drum.key] == index


def test_keys_are_in_one_class_at_most():
    counts = Counter(key for drum in DRUM_CLASSES for key in drum.keys)
    assert max(counts.values()) == 1
    assert (DRUM_CLASS_OF_KEY >= 0).sum() == len(counts)

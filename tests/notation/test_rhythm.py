"""Values, ties, rests, triplets and beams."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt3x.music.beats import Beats, read_meter
from mt3x.notation.meter import find_bars
from mt3x.notation.rhythm import write_bar
from mt3x.notation.voices import Chord


def bar_of(meter):
    per_bar, unit, is_dotted = read_meter(meter)
    position = np.arange(2 * per_bar + 1) % per_bar + 1
    beats = Beats(np.arange(len(position)), position, per_bar, unit, is_dotted)
    return find_bars(beats, 0, 1)[0]


def written(meter, spans):
    """A bar as words: r a rest, . a dot, ~ a tie, 3 a triplet."""
    chords = [Chord(start, [0], end, end - start) for start, end in spans]
    words = []
    for symbol in write_bar(chords, bar_of(meter)):
        word = "r" * (symbol.chord is None) + symbol.type + "." * symbol.dots
        word += "3" * symbol.in_triplet + "~" * symbol.continues
        words.append("bar rest" if symbol.fills_bar else word)
    return " ".join(words)


@pytest.mark.parametrize(
    ("meter", "spans", "expected"),
    [
        ("4/4", [(0, 96)], "whole"),
        ("4/4", [(0, 72), (72, 96)], "half. quarter"),
        ("4/4", [(0, 12), (12, 36), (36, 48)], "eighth quarter eighth rhalf"),
        ("4/4", [(0, 36), (36, 60)], "quarter. eighth~ eighth reighth rquarter"),
        ("4/4", [(0, 24), (24, 72), (72, 96)], "quarter half quarter"),
        ("4/4", [(0, 6), (6, 48)], "16th eighth.~ quarter rhalf"),
        ("4/4", [(0, 60)], "half~ eighth reighth rquarter"),
        ("4/4", [(84, 96)], "rhalf rquarter reighth eighth"),
        ("4/4", [], "bar rest"),
        ("3/4", [(0, 72)], "half."),
        ("3/4", [(48, 72)], "rquarter rquarter quarter"),
        ("6/8", [(0, 36), (36, 72)], "quarter. quarter."),
        ("6/8", [(0, 24), (24, 48)], "quarter eighth~ eighth rquarter"),
        ("6/8", [(36, 72)], "rquarter. quarter."),
        ("7/8", [(0, 24), (24, 48), (48, 84)], "quarter quarter quarter."),
        ("4/4", [(0, 8), (8, 16), (16, 24)], "eighth3 eighth3 eighth3 rquarter rhalf"),
        ("4/4", [(0, 16), (16, 24)], "quarter3 eighth3 rquarter rhalf"),
        ("4/4", [(16, 48)], "rquarter3 eighth3~ quarter rhalf"),
    ],
)
def test_bars_are_written_as_musicians_do(meter, spans, expected):
    assert written(meter, spans) == expected


@pytest.mark.parametrize(
    ("meter", "ends", "beams"),
    [
        ("4/4", [12, 24, 36, 48, 96], "begin,continue,continue,end,"),
        (
            "4/4",
            [6, 12, 18, 24, 96],
            "begin+begin,continue+continue,continue+continue,end+end,",
        ),
        ("4/4", [18, 24, 96], "begin,end+backward hook,"),
        ("4/4", [6, 24, 96], "begin+forward hook,end,"),
        ("3/4", [12, 24, 36, 48, 72], "begin,end,begin,end,"),
        ("6/8", [12, 24, 36, 48, 60, 72], "begin,continue,end,begin,continue,end"),
        ("7/8", [12, 24, 36, 48, 60, 72, 84], "begin,end,begin,end,begin,continue,end"),
    ],
)
def test_beams_show_the_beats(meter, ends, beams):
    starts = [0, *ends[:-1]]
    chords = [Chord(s, [0], e, e - s) for s, e in zip(starts, ends, strict=True)]
    symbols = write_bar(chords, bar_of(meter))
    assert ",".join("+".join(symbol.beams) for symbol in symbols) == beams


METERS = ["4/4", "3/4", "2/4", "6/8", "9/8", "7/8", "5/4", "2/2", "12/8", "3/8"]


@given(st.data(), st.sampled_from(METERS))
def test_symbols_fill_the_bar(data, meter):
    bar = bar_of(meter)
    step = data.draw(st.sampled_from([3, 6, 12] if bar.is_compound else [3, 4, 6, 8]))
    lines = list(range(0, bar.length + 1, step))
    lines = [line for line in lines if line + step <= bar.length or step in (3, 6)]
    cuts = sorted(data.draw(st.sets(st.sampled_from(lines), max_size=9)))
    chords = [
        Chord(start, [0], end, end - start)
        for start, end in pairwise(cuts)
        if data.draw(st.booleans())
    ]
    symbols = write_bar(chords, bar)
    assert symbols[0].tick == 0 and symbols[-1].end == bar.length
    for here, then in pairwise(symbols):
        assert here.end == then.tick
    sounding = sum(symbol.duration for symbol in symbols if symbol.chord)
    assert sounding == sum(chord.duration for chord in chords)

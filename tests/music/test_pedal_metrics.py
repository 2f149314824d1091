"""Scores of the pedal, by hand and at the edges."""

import numpy as np
import pytest

from mt3x.music.notes import Notes
from mt3x.music.pedal_metrics import (
    Counts,
    heard_pedal,
    heard_scores,
    pedal_scores,
    releases,
)
from mt3x.music.performance import NO_PEDAL, Performance

REF_S = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 4.5]])


def test_a_pedal_against_itself():
    found = pedal_scores(REF_S, REF_S, 5.0)
    assert found["down"] == Counts(125, 125, 125)
    assert found["up"] == Counts(125, 125, 125)
    assert all(counts.scores().f1 == 1 for counts in found.values())


def test_presses_releases_and_spans():
    est_s = np.array([[0.04, 1.2], [2.07, 3.04], [3.5, 3.6], [4.0, 4.5]])
    found = pedal_scores(REF_S, est_s, 5.0)
    assert found["press 50 ms"] == Counts(2, 3, 4)
    assert found["press 100 ms"] == Counts(3, 3, 4)
    assert found["release 50 ms"] == Counts(2, 3, 4)
    assert found["span 50 ms"] == Counts(1, 3, 4)
    assert found["span 100 ms"] == Counts(2, 3, 4)
    assert found["span 50 ms"].scores().precision == 0.25


@pytest.mark.parametrize("ref_s, est_s", [(REF_S, NO_PEDAL), (NO_PEDAL, REF_S)])
def test_a_pedal_that_nobody_presses(ref_s, est_s):
    found = pedal_scores(ref_s, est_s, 5.0)
    assert found["span 50 ms"] == Counts(0, len(ref_s), len(est_s))
    assert found["down"].matched == 0
    assert found["down"].scores().f1 == 0


# One note without pedal, two that one release ends, one without.
KEYS = Notes([0.0, 1.0, 1.2, 3.0], [0.5, 1.3, 1.6, 3.4], [60, 62, 64, 65])
NOTES = Performance(KEYS, np.array([[1.1, 2.5]])).notes()


def test_what_notes_tell_of_the_pedal():
    down_s, up_s = heard_pedal(NOTES, KEYS)
    np.testing.assert_allclose(down_s, [[1.3, 2.5]])
    np.testing.assert_allclose(up_s, [[0.0, 0.5], [2.5, 3.4]])
    np.testing.assert_allclose(releases(NOTES, KEYS), [2.5])


def test_a_pedal_that_holds_nothing_is_not_heard():
    down_s, up_s = heard_pedal(KEYS, KEYS)
    assert not len(down_s) and not len(releases(KEYS, KEYS))
    np.testing.assert_allclose(up_s, [[0.0, 3.4]])
    nothing = heard_pedal(Notes.empty(), Notes.empty())
    assert not len(nothing[0]) and not len(nothing[1])


def test_only_what_is_known_counts():
    est = Performance(KEYS, np.array([[0.6, 2.42]]))
    found = heard_scores(NOTES, KEYS, est)
    # 1.3 to 2.42 of 1.3 to 2.5 s; 0.6 to 1.3 s is not known.
    assert found["down"] == Counts(56, 60, 56)
    assert found["up"] == Counts(70, 70, 74)
    assert found["last 50 ms"] == Counts(0, 1, 1)
    assert found["last 100 ms"] == Counts(1, 1, 1)

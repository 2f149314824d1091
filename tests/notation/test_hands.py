"""Hands by a split that moves."""

import numpy as np

from mt3x.notation.hands import left_hand


def test_bass_and_melody_are_apart():
    tick = np.repeat(np.arange(0, 96, 24), 2)
    pitch = np.array([43, 72, 45, 74, 47, 76, 48, 77])
    assert left_hand(tick, pitch, 24).tolist() == [True, False] * 4


def test_a_chord_too_wide_for_one_hand_is_split():
    pitch = np.array([36, 48, 52, 67, 72])
    left = left_hand(np.zeros(5, int), pitch, 24)
    assert np.ptp(pitch[left]) <= 16 and np.ptp(pitch[~left]) <= 12


def test_hands_follow_the_music():
    low = np.array([40, 47, 52, 55])
    tick = np.arange(16) * 12
    pitch = np.concatenate([low, low + 12, low + 24, low + 36])
    left = left_hand(tick, pitch, 24)
    assert left[:2].all() and not left[-4:].any()


def test_no_notes_have_no_hands():
    assert left_hand(np.zeros(0, int), np.zeros(0, int), 24).tolist() == []

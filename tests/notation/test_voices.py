"""Voices of a staff."""

import numpy as np

from mt3x.notation.voices import find_voices


def voices(notes):
    tick, end, pitch = np.array(notes).T
    found = find_voices(tick, end.astype(float), pitch)
    return [
        [(chord.tick, sorted(pitch[chord.notes].tolist())) for chord in voice]
        for voice in found
    ]


def test_a_melody_is_one_voice():
    notes = [(12 * n, 12 * n + 11, 60 + n) for n in range(8)]
    assert voices(notes) == [[(12 * n, [60 + n]) for n in range(8)], []]


def test_chords_are_one_voice():
    notes = [(24 * n, 24 * n + 22, p) for n in range(4) for p in (60, 64, 67)]
    assert voices(notes) == [[(24 * n, [60, 64, 67]) for n in range(4)], []]


def test_a_held_bass_is_a_voice_of_its_own():
    notes = []
    for bar in range(4):
        notes += [(48 * bar, 48 * bar + 48, 48), (48 * bar + 6, 48 * bar + 48, 55)]
    upper, lower = voices(notes)
    assert [pitch for _, pitch in upper] == [[55]] * 4
    assert [pitch for _, pitch in lower] == [[48]] * 4


def test_an_arpeggio_under_the_pedal_is_one_voice():
    notes = [(12 * n, 96, p) for n, p in enumerate([48, 55, 60, 64, 67, 64, 60, 55])]
    assert voices(sorted(notes))[1] == []


def test_two_lines_of_other_rhythm_are_two_voices():
    notes = [(96 * n, 96 * n + 94, 76 + n) for n in range(4)]
    notes += [(24 * n, 24 * n + 22, 60 + n % 3) for n in range(16)]
    upper, lower = voices(sorted(notes))
    assert [pitch for _, (pitch,) in upper] == [76, 77, 78, 79]
    assert len(lower) == 16


def test_no_notes_are_no_voices():
    empty = np.zeros(0, int)
    assert find_voices(empty, empty.astype(float), empty) == ([], [])

"""Notes as frames: times between frames, keys, drums, parts of pieces."""

import numpy as np
import pytest

from mt3x.music.beat_frames import (
    NUM_INPUTS,
    beat_targets,
    loudness,
    notes_to_frames,
    notes_to_slots,
)
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes


def frames(notes, start=0, num=50):
    return notes_to_frames(notes, start, num, loudness(notes.velocity))


@pytest.mark.parametrize(
    ("onset_s", "shares"), [(0.2, {10: 1.0}), (0.205, {10: 0.75, 11: 0.25})]
)
def test_an_onset_is_shared_by_the_frames_around_it(onset_s, shares):
    found_T = frames(Notes([onset_s], [1.0], [60]))[:, 60 - 21]
    expected_T = np.zeros(50)
    expected_T[list(shares)] = list(shares.values())
    np.testing.assert_allclose(found_T, expected_T, atol=1e-6)


def test_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    onset_s = np.sort(rng.uniform(0, 4, 80))
    drums = rng.random(80) < 0.3
    pitch, velocity = rng.integers(21, 109, 80), rng.integers(1, 128, 80)
    notes = Notes(onset_s, onset_s + 0.3, pitch, velocity, is_drum=drums)
    whole = frames(notes, 0, 200)
    parts = [frames(notes, start, 50) for start in range(0, 200, 50)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    assert whole.shape == (200, NUM_INPUTS)


def test_drums_are_no_keys():
    found = frames(Notes([0.2], [0.3], [38], is_drum=[True]))
    assert not found[:, :176].any()
    assert found[10, 176:].any()


def test_louder_notes_count_more_and_even_ones_the_same():
    assert (np.diff(loudness(np.array([20, 60, 100]))) > 0).all()
    np.testing.assert_array_equal(loudness(np.full(3, 77)), 1)
    assert len(loudness(np.zeros(0))) == 0


def test_targets_are_soft_and_known_from_the_first_beat_to_the_last():
    found = beat_targets(Beats([0.2, 0.6, 1.0], [2, 1, 2], 2), 60)
    assert found[8:13, 0].tolist() == [0, 0.5, 1, 0.5, 0]
    assert np.flatnonzero(found[:, 1]).tolist() == [29, 30, 31]
    assert np.flatnonzero(found[:, 2]).tolist() == list(range(10, 51))


def test_slots_are_quarters_of_beats():
    beat_s = np.array([1.0, 1.8, 2.4])
    onset_s = [0.95, 1.05, 1.4, 1.8, 2.24, 2.9, 9.0]
    notes = Notes(onset_s, np.add(onset_s, 0.1), np.arange(60, 67))
    found_KxS = notes_to_slots(notes, beat_s, np.ones(7))[..., 60 - 21 : 67 - 21]
    beat, slot, note = np.nonzero(found_KxS)
    assert sorted(zip(note.tolist(), beat.tolist(), slot.tolist(), strict=True)) == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 2),
        (3, 1, 0),
        (4, 1, 3),
        (5, 2, 3),
    ]


def test_slots_know_harmony_and_bass_of_beats_before():
    """Each pair of beats has a chord; after four beats chords come back."""
    chords = [[48, 64, 67], [53, 65, 69]]
    keys = [key for beat in range(16) for key in chords[beat // 2 % 2]]
    onset_s = np.repeat(0.5 * np.arange(16), 3)
    notes = Notes(onset_s, onset_s + 0.4, keys)
    found_KxS = notes_to_slots(notes, 0.5 * np.arange(16), np.ones(48))[:, 0]
    harmony_KxL, bass_KxL = found_KxS[8:, -9:-4], found_KxS[8:, -4:-1]
    # 1, 2, 3, 4 and 8 beats before; of the bass 1, 2 and 4.
    np.testing.assert_allclose(harmony_KxL[0], [0, 0, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(harmony_KxL[1], [1, 0, 0, 1, 1], atol=1e-6)
    assert bass_KxL[:2].tolist() == [[0, 0, 1], [1, 0, 1]]
    assert found_KxS[:, -1] == pytest.approx(np.log2(0.5 / 0.6))

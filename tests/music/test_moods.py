"""Moods: features by hand, predictions as other code made them, ranks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mt3x.music.moods import mood_features, predict_mood, quadrant, ranks
from mt3x.music.notes import Notes

DATA = Path(__file__).parents[1] / "data"


def chords(pitches, num=8, step_s=0.5):
    onset_s = np.repeat(np.arange(num) * step_s, len(pitches))
    return Notes(onset_s, onset_s + step_s, np.tile(pitches, num))


@pytest.mark.parametrize(
    "name,valence,arousal,mode,density",
    [
        ("lied_minor", -0.076, 0.044, -0.112, 2.35),
        ("lied_major", 0.275, -0.084, 0.271, 4.24),
    ],
)
def test_predictions_are_those_of_the_labels(name, valence, arousal, mode, density):
    notes = Notes.from_midi(DATA / f"{name}.mid")
    assert predict_mood(notes) == pytest.approx((valence, arousal), abs=0.002)
    features = mood_features(notes)
    assert features[1] == pytest.approx(mode, abs=0.001)
    assert np.exp(features[0]) == pytest.approx(density, abs=0.006)


def test_features_of_chords():
    notes = chords([36, 60, 64, 67])
    notes = Notes.concatenate([notes, Notes([3.75], [4.0], [72])])
    features = mood_features(notes)
    assert features[0] == pytest.approx(np.log(33 / 4))
    assert features[1] > 0.2
    assert features[2] == notes.pitch.mean()
    assert features[3:6] == pytest.approx([36, 3, np.log(0.5)])
    intervals = np.array([0.5] * 7 + [0.25])
    assert features[6] == pytest.approx(np.log(0.5))
    assert features[7] == pytest.approx(intervals.std() / intervals.mean())
    assert features[8] == 8 / 33


@pytest.mark.parametrize("spread_s,interval_s", [(0.002, 0.5), (0.01, 0.48)])
def test_chords_that_are_spread_count_once(spread_s, interval_s):
    notes = chords([60, 64, 67])
    spread = replace(notes, onset_s=notes.onset_s + np.tile([0, 1, 2], 8) * spread_s)
    assert mood_features(spread)[6] == pytest.approx(np.log(interval_s))


def test_major_is_more_pleasant_than_minor_in_every_key():
    moods = [
        [predict_mood(chords(np.add(chord, key)))[0] for key in range(12)]
        for chord in ([60, 64, 67, 72], [60, 63, 67, 72])
    ]
    assert min(moods[0]) > max(moods[1])


def test_fast_is_more_excited_than_slow():
    fast, slow = (predict_mood(chords([60, 67], 32, step))[1] for step in (0.1, 0.8))
    assert fast > slow + 0.3


def test_drums_have_no_say():
    notes = chords([60, 64, 67])
    drums = replace(notes, is_drum=np.ones(len(notes), bool), pitch=notes.pitch - 30)
    both = Notes.concatenate([notes, drums])
    assert predict_mood(both) == predict_mood(notes)


def test_all_twelve_pitch_classes_alike_have_no_mode():
    assert mood_features(chords(range(60, 72)))[1] == 0


@pytest.mark.parametrize("notes", [Notes.empty(), chords([60, 64], num=1)])
def test_notes_without_a_tempo_have_no_mood(notes):
    with pytest.raises(ValueError, match=f"{len(notes)} notes have no tempo"):
        predict_mood(notes)


def test_ranks_are_even():
    assert ranks([3, -1, 8, 5]) == pytest.approx([-0.25, -0.75, 0.75, 0.25])
    assert ranks([1, 1, 7, 7]) == pytest.approx([-0.5, -0.5, 0.5, 0.5])
    assert ranks([]).tolist() == []


@pytest.mark.parametrize(
    "mood,number", [((1, 1), 1), ((-1, 1), 2), ((-1, -1), 3), ((1, -1), 4), ((0, 0), 1)]
)
def test_quadrants(mood, number):
    assert quadrant(*mood) == number

"""Notes in, beats out: with the package's weights, and what is hardly music."""

from pathlib import Path

import numpy as np
import pytest

import mt3x
from mt3x.inference import beat_tracker
from mt3x.inference.beat_tracker import BeatTracker, beats
from mt3x.inference.transcriber import Transcriber
from mt3x.models import weights_file
from mt3x.music.notes import Notes

DATA = Path(__file__).parents[1] / "data"
C_MAJOR = [60, 64, 67, 64]


@pytest.fixture(scope="module")
def tracker():
    return BeatTracker()


def waltz(num_bars=24, beat_s=0.5):
    """A bass note on one, chords on two and three, a melody in quarter notes."""
    onset_s, pitch, velocity = [], [], []
    for bar in range(num_bars):
        root = [48, 53, 55, 48][bar % 4]
        melody = [76, 79, 77, 74][bar % 4]
        for beat in range(3):
            at = 0.4 + (3 * bar + beat) * beat_s
            keys = [root] if beat == 0 else [root + 12, root + 16, root + 19]
            keys = [*keys, melody + 2 * beat]
            onset_s += [at] * len(keys)
            pitch += keys
            velocity += [90 if beat == 0 else 60] * len(keys)
    return Notes(onset_s, np.add(onset_s, 0.4), pitch, velocity)


def test_a_waltz_has_three_beats(tracker):
    found = tracker(waltz())
    assert found.bpm == pytest.approx(120, abs=1)
    assert found.meter == "3/4"
    # Bars of 1.5 s, from 0.4 s on.
    assert (found.downbeat_s[2] + 0.35) % 1.5 == pytest.approx(0.75, abs=0.03)


def test_bars_of_two_equal_halves_are_whole(tracker):
    """Bach's prelude repeats the first half of each bar in its second half."""
    found = tracker(Notes.from_midi(DATA / "prelude.mid"))
    assert found.meter == "4/4"
    assert found.position.tolist() == [1, 2, 3, 4] * 4 + [1]


def test_the_public_function_is_the_tracker(tracker):
    np.testing.assert_array_equal(mt3x.beats(waltz()).time_s, tracker(waltz()).time_s)


def test_drums_alone_have_beats(tracker):
    step = np.arange(160)
    kick, snare = step[step % 8 == 0], step[step % 8 == 4]
    at = np.concatenate([step, kick, snare])
    key = np.concatenate([np.full(160, 42), np.full(len(kick), 36), np.full(20, 38)])
    drums = np.full(len(at), True)
    found = tracker(Notes(at * 0.25, at * 0.25 + 0.1, key, is_drum=drums))
    assert found.bpm in (pytest.approx(120, abs=1), pytest.approx(60, abs=1))


def test_windows_do_not_show(tracker, monkeypatch):
    notes = waltz(120)
    parts = tracker.probabilities(notes)
    assert len(parts) > 2 * 4096
    monkeypatch.setattr(beat_tracker, "_WINDOW", 16384)
    np.testing.assert_allclose(parts, tracker.probabilities(notes), atol=1e-4)


@pytest.mark.parametrize("bpm", [97.0, 120.0, 61.5])
def test_a_given_tempo_stands(tracker, bpm):
    found = tracker(waltz(), bpm=bpm)
    np.testing.assert_allclose(np.diff(found.time_s), 60 / bpm)


def test_even_beats_fall_on_notes(tracker):
    found = tracker(waltz(), bpm=120.0)
    assert found.time_s[0] % 0.5 == pytest.approx(0.4, abs=0.02)


def test_a_given_meter_stands(tracker):
    assert tracker(waltz(), meter="4/4").meter == "4/4"
    with pytest.raises(ValueError, match="not a meter"):
        tracker(waltz(), meter="4")


@pytest.mark.parametrize(
    "notes",
    [
        Notes.empty(),
        Notes([3.0], [4.0], [60]),
        Notes([3.0, 3.0], [4.0, 4.0], [60, 64]),
        Notes([-1.0], [4.0], [60]),
        Notes([0.0, 0.02], [0.1, 0.1], [60, 64]),
        Notes([0.0, 500.0], [0.1, 500.1], [60, 64]),
    ],
)
def test_what_is_hardly_music_has_beats_all_the_same(tracker, notes):
    found = tracker(notes)
    assert len(found) >= 2
    assert found.meter.endswith(("/4", "/8"))


def test_a_tempo_without_notes():
    assert beats(Notes.empty(), bpm=90.0).bpm == pytest.approx(90)


def test_weights_of_other_models_are_refused():
    with pytest.raises(ValueError, match=r"hppnet_tiny.*objective 'piano'"):
        BeatTracker(weights_file.packaged("piano"))


def test_a_beat_model_hears_no_audio():
    with pytest.raises(ValueError, match="reads notes and not audio"):
        Transcriber(weights_file.packaged("beats"))

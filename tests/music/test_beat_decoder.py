"""From probabilities to beats: tempo, rests, bars, and what is hardly music."""

import numpy as np
import pytest

from mt3x.music.beat_decoder import (
    BeatDecodingConfig,
    beat_candidates,
    candidate_score,
    find_bars,
    find_even_beats,
)
from mt3x.music.beat_frames import beat_targets
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes


def rubato(num=60, per_bar=4, depth=0.15, first=1):
    interval_s = 0.6 * np.exp(depth * np.sin(np.arange(num) / 4))
    position = (np.arange(num) + first - 1) % per_bar + 1
    return Beats(1.0 + np.cumsum(interval_s), position, per_bar)


def seen(beats, sure=0.7):
    """Return the probabilities of beats that a model would give."""
    num_frames = int(beats.time_s[-1] * 50) + 100
    return sure * beat_targets(beats, num_frames)[:, 0]


def bars(beats, sure=0.8, meter=None, divisions=1):
    """Return the bars that are found where downbeats are seen."""
    p_N = np.where(beats.position == 1, sure, 1 - sure)
    return find_bars(beats.time_s, p_N, on_beats(beats, divisions), meter=meter)


def likeliest_beats(p_T, notes):
    return next(beat_candidates(p_T, notes))[0]


def on_beats(beats, divisions=1):
    at = np.arange(0, len(beats) - 1 + 0.5 / divisions, 1 / divisions)
    onset_s = beats.time_at(at)
    return Notes(onset_s, onset_s + 0.1, np.full(len(onset_s), 60))


def test_certain_beats_are_found():
    beats = rubato()
    found_s = likeliest_beats(seen(beats), on_beats(beats))
    np.testing.assert_allclose(found_s, beats.time_s, atol=0.011)


def test_beats_go_on_through_rests():
    beats = rubato(depth=0.03)
    p_T = seen(beats)
    start, stop = (int(50 * t) for t in beats.time_s[[20, 22]] + 0.1)
    p_T[start:stop] = 0
    found_s = likeliest_beats(p_T, on_beats(beats))
    assert len(found_s) == len(beats)
    assert np.abs(found_s - beats.time_s).max() < 0.12


def test_false_beats_between_are_left_out():
    beats = rubato(depth=0.0)
    p_T = seen(beats)
    p_T[int(50 * (beats.time_s[10] + 0.2))] = 0.5
    assert len(likeliest_beats(p_T, on_beats(beats))) == len(beats)


def test_a_tempo_that_jumps_has_candidates_that_stay_near_each():
    interval_s = np.repeat([0.6, 0.3], [40, 80])
    beats = Beats(1.0 + np.cumsum(interval_s), np.ones(120), 1)
    found = [beat_s for beat_s, _ in beat_candidates(seen(beats), on_beats(beats))]
    medians_s = [float(np.median(np.diff(beat_s))) for beat_s in found]
    assert [len(beat_s) for beat_s in found[:1]] == [120]
    assert sorted(medians_s[1:]) == pytest.approx([0.3, 0.6], abs=0.01)
    for beat_s, median_s in zip(found[1:], medians_s[1:], strict=True):
        assert np.diff(beat_s).max() < 1.6 * median_s
        assert np.diff(beat_s).min() > median_s / 1.6


def test_an_even_tempo_has_one_candidate():
    beats = rubato(depth=0.0)
    assert len(list(beat_candidates(seen(beats), on_beats(beats)))) == 1


def test_an_uneven_tempo_has_steadier_candidates():
    beats = rubato(depth=0.3)
    found = [beat_s for beat_s, _ in beat_candidates(seen(beats, 0.3), on_beats(beats))]
    uneven = [np.std(np.diff(np.log(np.diff(beat_s)))) for beat_s in found]
    assert min(uneven[1:]) < 0.7 * uneven[0]


def score_of(score_per_s=3.0, right=0.5, down=0.6, interval_s=0.5):
    num = int(60 / interval_s)
    position = np.arange(num) % 4 + 1
    beats = Beats(interval_s * np.arange(num), position, 4)
    down_N = np.where(position == 1, down, 1 - down)
    score = score_per_s * float(np.ptp(beats.time_s))
    return candidate_score(beats, score, down_N, np.full(num, right))


def test_the_score_of_a_candidate_counts():
    assert score_of(3.2) > score_of()
    assert score_of(1.0) < score_of()


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"right": 0.95}, {}),
        ({"down": 0.9}, {}),
        ({}, {"interval_s": 0.25}),
        ({"interval_s": 1.0}, {"interval_s": 2.0}),
    ],
)
def test_likely_beats_clear_bars_and_a_common_tempo_win_over_a_little_score(
    better, worse
):
    assert score_of(3.0, **better) > score_of(3.2, **worse)


@pytest.mark.parametrize("onset_s", [[0.0, 0.1], [5.0, 5.01], [0.0, 3.0], [0.0, 100.0]])
def test_without_any_sign_of_a_beat_there_are_beats_all_the_same(onset_s):
    notes = Notes(onset_s, np.add(onset_s, 0.1), [60, 60])
    found_s = likeliest_beats(np.zeros(int(50 * onset_s[-1]) + 50), notes)
    assert len(found_s) >= 2
    assert found_s[0] <= onset_s[0] + 2.1


@pytest.mark.parametrize("bpm", [61.5, 97.0, 240.0])
def test_even_beats_have_their_tempo_and_fit(bpm):
    beats = Beats.from_bpm(bpm, 0.2, 40.0)
    found_s = find_even_beats(seen(beats), on_beats(beats), bpm)
    num = len(beats) - 1
    np.testing.assert_allclose(found_s[:num], beats.time_s[:num], atol=0.021)
    np.testing.assert_allclose(np.diff(found_s), 60 / bpm)


@pytest.mark.parametrize("per_bar", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("first", [1, 2])
def test_certain_bars_are_found(per_bar, first):
    beats = rubato(per_bar=per_bar, first=first)
    found = bars(beats)
    np.testing.assert_array_equal(found.position, beats.position)
    assert found.meter == f"{per_bar}/4"


def test_a_known_meter_stands():
    found = bars(rubato(per_bar=4), meter="3/4")
    assert found.meter == "3/4"
    assert found.position.max() == 3


@pytest.mark.parametrize(("divisions", "meter"), [(1, "2/4"), (2, "2/4"), (3, "6/8")])
def test_beats_of_three_are_dotted(divisions, meter):
    assert bars(rubato(per_bar=2), divisions=divisions).meter == meter


@pytest.mark.parametrize(("divisions", "meter"), [(2, "4/4"), (3, "6/8")])
def test_halves_that_may_be_bars_are_bars_where_that_is_common(divisions, meter):
    beats = rubato(per_bar=4)
    p_N = np.array([0.9, 0.02, 0.59, 0.02])[beats.position - 1]
    found = find_bars(beats.time_s, p_N, on_beats(beats, divisions))
    assert found.meter == meter


def test_meters_may_change():
    position = np.array([1, 2, 3, 4] * 6 + [1, 2, 3] * 8)
    beats = Beats(1 + 0.5 * np.arange(len(position)), position, 4)
    np.testing.assert_array_equal(bars(beats, 0.95).position, position)


@pytest.mark.parametrize("length", [2, 6])
def test_a_bar_of_four_may_be_half_a_bar_shorter_or_longer(length):
    bars_of_four = [1, 2, 3, 4] * 4
    position = np.array([*bars_of_four, *range(1, length + 1), *bars_of_four])
    beats = Beats(1 + 0.5 * np.arange(len(position)), position, 4)
    found = bars(beats, 0.7)
    np.testing.assert_array_equal(found.position, position)
    assert found.meter == "4/4"


def test_one_false_downbeat_makes_no_bar():
    beats = rubato()
    p_N = np.where(beats.position == 1, 0.8, 0.2)
    p_N[21] = 0.9
    found = find_bars(beats.time_s, p_N, on_beats(beats))
    np.testing.assert_array_equal(found.position, beats.position)


@pytest.mark.parametrize(
    "options",
    [
        {"shortest_s": 0.01},
        {"shortest_s": 2.5},
        {"tempo_cost": -1.0},
        {"least_odds": 1.0},
        {"bar_gain": -1.0},
        {"level_cost": -1.0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        BeatDecodingConfig(**options)

"""A band's parts keep the song's key, beats and timing."""

from dataclasses import replace

import numpy as np
import pytest
from toy_songs import BEAT_S, ROOTS, groove_notes, lead_tracks

from mt3x.data.synthesis.arrange import (
    PARTS,
    LeadSheet,
    arrange,
    bass_line,
    fit_range,
    one_voice,
    pitch_range,
)
from mt3x.data.synthesis.drums import Groove
from mt3x.music.notes import Notes

BAND = {"drums": 0, "bass": 33, "chords": 25, "melody": 73}
LATE_S = 0.05


def lead_sheet(num_bars=16):
    tracks = lead_tracks(num_bars, LATE_S)
    beats_s = LATE_S + BEAT_S * np.arange(4 * num_bars + 1)
    bars = np.arange(0, 4 * num_bars, 4)
    return LeadSheet(
        *(tracks["MELODY"], tracks["BRIDGE"], tracks["PIANO"]), beats_s, bars
    )


def rng(seed=0):
    return np.random.default_rng(seed)


def on_grid(onset_s, start_s=0.2, step_s=BEAT_S / 4):
    """Distance from the sixteenths; an excerpt begins 0.2 s before a bar."""
    steps = (onset_s - start_s) / step_s
    return np.abs(steps - np.round(steps)) * step_s


@pytest.mark.parametrize("seed", range(5))
def test_parts_share_beats_and_key(seed):
    groove = Groove("g", 120.0, groove_notes())
    parts = arrange(lead_sheet(), BAND, rng(seed), 10.0, groove)
    assert list(parts) == list(PARTS)
    for name, notes in parts.items():
        assert len(notes) >= 8
        assert set(notes.program) == {BAND[name]}
        assert notes.is_drum.all() == notes.is_drum.any() == (name == "drums")
        assert notes.onset_s.min() >= 0 and notes.offset_s.max() <= 10
        low, high = pitch_range(BAND[name])
        assert name == "drums" or (
            low <= notes.pitch.min() <= notes.pitch.max() <= high
        )
    assert on_grid(parts["chords"].onset_s).max() < 1e-6
    assert on_grid(parts["melody"].onset_s).max() < 1e-6
    assert on_grid(parts["bass"].onset_s).max() < 0.03  # a hand's
    assert on_grid(parts["drums"].onset_s).max() < 0.03  # the drummer's
    scale = {0, 2, 4, 5, 7, 9, 11}  # C major
    assert set(parts["bass"].pitch % 12) <= scale
    # Nothing of the piano is left where the bass plays.
    assert parts["chords"].pitch.min() >= 45


def test_bass_plays_the_chords_roots():
    for seed in range(8):
        bass = bass_line(lead_sheet(), rng(seed))
        bar = np.floor((bass.onset_s - LATE_S + 0.05) / (4 * BEAT_S)).astype(int)
        first = np.flatnonzero(np.diff(bar, prepend=-1))
        roots = np.array(ROOTS)[bar[first] % 4]
        assert (bass.pitch[first] % 12 == roots % 12).all()
        assert len(first) == 16
        assert 28 <= bass.pitch.min() and bass.pitch.max() <= 51
        # One string at a time, give or take a hand's timing.
        assert (bass.offset_s[:-1] <= bass.onset_s[1:] + 0.03).all()


def test_bass_plays_no_fifth_that_the_chord_lacks():
    lead = lead_sheet()
    diminished = [n for n, pitch in enumerate(lead.piano.pitch) if pitch >= 53]
    pitch = np.full(len(lead.piano), 47)
    pitch[diminished] = np.resize([59, 62, 65], len(diminished))
    lead = replace(lead, piano=replace(lead.piano, pitch=pitch))
    played = set()
    for seed in range(12):
        played |= set(bass_line(lead, rng(seed)).pitch % 12)
    assert played == {11}  # B alone, no F sharp


def test_bass_begins_with_the_piano():
    """A pianist who drags takes the bass along."""
    lead = lead_sheet()
    late = replace(lead, piano=lead.piano.shift(0.03))
    for seed in range(4):
        bass = bass_line(late, rng(seed))
        bars_s = LATE_S + 0.03 + 4 * BEAT_S * np.arange(16)
        distance_s = np.abs(bass.onset_s[:, None] - bars_s).min(axis=0)
        assert distance_s.max() < 0.02 and distance_s.mean() < 0.01


def test_bass_follows_the_pianos_dynamics():
    lead = lead_sheet()
    early = lead.piano.onset_s < 16
    velocity = np.where(early, 30, 110)
    loud = replace(lead, piano=replace(lead.piano, velocity=velocity))
    bass = bass_line(loud, rng())
    assert (
        bass.velocity[bass.onset_s > 16].mean()
        > bass.velocity[bass.onset_s < 15].mean() + 20
    )


def test_no_piano_no_bass():
    silent = replace(lead_sheet(), piano=Notes.empty())
    assert len(bass_line(silent, rng())) == 0
    parts = arrange(silent, BAND, rng(), 10)
    assert not len(parts["chords"]) and len(parts["melody"])


def test_transposition_is_of_all_parts_but_drums():
    plain = arrange(lead_sheet(), BAND, rng(), 10)
    moved = arrange(lead_sheet(), BAND, rng(), 10, semitones=3)
    np.testing.assert_array_equal(plain["drums"].pitch, moved["drums"].pitch)
    assert (moved["melody"].pitch == plain["melody"].pitch + 3).all()
    assert set(moved["bass"].pitch % 12) == set((plain["bass"].pitch + 3) % 12)


def test_chosen_parts_only():
    parts = arrange(lead_sheet(), {"chords": 0}, rng(), 10)
    assert list(parts) == ["chords"]
    assert parts["chords"].pitch.min() < 45  # no bass: the piano keeps its own


def test_the_same_generator_gives_the_same_song():
    first = arrange(lead_sheet(), BAND, rng(4), 10)
    again = arrange(lead_sheet(), BAND, rng(4), 10)
    assert all(first[name].equals(again[name]) for name in PARTS)
    other = arrange(lead_sheet(), BAND, rng(5), 10)
    assert not first["bass"].equals(other["bass"])


def test_a_short_song_is_played_from_its_start():
    parts = arrange(lead_sheet(2), BAND, rng(), 60)
    assert len(parts["chords"]) == 2 * 13
    assert parts["chords"].onset_s[0] < 0.25


def test_one_voice():
    melody = Notes([0.0, 0.02, 1.0, 1.4], [0.8, 0.5, 1.5, 2.0], [60, 64, 62, 65])
    filler = Notes([0.3, 3.0], [0.6, 3.5], [80, 70])
    voice = one_voice(melody, filler)
    assert voice.pitch.tolist() == [64, 62, 65, 70]
    np.testing.assert_allclose(voice.offset_s, [0.5, 1.4, 2.0, 3.5])
    assert len(one_voice(Notes.empty(), Notes.empty())) == 0
    assert one_voice(Notes.empty(), filler).equals(filler)


def test_fit_range():
    notes = Notes([0, 1, 2, 3], [1, 2, 3, 4], [30, 40, 41, 42])
    fitted = fit_range(notes, 60, 70)
    assert fitted.pitch.tolist() == [64, 65, 66]  # 30 has no place there
    assert fit_range(notes, 0, 127).equals(notes)
    assert len(fit_range(Notes.empty(), 60, 70)) == 0


@pytest.mark.parametrize("program", range(96))
def test_every_instrument_has_an_octave_at_least(program):
    low, high = pitch_range(program)
    assert 0 <= low and low + 24 <= high <= 127

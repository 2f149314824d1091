"""Notes from rolls that are kept are those of the transcription."""

from dataclasses import replace

import numpy as np
import pytest
from random_band_rolls import random_band_rolls

from mt3x.music.rolls import NUM_PITCHES, Rolls
from mt3x.serve.decoding import LOWEST_THRESHOLD, Choice, KeptRolls, decode


def piano_rolls(num_frames, seed):
    rng = np.random.default_rng(seed)
    return Rolls(*rng.random((4, num_frames, NUM_PITCHES), np.float32) ** 3)


@pytest.mark.parametrize("kind", ["piano", "band"])
def test_kept_rolls_have_all_that_can_be_decoded(tmp_path, kind):
    make = piano_rolls if kind == "piano" else random_band_rolls
    parts = [make(num_frames, seed) for num_frames, seed in ((40, 0), (1, 1), (25, 2))]
    kept = KeptRolls(tmp_path / "rolls")
    for part in parts:
        kept.append(part)
    for _ in range(2):
        for found, part in zip(kept, parts, strict=True):
            assert type(found) is type(part)
            assert found.frame_rate_hz == part.frame_rate_hz
            arrays, expected = found.by_name(), part.by_name()
            loud = np.maximum(expected["onset"], expected["frame"]) > LOWEST_THRESHOLD
            for name in set(expected) - {"offset"}:
                keep = loud if name in ("classes", "timbre") else ...
                np.testing.assert_array_equal(arrays[name][keep], expected[name][keep])


@pytest.mark.parametrize("kind", ["piano", "aligned piano", "band"])
def test_the_models_choice_gives_its_notes(models_of, tmp_path, kind):
    transcriber = models_of(kind).first
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * 3).astype(np.float32)
    kept = KeptRolls(tmp_path / "rolls")
    notes = transcriber(sound, 16000, on_rolls=kept.append)
    choice = Choice.of(transcriber)
    assert choice is not None and len(notes)
    decoded = decode(transcriber, kept, choice)
    assert decoded.notes.equals(notes)


def test_candidates_are_the_notes_of_a_lower_threshold(models_of):
    transcriber = models_of("piano").first
    rolls, choice = piano_rolls(100, seed=3), Choice(onset=0.8, frame=0.5)
    notes, candidates = decode(transcriber, [rolls], choice)
    lower = replace(choice, onset=0.8 * 0.4)
    more = decode(transcriber, [rolls], lower).notes
    assert 0 < len(notes) < len(more) == len(notes) + len(candidates)


def test_drums_are_chosen_by_their_own_threshold(models_of):
    transcriber = models_of("band").first
    rolls, choice = random_band_rolls(100, seed=3), Choice(onset=0.5, frame=0.5)
    few, candidates = decode(transcriber, [rolls], replace(choice, drum=0.8))
    many, _ = decode(transcriber, [rolls], replace(choice, drum=0.3))
    assert 0 < few.is_drum.sum() < many.is_drum.sum()
    assert few[~few.is_drum].equals(many[~many.is_drum])
    assert candidates.is_drum.any()


def test_drums_have_no_least_length_and_no_range(models_of):
    transcriber = models_of("band").first
    rolls = random_band_rolls(100, seed=3)
    choice = Choice(0.5, 0.5, drum=0.5, min_duration=1.0, lowest=100, highest=101)
    notes, _ = decode(transcriber, [rolls], choice)
    pitched = notes[~notes.is_drum]
    assert notes.is_drum.sum() > 10
    assert ((pitched.pitch >= 100) & (pitched.pitch <= 101)).all()
    assert (pitched.offset_s - pitched.onset_s >= 1.0).all()

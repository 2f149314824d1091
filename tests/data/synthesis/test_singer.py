"""Singers: what is sung sounds where and as high as the notes say."""

import numpy as np
import pytest
from programs import find_program
from toy_voice import syllable

from mt3x.data.synthesis.sampled_instruments import sounding_pitch
from mt3x.data.synthesis.singer import KEYS, sing
from mt3x.data.synthesis.speech import (
    FRAME_S,
    RATE_HZ,
    TONES_HZ,
    check_voice,
    read_syllables,
)
from mt3x.music.notes import Notes


def melody(*pitches, step_s=1.0, held_s=0.7):
    onset_s = 0.5 + step_s * np.arange(len(pitches))
    return Notes(
        onset_s,
        onset_s + held_s,
        np.array(pitches),
        np.full(len(pitches), 90),
        np.full(len(pitches), 53),
    )


@pytest.mark.parametrize("seed", range(3))
def test_notes_sound_where_and_as_high_as_they_say(seed):
    notes = melody(48, 60, 67, 55)
    samples_S, heard = sing(notes, [syllable()], np.random.default_rng(seed))
    assert samples_S.dtype == np.float32
    assert heard.pitch.tolist() == notes.pitch.tolist()
    np.testing.assert_allclose(heard.onset_s, notes.onset_s)
    np.testing.assert_allclose(heard.offset_s, notes.offset_s)
    for onset_s, pitch in zip(heard.onset_s, heard.pitch, strict=True):
        first = int(onset_s * RATE_HZ)
        vowel_S = samples_S[first + 1600 : first + 11200]
        consonant_S = samples_S[first - 640 : first - 160]
        rest_S = samples_S[first - 2400 : first - 1600]
        assert abs(sounding_pitch(vowel_S, RATE_HZ, pitch) - pitch) < 1.0
        assert np.std(vowel_S) > 0.7 * np.std(consonant_S) > 0.05 * np.std(vowel_S)
        assert np.abs(rest_S).max() < 0.02 * np.abs(vowel_S).max()


def test_a_tone_before_the_vowel_brings_the_label_forward():
    notes = melody(60, 62)
    rng = np.random.default_rng(0)
    _, heard = sing(notes, [syllable(starts_sonorant=True)], rng)
    np.testing.assert_allclose(heard.onset_s, notes.onset_s - 0.025)


def test_a_note_ends_where_the_next_begins():
    notes = melody(60, 62, 60, step_s=0.5, held_s=0.55)
    _, heard = sing(notes, [syllable()], np.random.default_rng(1))
    np.testing.assert_allclose(heard.offset_s[:-1], heard.onset_s[1:])


def test_chords_are_sung_by_several_and_what_is_too_high_is_left_out():
    notes = Notes(
        np.zeros(4),
        np.ones(4),
        np.array([48, 55, 64, KEYS[1] + 1]),
        np.full(4, 80),
        np.zeros(4, int),
    )
    samples_S, heard = sing(notes, [syllable()], np.random.default_rng(0))
    assert sorted(heard.pitch) == [48, 55, 64]
    assert np.isfinite(samples_S).all() and np.abs(samples_S).max() > 0.05


def test_no_notes_are_silence():
    samples_S, heard = sing(Notes.empty(), [syllable()], np.random.default_rng(0))
    assert not samples_S.any() and not len(heard)


def test_unknown_voices_are_named():
    with pytest.raises(ValueError, match="unknown voice 'nobody'; choose from slt"):
        check_voice("nobody")


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="apt install flite"):
        check_voice("slt")


def test_a_voice_speaks_syllables():
    find_program("Flite")
    found = read_syllables("kal16")
    assert len(found) > 400
    for said in found[:20]:
        first, last = said.vowel
        assert 0 <= first < last <= len(said.noise_T) == len(said.log_power_TxF)
        assert not said.noise_T[first:last].any()
        assert last - first >= 0.04 / FRAME_S
    # The tone at which it spoke is gone: sung on another, that one sounds.
    assert TONES_HZ["kal16"] == 105.0
    samples_S, heard = sing(melody(57), found[:1], np.random.default_rng(2))
    first = int((heard.onset_s[0] + 0.1) * RATE_HZ)
    vowel_S = samples_S[first : first + RATE_HZ // 2]
    assert abs(sounding_pitch(vowel_S, RATE_HZ, 57) - 57) < 1.0

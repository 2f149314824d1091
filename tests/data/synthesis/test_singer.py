"""The synthesized singer: pitch, time and number of what is sung."""

import numpy as np
import pytest

from mt3x.data.synthesis.singer import KEYS, RATE_HZ, sing
from mt3x.music.notes import Notes


def _part(*rows):
    onset_s, offset_s, pitch = np.array(rows, float).T
    pitch = pitch.astype(int)
    return Notes(onset_s, offset_s, pitch, velocity=np.full(len(pitch), 90))


def _level(samples_S, start_s, end_s):
    part_S = samples_S[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)]
    return float(np.sqrt(np.mean(np.square(part_S))))


def _pitch(samples_S, start_s, end_s, near):
    """Return the MIDI pitch near another with the strongest harmonics."""
    part_S = samples_S[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)]
    spectrum_F = np.abs(np.fft.rfft(part_S * np.hanning(len(part_S)), 8 * RATE_HZ))
    tried = near + np.arange(-3, 3, 0.1)
    hz_NxK = 440 * 2 ** ((tried[:, None] - 69) / 12) * np.arange(1, 6)
    strong_N = np.sqrt(spectrum_F[np.round(8 * hz_NxK).astype(int)]).sum(axis=1)
    return tried[np.argmax(strong_N)]


@pytest.mark.parametrize("pitch", [43, 55, 67, 79])
def test_notes_have_their_pitch_and_time(pitch):
    rows = [(1.0, 2.0, pitch), (3.0, 4.0, pitch - 2), (4.0, 5.0, pitch + 3)]
    for seed in range(8):
        rng = np.random.default_rng(seed)
        samples_S, notes = sing(_part(*rows), rng)
        assert notes.pitch.tolist() == [row[2] for row in rows]
        loud = _level(samples_S, 1.2, 1.9)
        assert _level(samples_S, 2.3, 2.5) < 0.03 * loud  # a breath at most
        for start_s, _, sung in rows:
            # Scoops and glides are over, vibrato and detuning stay.
            heard = _pitch(samples_S, start_s + 0.3, start_s + 0.8, sung)
            assert abs(heard - sung) < 0.8, seed
            assert _level(samples_S, start_s + 0.06, start_s + 0.2) > 0.1 * loud


def test_a_repeated_note_begins_audibly():
    for seed in range(8):
        part = _part((0.5, 1.5, 60), (1.5, 2.5, 60))
        samples_S, _ = sing(part, np.random.default_rng(seed))
        around = np.arange(1.36, 1.52, 0.01)
        quietest = min(_level(samples_S, t, t + 0.015) for t in around)
        assert quietest < 0.75 * _level(samples_S, 1.1, 1.3), seed


def test_chords_are_sung_by_a_choir():
    chord = [(0.5, 2.0, pitch) for pitch in (48, 55, 60, 64)]
    samples_S, notes = sing(_part(*chord), np.random.default_rng(0))
    assert sorted(notes.pitch) == [48, 55, 60, 64]
    spectrum_F = np.abs(np.fft.rfft(samples_S[RATE_HZ : RATE_HZ + RATE_HZ // 2]))
    floor = np.median(spectrum_F[50:400])
    for pitch in (48, 55, 60, 64):
        place = 440 * 2 ** ((pitch - 69) / 12) / 2  # bins of 2 Hz
        found = spectrum_F[int(place * 0.97) : int(place * 1.03) + 2].max()
        assert found > 4 * floor


def test_what_no_voice_reaches_is_left_out():
    part = _part((0.5, 1.0, KEYS[0] - 1), (1.0, 1.5, KEYS[1] + 1), (2.0, 2.5, 60))
    samples_S, notes = sing(part, np.random.default_rng(0))
    assert notes.pitch.tolist() == [60]
    assert not samples_S[: int(0.4 * RATE_HZ)].any()
    samples_S, notes = sing(Notes.empty(), np.random.default_rng(0))
    assert len(notes) == 0 and not samples_S.any()


def test_the_generator_decides_everything():
    part = _part((0.5, 1.0, 60), (1.0, 1.5, 62))
    one, again, other = (sing(part, np.random.default_rng(n))[0] for n in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)

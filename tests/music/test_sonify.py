"""Synthetic instruments and drums: pitch, level, timing, blocks."""

import io
import resource

import numpy as np
import pytest
import soundfile

from mt3x.files import write_whole
from mt3x.music.instrument_classes import CLASSES, DRUM_CLASSES, FAMILIES
from mt3x.music.notes import Notes
from mt3x.music.sonify import Player, sonify, write_comparison
from mt3x.music.sounds import DRUM_SOUNDS, SOUNDS

RATE = 16000


def strongest_hz(samples_S: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples_S * np.hanning(len(samples_S)), 1 << 18))
    return float(np.argmax(spectrum) * RATE / (1 << 18))


@pytest.mark.parametrize("pitch", [33, 60, 69, 100])
@pytest.mark.parametrize("program", [0, 19, 24, 40, 71, 73])
def test_pitch_is_right(program, pitch):
    samples_S = sonify(Notes([0.0], [1.0], [pitch], [60], [program]), RATE)
    expected_hz = 440 * 2 ** ((pitch - 69) / 12)
    assert abs(12 * np.log2(strongest_hz(samples_S[1000:12000]) / expected_hz)) < 0.2


def test_sounds_from_onset_to_just_after_offset():
    samples_S = sonify(Notes([0.5], [1.0], [60]), RATE, num_samples=2 * RATE)
    assert samples_S.dtype == np.float32
    assert not samples_S[: RATE // 2].any()
    assert np.abs(samples_S[RATE // 2 : RATE]).max() > 0.05
    assert not samples_S[int(1.13 * RATE) :].any()


def test_instruments_sound_different_and_blown_ones_go_on():
    def level(program, start_s, end_s):
        samples_S = sonify(Notes([0.0], [8.0], [72], [100], [program]), RATE)
        return np.abs(samples_S[int(start_s * RATE) : int(end_s * RATE)]).max()

    for program in (0, 11, 25, 33, 45):
        assert level(program, 0, 1) > 0.05 > 10 * level(program, 7, 8)
    for program in (16, 40, 48, 56, 68, 73, 53, 80):
        assert level(program, 7, 8) == pytest.approx(level(program, 1, 2), rel=0.01)
    one_of_each = {
        sonify(Notes([0.0], [0.5], [60], [100], [each.program]), RATE).tobytes()
        for each in CLASSES
    }
    assert len(one_of_each) == len(FAMILIES) == len(SOUNDS)


def test_drums_are_heard_and_fade():
    heard = set()
    for drum in DRUM_CLASSES:
        notes = Notes([0.5], [0.51], [drum.key], [100], is_drum=[True])
        samples_S = sonify(notes, RATE, 5 * RATE)
        assert not samples_S[: RATE // 2].any()
        assert np.abs(samples_S[RATE // 2 : RATE]).max() > 0.02
        assert not samples_S[int(4.7 * RATE) :].any()
        heard.add(samples_S.tobytes())
    assert len(heard) == len(DRUM_CLASSES) == len(DRUM_SOUNDS)
    # A triangle, which has no class.
    other = Notes([0.0], [0.01], [81], is_drum=[True])
    assert sonify(other, RATE, 100).any()


def test_louder_notes_are_louder_and_chords_do_not_clip():
    levels = [
        np.abs(sonify(Notes([0], [1], [60], [velocity]), RATE)).max()
        for velocity in (20, 60, 127)
    ]
    assert levels[0] < levels[1] < levels[2] < 1
    chord = Notes(np.zeros(30), np.ones(30), np.arange(40, 70), np.full(30, 127))
    assert np.abs(sonify(chord, RATE)).max() <= 1


def test_blocks_equal_whole():
    rng = np.random.default_rng(0)
    onset = rng.uniform(0, 2, 20)
    notes = Notes(
        onset,
        onset + rng.uniform(0.05, 1, 20),
        rng.integers(21, 109, 20),
        program=rng.integers(0, 128, 20),
        is_drum=rng.random(20) < 0.3,
    )
    whole = sonify(notes, RATE, 4 * RATE)
    player = Player(notes, RATE)
    parts = [player.play(n) for n in (1, 7, 16000, 0, 30000, 17992)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_nothing_to_play():
    assert len(sonify(Notes.empty(), RATE)) == 0
    assert len(sonify(Notes([0.0], [10.0], [108]), RATE)) > RATE


def test_comparison_has_input_left_and_transcription_right():
    notes = Notes([0.0], [0.5], [60])
    left = np.linspace(-1, 1, 8000, dtype=np.float32)
    file = io.BytesIO()
    write_comparison(file, [left[:3000], left[3000:]], notes, RATE)
    file.seek(0)
    stereo, rate = soundfile.read(file)
    assert rate == RATE
    np.testing.assert_allclose(stereo[:, 0], left, atol=1e-4)
    np.testing.assert_allclose(stereo[:, 1], sonify(notes, RATE, 8000), atol=1e-4)


def test_a_full_disk_leaves_no_cut_comparison(tmp_path):
    """Where the limit of a file's size is reached, writing fails as on a full disk."""
    blocks = [np.zeros(RATE, np.float32)] * 10
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with (
            pytest.raises(OSError, match=r"cannot write .*a\.wav: the disk is full"),
            write_whole(tmp_path / "a.wav") as file,
        ):
            write_comparison(file, blocks, Notes.empty(), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())

"""Recorded instruments play parts: pitch, level, ends, drums, microphones."""

import numpy as np
import pytest
import soundfile
from toy_pianos import pitch_of, write_tone

from mt3x.data.synthesis.sampled_instruments import (
    RATE_HZ,
    PlayConfig,
    audible_s,
    read_instrument,
)
from mt3x.music.notes import Notes

EVEN = PlayConfig(note_level_db=0.0, legato_prob=0.0)


@pytest.fixture
def sfz(tmp_path):
    """Two round robins of a key with two layers, noises and a legato region."""
    for name, level in (("soft", 0.1), ("loud", 0.7), ("loud2", 0.3)):
        write_tone(tmp_path / "S" / f"{name}.wav", 60, level=level)
    path = tmp_path / "sax.sfz"
    path.write_text(
        "<group> lokey=48 hikey=72 pitch_keycenter=60\n"
        "<region> sample=S\\soft.wav hivel=63 locc1=5\n"
        "<region> sample=S\\loud.wav lovel=64 seq_position=1\n"
        "<region> sample=S\\loud2.wav lovel=64 seq_position=2\n"
        "<region> sample=S\\missing.wav trigger=legato\n"
    )
    return path


def _notes(*rows):
    onset_s, offset_s, pitch, velocity = np.array(rows, float).T
    return Notes(onset_s, offset_s, pitch.astype(int), velocity.astype(int))


def test_layers_and_round_robins(sfz):
    instrument = read_instrument(sfz)
    takes = instrument.microphones[0]
    assert [take.path.name for take in takes] == ["soft.wav", "loud.wav", "loud2.wav"]
    assert [t.path.name for t in instrument._choose(takes, 60, 100)] == [
        "loud.wav",
        "loud2.wav",
    ]
    assert instrument.keys == (48, 72)


def test_match_exclude_and_transpose(sfz):
    assert len(read_instrument(sfz, exclude="soft").microphones[0]) == 2
    assert read_instrument(sfz, transpose=-12).keys == (36, 60)
    with pytest.raises(ValueError, match="no sample matches 'trumpet'"):
        read_instrument(sfz, ("trumpet",))
    with pytest.raises(FileNotFoundError, match="no such instrument"):
        read_instrument(sfz.with_name("other.sfz"))


def test_a_folder_of_samples(tmp_path):
    for name, key in (("C4", 60), ("Fs4", 66), ("C5", 72)):
        write_tone(tmp_path / "horn" / f"{name}.wav", key)
    (tmp_path / "horn" / "README.md").write_text("samples")
    takes = read_instrument(tmp_path / "horn").microphones[0]
    assert [(take.keys, take.center) for take in takes] == [
        ((57, 63), 60),
        ((64, 69), 66),
        ((70, 75), 72),
    ]
    assert len(read_instrument(tmp_path / "horn", exclude="C5").microphones[0]) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no samples with names"):
        read_instrument(tmp_path / "empty")


def test_a_part_has_its_pitches_times_and_levels(sfz):
    instrument = read_instrument(sfz)
    part = _notes((0.5, 1.0, 60, 100), (1.5, 1.9, 67, 100), (2.5, 3.0, 60, 60))
    samples_S, played = instrument.play(part, np.random.default_rng(0), EVEN)
    assert not samples_S[: RATE_HZ // 2 - 1].any()
    first_S = samples_S[int(0.55 * RATE_HZ) : int(0.95 * RATE_HZ)]
    second_S = samples_S[int(1.55 * RATE_HZ) : int(1.85 * RATE_HZ)]
    third_S = samples_S[int(2.55 * RATE_HZ) : int(2.95 * RATE_HZ)]
    assert abs(pitch_of(first_S, RATE_HZ) - 60) < 0.1
    assert abs(pitch_of(second_S, RATE_HZ) - 67) < 0.1
    assert np.abs(third_S).max() < 0.8 * np.abs(first_S).max()
    assert played.onset_s.tolist() == [0.5, 1.5, 2.5]
    np.testing.assert_allclose(played.offset_s, [1.02, 1.92, 3.02])
    held, ended = (
        np.abs(samples_S[int((t - 0.01) * RATE_HZ) : int((t + 0.01) * RATE_HZ)]).max()
        for t in (0.99, 1.03)  # the loudest of the second is its beginning
    )
    assert 20 * np.log10(held / ended) == pytest.approx(10, abs=2)
    # The sound after the end fades within the release.
    assert np.abs(samples_S[int(1.15 * RATE_HZ) : int(1.49 * RATE_HZ)]).max() < 0.01


def test_a_note_off_the_keys_is_left_out(sfz):
    instrument = read_instrument(sfz)
    part = _notes((0.5, 1.0, 60, 100), (1.0, 1.5, 90, 100))
    _, played = instrument.play(part, np.random.default_rng(0), EVEN)
    assert played.pitch.tolist() == [60]


def test_a_label_ends_where_the_sound_has_died(tmp_path):
    time_S = np.arange(3 * 16000) / 16000
    samples_S = np.sin(2 * np.pi * 261.6 * time_S) * np.exp(-8 * time_S)
    soundfile.write(tmp_path / "p.wav", samples_S, 16000)
    path = tmp_path / "pizz.sfz"
    path.write_text("<region> sample=p.wav lokey=50 hikey=70 pitch_keycenter=60\n")
    part = _notes((0.0, 2.5, 60, 100))
    _, played = read_instrument(path).play(part, np.random.default_rng(0), EVEN)
    # exp(-8 t) reaches 2 % after 0.49 s.
    assert abs(played.offset_s[0] - 0.49) < 0.05


def test_a_kit_sums_microphones_and_does_not_shift(tmp_path):
    for name, key in (("kick-near", 40), ("kick-far", 52)):
        write_tone(tmp_path / f"{name}.wav", key)
    path = tmp_path / "kit.sfz"
    path.write_text(
        "<group> key=36\n<region> sample=kick-near.wav\n<region> sample=kick-far.wav\n"
    )
    kit = read_instrument(path, ("near", "far"), is_kit=True)
    part = Notes(
        np.array([0.2, 0.5]),
        np.array([0.3, 0.6]),
        np.array([36, 38]),
        np.array([100, 100]),
        is_drum=np.ones(2, bool),
    )
    samples_S, played = kit.play(part, np.random.default_rng(0), EVEN)
    assert played.pitch.tolist() == [36]
    spectrum = np.abs(np.fft.rfft(samples_S[int(0.25 * RATE_HZ) :][:RATE_HZ]))
    hz = np.fft.rfftfreq(
        min(RATE_HZ, len(samples_S) - int(0.25 * RATE_HZ)), 1 / RATE_HZ
    )
    for key in (40, 52):
        at = np.abs(hz - 440 * 2 ** ((key - 69) / 12)).argmin()
        assert spectrum[at - 3 : at + 4].max() > 20 * np.median(spectrum)


def test_audible_length():
    assert audible_s(np.ones(RATE_HZ)) == pytest.approx(1.0)
    assert audible_s(np.concatenate([np.ones(RATE_HZ), np.zeros(RATE_HZ)])) == 1.0

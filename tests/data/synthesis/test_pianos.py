"""Pianos from folders of samples: parsing, pitch, level, attack."""

import numpy as np
import pytest
from toy_pianos import pitch_of, write_tone

from mt3x.data.synthesis.pianos import (
    SoundFont,
    load_piano,
    read_salamander,
    read_sfz,
    trim_attack,
    velocity_gain,
)


@pytest.fixture
def sfz(tmp_path):
    """Two layers (the soft one recorded louder), two samples each, and traps."""
    for layer, level in (("soft", 0.8), ("loud", 0.2)):
        for key in (48, 60):
            write_tone(tmp_path / "Samples" / f"P {layer} {key}.wav", key, level=level)
    (tmp_path / "Data").mkdir()
    (tmp_path / "Data" / "layer.txt").write_text(
        "<region> #define $KEY 48 lokey=21 hikey=53 pitch_keycenter=$KEY "
        'sample=P $LAYER $KEY.$EXT volume=-30 // a "comment" with key=99\n'
        "<region> #define $KEY 60 lokey=54 hikey=c8 pitch_keycenter=$KEY "
        "sample=P $LAYER $KEY.$EXT\n"
    )
    path = tmp_path / "piano.sfz"
    path.write_text(
        "// title\n#define $EXT wav\n<control> default_path=Samples/ set_cc7=100\n"
        "<global> ampeg_release=0.5 locc7=1\n"
        "<group> locc64=65 sample=missing.wav\n<region> key=60\n"
        '<group> lovel=1 hivel=64\n#define $LAYER soft\n#include "Data/layer.txt"\n'
        '<group> lovel=65 hivel=127\n#define $LAYER loud\n#include "Data/layer.txt"\n'
        "<group> trigger=release\n<region> key=60 sample=P soft 60.wav\n"
    )
    return path


def test_sfz_regions(sfz):
    piano = read_sfz(sfz)
    found = [(r.path.name, r.keys, r.velocities, r.center) for r in piano.regions]
    assert found == [
        ("P soft 48.wav", (21, 53), (1, 64), 48),
        ("P soft 60.wav", (54, 108), (1, 64), 60),
        ("P loud 48.wav", (21, 53), (65, 127), 48),
        ("P loud 60.wav", (54, 108), (65, 127), 60),
    ]
    assert list(piano.releases) == [60]


def test_match_chooses_samples(sfz):
    assert {r.path.name for r in read_sfz(sfz, match="loud").regions} == {
        "P loud 48.wav",
        "P loud 60.wav",
    }


@pytest.mark.parametrize("key", [45, 48, 53, 54, 63])
@pytest.mark.parametrize("velocity", [30, 90])
def test_notes_have_the_pitch_of_their_key(sfz, key, velocity):
    samples_S = read_sfz(sfz).note(key, velocity)
    assert samples_S.dtype == np.float32
    assert pitch_of(samples_S) == pytest.approx(key, abs=0.1)


def test_tune_shifts_pitch(tmp_path):
    write_tone(tmp_path / "a.wav", 60)
    (tmp_path / "p.sfz").write_text("<region>sample=a.wav key=60 tune=50 transpose=1")
    note_S = read_sfz(tmp_path / "p.sfz").note(60, 100)
    assert pitch_of(note_S) == pytest.approx(61.5, abs=0.1)


def test_level_follows_velocity_across_layers(sfz):
    """The soft layer was recorded 12 dB too loud: it must not show."""
    piano = read_sfz(sfz)
    rms = [np.sqrt(np.mean(piano.note(60, v)[:4000] ** 2)) for v in range(1, 128, 3)]
    expected = np.array([velocity_gain(v) for v in range(1, 128, 3)])
    np.testing.assert_allclose(np.array(rms) / rms[-1], expected / expected[-1], 0.02)


def test_attack_begins_at_sample_zero(sfz):
    """The file begins with 30 ms of silence."""
    piano = read_sfz(sfz)
    for key in (40, 60, 70):
        envelope_S = np.abs(piano.note(key, 80))
        assert np.argmax(envelope_S > 0.3 * envelope_S.max()) < 0.004 * 16000


def test_trim_attack_of_silence_is_an_error():
    with pytest.raises(ValueError, match="silent sample"):
        trim_attack(np.zeros(1000, np.float32), 16000)


def test_salamander_folder(tmp_path):
    for layer in (1, 2, 16):
        for key, name in ((57, "A3"), (60, "C4"), (63, "D#4")):
            folder = tmp_path / f"piano-velocity{layer}" / "audio"
            write_tone(folder / f"{name}v{layer}.ogg", key, seconds=0.5)
    write_tone(tmp_path / "piano-release" / "audio" / "rel40.ogg", 60, seconds=0.1)
    piano = load_piano(tmp_path)
    assert {r.velocities for r in piano.regions} == {(1, 26), (27, 34), (35, 127)}
    ranges = {r.center: r.keys for r in piano.regions}
    assert ranges == {57: (21, 58), 60: (59, 61), 63: (62, 108)}
    assert pitch_of(piano.note(62, 30)) == pytest.approx(62, abs=0.1)
    assert np.abs(piano.release(60)).max() == pytest.approx(1, abs=0.01)


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="npm packages"):
        read_salamander(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no\.sfz: no such piano"):
        load_piano(tmp_path / "no.sfz")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"a\.txt: expected an \.sfz"):
        load_piano(tmp_path / "a.txt")
    (tmp_path / "a.sfz").write_text("<region> key=60 sample=gone.wav")
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        load_piano(tmp_path / "a.sfz")
    (tmp_path / "a.sfz").write_text("<group> key=60")
    with pytest.raises(ValueError, match="no region"):
        load_piano(tmp_path / "a.sfz")
    (tmp_path / "a.sfz").write_text('#include "a.sfz"')
    with pytest.raises(ValueError, match="nested too deeply"):
        load_piano(tmp_path / "a.sfz")


def test_soundfont_header(tmp_path):
    path = tmp_path / "a.sf2"
    path.write_bytes(b"RIFF\x08\0\0\0sfbk1234")
    assert load_piano(path, program=1) == SoundFont(path, 1)
    path.write_bytes(b"RIFF\x09\0\0\0sfbk1234")
    with pytest.raises(ValueError, match=r"a\.sf2: cut short"):
        load_piano(path)
    path.write_bytes(b"RIFF\x08\0\0\0WAVE1234")
    with pytest.raises(ValueError, match=r"a\.sf2: not a soundfont"):
        load_piano(path)

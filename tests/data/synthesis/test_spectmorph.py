"""Instruments of SpectMorph: keys, clips, loops, and the tuning that is measured."""

import numpy as np
import pytest
import soundfile
from toy_pianos import pitch_of

from mt3x.data.synthesis.sampled_instruments import (
    RATE_HZ,
    audible_s,
    read_instrument,
    sounding_pitch,
)
from mt3x.data.synthesis.spectmorph import read_samples

FILE_HZ = 44100


def write_note(path, pitch, seconds):
    """A note of eight harmonics after 0.1 s of silence."""
    time_S = np.arange(int(seconds * FILE_HZ)) / FILE_HZ
    hz = 440 * 2 ** ((pitch - 69) / 12)
    waves = [np.sin(2 * np.pi * n * hz * time_S) / n for n in range(1, 9)]
    samples_S = np.concatenate([np.zeros(FILE_HZ // 10), 0.2 * np.sum(waves, axis=0)])
    soundfile.write(path, samples_S, FILE_HZ)


@pytest.fixture
def instrument(tmp_path):
    """A sung A4, 1.4 semitones sharp and a second long, and a fiddle's long E5."""
    write_note(tmp_path / "ah-69.flac", 70.4, 1.0)
    write_note(tmp_path / "e-76.flac", 75.7, 3.0)
    path = tmp_path / "instrument.xml"
    path.write_text(
        """<instrument name="Both" short_name="b">
          <sample filename="ah-69.flac" midi_note="69">
            <clip start="100.0" end="1000.0"/>
            <loop type="ping-pong" start="600.0" end="900.0"/>
          </sample>
          <sample filename="e-76.flac" midi_note="76">
            <clip start="100.0" end="2600.0"/>
            <loop type="ping-pong" start="600.0" end="900.0"/>
          </sample>
        </instrument>"""
    )
    return path


def test_samples_have_keys_clips_and_loops(instrument):
    first, second = read_samples(instrument)
    assert first == (instrument.parent / "ah-69.flac", 69, (0.1, 1.0), (0.6, 0.9))
    assert (second.key, second.clip_s) == (76, (0.1, 2.6))


def test_keys_lie_around_the_samples_and_tuning_is_measured(instrument):
    first, second = read_instrument(instrument).microphones[0]
    assert (first.keys, second.keys) == ((66, 72), (73, 79))
    np.testing.assert_allclose([first.center, second.center], [70.4, 75.7], atol=0.02)


def test_a_played_key_has_its_pitch(instrument):
    sound_S = read_instrument(instrument).note(69, 90, 0)
    assert pitch_of(sound_S, RATE_HZ) == pytest.approx(69, abs=0.05)


def test_short_recordings_are_held_and_long_ones_end(instrument):
    found = read_instrument(instrument)
    # Up to where reading ends: 9 s of the file.
    sung_s = 9.0 / 2 ** ((69 - 70.4) / 12)
    assert audible_s(found.note(69, 90, 0)) == pytest.approx(min(8.0, sung_s), abs=0.1)
    played_s = 2.5 / 2 ** ((76 - 75.7) / 12)
    assert audible_s(found.note(76, 90, 0)) == pytest.approx(played_s, abs=0.05)


def test_a_loop_goes_to_and_fro_without_a_step(instrument):
    sound_S = read_instrument(instrument).note(69, 90, 0)
    steepest = np.abs(np.diff(sound_S)).max()
    assert steepest < 1.3 * np.abs(np.diff(sound_S[: RATE_HZ // 2])).max()


@pytest.mark.parametrize("key", [28, 60, 95])
def test_the_octave_is_that_of_the_key(key):
    """A missing fundamental does not matter, nor an octave that is as alike."""
    time_S = np.arange(16384) / FILE_HZ
    hz = 440 * 2 ** ((key + 1.2 - 69) / 12)
    samples_S = sum(np.sin(2 * np.pi * n * hz * time_S) for n in range(2, 7))
    assert sounding_pitch(samples_S, FILE_HZ, key) == pytest.approx(key + 1.2, abs=0.03)


@pytest.mark.parametrize(
    "text", ["", "<instrument>", '<instrument><sample filename="a"/></instrument>']
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "instrument.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match="not an instrument of SpectMorph"):
        list(read_samples(path))

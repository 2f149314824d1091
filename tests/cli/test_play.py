"""`mt3x play` with loudspeakers that are made up."""

import sys
from types import ModuleType

import numpy as np
import pytest
import soundfile

from mt3x.cli.main import main
from mt3x.music.notes import Notes
from mt3x.music.sonify import SAMPLE_RATE_HZ, sonify

NOTES = Notes([0.5, 1.5], [1.0, 2.0], [60, 64])


class FakeSounddevice(ModuleType):
    class PortAudioError(Exception):
        pass

    def __init__(self, error=None, when="opened"):
        super().__init__("sounddevice")
        self.error, self.when, self.blocks, self.is_open = error, when, [], False

    def fail(self, when):
        if self.error is not None and when == self.when:
            raise self.error

    def OutputStream(self, samplerate, device, channels, dtype):
        assert samplerate == SAMPLE_RATE_HZ and dtype == "float32"
        self.device, self.channels = device, channels
        self.fail("opened")
        return self

    def __enter__(self):
        self.is_open = True

    def __exit__(self, *_):
        self.is_open = False

    def write(self, samples_SxC):
        self.fail("written")
        assert self.is_open and samples_SxC.shape[1] == self.channels
        assert samples_SxC.dtype == np.float32
        assert len(samples_SxC) <= SAMPLE_RATE_HZ
        self.blocks.append(samples_SxC)

    @property
    def played(self):
        assert not self.is_open
        return np.concatenate(self.blocks)


GONE = FakeSounddevice.PortAudioError("no device")


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
    NOTES.to_midi(tmp_path / "a.mid")
    tone_S = np.full(3 * SAMPLE_RATE_HZ, 0.25, np.float32)
    soundfile.write(tmp_path / "a.wav", tone_S, SAMPLE_RATE_HZ)
    monkeypatch.chdir(tmp_path)

    def run(*args, error=None, when="opened"):
        fake = FakeSounddevice(error, when)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        monkeypatch.setattr(sys, "argv", ["mt3x", "play", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, fake, capsys.readouterr().err

    return run


def test_notes_are_played(play):
    code, fake, _ = play("a.mid", "--device", "3")
    assert code == 0 and fake.device == 3
    expected = sonify(Notes.from_midi("a.mid"))
    np.testing.assert_allclose(fake.played[:, 0], expected, atol=1e-3)


def test_a_part_beside_its_recording(play):
    code, fake, _ = play("a.mid", "--recording", "a.wav", "--start", "1.25")
    assert code == 0 and fake.played.shape[1] == 2
    assert fake.played[100, 0] == pytest.approx(0.25, abs=1e-3)
    expected = sonify(Notes([0.25], [0.75], [64]))
    np.testing.assert_allclose(fake.played[:, 1][: len(expected)], expected, atol=0.02)


def test_ctrl_c_stops(play):
    code, fake, _ = play("a.mid", error=KeyboardInterrupt(), when="written")
    assert code == 0 and not fake.is_open


def test_a_recording_that_is_shorter_is_silent_then(play):
    samples, rate_hz = soundfile.read("a.wav")
    soundfile.write("b.wav", samples[:rate_hz], rate_hz)
    _, fake, _ = play("a.mid", "--recording", "b.wav")
    assert len(fake.played) > 2 * rate_hz
    assert not fake.played[rate_hz:, 0].any() and fake.played[rate_hz:, 1].any()


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (("a.mid",), GONE, "no sound comes out"),
        (("a.mid", "--device", "x"), ValueError("no x"), "no sound comes out (no x)"),
        (("a.mid", "--start", "5"), None, "no notes to play"),
        (("a.mid", "--start", "2", "--end", "1"), None, "is not after"),
        (("a.mid", "--recording", "a.mid"), None, "a MIDI file"),
    ],
)
def test_what_cannot_be_played_costs_a_line(play, args, error, said):
    code, _, err = play(*args, error=error)
    assert code != 0 and said in err and err.count("\n") == 1


def test_a_loudspeaker_that_goes_costs_a_line(play):
    code, _, err = play("a.mid", error=GONE, when="written")
    assert code == 1 and "no sound comes out (no device)" in err

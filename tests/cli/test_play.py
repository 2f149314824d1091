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

    def __init__(self, error=None):
        super().__init__("sounddevice")
        self.error, self.played, self.stopped = error, None, False

    def play(self, samples, rate_hz, device=None, blocking=False):
        if self.error is not None:
            raise self.error
        assert blocking and rate_hz == SAMPLE_RATE_HZ
        self.played, self.device = samples, device

    def stop(self):
        self.stopped = True


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
    NOTES.to_midi(tmp_path / "a.mid")
    tone_S = np.full(3 * SAMPLE_RATE_HZ, 0.25, np.float32)
    soundfile.write(tmp_path / "a.wav", tone_S, SAMPLE_RATE_HZ)
    monkeypatch.chdir(tmp_path)

    def run(*args, error=None):
        fake = FakeSounddevice(error)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        monkeypatch.setattr(sys, "argv", ["mt3x", "play", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, fake, capsys.readouterr().err

    return run


def test_notes_are_played(play):
    code, fake, _ = play("a.mid", "--device", "3")
    assert code == 0 and fake.device == 3
    np.testing.assert_allclose(fake.played, sonify(Notes.from_midi("a.mid")), atol=1e-3)


def test_a_part_beside_its_recording(play):
    code, fake, _ = play("a.mid", "--recording", "a.wav", "--start", "1.25")
    assert code == 0 and fake.played.shape[1] == 2
    assert fake.played[100, 0] == pytest.approx(0.25, abs=1e-3)
    expected = sonify(Notes([0.25], [0.75], [64]))
    np.testing.assert_allclose(fake.played[:, 1][: len(expected)], expected, atol=0.02)


def test_ctrl_c_stops(play):
    code, fake, _ = play("a.mid", error=KeyboardInterrupt())
    assert code == 0 and fake.stopped


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (("a.mid",), FakeSounddevice.PortAudioError("no device"), "no sound comes out"),
        (("a.mid", "--start", "5"), None, "no notes to play"),
        (("a.mid", "--start", "2", "--end", "1"), None, "is not after"),
    ],
)
def test_what_cannot_be_played_costs_a_line(play, args, error, said):
    code, _, err = play(*args, error=error)
    assert code != 0 and said in err and err.count("\n") == 1

"""Notes played by soundfonts, and synthesisers that fail."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from toy_pianos import pitch_of
from toy_soundfont import write_soundfont

from mt3x.data.synthesis.render import attack_delays_s
from mt3x.data.synthesis.synthesizer import play
from mt3x.music.notes import Notes


def test_synthesiser_that_plays_another_soundfont(tmp_path, monkeypatch):
    """fluidsynth ends well after it failed to load the soundfont: that is an error."""

    def run(command, **options):
        folder_of_sound = command[command.index("-F") + 1]
        soundfile.write(folder_of_sound, np.ones(44100), 44100)
        error = f"Failed to load the SoundFont {command[-2]}\n"
        return subprocess.CompletedProcess(command, 0, "", error)

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(OSError, match=r"a\.sf2: fluidsynth failed: Failed to load"):
        play(Notes([0], [1], [60]), tmp_path / "a.sf2")


def test_no_synthesiser(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(OSError, match="install fluidsynth"):
        play(Notes([0], [1], [60]), tmp_path / "a.sf3")


def test_midirenderer_plays_dry_and_to_the_end(tmp_path, monkeypatch):
    pytest.importorskip("midirenderer", reason="midirenderer is not installed")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    write_soundfont(tmp_path / "a.sf2")
    notes = Notes([0.5, 1.5], [0.7, 1.7], [69, 36], None, [33, 0], [False, True])
    samples_S = play(notes, tmp_path / "a.sf2")
    assert len(samples_S) > 3 * 44100
    tone_S = samples_S[round(0.51 * 44100) :]
    assert pitch_of(tone_S, 44100) == pytest.approx(69, abs=0.2)
    for silent_s in (0.0, 1.0, 2.5):
        start = round(silent_s * 44100)
        assert np.abs(samples_S[start : start + 13000]).max() < 1e-5
    for onset_s in notes.onset_s:
        start = round(onset_s * 44100)
        assert np.abs(samples_S[start : start + 4410]).max() > 1e-2
    assert np.abs(attack_delays_s(samples_S, notes, 44100)).max() < 0.005

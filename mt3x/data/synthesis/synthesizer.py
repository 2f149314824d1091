"""Notes -> audio by a General MIDI soundfont: fluidsynth or midirenderer plays them."""

import importlib
import importlib.metadata
import importlib.util
import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import mido
import numpy as np
import soundfile

from mt3x.music import midi
from mt3x.music.notes import Notes
from mt3x.music.samples import resample

# Soundfonts are played at this rate and brought down after: synthesisers
# interpolate without a low-pass, so a low rate would fold the treble back.
PLAY_RATE_HZ = 44100
_REVERB, _CHORUS = 91, 93  # MIDI controllers
_RING_S = 2.0
_NO_SYNTHESIZER = (
    "no synthesiser; install fluidsynth (`apt install fluidsynth`; any soundfont) or "
    "`pip install midirenderer` (SF2 only)"
)


def play(notes: Notes, soundfont: Path) -> np.ndarray:
    """Play notes with the programs and drums of a General MIDI soundfont.

    Args:
      notes: at most 15 programs besides drums; synthesisers mix up more of them.
      soundfont: an .sf2 or .sf3 file.

    Returns:
      Mono float32 samples_S at `PLAY_RATE_HZ`, without reverb and chorus; sound begins
      1 to 4 ms after a note's onset.

    Raises:
      OSError: no synthesiser is installed, or it cannot read the soundfont.
    """
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder) / "score.mid", Path(folder) / "sound.wav"
        score.write_bytes(notes.to_midi())
        if shutil.which("fluidsynth"):
            _run_fluidsynth(soundfont, score, sound)
        else:
            _run_midirenderer(soundfont, score, sound)
        samples_SxC, rate_hz = soundfile.read(sound, dtype="float32", always_2d=True)
    samples_S = samples_SxC @ np.full(samples_SxC.shape[1], 1 / samples_SxC.shape[1])
    return resample(samples_S, rate_hz, PLAY_RATE_HZ)


def synthesizer_version() -> str:
    """Return name and version of the synthesiser that plays soundfonts here.

    Raises:
      OSError: there is none.
    """
    if shutil.which("fluidsynth"):
        done = subprocess.run(
            ["fluidsynth", "--version"], capture_output=True, text=True, check=True
        )
        version = re.search(r"version ([\d.]+)", done.stdout)
        return f"fluidsynth {version[1] if version else '?'}"
    if importlib.util.find_spec("midirenderer"):
        return f"midirenderer {importlib.metadata.version('midirenderer')}"
    raise OSError(_NO_SYNTHESIZER)


def _run_fluidsynth(soundfont: Path, score: Path, sound: Path) -> None:
    command = ["fluidsynth", "-q", "-n", "-i", "-R", "0", "-C", "0", "-g", "0.4"]
    command += ["-r", str(PLAY_RATE_HZ), "-o", "synth.dynamic-sample-loading=1"]
    command += ["-T", "wav", "-O", "float", "-F", str(sound)]
    done = subprocess.run(
        [*command, str(soundfont), str(score)], capture_output=True, text=True
    )
    # It resorts to its default soundfont where it cannot load the one given.
    failed = re.search(r"failed to load|not a soundfont", done.stderr, re.IGNORECASE)
    if done.returncode or failed or not sound.is_file():
        raise OSError(f"{soundfont}: fluidsynth failed: {done.stderr.strip()[:300]}")


def _run_midirenderer(soundfont: Path, score: Path, sound: Path) -> None:
    if soundfont.suffix.lower() != ".sf2" or not importlib.util.find_spec(
        "midirenderer"
    ):
        raise OSError(f"{soundfont}: {_NO_SYNTHESIZER}")
    midirenderer = importlib.import_module("midirenderer")
    wave = midirenderer.render_wave_from(soundfont.read_bytes(), _dry(score))
    sound.write_bytes(wave)


def _dry(score: Path) -> bytes:
    """Return a MIDI file's bytes, dry and with time to ring at its end."""
    score_midi = mido.MidiFile(score)
    track = mido.MidiTrack(
        mido.Message("control_change", channel=channel, control=control, value=0)
        for channel in range(16)
        for control in (_REVERB, _CHORUS)
    )
    ticks = mido.second2tick(
        score_midi.length + _RING_S, score_midi.ticks_per_beat, midi.DEFAULT_TEMPO_US
    )
    track.append(mido.MetaMessage("end_of_track", time=ticks))
    score_midi.tracks.insert(0, track)
    file = io.BytesIO()
    score_midi.save(file=file)
    return file.getvalue()

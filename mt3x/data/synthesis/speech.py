"""Spoken syllables: voices of flite, cut into phones, without their pitch.

Flite (Debian's package) speaks random syllables on one tone. Where the tone is known,
the throat's resonances can be told from the voice: a spectrum that is smoothed over one
harmonic has no harmonics left (Morise 2015, "CheapTrick").
"""

import functools
import itertools
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from mt3x.music.samples import resample

__all__ = [
    "FFT_SIZE",
    "FRAME_S",
    "RATE_HZ",
    "TONES_HZ",
    "Syllable",
    "check_voice",
    "read_syllables",
]

RATE_HZ = 16000
FRAME_S = 0.005
FFT_SIZE = 1024
TONES_HZ = {"slt": 170.0, "kal16": 105.0, "rms": 95.0, "awb": 125.0}
"""The voices, and the tones at which they speak."""
_HOP = int(FRAME_S * RATE_HZ)
_NUM_TEXTS, _NUM_SYLLABLES = 40, 12
_SLOWER = 1.4
_SHORTEST_VOWEL = 8  # frames
# Phones of CMU's dictionary; an empty one is none.
_VOWELS = "aa ae ah ao eh ey ih iy ow uh uw ay er".split()
_ONSETS = (
    "", "", "", "l", "m", "n", "d", "b", "g", "r", "w", "y", "v", "z", "dh", "jh",
    "s", "t", "k", "p", "f", "sh", "hh", "th", "ch", "s t", "t r", "b l", "k l",
)  # fmt: skip
_CODAS = ("", "", "", "", "n", "m", "l", "ng", "s", "t", "d", "k", "z", "r", "v")
_SONORANT = set("l m n r w y ng".split())
_NOISE: dict[str, float] = dict.fromkeys("pau s t k p f sh hh th ch".split(), 1.0)
_NOISE |= dict.fromkeys("z v dh jh".split(), 0.5)


class Syllable(NamedTuple):
    """Frames of `FRAME_S` of a spoken syllable."""

    log_power_TxF: np.ndarray  # of the tract's filter, natural logarithm
    noise_T: np.ndarray  # share of noise in the source, 0 to 1
    vowel: tuple[int, int]  # first frame of the vowel, and the first one after it
    starts_sonorant: bool  # the consonant before has a tone


def check_voice(voice: str) -> None:
    """Raise FileNotFoundError without flite, ValueError where it has no such voice."""
    if voice not in TONES_HZ:
        raise ValueError(f"unknown voice {voice!r}; choose from {', '.join(TONES_HZ)}")
    if shutil.which("flite") is None:
        raise FileNotFoundError("no flite to speak; install it (`apt install flite`)")


@functools.lru_cache(maxsize=len(TONES_HZ))
def read_syllables(voice: str) -> tuple[Syllable, ...]:
    """Return the syllables of a voice, the same each time; raise as `check_voice`."""
    check_voice(voice)
    rng = np.random.default_rng(zlib.crc32(voice.encode()))
    return tuple(s for _ in range(_NUM_TEXTS) for s in _speak(voice, rng))


def _speak(voice: str, rng: np.random.Generator) -> Iterator[Syllable]:
    """Yield random syllables, spoken one after the other."""
    texts = [
        [*str(rng.choice(_ONSETS)).split(), vowel, *str(rng.choice(_CODAS)).split()]
        for vowel in rng.choice(_VOWELS, _NUM_SYLLABLES).tolist()
    ]
    samples_S, phones, ends_s = _flite(voice, ["pau", *itertools.chain(*texts), "pau"])
    log_power_TxF = _envelope(samples_S, TONES_HZ[voice])
    edges = np.round(np.array([0.0, *ends_s]) / FRAME_S).astype(int)
    noise_T = np.repeat([_NOISE.get(p, 0.0) for p in phones], np.diff(edges))
    at = 1
    for text in texts:
        if phones[at : at + len(text)] != text:  # flite has left one out
            return
        vowel = at + next(n for n, phone in enumerate(text) if phone in _VOWELS)
        begin, end = int(edges[at]), int(edges[at + len(text)])
        first, last = int(edges[vowel]) - begin, int(edges[vowel + 1]) - begin
        if last - first >= _SHORTEST_VOWEL and end <= len(log_power_TxF):
            yield Syllable(
                log_power_TxF[begin:end].astype(np.float32),
                noise_T[begin:end],
                (first, last),
                vowel > at and phones[vowel - 1] in _SONORANT,
            )
        at += len(text)


def _flite(
    voice: str, phones: Sequence[str]
) -> tuple[np.ndarray, list[str], list[float]]:
    """Speak phones on one tone; return samples_S, and the phones with their ends."""
    settings = {
        "int_f0_target_mean": TONES_HZ[voice],
        "int_f0_target_stddev": 0.001,
        "duration_stretch": _SLOWER,
    }
    command = ["flite", "-voice", voice, "-psdur", "-p", " ".join(phones)]
    for name, value in settings.items():
        command += ["--setf", f"{name}={value}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        done = subprocess.run(
            [*command, "-o", str(path)], check=True, capture_output=True, text=True
        )
        samples_S, rate_hz = soundfile.read(path, dtype="float32")
    said = re.findall(r"(\w+):([\d.]+)", done.stdout)
    ends_s = [float(end_s) for _, end_s in said]
    return resample(samples_S, rate_hz, RATE_HZ), [phone for phone, _ in said], ends_s


def _envelope(samples_S: np.ndarray, tone_hz: float) -> np.ndarray:
    """Return the log power of the throat's resonances: `FFT_SIZE // 2 + 1` bins."""
    width = int(3 * RATE_HZ / tone_hz) // 2 * 2 + 1
    padded_S = np.pad(samples_S, width // 2)
    parts_TxW = np.lib.stride_tricks.sliding_window_view(padded_S, width)[::_HOP]
    spectrum_TxF = np.fft.rfft(parts_TxW * np.hanning(width + 2)[1:-1], FFT_SIZE)
    power_TxF = np.square(np.abs(spectrum_TxF)) + 1e-7
    # The mean over one harmonic; then a lifter takes off what is left of them.
    lag_Q = np.fft.fftfreq(FFT_SIZE, 1 / FFT_SIZE) / RATE_HZ
    mean_Q = np.sinc(lag_Q * tone_hz)
    smooth_TxF = _liftered(power_TxF, mean_Q)
    lifter_Q = mean_Q * (1.18 - 0.18 * np.cos(2 * np.pi * tone_hz * lag_Q))
    lifter_Q[np.abs(lag_Q) > 1 / tone_hz] = 0.0
    return _liftered(np.log(np.maximum(smooth_TxF, 1e-9)), lifter_Q)


def _liftered(values_TxF: np.ndarray, lifter_Q: np.ndarray) -> np.ndarray:
    """Filter along frequency, with one factor for each lag."""
    both_TxF = np.concatenate([values_TxF, values_TxF[:, -2:0:-1]], axis=1)
    lags_TxQ = np.fft.ifft(both_TxF, axis=1).real * lifter_Q
    return np.fft.fft(lags_TxQ, axis=1).real[:, : values_TxF.shape[1]]

"""Make a clean recording sound like another room, microphone and recorder.

Everything linear (equaliser, microphone, room) is one filter applied in the
frequency domain, and noise is drawn there, so that a clip costs a few transforms.
The attack stays where it is: filters have zero or minimum phase, the room's direct
sound has no delay, and where low partials are delayed, the hammer's noise is not.
"""

import functools
from dataclasses import dataclass

import numpy as np

NUM_STRING_SETS = 8


@dataclass(frozen=True)
class AugmentConfig:
    """Options of `augment`: how often and how much; ranges are drawn from uniformly."""

    eq_prob: float = 0.8
    eq_db: float = 8.0  # largest gain of a shelf or peak
    rough_prob: float = 0.8  # a level of its own for each half semitone
    rough_db: tuple[float, float] = (0.0, 6.0)  # standard deviation of these levels
    slow_prob: float = 0.7  # low partials that rise later than high ones
    slow_s: tuple[float, float] = (0.0, 0.025)  # the lowest ones' delay
    highpass_prob: float = 0.3
    highpass_hz: tuple[float, float] = (20.0, 140.0)
    lowpass_prob: float = 0.3
    lowpass_hz: tuple[float, float] = (3500.0, 7800.0)
    reverb_prob: float = 0.6
    rt60_s: tuple[float, float] = (0.1, 1.5)
    reverb_db: tuple[float, float] = (-25.0, 0.0)  # energy of room over direct sound
    strings_prob: float = 0.4  # undamped strings that sound along
    strings_db: tuple[float, float] = (-36.0, -14.0)  # their energy over direct sound
    noise_prob: float = 0.7
    snr_db: tuple[float, float] = (15.0, 60.0)
    hum_prob: float = 0.15
    clip_prob: float = 0.08  # soft clipping
    gain_db: tuple[float, float] = (-24.0, 6.0)

    def __post_init__(self) -> None:
        for name in vars(self):
            value = getattr(self, name)
            if name.endswith("_prob") and not 0 <= value <= 1:
                raise ValueError(f"{name} must be in 0..1: {value}")
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name} must be (low, high): {value}")


def augment(
    samples_S: np.ndarray,
    rng: np.random.Generator,
    config: AugmentConfig | None = None,
    sample_rate_hz: int = 16000,
    lead_samples: int = 0,
) -> np.ndarray:
    """Make a clip sound as recorded in random conditions.

    Args:
      samples_S: float samples in -1..1.
      rng: decides everything.
      config: how much.
      sample_rate_hz: their rate.
      lead_samples: samples before the clip that only feed the room's echo; they are
        cut off.

    Returns:
      float32 samples of length S - lead_samples, within -1..1.
    """
    config = config or AugmentConfig()
    num = len(samples_S)
    if not 0 <= lead_samples < max(num, 1):
        raise ValueError(f"lead_samples must be below {num}: {lead_samples}")
    room_R = _room(rng, config, sample_rate_hz)
    size = _fast_size(num + len(room_R))
    spectrum_K = np.fft.rfft(samples_S.astype(np.float32), size)
    if rng.random() < config.strings_prob:
        strings_db = float(rng.uniform(*config.strings_db))
        strings_K = string_response(
            int(rng.integers(NUM_STRING_SETS)), size, sample_rate_hz
        )
        spectrum_K = _with_strings(spectrum_K, strings_K, strings_db)
    hz_K = np.fft.rfftfreq(size, 1 / sample_rate_hz).astype(np.float32)
    # One rms for wet and dry: the room should not act as a gain.
    rms = max(float(np.sqrt(np.mean(np.square(samples_S)))), 0.003)
    spectrum_K = spectrum_K * _response(rng, config, hz_K, size)
    if len(room_R) > 1:
        spectrum_K = spectrum_K * np.fft.rfft(room_R, size)
    noise_K = _noise(rng, config, hz_K, rms, size)
    if noise_K is not None:
        spectrum_K += noise_K
    output_S = np.fft.irfft(spectrum_K, size)[lead_samples:num].astype(np.float32)
    gain = 10 ** (rng.uniform(*config.gain_db) / 20)
    peak = float(np.abs(output_S).max(initial=0.0))
    if rng.random() < config.clip_prob:  # a driven input stage
        drive = rng.uniform(0.8, 2.5) / max(peak, 0.05)
        output_S = np.tanh(output_S * np.float32(drive)) / np.float32(drive)
        peak = float(np.abs(output_S).max(initial=0.0))
    return output_S * np.float32(min(gain, 0.99 / max(peak, 1e-6)))


def colour(
    samples_S: np.ndarray,
    rng: np.random.Generator,
    config: AugmentConfig,
    sample_rate_hz: int = 16000,
) -> np.ndarray:
    """Make one instrument's samples sound like another of its kind.

    Of `augment` there are strings and equalisers; room and recorder are left out.
    """
    size = _fast_size(len(samples_S))
    spectrum_K = np.fft.rfft(samples_S.astype(np.float32), size)
    if rng.random() < config.strings_prob:
        strings_db = float(rng.uniform(*config.strings_db))
        strings_K = string_response(
            int(rng.integers(NUM_STRING_SETS)), size, sample_rate_hz
        )
        spectrum_K = _with_strings(spectrum_K, strings_K, strings_db)
    hz_K = np.fft.rfftfreq(size, 1 / sample_rate_hz).astype(np.float32)
    spectrum_K = spectrum_K * _response(rng, config, hz_K, size)
    return np.fft.irfft(spectrum_K, size)[: len(samples_S)].astype(np.float32)


def _response(
    rng: np.random.Generator, config: AugmentConfig, hz_K: np.ndarray, size: int
) -> np.ndarray:
    """Return the response of piano, microphone and recorder, without the room."""
    response_K = _equaliser(rng, config, hz_K)
    if rng.random() < config.rough_prob:
        rough_db = float(rng.uniform(*config.rough_db))
        response_K = response_K * _rough(rng, hz_K, size, rough_db)
    if rng.random() < config.slow_prob:
        response_K = response_K * _slow(rng, hz_K, float(rng.uniform(*config.slow_s)))
    return response_K


def _equaliser(
    rng: np.random.Generator, config: AugmentConfig, hz_K: np.ndarray
) -> np.ndarray:
    """Return an amplitude response: shelves, peaks, high-pass and low-pass."""
    octave_G = np.linspace(np.log2(10), np.log2(max(hz_K[-1], 20)), 256)
    db_G = np.zeros(256)
    if rng.random() < config.eq_prob:
        for sign in (-1, 1):  # low and high shelf
            corner = rng.uniform(np.log2(80), np.log2(4000))
            gain_db = rng.uniform(-config.eq_db, config.eq_db)
            db_G += gain_db / (1 + np.exp(-sign * 3 * (octave_G - corner)))
        for _ in range(int(rng.integers(0, 4))):
            center = rng.uniform(np.log2(60), np.log2(6500))
            width = rng.uniform(0.15, 1.2)
            gain_db = rng.uniform(-config.eq_db, config.eq_db)
            db_G += gain_db * np.exp(-0.5 * ((octave_G - center) / width) ** 2)
    if rng.random() < config.highpass_prob:
        corner = np.log2(rng.uniform(*config.highpass_hz))
        db_G -= rng.uniform(6, 18) * np.maximum(corner - octave_G, 0)
    if rng.random() < config.lowpass_prob:
        corner = np.log2(rng.uniform(*config.lowpass_hz))
        slope_db = rng.choice([6.0, 12.0, 24.0, 200.0])  # the last as codecs cut
        db_G -= slope_db * np.maximum(octave_G - corner, 0)
    gain_G = 10 ** (db_G / 20)
    return np.interp(hz_K, 2**octave_G, gain_G).astype(np.float32)


def _rough(
    rng: np.random.Generator, hz_K: np.ndarray, size: int, level_db: float
) -> np.ndarray:
    """Return the uneven response of a place in a room, with minimum phase.

    Partials that lie next to each other reach a microphone some decibels apart: its
    place and the soundboard decide. Such narrow filters ring, and with zero phase they
    would ring before the attack; minimum phase comes from the folded cepstrum
    (Oppenheim & Schafer, "Discrete-Time Signal Processing", chapter 13).
    """
    octave_G = np.arange(np.log2(20), np.log2(max(hz_K[-1], 40)), 1 / 24)
    level_G = rng.normal(0, level_db * np.log(10) / 20, len(octave_G))
    level_K = np.interp(hz_K, 2**octave_G, level_G)
    cepstrum_S = np.fft.irfft(level_K, size)
    cepstrum_S[1 : size // 2] *= 2
    cepstrum_S[size // 2 + 1 :] = 0
    return np.exp(np.fft.rfft(cepstrum_S)).astype(np.complex64)


def _slow(rng: np.random.Generator, hz_K: np.ndarray, delay_s: float) -> np.ndarray:
    """Return an all-pass filter that delays what is below a corner of 300 to 2500 Hz.

    Its group delay is delay / (1 + (f / corner)^2). In recordings low partials reach
    their level up to 20 ms later than the hammer's noise and the high ones. In samples
    that are cut at their attack they do not.
    """
    corner_hz = float(np.exp(rng.uniform(np.log(300), np.log(2500))))
    phase_K = -2 * np.pi * delay_s * corner_hz * np.arctan(hz_K / corner_hz)
    return np.exp(1j * phase_K).astype(np.complex64)


def _room(
    rng: np.random.Generator, config: AugmentConfig, sample_rate_hz: int
) -> np.ndarray:
    """Return an impulse response: direct sound, some reflections, decaying noise.

    The tail is Gaussian noise that falls by 60 dB in rt60 (J. A. Moorer, "About this
    reverberation business", 1979), in the treble faster than in the bass.
    """
    if rng.random() >= config.reverb_prob:
        return np.ones(1, np.float32)
    rt60_s = float(np.exp(rng.uniform(*np.log(config.rt60_s))))
    num = int(rt60_s * sample_rate_hz) + 2
    time_R = np.arange(num, dtype=np.float32) / np.float32(sample_rate_hz)
    tail_R = rng.standard_normal(num, dtype=np.float32)
    # A running mean of two to four samples takes the treble; it gains with time.
    dark_R = tail_R.copy()
    for lag in range(1, int(rng.integers(2, 5))):
        dark_R[lag:] += tail_R[:-lag]
    mix_R = np.minimum(time_R / np.float32(rt60_s) * 3, 1)
    tail_R += (dark_R - tail_R) * mix_R
    tail_R *= np.exp(time_R * np.float32(-6.908 / rt60_s))
    tail_R[: int(rng.uniform(0.001, 0.02) * sample_rate_hz)] = 0
    for _ in range(int(rng.integers(0, 7))):
        place = min(int(rng.uniform(0.002, 0.06) * sample_rate_hz), num - 1)
        tail_R[place] += rng.normal(0, 8)
    energy = float(np.dot(tail_R, tail_R))
    ratio_db = rng.uniform(*config.reverb_db)
    tail_R *= np.float32(np.sqrt(10 ** (ratio_db / 10) / max(energy, 1e-9)))
    tail_R[0] = 1
    return tail_R / np.float32(np.sqrt(1 + 10 ** (ratio_db / 10)))


def _with_strings(
    spectrum_K: np.ndarray, strings_K: np.ndarray, level_db: float
) -> np.ndarray:
    """Add the strings that a sound excites, at a level relative to it."""
    along_K = spectrum_K * strings_K
    energy = float(np.vdot(spectrum_K, spectrum_K).real)
    along = float(np.vdot(along_K, along_K).real)
    gain = np.sqrt(10 ** (level_db / 10) * energy / max(along, 1e-20))
    return spectrum_K + along_K * np.float32(gain)


@functools.lru_cache(maxsize=4 * NUM_STRING_SETS)
def string_response(piano: int, size: int, sample_rate_hz: int) -> np.ndarray:
    """Return the frequency response of the strings of one of a few imagined pianos.

    With the sustain pedal down, the string of every key answers at its partials: a sum
    of damped sinusoids, one per partial, at stretched harmonics and with decay times
    like those of pianos (Fletcher & Rossing, "The Physics of Musical Instruments",
    chapter 12).
    """
    rng = np.random.default_rng(piano)
    num = min(size // 2, 2 * sample_rate_hz)
    time_S = np.arange(num, dtype=np.float32) / np.float32(sample_rate_hz)
    impulse_S = np.zeros(num, np.float32)
    for key in range(21, 109):
        base_hz = 440 * 2 ** ((key - 69 + rng.normal(0, 0.03)) / 12)
        stiffness = 1e-4 * 2 ** ((key - 45) / 10)
        for partial in range(1, 17):
            hz = partial * base_hz * np.sqrt(1 + stiffness * partial**2)
            if hz > 0.47 * sample_rate_hz:
                break
            decay_s = 8.0 * 2 ** (-(key - 21) / 20) / partial**0.5
            decay_s *= np.exp(rng.normal(0, 0.4))
            level = np.exp(rng.normal(0, 0.7)) / partial
            phase = rng.uniform(0, 2 * np.pi)
            wave_S = np.cos(np.float32(2 * np.pi * hz) * time_S + np.float32(phase))
            wave_S *= np.exp(time_S * np.float32(-6.9 / decay_s))
            impulse_S += np.float32(level) * wave_S
    fade = num // 4
    impulse_S[num - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return np.fft.rfft(impulse_S, size).astype(np.complex64)


def _noise(
    rng: np.random.Generator,
    config: AugmentConfig,
    hz_K: np.ndarray,
    rms: float,
    size: int,
) -> np.ndarray | None:
    """Return the spectrum of coloured noise and hum at a random level below rms."""
    if rng.random() >= config.noise_prob:
        return None
    noise_K = rng.standard_normal((len(hz_K), 2), dtype=np.float32).view(np.complex64)
    noise_K = noise_K[:, 0]
    slope = rng.choice([0.0, 0.5, 0.5, 1.0])  # white, pink, brown
    if slope:
        shape_K = np.maximum(hz_K, 20.0) ** np.float32(-slope)
        noise_K = noise_K * shape_K
    noise_K[0] = 0
    power = 2 * float(np.vdot(noise_K, noise_K).real) / size**2
    level = rms * 10 ** (-rng.uniform(*config.snr_db) / 20)
    noise_K = noise_K * np.float32(level / np.sqrt(max(power, 1e-30)))
    if rng.random() < config.hum_prob:
        mains_hz = rng.choice([50.0, 60.0])
        for harmonic in range(1, 8):
            bin_k = round(mains_hz * harmonic / hz_K[1])
            if bin_k < len(hz_K):
                phase = np.exp(2j * np.pi * rng.random())
                noise_K[bin_k] += level * rng.uniform(0, 0.7) * size / 2 * phase
    return noise_K


def _fast_size(num: int) -> int:
    """Return the next length of the form 2^a, 3 * 2^a or 5 * 2^a."""
    power = 1 << max(num - 1, 1).bit_length()
    return min(size for size in (power, power * 5 // 8, power * 3 // 4) if size >= num)

"""Spectrograms in JAX: the only implementation, for training and for inference.

The constant-Q transform, for HPPNet, is nnAudio's `CQT` (Cheuk et al. 2020, the
CQT1992v2 kernels: periodic Hann windows of ceil(Q fs / f) samples, L1 norm, centred
frames, reflect padding, scaled by the square root of the window's length). Its direct
form correlates each frame with kernels of up to 65536 samples. Here every octave is
computed at its own sample rate: one FFT of the clip is cut at each octave's Nyquist
frequency (an exact resampling), and a frame then needs about a thousand samples per
octave.

The log-mel spectrogram, for MT3, is ddsp's `compute_logmel` (Engel et al. 2020).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.music.options import check_fields

# Numbers in the kernels of a transform, 128 MB, and samples in a window.
_MAX_KERNEL, _MAX_WINDOW = 2**25, 2**17


@dataclass(frozen=True)
class CQTConfig:
    """Options of the constant-Q transform; the defaults are HPPNet's."""

    sample_rate_hz: int = 16000
    # Samples between frames.
    hop_samples: int = 320
    num_bins: int = 352
    bins_per_octave: int = 48
    # Four bins for each piano key; the third has the key's own frequency.
    fmin_hz: float = 27.5 / 2 ** (1 / 24)
    # Magnitudes below this are raised to it before the logarithm.
    floor: float = 1e-10
    # Decibels below the clip's maximum at which the log spectrogram is cut.
    range_db: float = 80.0

    def __post_init__(self) -> None:
        check_fields(
            self,
            sample_rate_hz=(1000, 768_000),
            hop_samples=(1, 16_384),
            num_bins=(1, 4096),
            bins_per_octave=(1, 480),
            fmin_hz=(1, 100_000),
            floor=(1e-30, 1),
            range_db=(1, 1000),
        )
        octaves = (self.num_bins - 1) / self.bins_per_octave
        nyquist_hz = self.sample_rate_hz / 2
        if octaves > math.log2(nyquist_hz / self.fmin_hz):
            raise ValueError(
                f"the highest bin, {octaves:.1f} octaves above {self.fmin_hz:.1f} Hz, "
                f"is above half the sample rate {self.sample_rate_hz} Hz: lower "
                "num_bins or fmin_hz"
            )
        lengths, chosen = _windows(self)
        longest = lengths / 2.0**chosen
        if longest.max() > _MAX_WINDOW or longest.sum() > _MAX_KERNEL / 2:
            raise ValueError(
                f"the windows of {self.num_bins} bins from {self.fmin_hz} Hz are too "
                "long: raise fmin_hz, lower bins_per_octave, or give a multiple of 64 "
                "as hop_samples"
            )

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop_samples


def _windows(config: CQTConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return of each bin the samples of its window, and the octaves it is decimated."""
    quality = 1 / (2 ** (1 / config.bins_per_octave) - 1)
    bins = np.arange(config.num_bins)
    freqs_hz = config.fmin_hz * 2 ** (bins / config.bins_per_octave)
    lengths = np.ceil(quality * config.sample_rate_hz / freqs_hz).astype(int)
    # A bin needs a rate of 3.5 times its frequency, so that the window's main lobe and
    # first side lobes stay below Nyquist; the hop must remain a whole number.
    headroom = config.sample_rate_hz / (3.5 * freqs_hz)
    hop_twos = (config.hop_samples & -config.hop_samples).bit_length() - 1
    return lengths, np.clip(np.floor(np.log2(headroom)).astype(int), 0, hop_twos)


class _Band(NamedTuple):
    """Adjacent bins that are analysed at one rate."""

    decimation: int  # the band's rate is sample_rate_hz / decimation
    first_sample: int  # of a frame, from its centre, in samples of the band's rate
    kernels_WxK: np.ndarray  # float32, K = 2 x bins: real parts, then imaginary


@lru_cache(maxsize=8)
def _bands(config: CQTConfig) -> tuple[_Band, ...]:
    """Return the kernels, from the lowest band up."""
    bins = np.arange(config.num_bins)
    freqs_hz = config.fmin_hz * 2 ** (bins / config.bins_per_octave)
    lengths, octaves = _windows(config)
    bands = []
    for octave in sorted(set(octaves.tolist()), reverse=True):
        decimation = 2**octave
        chosen = octaves == octave
        half = math.ceil((lengths[chosen].max() // 2 + 1) / decimation)
        # Time from the frame's centre, in samples of the original rate.
        n = np.arange(-half, half + 1)[:, None] * decimation
        length, freq_hz = lengths[chosen][None], freqs_hz[chosen][None]
        # nnAudio places odd windows one sample earlier, and counts the phase of all
        # from their middle: the magnitude does not depend on the latter.
        start = -(length // 2) - (length % 2)
        inside = (n >= start) & (n < start + length)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * (n - start) / length)
        # The L1 norm of a periodic Hann window is half its length.
        gain = np.sqrt(length) * 2 / length * decimation
        phase = 2 * np.pi * freq_hz / config.sample_rate_hz * n
        kernel = inside * window * gain * np.exp(-1j * phase)
        both = np.concatenate([kernel.real, kernel.imag], axis=1)
        bands.append(_Band(decimation, -half, both.astype(np.float32)))
    return tuple(bands)


def cqt(samples_BxS: jax.Array, config: CQTConfig) -> jax.Array:
    """Return constant-Q magnitudes, as nnAudio's `CQT(output_format="Magnitude")`.

    Args:
      samples_BxS: float audio at `config.sample_rate_hz`, one sample or more.
      config: the transform.

    Returns:
      Magnitudes BxTxF, T = S // hop + 1: frame t is centred on sample t * hop.
    """
    num_samples = samples_BxS.shape[-1]
    num_frames = num_samples // config.hop_samples + 1
    bands = _bands(config)
    step = bands[0].decimation
    # Enough on both sides for the longest window; a multiple of every decimation.
    pad = -bands[0].first_sample * step
    end_pad = pad + config.hop_samples - num_samples % config.hop_samples
    end_pad += -(num_samples + pad + end_pad) % (2 * step)
    padded_BxS = _reflect(samples_BxS, pad, end_pad)
    size = padded_BxS.shape[-1]
    spectrum_BxF = jnp.fft.rfft(padded_BxS)

    mags = []
    for decimation, first_sample, kernels_WxK in bands:
        cut_BxF = spectrum_BxF[:, : size // decimation // 2 + 1]
        band_BxS = jnp.fft.irfft(cut_BxF, n=size // decimation) / decimation
        hop = config.hop_samples // decimation
        begin = pad // decimation + first_sample
        index_TxW = (
            begin
            + hop * np.arange(num_frames)[:, None]
            + np.arange(len(kernels_WxK))[None]
        )
        parts_BxTxK = jnp.einsum(
            "btw,wk->btk",
            band_BxS[:, index_TxW],
            kernels_WxK,
            precision=jax.lax.Precision.HIGHEST,
        )
        real, imag = jnp.split(parts_BxTxK, 2, axis=-1)
        mags.append(jnp.sqrt(real**2 + imag**2))
    return jnp.concatenate(mags, axis=-1)


def _reflect(samples_BxS: jax.Array, before: int, after: int) -> jax.Array:
    """Pad by reflection, as often to and fro as a short clip needs."""
    num_samples = samples_BxS.shape[-1]
    if max(before, after) < num_samples:
        return jnp.pad(samples_BxS, ((0, 0), (before, after)), mode="reflect")
    # jnp.pad would make a copy for each reflection, 20,000 of them for two samples.
    period = max(2 * (num_samples - 1), 1)
    index = np.arange(-before, num_samples + after) % period
    return samples_BxS[:, np.minimum(index, period - index)]


def log_cqt(samples_BxS: jax.Array, config: CQTConfig) -> jax.Array:
    """Return the CQT on a decibel scale, the input of HPPNet.

    10 log10 of the magnitude (not of its square: the authors pass a magnitude to
    torchaudio's `AmplitudeToDB`, which takes it for a power), cut `range_db` below each
    clip's maximum.

    Args:
      samples_BxS: as in `cqt`.
      config: the transform.

    Returns:
      feats_BxTxF with T = S // hop + 1.
    """
    mags_BxTxF = cqt(samples_BxS, config)
    db_BxTxF = 10 * jnp.log10(jnp.maximum(mags_BxTxF, config.floor))
    peak_Bx1x1 = jnp.max(db_BxTxF, axis=(1, 2), keepdims=True)
    return jnp.maximum(db_BxTxF, peak_Bx1x1 - config.range_db)


@dataclass(frozen=True)
class LogMelConfig:
    """Options of the log-mel spectrogram; the defaults are MT3's."""

    sample_rate_hz: int = 16000
    # Samples between frames.
    hop_samples: int = 128
    num_bins: int = 512
    # Samples of a window.
    fft_samples: int = 2048
    fmin_hz: float = 20.0
    fmax_hz: float = 7600.0
    # Takes the place of magnitudes that are not above 0, before the logarithm.
    floor: float = 1e-5

    def __post_init__(self) -> None:
        check_fields(
            self,
            sample_rate_hz=(1000, 768_000),
            hop_samples=(1, 16_384),
            num_bins=(1, 4096),
            fft_samples=(2, _MAX_WINDOW // 4),
            fmin_hz=(0, 384_000),
            fmax_hz=(0, 384_000),
            floor=(1e-30, 1),
        )
        if self.hop_samples > self.fft_samples:
            raise ValueError(
                f"hop_samples {self.hop_samples} is above fft_samples "
                f"{self.fft_samples}: samples between windows would be lost"
            )
        if not 0 <= self.fmin_hz < self.fmax_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"fmin_hz {self.fmin_hz} and fmax_hz {self.fmax_hz} must lie in order "
                f"between 0 and half the sample rate {self.sample_rate_hz} Hz"
            )

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop_samples


@lru_cache(maxsize=8)
def _mel_weights(config: LogMelConfig) -> np.ndarray:
    """Return triangles KxF from FFT bins to mel bands, as tf.signal's.

    Computed in float32 and in TensorFlow's order: near the edges of a narrow triangle
    the rounding is seen, and models were trained on it.
    """
    nyquist_hz = config.sample_rate_hz / 2
    hz_K = np.linspace(0, nyquist_hz, config.fft_samples // 2 + 1, dtype=np.float32)
    low, high = _hz_to_mel(np.array([config.fmin_hz, config.fmax_hz], np.float32))
    edges = np.linspace(low, high, config.num_bins + 2, dtype=np.float32)
    mel_Kx1 = _hz_to_mel(hz_K)[:, None]
    rising = (mel_Kx1 - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel_Kx1) / (edges[2:] - edges[1:-1])
    weights_KxF = np.maximum(0, np.minimum(rising, falling))
    weights_KxF[0] = 0
    return weights_KxF


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Convert to HTK's mel scale; the logarithm alone is rounded once."""
    ratio = 1 + hz / np.float32(700)
    return np.float32(1127) * np.log(ratio.astype(np.float64)).astype(np.float32)


def log_mel(samples_BxS: jax.Array, config: LogMelConfig) -> jax.Array:
    """Return the logarithm of mel-scaled magnitudes, the input of MT3.

    Windows (periodic Hann) start at multiples of the hop and reach beyond the end of
    the samples, where zeros are appended, so that T hops give T frames.

    Args:
      samples_BxS: float32 audio at `config.sample_rate_hz`, S a multiple of the hop.
      config: the transform.

    Returns:
      feats_BxTxF, float32, T = S // hop.
    """
    hop, size = config.hop_samples, config.fft_samples
    num_frames, rest = divmod(samples_BxS.shape[-1], hop)
    if rest:
        raise ValueError(
            f"{samples_BxS.shape[-1]} samples are not a multiple of the hop {hop}: "
            "pad them with zeros"
        )
    padded_BxS = jnp.pad(samples_BxS, ((0, 0), (0, size - hop)))
    index_TxW = hop * np.arange(num_frames)[:, None] + np.arange(size)
    window_W = np.float32(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))
    spectrum_BxTxK = jnp.fft.rfft(padded_BxS[:, index_TxW] * window_W)
    mags_BxTxK = jnp.abs(spectrum_BxTxK)
    weights_KxF = _mel_weights(config)
    # Triangles are narrow: 64 at a time need few of the FFT's bins.
    parts = []
    for first in range(0, config.num_bins, 64):
        part_KxF = weights_KxF[:, first : first + 64]
        used = np.flatnonzero(part_KxF.any(axis=1))
        begin, end = (used[0], used[-1] + 1) if len(used) else (0, 1)
        parts.append(
            jnp.einsum(
                "btk,kf->btf",
                mags_BxTxK[..., begin:end],
                part_KxF[begin:end],
                precision=jax.lax.Precision.HIGHEST,
            )
        )
    mags_BxTxF = jnp.concatenate(parts, axis=-1)
    return jnp.log(jnp.where(mags_BxTxF > 0, mags_BxTxF, config.floor))


def centred_log_mel(
    samples_BxS: jax.Array, config: LogMelConfig, range_db: float
) -> jax.Array:
    """Return the log-mel spectrogram with frame t centred on sample t * hop.

    Samples are reflected at both ends, and values cut `range_db` below each clip's
    maximum.

    Args:
      samples_BxS: as in `log_mel`.
      config: the transform, its window a multiple of twice the hop.
      range_db: decibels.

    Returns:
      feats_BxTxF, float32, T = S // hop: natural logarithms of magnitudes.
    """
    half = config.fft_samples // 2
    logs_BxTxF = log_mel(_reflect(samples_BxS, half, half), config)
    logs_BxTxF = logs_BxTxF[:, : samples_BxS.shape[-1] // config.hop_samples]
    peak_Bx1x1 = jnp.max(logs_BxTxF, axis=(1, 2), keepdims=True)
    return jnp.maximum(logs_BxTxF, peak_Bx1x1 - range_db * math.log(10) / 20)


def to_float(samples: jax.Array) -> jax.Array:
    """Return int16 samples as float32 in -1..1; floats stay as they are."""
    if samples.dtype != jnp.int16:
        return samples
    return samples.astype(jnp.float32) / 32768


def by_rows(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """Compute features of a batch; each device of a mesh computes its own rows.

    XLA does not split Fourier transforms over a batch: it would give each device the
    audio of all. Under a mesh (`jax.sharding.use_abstract_mesh`) rows lie along its
    axis `data`; without one, or where each device has its rows already, this is a call.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or "data" in mesh.manual_axes:
        return function(*arrays)
    rows = jax.sharding.PartitionSpec("data")
    split = jax.shard_map(function, in_specs=rows, out_specs=rows, axis_names={"data"})
    return split(*arrays)

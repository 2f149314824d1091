"""Acoustic stems: convolutions before, beside or inside of MT3's encoder.

Kim and Ahn, "Explore the feasibility of acoustic model augmented Transformer for
multi-task music transcription" put the convolutional stack of Onsets & Frames
(Hawthorne et al. 2018, arXiv:1710.11153) before a T5, and left open whether both
in parallel, or convolutions inside the encoder, or a stem that has learnt to transcribe
do better. All are here; what they share with MT3 keeps its names and shapes, so that
they can start from its checkpoints, and a stem from those of a band model.
"""

from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.band import BandNetConfig, Notes
from mt3x.models.hppnet import HPPNetConfig, Trunk
from mt3x.models.layers import conv2d, depthwise_conv, max_pool
from mt3x.models.transformer import RMSNorm, dense
from mt3x.music.band_rolls import NUM_KEY_COLUMNS
from mt3x.music.options import check_fields
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES

MODES = ("none", "before", "parallel", "conformer")
NETWORKS = ("cnn", "harmonic", "band", "band_rolls")


@dataclass(frozen=True)
class StemConfig:
    """Options of the stem: where convolutions stand, and which."""

    # "before": the encoder reads the stem's features instead of the log-mel frames (the
    # paper). "parallel": it reads both, each projected, added up. "conformer": there is
    # a convolution module in each layer of the encoder.
    mode: str = "none"
    # Of "before" and "parallel": "cnn" on log-mel frames; or on a constant-Q transform
    # "harmonic", HPPNet's trunk, or "band", the band model's notes and players; or
    # "band_rolls", on what a band model says that has heard the whole recording.
    network: str = "cnn"
    # Of the cnn's three convolutions.
    channels: tuple[int, ...] = (32, 32, 64)
    # Of the harmonic network; its trunk is used.
    harmonic: HPPNetConfig = field(default_factory=HPPNetConfig)
    # Of the band network; channels of a key after it; and whether it stays as it is,
    # as makes sense where it begins with a trained model's weights.
    band: BandNetConfig = field(default_factory=BandNetConfig)
    band_channels: int = 8
    frozen: bool = False
    # Frames that a convolution module sees.
    kernel_frames: int = 31

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("network", NETWORKS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is none of {', '.join(known)}"
                )
        if len(self.channels) != 3 or min(self.channels) < 1:
            raise ValueError(f"channels={self.channels} must be three positive numbers")
        check_fields(
            self,
            channels=(1, 4096),
            band_channels=(1, 4096),
            kernel_frames=(-1, 4095),
        )
        if self.frozen and self.network != "band":
            raise ValueError("frozen=True is for network='band'")
        if self.kernel_frames < 1 or self.kernel_frames % 2 == 0:
            raise ValueError(f"kernel_frames={self.kernel_frames} must be odd")

    @property
    def has_network(self) -> bool:
        """Whether the mode has a network of its own."""
        return self.mode in ("before", "parallel")

    @property
    def reads_mel(self) -> bool:
        """Whether the network reads log-mel frames."""
        return self.has_network and self.network == "cnn"

    @property
    def reads_cqt(self) -> bool:
        """Whether the network reads a constant-Q transform."""
        return self.has_network and self.network in ("harmonic", "band")

    @property
    def reads_band_rolls(self) -> bool:
        """Whether the network reads what a band model says."""
        return self.has_network and self.network == "band_rolls"


class ConvBlock(nn.Module):
    """[3 x 3] convolution, batch norm, ReLU; then the maximum of `pool` bins.

    No bias: batch norm would take it off again. In training it takes mean and variance
    of all rows, frames and bins of the batch (frames of padding count, too) and keeps
    0.9 of the running statistics and 0.1 of the batch's: a momentum of 0.9 in Flax's
    words, of 0.1 in PyTorch's. Both variances are biased; PyTorch's running one is not.
    """

    channels: int
    pool: int
    dtype: Any

    @nn.compact
    def __call__(self, x_BxTxFxC: jax.Array, deterministic: bool) -> jax.Array:
        shape = (3, 3, x_BxTxFxC.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        x: Any = conv2d(x_BxTxFxC, kernel.astype(self.dtype))
        norm = nn.BatchNorm(momentum=0.9, dtype=jnp.float32, name="norm")
        x = norm(x.astype(jnp.float32), use_running_average=deterministic)
        return max_pool(nn.relu(x).astype(self.dtype), self.pool)


class CNN(nn.Module):
    """The acoustic model of Onsets & Frames: BxTxF -> BxTxD (paper figure 2).

    Three convolution blocks, pooled by 2 along frequency after the second and the
    third, and a dense layer: 4.22M parameters with 512 bins and a width of 512. The
    dropout of Onsets & Frames is left to the encoder.
    """

    channels: tuple[int, ...]
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, feats_BxTxF: jax.Array, deterministic: bool) -> jax.Array:
        x = feats_BxTxF[..., None].astype(self.dtype)
        for n, (channels, pool) in enumerate(
            zip(self.channels, (1, 2, 2), strict=True)
        ):
            block = ConvBlock(channels, pool, self.dtype, name=f"block_{n}")
            x = block(x, deterministic)
        return _project(x, self.width, self.dtype)


class Harmonic(nn.Module):
    """HPPNet's trunk and a dense layer: log CQT BxTxF -> BxTxD."""

    config: HPPNetConfig
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, feats_BxTxF: jax.Array, deterministic: bool) -> jax.Array:
        del deterministic  # instance norm has no running statistics
        trunk = Trunk(self.config, name="trunk")
        x = trunk(feats_BxTxF.astype(self.dtype), None)
        return _project(x, self.width, self.dtype)


class Band(nn.Module):
    """The band model's trunk and all that it says of each key: BxTxF -> BxTxD.

    Its parameters have the band model's names under `notes`.
    """

    config: StemConfig
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, feats_BxTxF: jax.Array, deterministic: bool) -> jax.Array:
        del deterministic  # instance norm has no running statistics
        notes = Notes(self.config.band, with_trunk=True, name="notes")
        out = notes(feats_BxTxF.astype(self.dtype), None)
        rolls = [out[name][..., None] for name in ROLL_NAMES]
        said = [out["trunk"], *rolls, jnp.exp(out["classes"]), out["timbre"]]
        x = jnp.concatenate([part.astype(self.dtype) for part in said], axis=-1)
        if self.config.frozen:
            x = jax.lax.stop_gradient(x)
        x = _on_keys(x, self.config.band_channels, self.dtype)
        return _project(x, self.width, self.dtype)


class OnBandRolls(nn.Module):
    """Dense layers and a norm on the columns of a band model's rolls: BxTxH -> BxTxD.

    Most columns are near zero: what is left would be quiet beside log-mel frames.
    """

    config: StemConfig
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, columns_BxTxH: jax.Array, deterministic: bool) -> jax.Array:
        del deterministic
        columns_BxTxH = columns_BxTxH.astype(self.dtype)
        keys, steps = jnp.split(columns_BxTxH, [NUM_PITCHES * NUM_KEY_COLUMNS], axis=-1)
        keys_BxTxPxC = keys.reshape(*keys.shape[:2], NUM_PITCHES, NUM_KEY_COLUMNS)
        x = _on_keys(keys_BxTxPxC, self.config.band_channels, self.dtype)
        x = jnp.concatenate([x.reshape(*x.shape[:2], -1), steps], axis=-1)
        x = _project(x[..., None], self.width, self.dtype)
        return RMSNorm(self.dtype, name="norm")(x)


def _on_keys(x_BxTxPxC: jax.Array, channels: int, dtype: Any) -> jax.Array:
    """Apply a dense layer `keys` to each key by itself, and a ReLU."""
    init = nn.initializers.lecun_normal()
    x = nn.Dense(channels, dtype=dtype, kernel_init=init, name="keys")(x_BxTxPxC)
    return nn.relu(x)


def _project(x_BxTxFxC: jax.Array, width: int, dtype: Any) -> jax.Array:
    """Apply a dense layer `out` to the bins and channels of each frame."""
    x = x_BxTxFxC.reshape(*x_BxTxFxC.shape[:2], -1)
    init = nn.initializers.lecun_normal()
    return nn.Dense(width, dtype=dtype, kernel_init=init, name="out")(x)


def make_network(config: StemConfig, width: int, dtype: Any) -> nn.Module:
    """Return the network of the modes `before` and `parallel`."""
    if config.network == "harmonic":
        return Harmonic(config.harmonic, width, dtype)
    if config.network == "band":
        return Band(config, width, dtype)
    if config.network == "band_rolls":
        return OnBandRolls(config, width, dtype)
    return CNN(config.channels, width, dtype)


class ConvModule(nn.Module):
    """Conformer's convolution module (Gulati et al. 2020, arXiv:2005.08100, figure 2).

    A gated linear unit, a convolution along time of each channel by itself, a norm,
    swish, and a linear map. The norm is T5's RMS norm instead of batch norm: padding
    and other examples of a batch change nothing. The last map starts at zero, and the
    encoder with it as one without.
    """

    width: int
    kernel_frames: int
    dtype: Any

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        init = nn.initializers.lecun_normal()
        x = dense(self.width, self.dtype, init, "value")(x_BxTxD)
        x = x * nn.sigmoid(dense(self.width, self.dtype, init, "gate")(x_BxTxD))
        shape = (self.kernel_frames, self.width)
        kernel_KxD = self.param("kernel", nn.initializers.lecun_normal(), shape)
        x = depthwise_conv(x, kernel_KxD.astype(self.dtype))
        x = nn.swish(RMSNorm(self.dtype, name="norm")(x))
        return dense(self.width, self.dtype, nn.initializers.zeros, "out")(x)

"""HPPNet: piano transcription by harmonic dilated convolutions and grouped LSTMs.

Wei et al. 2022, "HPPNet: Modeling the harmonic structure and pitch invariance in piano
transcription" (arXiv:2208.14339). The printed Table 2 does not yield the published
parameter counts (151K, 820K, 1.2M); the authors' code does, and this is its network.
It differs from the paper so: of the last four convolutions the first is [1 x 3] with
dilation 12 and the others [5 x 1]; a [1 x 3] convolution with dilation 48 precedes the
pooling; heads of the `sp` size see one trunk each and no onset features are joined.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.ablated_heads import DenseHeads, FlatHeads
from mt3x.models.layers import (
    by_frames,
    conv2d,
    even_shifts,
    harmonic_conv,
    harmonic_shifts,
    instance_norm,
    max_pool,
)
from mt3x.models.lstm import both_ways, lstm_init, lstm_sums, lstm_weights
from mt3x.music.options import check_fields
from mt3x.music.pedal_rolls import PEDAL_COLUMNS, PEDAL_ROLLS
from mt3x.music.rolls import ROLL_NAMES

PEDAL_HEADS = "pedal_heads"
"""The name of their parameters."""
DISTANCES = ("harmonic", "even")
RECURRENCES = ("grouped", "flat", "none")


@dataclass(frozen=True)
class SubnetConfig:
    """One trunk and the heads that share it."""

    heads: tuple[str, ...] = ROLL_NAMES
    # Frames pooled into one before the trunk; the heads' rolls are brought back
    # by linear interpolation.
    time_pool: int = 1

    def __post_init__(self) -> None:
        check_fields(self, time_pool=(1, 64))


@dataclass(frozen=True)
class HPPNetConfig:
    """The layer sizes; the defaults are HPPNet-tiny."""

    # Channels from the harmonic convolution on, and LSTM units of a head.
    channels: int = 48
    # Channels of the three [7 x 7] convolutions.
    stem_channels: int = 16
    num_harmonics: int = 8
    bins_per_octave: int = 48
    bins_per_pitch: int = 4
    subnets: tuple[SubnetConfig, ...] = (SubnetConfig(),)
    # Channels, and LSTM units, of the heads for key releases and the sustain pedal,
    # which the paper does not have; 0: none.
    pedal_channels: int = 0
    # What the paper takes away to see what it is good for (section 4.2). The eight
    # parallel convolutions: "harmonic", or "even", half an octave apart.
    distances: str = "harmonic"
    # The LSTMs: "grouped" over the pitches, "flat" over all at once, or "none".
    recurrence: str = "grouped"

    def __post_init__(self) -> None:
        check_fields(
            self,
            channels=(2, 4096),
            stem_channels=(1, 4096),
            num_harmonics=(1, 64),
            bins_per_octave=(12, 480),
            bins_per_pitch=(1, 40),
            pedal_channels=(0, 4096),
        )
        heads = sorted(head for subnet in self.subnets for head in subnet.heads)
        if heads != sorted(ROLL_NAMES):
            raise ValueError(
                f"subnets must hold each head of {ROLL_NAMES} once, found {heads}"
            )
        if self.channels % 2:
            raise ValueError(f"channels must be even, found {self.channels}")
        if self.pedal_channels % 2:
            raise ValueError(f"pedal_channels must be even: {self.pedal_channels}")
        for name, known in (("distances", DISTANCES), ("recurrence", RECURRENCES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is none of {', '.join(known)}"
                )


SP_SUBNETS = (
    SubnetConfig(heads=("onset",)),
    SubnetConfig(heads=("frame", "offset", "velocity"), time_pool=2),
)
SIZES = {
    "tiny": HPPNetConfig(channels=48),
    "base": HPPNetConfig(channels=128),
    "sp": HPPNetConfig(channels=128, subnets=SP_SUBNETS),
}


class Conv(nn.Module):
    """Convolution with bias and ReLU, optional pooling along frequency."""

    channels: int
    kernel: tuple[int, int]
    dilation: int = 1
    pool: int = 1

    @nn.compact
    def weights(self, channels: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """Return kernel HxWxCxD and bias D, for `channels` inputs."""
        shape = (*self.kernel, channels, self.channels)
        kernel = self.param("kernel", nn.initializers.he_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        return kernel.astype(dtype), bias.astype(dtype)

    def __call__(self, x_BxTxFxC: jax.Array) -> jax.Array:
        weights = self.weights(x_BxTxFxC.shape[-1], x_BxTxFxC.dtype)
        return _conv(weights, x_BxTxFxC, self.dilation, self.pool)


def _conv(
    weights: tuple[jax.Array, jax.Array], x_BxTxFxC: jax.Array, dilation: int, pool: int
) -> jax.Array:
    kernel_HxWxCxD, bias_D = weights
    x: Any = conv2d(x_BxTxFxC, kernel_HxWxCxD, dilation)
    if pool > 1:
        # Bias and ReLU are monotonic: pooled first, they cost a quarter.
        x = max_pool(x, pool)
    return nn.relu(x + bias_D)


class HarmonicConv(nn.Module):
    """Parallel [1 x 3] convolutions, one per harmonic, computed as one; with ReLU.

    The parameters stay those of the separate convolutions, as the paper trains them.
    """

    channels: int
    num_harmonics: int
    bins_per_octave: int
    distances: str = "harmonic"

    @nn.compact
    def weights(self, channels: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """Return kernel KxCxD, its K as `shifts` has them, and bias D."""
        num = self.num_harmonics
        init = nn.initializers.variance_scaling(
            2.0, "fan_in", "uniform", in_axis=(0, 1, 2), out_axis=3
        )
        kernel_Nx3xCxD = self.param("kernel", init, (num, 3, channels, self.channels))
        bias_NxD = self.param("bias", nn.initializers.zeros, (num, self.channels))
        # Centre taps meet in the same bin; the others lie as `harmonic_shifts` does.
        centre_1xCxD = kernel_Nx3xCxD[:, 1].sum(axis=0, keepdims=True)
        sides_KxCxD = kernel_Nx3xCxD[:, ::2].reshape(2 * num, channels, -1)
        kernel_KxCxD = jnp.concatenate([centre_1xCxD, sides_KxCxD])
        return kernel_KxCxD.astype(dtype), bias_NxD.sum(axis=0).astype(dtype)

    @property
    def shifts(self) -> tuple[int, ...]:
        """The distances of the taps, in bins."""
        if self.distances == "even":
            return even_shifts(self.bins_per_octave, self.num_harmonics)
        return harmonic_shifts(self.bins_per_octave, self.num_harmonics)

    def __call__(self, x_BxTxFxC: jax.Array) -> jax.Array:
        weights = self.weights(x_BxTxFxC.shape[-1], x_BxTxFxC.dtype)
        return _harmonic_conv(weights, x_BxTxFxC, self.shifts)


def _harmonic_conv(
    weights: tuple[jax.Array, jax.Array], x_BxTxFxC: jax.Array, shifts: tuple[int, ...]
) -> jax.Array:
    kernel_KxCxD, bias_D = weights
    x: Any = harmonic_conv(x_BxTxFxC, kernel_KxCxD, shifts)
    return nn.relu(x + bias_D)


def _pitches(
    weights: Any,
    x_BxTxFxC: jax.Array,
    shifts: tuple[int, ...],
    dilation: int,
    pool: int,
) -> jax.Array:
    """Return the harmonic and then the octave's convolution, pooled to pitches."""
    harmonic, octave = weights
    return _conv(octave, _harmonic_conv(harmonic, x_BxTxFxC, shifts), dilation, pool)


class Trunk(nn.Module):
    """Acoustic model (paper section 2.4, figure 2): BxTxF -> BxTxPxC."""

    config: HPPNetConfig

    @nn.compact
    def __call__(self, feats_BxTxF: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
        config = self.config
        octave, semitone = config.bins_per_octave, config.bins_per_octave // 12

        def block(x, name, *conv):
            return instance_norm(Conv(*conv, name=name)(x), mask_BxT)

        x = feats_BxTxF[..., None]
        for n in range(3):
            x = block(x, f"stem_{n}", config.stem_channels, (7, 7))
        width, pool = config.channels, config.bins_per_pitch
        harmonic = HarmonicConv(
            width, config.num_harmonics, octave, config.distances, name="harmonic"
        )
        across = Conv(width, (1, 3), octave, pool, name="octave")
        weights = (
            harmonic.weights(config.stem_channels, x.dtype),
            across.weights(width, x.dtype),
        )
        pitches = partial(_pitches, shifts=harmonic.shifts, dilation=octave, pool=pool)
        x = instance_norm(by_frames(pitches, weights, x), mask_BxT)
        x = block(x, "semitone", width, (1, 3), 3 * semitone)
        for n in range(3):
            x = block(x, f"time_{n}", width, (5, 1))
        return x


class Heads(nn.Module):
    """Frequency-grouped LSTMs (paper section 2.3), all heads in one scan.

    Each head is a bidirectional LSTM over time that all pitches share, a dense layer
    and a sigmoid.
    """

    width: int
    num_heads: int

    @nn.compact
    def __call__(self, x_BxTxPxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
        batch, frames, pitches, channels = x_BxTxPxC.shape
        cells, width = self.num_heads, self.width // 2
        weights = lstm_weights(self, cells, width, channels, x_BxTxPxC.dtype)
        dense = self.param("dense_kernel", lstm_init(width), (2, cells, width))
        dense_bias = self.param("dense_bias", nn.initializers.zeros, (cells,))
        x_TxDxCxN, keep_TxDxN = both_ways(x_BxTxPxC, mask_BxT)
        sums_TxDxGxN = lstm_sums(dense, x_TxDxCxN, *weights, keep_TxDxN)
        logits_TxGxN = sums_TxDxGxN[:, 0] + sums_TxDxGxN[::-1, 1] + dense_bias[:, None]
        logits = logits_TxGxN.reshape(frames, cells, batch, pitches)
        return nn.sigmoid(logits.transpose(1, 2, 0, 3))


class PedalHeads(nn.Module):
    """Which keys are held by hand, and the sustain pedal.

    Keys have a head like the others. The pedal acts on all keys at once: a dense layer
    tells of each key what it knows, the mean and the maximum over the keys go through
    an LSTM for each column of the pedal's roll. Trunk and other heads are read as they
    are: no gradient reaches them.
    """

    channels: int

    @nn.compact
    def __call__(
        self,
        x_BxTxPxC: jax.Array,
        rolls_GxBxTxP: jax.Array,
        mask_BxT: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array]:
        """Return key_1xBxTxP and pedal_3xBxTx1."""
        rolls_BxTxPxG = jnp.moveaxis(rolls_GxBxTxP, 0, -1).astype(x_BxTxPxC.dtype)
        x = jnp.concatenate([x_BxTxPxC, rolls_BxTxPxG], axis=-1)
        x = jax.lax.stop_gradient(x)
        key_1xBxTxP: Any = Heads(self.channels, 1, name="key")(x, mask_BxT)
        held = jax.lax.stop_gradient(key_1xBxTxP)[0, ..., None].astype(x.dtype)
        x = jnp.concatenate([x, held], axis=-1)
        x = nn.relu(nn.Dense(self.channels, dtype=x.dtype, name="each_key")(x))
        x = jnp.concatenate([x.mean(axis=2), x.max(axis=2)], axis=-1)
        heads = Heads(self.channels, len(PEDAL_COLUMNS), name="pedal")
        return key_1xBxTxP, heads(x[:, :, None], mask_BxT)


def _make_heads(config: HPPNetConfig, num_heads: int) -> nn.Module:
    if config.recurrence == "flat":
        return FlatHeads(config.channels, num_heads, name="heads")
    if config.recurrence == "none":
        return DenseHeads(num_heads, name="heads")
    return Heads(config.channels, num_heads, name="heads")


class Subnet(nn.Module):
    """A trunk and its heads, with time pooled before and brought back after."""

    config: HPPNetConfig
    subnet: SubnetConfig

    @nn.compact
    def __call__(
        self, feats_BxTxF: jax.Array, mask_BxT: jax.Array | None
    ) -> dict[str, jax.Array]:
        frames, pool = feats_BxTxF.shape[1], self.subnet.time_pool
        if pool > 1:
            feats_BxTxF, mask_BxT = _pool_time(feats_BxTxF, mask_BxT, pool)
        if mask_BxT is not None:
            feats_BxTxF = jnp.where(mask_BxT[..., None], feats_BxTxF, 0)
        x_BxTxPxC = Trunk(self.config, name="trunk")(feats_BxTxF, mask_BxT)
        heads = _make_heads(self.config, len(self.subnet.heads))
        rolls_GxBxTxP = heads(x_BxTxPxC, mask_BxT)
        found = {name: rolls_GxBxTxP[g] for g, name in enumerate(self.subnet.heads)}
        if self.config.pedal_channels and "frame" in found:
            pedal_heads = PedalHeads(self.config.pedal_channels, name=PEDAL_HEADS)
            key, pedal = pedal_heads(x_BxTxPxC, rolls_GxBxTxP, mask_BxT)
            found |= {"key": key[0], "pedal": jnp.moveaxis(pedal[..., 0], 0, -1)}
        if pool > 1:
            found = {
                name: _unpool_time(roll[None], mask_BxT, frames)[0]
                for name, roll in found.items()
            }
        return found


def _pool_time(
    feats_BxTxF: jax.Array, mask_BxT: jax.Array | None, pool: int
) -> tuple[jax.Array, jax.Array | None]:
    """Take the maximum over groups of frames; drop an incomplete last group."""
    batch, frames, bins = feats_BxTxF.shape
    kept, groups = frames // pool * pool, (batch, -1, pool)
    if mask_BxT is not None:
        lowest = jnp.finfo(feats_BxTxF.dtype).min
        feats_BxTxF = jnp.where(mask_BxT[..., None], feats_BxTxF, lowest)
        mask_BxT = mask_BxT[:, :kept].reshape(groups).any(axis=2)
    return feats_BxTxF[:, :kept].reshape(*groups, bins).max(axis=2), mask_BxT


def _unpool_time(
    rolls_GxBxTxP: jax.Array, mask_BxT: jax.Array | None, frames: int
) -> jax.Array:
    """Interpolate linearly in time: half-frame centres, the last value held."""
    if mask_BxT is not None:
        last_B = jnp.maximum(jnp.sum(mask_BxT, axis=1) - 1, 0)
        index_BxT = jnp.minimum(jnp.arange(mask_BxT.shape[1]), last_B[:, None])
        rolls_GxBxTxP = jnp.take_along_axis(
            rolls_GxBxTxP, index_BxT[None, :, :, None], axis=2
        )
    groups, batch, _, pitches = rolls_GxBxTxP.shape
    shape = (groups, batch, frames, pitches)
    return jax.image.resize(rolls_GxBxTxP, shape, method="linear")


class HPPNet(nn.Module):
    """The network: log CQT to probabilities of onset, frame, offset, and velocity."""

    config: HPPNetConfig = HPPNetConfig()

    @nn.compact
    def __call__(
        self, feats_BxTxF: jax.Array, mask_BxT: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Apply the network.

        Args:
          feats_BxTxF: log CQT (`features.log_cqt`); its dtype is the one computed in,
            except for statistics and logits (float32).
          mask_BxT: True at frames of the clip; others are padding and change nothing
            (with time pooling: provided that a clip has a whole number of groups).

        Returns:
          A roll BxTxP for each of `ROLL_NAMES`, float32 in (0, 1); with heads for the
          pedal also `key`, BxTxP, and `pedal`, BxTx3 (`mt3x.music.pedal_rolls`).
        """
        rolls: dict[str, jax.Array] = {}
        for n, subnet in enumerate(self.config.subnets):
            name = f"subnet_{n}"
            rolls |= Subnet(self.config, subnet, name=name)(feats_BxTxF, mask_BxT)
        names = [*ROLL_NAMES, *(name for name in PEDAL_ROLLS if name in rolls)]
        return {name: jnp.clip(rolls[name], 1e-7, 1 - 1e-7) for name in names}

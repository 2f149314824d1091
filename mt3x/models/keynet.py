"""KeyNet: a piano transcriber whose one small network looks at each of the 88 keys.

HPPNet's two ideas, the harmonic structure of a note and weights that all pitches share
(Wei et al. 2022, arXiv:2208.14339), arranged so that a CPU trains and runs it several
times as fast. HPPNet convolves all 352 bins of the constant-Q spectrogram and gathers
harmonics of the result; here each key gathers the bins of its own partials (and of keys
that it might be a partial of) straight from the spectrogram, so that everything behind
the input has 88 rows. What HPPNet's convolutions over bins tell apart, blocks that
gather the keys at harmonic distances tell here. One bidirectional LSTM over time serves
all heads, at half the frame rate.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mt3x.models.hppnet import HEADS
from mt3x.models.layers import conv2d, harmonic_conv, instance_norm, lstm

# Key distances of partials 2 to 8, and of the keys beside.
KEY_SHIFTS = (0, *(s * n for n in (1, 2, 12, 19, 24, 28, 31, 34, 36) for s in (1, -1)))


@dataclass(frozen=True)
class KeyNetConfig:
    """Layer sizes."""

    # Of all layers but the LSTM.
    channels: int = 48
    # Units of the LSTM in each direction.
    lstm_units: int = 64
    # Frames that the LSTM reads and answers in one step.
    frames_per_step: int = 4
    # Channels of a key that others look at.
    shared_channels: int = 16
    # Pairs of a block over keys and a block over time.
    num_blocks: int = 2
    # Partials of a key, and how many times lower its possible fundamentals are.
    num_partials: int = 10
    num_fundamentals: int = 3
    bins_per_octave: int = 48
    bins_per_pitch: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, found {value}")


def partial_bins(config: KeyNetConfig, num_pitches: int = 88) -> np.ndarray:
    """The bins that each key reads, PxK; bins off the spectrogram are negative.

    Of each partial the `bins_per_pitch` bins of its semitone and one on either side.
    """
    ratios = [
        *range(1, config.num_partials + 1),
        *(1 / k for k in range(2, config.num_fundamentals + 2)),
    ]
    shifts = np.round(config.bins_per_octave * np.log2(ratios)).astype(int)
    width = np.arange(-1, config.bins_per_pitch + 1)
    first_P = config.bins_per_pitch * np.arange(num_pitches)
    bins_PxK = first_P[:, None] + (shifts[:, None] + width).ravel()
    num_bins = config.bins_per_pitch * num_pitches
    return np.where(bins_PxK < num_bins, bins_PxK, -1)


class Conv(nn.Module):
    """Normalised, rectified and convolved over time and keys; added to its input."""

    channels: int
    kernel: tuple[int, int]

    @nn.compact
    def __call__(self, x_BxTxPxC: jax.Array) -> jax.Array:
        shape = (*self.kernel, x_BxTxPxC.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        kernel, bias = kernel.astype(x_BxTxPxC.dtype), bias.astype(x_BxTxPxC.dtype)
        return conv2d(x_BxTxPxC, kernel) + bias


class Rectified(nn.Module):
    """Layer normalisation (Ba et al. 2016, arXiv:1607.06450) and ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, axis=-1, keepdims=True)
        var = jnp.mean(jnp.square(wide), axis=-1, keepdims=True) - jnp.square(mean)
        normed = (wide - mean) * jax.lax.rsqrt(jnp.maximum(var, 0) + 1e-5)
        return nn.relu(normed * scale + bias).astype(x.dtype)


class Harmonic(nn.Module):
    """A few channels of the keys at harmonic distances, joined by one matrix."""

    config: KeyNetConfig

    @nn.compact
    def __call__(self, x_BxTxPxC: jax.Array) -> jax.Array:
        config = self.config
        shared = Conv(config.shared_channels, (1, 1), name="shared")(x_BxTxPxC)
        shape = (len(KEY_SHIFTS), config.shared_channels, config.channels)
        init = nn.initializers.variance_scaling(
            2.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2
        )
        kernel_KxCxD = self.param("kernel", init, shape).astype(shared.dtype)
        bias = self.param("bias", nn.initializers.zeros, (config.channels,))
        out = harmonic_conv(nn.relu(shared), kernel_KxCxD, KEY_SHIFTS)
        return out + bias.astype(out.dtype)


class Recurrent(nn.Module):
    """A bidirectional LSTM over groups of frames, which all keys share.

    A step reads all frames of its group and gives each of them an output of its own:
    what happens within a step is not lost, and there are fewer of them.
    """

    config: KeyNetConfig

    @nn.compact
    def __call__(self, x_BxTxPxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
        group, units = self.config.frames_per_step, self.config.lstm_units
        batch, frames, pitches, channels = x_BxTxPxC.shape
        fill = -frames % group
        x_BxTxPxC = jnp.pad(x_BxTxPxC, ((0, 0), (0, fill), (0, 0), (0, 0)))
        if mask_BxT is None:
            mask_BxT = jnp.ones((batch, frames), bool)
        mask_BxT = jnp.pad(mask_BxT, ((0, 0), (0, fill)))
        steps = x_BxTxPxC.shape[1] // group
        keep_BxT = mask_BxT.reshape(batch, steps, group).any(axis=2)
        keep_TxN = jnp.repeat(keep_BxT.T, pitches, axis=1).astype(x_BxTxPxC.dtype)
        groups = x_BxTxPxC.reshape(batch, steps, group, pitches, channels)
        x_TxCxN = groups.transpose(1, 2, 4, 0, 3).reshape(steps, group * channels, -1)

        uniform = nn.initializers.uniform(scale=2 * units**-0.5)

        def init(rng, shape):
            return uniform(rng, shape) - units**-0.5

        shape = (2, 1, 4 * units)
        weights = (
            self.param("input_kernel", init, (*shape, group * channels)),
            self.param("recurrent_kernel", init, (*shape, units)),
            self.param("bias", init, shape),
        )
        hidden_TxDx1xHxN = lstm(
            jnp.stack([x_TxCxN, x_TxCxN[::-1]], axis=1),
            *(weight.astype(x_BxTxPxC.dtype) for weight in weights),
            jnp.stack([keep_TxN, keep_TxN[::-1]], axis=1),
        )
        kernel_DxHxE = self.param(
            "output_kernel",
            nn.initializers.variance_scaling(
                1.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2
            ),
            (2, units, group * channels),
        ).astype(x_BxTxPxC.dtype)
        forward_TxHxN, backward_TxHxN = hidden_TxDx1xHxN.transpose(1, 2, 0, 3, 4)[:, 0]
        out_TxNxE = jnp.einsum("thn,he->tne", forward_TxHxN, kernel_DxHxE[0])
        out_TxNxE += jnp.einsum("thn,he->tne", backward_TxHxN[::-1], kernel_DxHxE[1])
        out = out_TxNxE.reshape(steps, batch, pitches, group, channels)
        out_BxTxPxC = out.transpose(1, 0, 3, 2, 4).reshape(batch, -1, pitches, channels)
        return out_BxTxPxC[:, :frames]


class KeyNet(nn.Module):
    """Log CQT to the probabilities of onsets, frames and offsets, and velocity."""

    config: KeyNetConfig = KeyNetConfig()

    @nn.compact
    def __call__(
        self, feats_BxTxF: jax.Array, mask_BxT: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Apply the network.

        Args:
          feats_BxTxF: log CQT (`features.log_cqt`); its dtype is the one computed in,
            except for statistics and logits (float32).
          mask_BxT: True at frames of the clip; others are padding and change nothing.

        Returns:
          A roll BxTxP for each of `HEADS`, float32 in (0, 1).
        """
        config = self.config
        feats = instance_norm(feats_BxTxF[..., None], mask_BxT)[..., 0]
        bins_PxK = partial_bins(config, feats.shape[-1] // config.bins_per_pitch)
        # One silent bin more, which stands for all that lie outside.
        feats = jnp.pad(feats, ((0, 0), (0, 0), (0, 1)))
        x = feats[..., np.where(bins_PxK < 0, feats.shape[-1] - 1, bins_PxK)]

        def masked(x_BxTxPxC):
            if mask_BxT is None:
                return x_BxTxPxC
            return jnp.where(mask_BxT[..., None, None], x_BxTxPxC, 0)

        def rectified(x, name):
            return masked(Rectified(name=name)(x))

        x = Conv(config.channels, (3, 1), name="input")(x)
        for n in range(config.num_blocks):
            x += Harmonic(config, name=f"keys_{n}")(rectified(x, f"keys_norm_{n}"))
            time = Conv(config.channels, (5, 1), name=f"time_{n}")
            x += time(rectified(x, f"time_norm_{n}"))
        x = rectified(x, "recurrent_norm")
        x += Recurrent(config, name="recurrent")(x, mask_BxT)
        x = rectified(x, "joined_norm")
        x = Conv(config.channels, (5, 1), name="joined")(x)
        x = rectified(x, "output_norm").astype(jnp.float32)
        kernel = self.param(
            "output_kernel", nn.initializers.lecun_normal(), (x.shape[-1], len(HEADS))
        )
        # Most frames of most keys are silent: begin with that.
        start = np.array([-4.0, -2.0, -4.0, 0.0], np.float32)
        bias = self.param("output_bias", lambda _: jnp.asarray(start))
        rolls_BxTxPxG = jnp.clip(nn.sigmoid(x @ kernel + bias), 1e-7, 1 - 1e-7)
        return {head: rolls_BxTxPxG[..., n] for n, head in enumerate(HEADS)}

"""The network of band models: notes and who plays them from a CQT, drums from log-mel.

After Harmonica (arXiv:2609.04640): a stem on the bins of a constant-Q transform, a
convolution strided to the piano's keys, layers that sum harmonics and subharmonics, and
an LSTM that all keys share (HPPNet's, Wei et al. 2022). It differs in the one LSTM of
all outputs, in classes of instruments beside the rolls, and in two branches: who plays
(classes, and vectors that tell timbres apart; Li and Zhu 2026, arXiv:2509.12712), and
drums.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.hppnet import Conv
from mt3x.models.layers import harmonic_conv, harmonic_shifts, instance_norm
from mt3x.models.lstm import both_ways, lstm, lstm_init, lstm_weights
from mt3x.music.instrument_classes import CLASSES, DRUM_CLASSES
from mt3x.music.options import check_fields
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES


@dataclass(frozen=True)
class BandNetConfig:
    """The layer sizes."""

    # Channels of the three [5 x 5] convolutions on the bins of the CQT.
    stem_channels: int = 12
    bins_per_pitch: int = 4
    # Channels on the keys, and pairs of a harmonic and a [3 x 3] layer there.
    width: int = 64
    num_layers: int = 3
    # Harmonics from the second on that a harmonic layer sums, above and below.
    num_harmonics: int = 7
    # Units of the LSTM in each direction.
    lstm_units: int = 48
    # Channels of the branch that tells who plays, and numbers in a timbre vector.
    player_channels: int = 48
    timbre_size: int = 12
    # Of the branch for drums: channels of its [3 x 3] convolutions, bands pooled into
    # one after each, features of a step, and units of the LSTM in each direction.
    drum_channels: tuple[int, ...] = (16, 32, 32)
    drum_pools: tuple[int, ...] = (2, 2, 4)
    drum_width: int = 64
    drum_lstm_units: int = 32

    def __post_init__(self) -> None:
        for name in ("drum_channels", "drum_pools"):  # gin and JSON give lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_fields(
            self,
            stem_channels=(1, 4096),
            bins_per_pitch=(1, 40),
            width=(1, 4096),
            num_layers=(1, 64),
            num_harmonics=(1, 64),
            lstm_units=(1, 4096),
            player_channels=(1, 4096),
            timbre_size=(1, 4096),
            drum_channels=(1, 4096),
            drum_pools=(1, 64),
            drum_width=(1, 4096),
            drum_lstm_units=(1, 4096),
        )
        if len(self.drum_channels) != len(self.drum_pools):
            raise ValueError(
                f"drum_channels={self.drum_channels} and drum_pools={self.drum_pools} "
                "must be as many"
            )


class Layer(nn.Module):
    """Convolution, bias, ReLU and instance norm, added to the input where it can be."""

    channels: int
    kernel: tuple[int, int]
    pool: int = 1
    residual: bool = False

    @nn.compact
    def __call__(self, x_BxTxFxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
        conv = Conv(self.channels, self.kernel, pool=self.pool, name="conv")
        y = instance_norm(conv(x_BxTxFxC), mask_BxT)
        return x_BxTxFxC + y if self.residual else y


class HarmonicLayer(nn.Module):
    """Harmonics and subharmonics of each key, each through its own matrix.

    With bias, ReLU and instance norm, added to the input.
    """

    num_harmonics: int

    @nn.compact
    def __call__(self, x_BxTxPxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
        channels, dtype = x_BxTxPxC.shape[-1], x_BxTxPxC.dtype
        shifts = harmonic_shifts(12, self.num_harmonics)
        init = nn.initializers.variance_scaling(
            2.0, "fan_in", "uniform", in_axis=(0, 1), out_axis=2
        )
        kernel_KxCxC = self.param("kernel", init, (len(shifts), channels, channels))
        bias_C = self.param("bias", nn.initializers.zeros, (channels,))
        y: jax.Array = harmonic_conv(x_BxTxPxC, kernel_KxCxC.astype(dtype), shifts)
        y = nn.relu(y + bias_C.astype(dtype))
        return x_BxTxPxC + instance_norm(y, mask_BxT)


# Logits that probabilities begin at: most cells of these rolls are empty. From one half
# the first hundred updates would go into learning that.
_BEGIN_LOGITS = {"onset": -4.0, "frame": -3.0, "offset": -4.0, "velocity": 0.0}
_BEGIN_DRUM_LOGIT = -4.0


class Recurrent(nn.Module):
    """A bidirectional LSTM over time that all rows share, and a dense layer.

    `begin` are logits that the first outputs begin at; others begin at 0.
    """

    width: int
    num_outputs: int
    begin: tuple[float, ...] = ()

    @nn.compact
    def __call__(self, x_BxTxPxC: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
        """Return logits BxTxPxO, float32."""
        batch, frames, rows, channels = x_BxTxPxC.shape
        weights = lstm_weights(self, 1, self.width, channels, x_BxTxPxC.dtype)
        shape = (2, self.width, self.num_outputs)
        kernel_DxHxO = self.param("dense_kernel", lstm_init(self.width), shape)
        begin_O = jnp.zeros(self.num_outputs).at[: len(self.begin)].set(self.begin)
        bias_O = self.param("dense_bias", lambda _: begin_O)
        x_TxDxCxN, keep_TxDxN = both_ways(x_BxTxPxC, mask_BxT)
        states: jax.Array = lstm(x_TxDxCxN, *weights, keep_TxDxN)
        up, down = (
            jnp.einsum("thn,ho->tno", states[:, d, 0].astype(jnp.float32), kernel_HxO)
            for d, kernel_HxO in enumerate(kernel_DxHxO)
        )
        logits = (up + down[::-1] + bias_O).reshape(frames, batch, rows, -1)
        return logits.transpose(1, 0, 2, 3)


class Notes(nn.Module):
    """Rolls, classes of instruments and timbres of each key, from the CQT's bins.

    With `with_trunk` also `trunk` BxTxPxC, what the LSTM reads.
    """

    config: BandNetConfig
    with_trunk: bool = False

    @nn.compact
    def __call__(
        self, feats_BxTxF: jax.Array, mask_BxT: jax.Array | None
    ) -> dict[str, jax.Array]:
        config, width = self.config, self.config.width
        x = instance_norm(feats_BxTxF[..., None], mask_BxT)
        for n in range(3):
            stem = Layer(config.stem_channels, (5, 5), residual=n > 0, name=f"stem_{n}")
            x = stem(x, mask_BxT)
        # A convolution strided along frequency: the bins of a key as its channels.
        x = x.reshape(*x.shape[:2], NUM_PITCHES, -1)
        x = Layer(width, (1, 3), name="keys")(x, mask_BxT)
        keys = x
        for n in range(config.num_layers):
            x = HarmonicLayer(config.num_harmonics, name=f"harmonic_{n}")(x, mask_BxT)
            x = Layer(width, (3, 3), residual=True, name=f"local_{n}")(x, mask_BxT)
        num_rolls = len(ROLL_NAMES)
        begin = tuple(_BEGIN_LOGITS[name] for name in ROLL_NAMES)
        num_outputs = num_rolls + len(CLASSES)
        recurrent = Recurrent(config.lstm_units, num_outputs, begin, name="heads")
        logits = recurrent(x, mask_BxT)
        both = jnp.concatenate([keys, x], axis=-1)
        classes_BxTxPxK, timbre_BxTxPxE = Players(config, name="players")(
            both, mask_BxT
        )
        classes_BxTxPxK += logits[..., num_rolls:]
        rolls_BxTxPx4 = _probabilities(logits[..., :num_rolls])
        return {
            **{name: rolls_BxTxPx4[..., n] for n, name in enumerate(ROLL_NAMES)},
            "classes": nn.log_softmax(classes_BxTxPxK),
            "timbre": timbre_BxTxPxE,
            **({"trunk": x} if self.with_trunk else {}),
        }


class Players(nn.Module):
    """What tells who plays a key: logits BxTxPxK of classes, and timbres BxTxPxE.

    Timbres are unit vectors that lie close together where one instrument plays. The
    branch has layers of its own: those of the notes learn to hear all timbres alike.
    """

    config: BandNetConfig

    @nn.compact
    def __call__(
        self, x_BxTxPxC: jax.Array, mask_BxT: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        config, width = self.config, self.config.player_channels
        x = Layer(width, (1, 1), name="narrow")(x_BxTxPxC, mask_BxT)
        x = HarmonicLayer(config.num_harmonics, name="harmonic")(x, mask_BxT)
        x = Layer(width, (3, 3), residual=True, name="local")(x, mask_BxT)
        classes = nn.Dense(len(CLASSES), dtype=x.dtype, name="classes")(x)
        timbre = nn.Dense(config.timbre_size, dtype=x.dtype, name="timbre")(x)
        timbre_BxTxPxE = timbre.astype(jnp.float32)
        square = jnp.sum(jnp.square(timbre_BxTxPxE), axis=-1, keepdims=True)
        timbre_BxTxPxE *= jax.lax.rsqrt(jnp.maximum(square, 1e-12))
        return classes.astype(jnp.float32), timbre_BxTxPxE


class Drums(nn.Module):
    """Onsets and velocities of the classes of drums, from log-mel bands."""

    config: BandNetConfig

    @nn.compact
    def __call__(
        self, mel_BxUxF: jax.Array, mask_BxU: jax.Array | None
    ) -> dict[str, jax.Array]:
        config = self.config
        x = instance_norm(mel_BxUxF[..., None], mask_BxU)
        sizes = zip(config.drum_channels, config.drum_pools, strict=True)
        for n, (channels, pool) in enumerate(sizes):
            x = Layer(channels, (3, 3), pool, name=f"conv_{n}")(x, mask_BxU)
        x = x.reshape(*x.shape[:2], -1)
        x = nn.relu(nn.Dense(config.drum_width, dtype=x.dtype, name="dense")(x))
        num = len(DRUM_CLASSES)
        begin = (_BEGIN_DRUM_LOGIT,) * num
        recurrent = Recurrent(config.drum_lstm_units, 2 * num, begin, name="heads")
        both_BxUx2D = _probabilities(recurrent(x[:, :, None], mask_BxU)[:, :, 0])
        return {
            "drums": both_BxUx2D[..., :num],
            "drum_velocity": both_BxUx2D[..., num:],
        }


def _probabilities(logits: jax.Array) -> jax.Array:
    return jnp.clip(nn.sigmoid(logits), 1e-7, 1 - 1e-7)


class BandNet(nn.Module):
    """The network: log CQT and log-mel to notes, instruments and drums."""

    config: BandNetConfig = BandNetConfig()

    @nn.compact
    def __call__(
        self,
        feats_BxTxF: jax.Array,
        mel_BxUxM: jax.Array,
        mask_BxT: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """Apply the network.

        Args:
          feats_BxTxF: log CQT (`features.log_cqt`); its dtype is the one computed in,
            except for statistics and logits (float32).
          mel_BxUxM: log-mel, a whole number of steps U for each frame T.
          mask_BxT: True at frames of the clip; others are padding and change nothing.

        Returns:
          Rolls BxTxP of `ROLL_NAMES` in (0, 1); `classes` BxTxPxK, the logarithms of
          probabilities that sum up to 1 over `CLASSES`; `timbre` BxTxPxE, unit vectors;
          `drums` and `drum_velocity` BxUxD in (0, 1). All are float32.
        """
        mask_BxU = None
        if mask_BxT is not None:
            steps = mel_BxUxM.shape[1] // feats_BxTxF.shape[1]
            mask_BxU = jnp.repeat(mask_BxT, steps, axis=1)
        return {
            **Notes(self.config, name="notes")(feats_BxTxF, mask_BxT),
            **Drums(self.config, name="drums")(mel_BxUxM, mask_BxU),
        }

"""The beat networks, and what they are trained for.

One finds beats in frames of notes. Bars are much longer than it could follow. So two
more read the notes at each beat and say which are downbeats; their log odds are
averaged. One of these, which also compares harmonies, says besides whether these are
the beats or, say, every other one.

All are dilated convolutions, as in temporal convolutional networks for beats (Davies
and Böck 2019), each a block of ConvNeXt (Liu et al. 2022, arXiv:2201.03545): depthwise
over time, then two dense layers. Two frames of 20 ms are folded into one first.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models.losses import LossSums, over_devices
from mt3x.models.model_config import WithoutTasks, read_config
from mt3x.music.beat_decoder import BeatDecodingConfig
from mt3x.music.beat_frames import CLIP_BEATS, NUM_INPUTS, NUM_SLOT_INPUTS, NUM_SLOTS
from mt3x.music.options import check_fields
from mt3x.music.vocabulary import TokenizerConfig

Batch = Mapping[str, jax.Array]
_FOLD = 2


@dataclass(frozen=True)
class BeatNetConfig:
    """Size of the network."""

    # Channels of the frames' layer and of the blocks; a block is twice as wide inside.
    stem_width: int = 32
    width: int = 40
    # Blocks; the taps of block i lie 2^i folded frames apart.
    num_blocks: int = 8
    # The same of the networks over beats, where taps lie 2^i beats apart.
    num_bar_blocks: int = 5
    level_width: int = 64
    num_level_blocks: int = 6
    kernel: int = 5
    # Of the networks over beats; the one over frames learns what it can as it is.
    bar_dropout: float = 0.15

    def __post_init__(self) -> None:
        check_fields(
            self,
            stem_width=(1, 4096),
            width=(1, 4096),
            level_width=(1, 4096),
            num_blocks=(1, 12),
            num_bar_blocks=(1, 12),
            num_level_blocks=(1, 12),
            kernel=(3, 31),
            bar_dropout=(0.0, 0.9),
        )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd")

    @property
    def reach_frames(self) -> int:
        """Frames before and after that a frame's outputs depend on."""
        return _FOLD * ((self.kernel // 2) * (2**self.num_blocks - 1) + 1)


@dataclass(frozen=True)
class BeatConfig(WithoutTasks):
    """All that the weights of a beat model depend on; stored in each checkpoint."""

    kind: ClassVar[str] = "beat model"
    data: ClassVar[str] = "pieces with beats (BeatDataConfig)"
    user: ClassVar[str] = "mt3x.inference.beat_tracker.BeatTracker"
    tokens: ClassVar[TokenizerConfig | None] = None

    model: BeatNetConfig = field(default_factory=BeatNetConfig)
    decoding: BeatDecodingConfig = field(default_factory=BeatDecodingConfig)
    # Weights in the loss, against beats: of downbeats among beats, of whether these are
    # beats, and of downbeats among frames.
    bar_weight: float = 1.0
    level_weight: float = 1.0
    downbeat_weight: float = 1.0

    def __post_init__(self) -> None:
        check_fields(
            self,
            bar_weight=(0.0, 1e6),
            level_weight=(0.0, 1e6),
            downbeat_weight=(0.0, 1e6),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return {"objective": "beats", **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BeatConfig":
        """Raise ValueError where `values` are not a beat model's configuration."""
        return read_config(cls, "beats", values, ("model",))

    def summary(self) -> str:
        """Describe the model in a few words."""
        model = self.model
        return f"beat model of {model.width} channels in {model.num_blocks} blocks"

    def batch_spec(
        self, batch_size: int, num_frames: int
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes of a training batch of clips of `num_frames` frames."""
        shape = (batch_size, num_frames)
        return {
            "frames": jax.ShapeDtypeStruct((*shape, NUM_INPUTS), jnp.float32),
            "targets": jax.ShapeDtypeStruct((*shape, 3), jnp.float32),
            "slots": jax.ShapeDtypeStruct(
                (batch_size, CLIP_BEATS, NUM_SLOTS, NUM_SLOT_INPUTS), jnp.float32
            ),
            "downbeats": jax.ShapeDtypeStruct((batch_size, CLIP_BEATS, 4), jnp.float32),
        }


class BeatNet(nn.Module):
    """Frames of notes to logits of beats and downbeats."""

    config: BeatNetConfig

    @nn.compact
    def __call__(self, frames_BxTxF: jax.Array) -> jax.Array:
        """Return logits_BxTx2; T must be even."""
        config = self.config
        batch, frames, _ = frames_BxTxF.shape
        x_BxTxD = nn.relu(nn.Dense(config.stem_width, name="stem")(frames_BxTxF))
        x_BxUxD = x_BxTxD.reshape(batch, frames // _FOLD, -1)
        x_BxUxD = nn.Dense(config.width, name="fold")(x_BxUxD)
        x_BxUxD = _blocks(config, config.num_blocks, self, x_BxUxD)
        start = nn.initializers.constant(-3.0)  # most frames have no beat
        x_BxUxD = nn.Dense(2 * _FOLD, bias_init=start, name="head")(x_BxUxD)
        return x_BxUxD.reshape(batch, frames, 2)


class BarNet(nn.Module):
    """Notes at beats to logits, each of the same size."""

    config: BeatNetConfig
    width: int
    num_blocks: int
    outputs: int

    @nn.compact
    def __call__(self, slots_BxKxSxF: jax.Array, train: bool = False) -> jax.Array:
        """Return logits_BxKxC."""
        config = self.config
        x_BxKxSxD = nn.relu(nn.Dense(config.stem_width, name="stem")(slots_BxKxSxF))
        x_BxKxD = x_BxKxSxD.reshape(*x_BxKxSxD.shape[:2], -1)
        x_BxKxD = nn.Dense(self.width, name="fold")(x_BxKxD)
        dropout = config.bar_dropout if train else 0.0
        x_BxKxD = _blocks(config, self.num_blocks, self, x_BxKxD, dropout)
        return nn.Dense(self.outputs, name="head")(x_BxKxD)


def _blocks(
    config: BeatNetConfig,
    num_blocks: int,
    module: nn.Module,
    x_BxUxD: jax.Array,
    dropout: float = 0.0,
) -> jax.Array:
    """Return activations after a network's blocks, normalised."""
    width = x_BxUxD.shape[-1]
    for index in range(num_blocks):
        y_BxUxD = _depthwise(module, f"taps_{index}", x_BxUxD, config.kernel, 2**index)
        y_BxUxD = nn.LayerNorm(epsilon=1e-3, name=f"norm_{index}")(y_BxUxD)
        y_BxUxD = nn.relu(nn.Dense(2 * width, name=f"up_{index}")(y_BxUxD))
        y_BxUxD = nn.Dense(width, name=f"down_{index}")(y_BxUxD)
        drop = nn.Dropout(dropout, broadcast_dims=(1,))
        x_BxUxD += drop(y_BxUxD, deterministic=not dropout)
    return nn.LayerNorm(epsilon=1e-3, name="norm")(x_BxUxD)


def _depthwise(
    module: nn.Module, name: str, x_BxUxD: jax.Array, kernel: int, dilation: int
) -> jax.Array:
    """Convolve each channel over time, as a sum of shifted copies, fast on a CPU."""
    start = nn.initializers.normal(1 / kernel**0.5)
    taps_KxD = module.param(name, start, (kernel, x_BxUxD.shape[-1]))
    frames, reach = x_BxUxD.shape[1], kernel // 2 * dilation
    padded = jnp.pad(x_BxUxD, ((0, 0), (reach, reach), (0, 0)))
    shifted = (
        taps_KxD[k] * padded[:, k * dilation : k * dilation + frames]
        for k in range(kernel)
    )
    return sum(shifted, jnp.zeros((), x_BxUxD.dtype))


class BeatObjective:
    """The beat network, trained on performed notes."""

    separate_examples = False

    def __init__(self, config: BeatConfig, dtype: Any = jnp.float32) -> None:
        self.config = config
        self.dtype = dtype
        self.model = BeatNet(config.model)
        size = config.model
        self.bar_model = BarNet(size, size.width, size.num_bar_blocks, 1)
        self.level_model = BarNet(size, size.level_width, size.num_level_blocks, 2)

    def init(self, rng: jax.Array) -> dict[str, Any]:
        """Draw the parameters."""
        beats, bars, levels = jax.random.split(rng, 3)
        frames_BxTxF = jnp.zeros((1, _FOLD, NUM_INPUTS))
        slots_BxKxSxF = jnp.zeros((1, 1, NUM_SLOTS, NUM_SLOT_INPUTS))
        notes_BxKxSxF = slots_BxKxSxF[..., :NUM_INPUTS]
        return {
            "beats": self.model.init(beats, frames_BxTxF)["params"],
            "bars": self.bar_model.init(bars, notes_BxKxSxF)["params"],
            "levels": self.level_model.init(levels, slots_BxKxSxF)["params"],
        }

    def predict(self, params: Any, frames_BxTxF: jax.Array) -> jax.Array:
        """Return probabilities BxTx2 of beats and downbeats."""
        logits: Any = self.model.apply({"params": params["beats"]}, frames_BxTxF)
        return jax.nn.sigmoid(logits)

    def predict_bars(self, params: Any, slots_BxKxSxF: jax.Array) -> jax.Array:
        """Return probabilities BxKx2: of downbeats, and that these are the beats."""
        return jax.nn.sigmoid(self._bar_logits(params, slots_BxKxSxF))

    def _bar_logits(
        self, params: Any, slots_BxKxSxF: jax.Array, rng: jax.Array | None = None
    ) -> jax.Array:
        def apply(model: BarNet, name: str, inputs: jax.Array) -> Any:
            rngs = None if rng is None else {"dropout": rng}
            train = rng is not None
            return model.apply({"params": params[name]}, inputs, train=train, rngs=rngs)

        bars_BxKx1 = apply(self.bar_model, "bars", slots_BxKxSxF[..., :NUM_INPUTS])
        levels_BxKx2 = apply(self.level_model, "levels", slots_BxKxSxF)
        return levels_BxKx2.at[..., :1].set((bars_BxKx1 + levels_BxKx2[..., :1]) / 2)

    def loss(self, params: Any, batch: Batch, rng: jax.Array | None = None) -> LossSums:
        """Return the cross-entropies as a sum with its weight, and parts.

        Args:
          params: as from `init`.
          batch: `frames` and `targets`, `slots` (see `mt3x.music.beat_frames`) and
            `downbeats` BxKx4: whether beats are downbeats, whether that is known,
            whether they are those of the music, and whether there is one.
          rng: for dropout; None: without.

        Returns:
          The sum with its weight, the known frames; the parts `beat` and `downbeat` of
          frames, `bar` and `level` of beats; `beat_f1`, of frames, and `bar_f1`, of
          beats.
        """
        frames_BxTxF = batch["frames"].astype(self.dtype)
        slots_BxKxSxF = batch["slots"].astype(self.dtype)
        logits_BxTx2: Any = self.model.apply({"params": params["beats"]}, frames_BxTxF)
        bars_BxKx2 = self._bar_logits(params, slots_BxKxSxF, rng)
        logits_BxTx2, bars_BxKx2 = (
            logits.astype(jnp.float32) for logits in (logits_BxTx2, bars_BxKx2)
        )
        beat_BxT, down_BxT, known_BxT = jnp.moveaxis(batch["targets"], -1, 0)
        down_BxK, known_BxK, right_BxK, exists_BxK = jnp.moveaxis(
            batch["downbeats"], -1, 0
        )
        of_frames = jnp.maximum(jnp.sum(known_BxT), 1.0)
        of_beats = jnp.maximum(jnp.sum(known_BxK), 1.0)
        of_all = jnp.maximum(jnp.sum(exists_BxK), 1.0)
        parts = {
            "beat": (_entropy(logits_BxTx2[..., 0], beat_BxT, known_BxT), of_frames),
            "downbeat": (
                _entropy(logits_BxTx2[..., 1], down_BxT, known_BxT),
                of_frames,
            ),
            "bar": (_entropy(bars_BxKx2[..., 0], down_BxK, known_BxK), of_beats),
            "level": (_entropy(bars_BxKx2[..., 1], right_BxK, exists_BxK), of_all),
            "beat_f1": _f1(logits_BxTx2[..., 0], beat_BxT, known_BxT),
            "bar_f1": _f1(bars_BxKx2[..., 0], down_BxK, known_BxK),
        }
        whole_frames, whole_beats = over_devices(of_frames), over_devices(of_beats)
        whole_all = over_devices(of_all)
        total = (
            parts["beat"][0]
            + self.config.downbeat_weight * parts["downbeat"][0]
            + self.config.bar_weight * parts["bar"][0] * whole_frames / whole_beats
            + self.config.level_weight * parts["level"][0] * whole_frames / whole_all
        )
        return LossSums(total, of_frames, parts)


def _entropy(logits: jax.Array, targets: jax.Array, known: jax.Array) -> jax.Array:
    """Sum cross-entropies, without the entropy of targets of one half."""
    error = jnp.maximum(logits, 0) - logits * targets
    error += jnp.log1p(jnp.exp(-jnp.abs(logits)))
    error -= jnp.where((targets > 0) & (targets < 1), jnp.log(2.0), 0.0)
    return jnp.sum(known * error)


def _f1(
    logits: jax.Array, targets: jax.Array, known: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the F1 score of what is likely against targets, as (sum, weight)."""
    est = jnp.where(logits > 0, known, 0.0)
    ref = jnp.where(targets > 0.25, known, 0.0)
    return 2 * jnp.sum(est * ref), jnp.maximum(jnp.sum(est) + jnp.sum(ref), 1.0)

"""The beat network, and what it is trained for: beats and downbeats in frames of notes.

Dilated convolutions over time, as in temporal convolutional networks for beats (Davies
and Böck 2019), each a block of ConvNeXt (Liu et al. 2022, arXiv:2201.03545): depthwise
over time, then two dense layers. Two frames of 20 ms are folded into one first.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.files import FieldError, from_json
from mt3x.models.losses import LossSums
from mt3x.music.beat_decoder import BeatDecodingConfig
from mt3x.music.beat_frames import NUM_INPUTS
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
    kernel: int = 5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_fields(
            self,
            stem_width=(1, 4096),
            width=(1, 4096),
            num_blocks=(1, 12),
            kernel=(3, 31),
            dropout=(0.0, 0.9),
        )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd")

    @property
    def reach_frames(self) -> int:
        """Frames before and after that a frame's outputs depend on."""
        return _FOLD * ((self.kernel // 2) * (2**self.num_blocks - 1) + 1)


@dataclass(frozen=True)
class BeatConfig:
    """All that the weights of a beat model depend on; stored in each checkpoint."""

    kind: ClassVar[str] = "beat model"
    tokens: ClassVar[TokenizerConfig | None] = None

    model: BeatNetConfig = field(default_factory=BeatNetConfig)
    decoding: BeatDecodingConfig = field(default_factory=BeatDecodingConfig)
    # Weight in the loss of downbeats against beats.
    downbeat_weight: float = 2.5

    def __post_init__(self) -> None:
        check_fields(self, downbeat_weight=(0.0, 1e6))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return {"objective": "beats", **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BeatConfig":
        """Raise ValueError where `values` are not a beat model's configuration."""
        values = dict(values)
        if (objective := values.pop("objective", None)) != "beats":
            raise ValueError(
                f"configuration of objective {objective!r} instead of 'beats': this is "
                "a checkpoint of another model"
            )
        try:
            return from_json(cls, values, ("model",))
        except FieldError as error:
            raise ValueError(
                f"beat configuration does not fit this version of mt3x: {error}"
            ) from error

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
        }

    def example_lengths(self, clip_frames: int) -> tuple[int, int | None]:
        """Return the frames and tokens of an example; tokens are None."""
        return clip_frames, None

    def train_options(self, max_examples_per_mix: int | None = None) -> NoReturn:
        """Raise ValueError: no tasks give a beat model what it learns."""
        raise ValueError(_NO_TASKS)

    def converter_options(self) -> NoReturn:
        """Raise ValueError, as `train_options` does."""
        raise ValueError(_NO_TASKS)

    def notes(self, segments: Sequence[tuple[int, Any]]) -> NoReturn:
        """Raise ValueError, as `train_options` does."""
        raise ValueError(_NO_TASKS)


_NO_TASKS = (
    "a beat model cannot train on SeqIO tasks (TaskConfig): give it pieces with beats "
    "(BeatDataConfig)"
)


class BeatNet(nn.Module):
    """Frames of notes to logits of beats and downbeats."""

    config: BeatNetConfig

    @nn.compact
    def __call__(self, frames_BxTxF: jax.Array, train: bool = False) -> jax.Array:
        """Return logits_BxTx2; T must be even."""
        config = self.config
        batch, frames, _ = frames_BxTxF.shape
        x_BxTxD = nn.relu(nn.Dense(config.stem_width, name="stem")(frames_BxTxF))
        x_BxUxD = x_BxTxD.reshape(batch, frames // _FOLD, -1)
        x_BxUxD = nn.Dense(config.width, name="fold")(x_BxUxD)
        for index in range(config.num_blocks):
            y_BxUxD = _depthwise(
                self, f"taps_{index}", x_BxUxD, config.kernel, 2**index
            )
            y_BxUxD = nn.LayerNorm(epsilon=1e-3, name=f"norm_{index}")(y_BxUxD)
            y_BxUxD = nn.relu(nn.Dense(2 * config.width, name=f"up_{index}")(y_BxUxD))
            y_BxUxD = nn.Dense(config.width, name=f"down_{index}")(y_BxUxD)
            y_BxUxD = nn.Dropout(config.dropout, broadcast_dims=(1,))(
                y_BxUxD, deterministic=not train
            )
            x_BxUxD += y_BxUxD
        x_BxUxD = nn.LayerNorm(epsilon=1e-3, name="norm")(x_BxUxD)
        start = nn.initializers.constant(-3.0)  # most frames have no beat
        x_BxUxD = nn.Dense(2 * _FOLD, bias_init=start, name="head")(x_BxUxD)
        return x_BxUxD.reshape(batch, frames, 2)


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

    def init(self, rng: jax.Array) -> Mapping[str, Any]:
        """Draw the parameters."""
        return self.model.init(rng, jnp.zeros((1, _FOLD, NUM_INPUTS)))["params"]

    def predict(self, params: Any, frames_BxTxF: jax.Array) -> jax.Array:
        """Return probabilities BxTx2 of beats and downbeats."""
        logits: Any = self.model.apply({"params": params}, frames_BxTxF)
        return jax.nn.sigmoid(logits)

    def loss(self, params: Any, batch: Batch, rng: jax.Array | None = None) -> LossSums:
        """Return the cross-entropies as a sum with its weight, and parts.

        Args:
          params: as from `init`.
          batch: `frames` and `targets` (see `mt3x.music.beat_frames`).
          rng: for dropout; None: without.

        Returns:
          The sum with its weight, the known frames; the parts `beat` and `downbeat`;
          and `beat_f1` and `downbeat_f1`, of frames.
        """
        logits_BxTx2: Any = self.model.apply(
            {"params": params},
            batch["frames"].astype(self.dtype),
            train=rng is not None,
            rngs=None if rng is None else {"dropout": rng},
        )
        logits_BxTx2 = logits_BxTx2.astype(jnp.float32)
        known_BxT = batch["targets"][..., 2]
        weight = jnp.maximum(jnp.sum(known_BxT), 1.0)
        parts: dict[str, tuple[jax.Array, jax.Array]] = {}
        for index, name in enumerate(("beat", "downbeat")):
            target, logit = batch["targets"][..., index], logits_BxTx2[..., index]
            # Of soft targets, the entropy is taken off: a perfect prediction costs 0.
            error = (
                jnp.maximum(logit, 0)
                - logit * target
                + jnp.log1p(jnp.exp(-jnp.abs(logit)))
            )
            soft = jnp.where((target > 0) & (target < 1), jnp.log(2.0), 0.0)
            parts[name] = (jnp.sum(known_BxT * (error - soft)), weight)
            est = jnp.where(logit > 0, known_BxT, 0.0)
            ref = jnp.where(target > 0.25, known_BxT, 0.0)
            hits = jnp.sum(est * ref)
            all_cells = jnp.maximum(jnp.sum(est) + jnp.sum(ref), 1.0)
            parts[f"{name}_f1"] = (2 * hits, all_cells)
        total = parts["beat"][0] + self.config.downbeat_weight * parts["downbeat"][0]
        return LossSums(total, weight, parts)

"""HPPNet's objective: rolls of the piano's keys from a constant-Q transform."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.models import losses
from mt3x.models.features import CQTConfig, by_rows, log_cqt, to_float
from mt3x.models.hppnet import HPPNet, HPPNetConfig
from mt3x.models.losses import LossSums
from mt3x.models.model_config import read_config
from mt3x.music.notes import Notes
from mt3x.music.options import check_fields
from mt3x.music.pedal_decoder import PedalDecodingConfig
from mt3x.music.pedal_rolls import PEDAL_COLUMNS, PEDAL_ROLLS
from mt3x.music.roll_decoder import (
    RollDecodingConfig,
    rolls_to_notes,
    upgraded_decoding,
)
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES, RollLabelConfig, Rolls
from mt3x.music.vocabulary import TokenizerConfig

Params = Mapping[str, Any]
Batch = Mapping[str, jax.Array]


@dataclass(frozen=True)
class PianoConfig:
    """All that the weights of a piano model depend on; stored in each checkpoint."""

    kind: ClassVar[str] = "piano model"
    # The tokens that the model writes: none.
    tokens: ClassVar[TokenizerConfig | None] = None

    model: HPPNetConfig = field(default_factory=HPPNetConfig)
    features: CQTConfig = field(default_factory=CQTConfig)
    labels: RollLabelConfig = field(default_factory=RollLabelConfig)
    decoding: RollDecodingConfig = field(default_factory=RollDecodingConfig)
    # Weight of onset frames against others in the onset's cross-entropy.
    onset_positive_weight: float = 2.0
    # Weights in the loss: of the onsets' cross-entropy and of the velocity's error.
    onset_weight: float = 1.0
    velocity_weight: float = 1.0
    # Weight of a clip's mean error within the velocity's: how loud all of a clip was
    # played cannot be heard where its gain is not known.
    velocity_mean_weight: float = 1.0
    # How the rolls of key releases and pedal are read, where the model has such heads.
    pedal_decoding: PedalDecodingConfig = field(default_factory=PedalDecodingConfig)
    # Train the heads of key releases and pedal alone.
    pedal_alone: bool = False

    def __post_init__(self) -> None:
        check_fields(
            self,
            onset_positive_weight=(0, 1e6),
            onset_weight=(0, 1e6),
            velocity_weight=(0, 1e6),
            velocity_mean_weight=(0, 1e6),
        )
        if self.features.num_bins != NUM_PITCHES * self.model.bins_per_pitch:
            raise ValueError(
                f"features have {self.features.num_bins} bins: give {NUM_PITCHES} keys "
                f"{self.model.bins_per_pitch} each"
            )
        if self.features.frame_rate_hz != self.labels.frame_rate_hz:
            raise ValueError(
                f"features have {self.features.frame_rate_hz} frames per second and "
                f"labels {self.labels.frame_rate_hz}: they must be equal"
            )
        if self.pedal_alone and not self.has_pedal:
            raise ValueError(
                "pedal_alone trains heads that the model has not: set "
                "HPPNetConfig.pedal_channels"
            )

    @property
    def has_pedal(self) -> bool:
        """Whether the model has heads for key releases and the sustain pedal."""
        return self.model.pedal_channels > 0

    def without_pedal(self) -> "PianoConfig":
        """Return the configuration of the model without these heads."""
        model = dataclasses.replace(self.model, pedal_channels=0)
        return dataclasses.replace(self, model=model, pedal_alone=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return {"objective": "piano", **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PianoConfig":
        """Raise ValueError where `values` are not a piano model's configuration."""
        # Models of older versions lack the other weights of the loss.
        required = ("model", "features", "labels", "decoding", "onset_positive_weight")
        upgrades = {RollDecodingConfig: upgraded_decoding}
        return read_config(cls, "piano", values, required, upgrades)

    def summary(self) -> str:
        """Describe the model in a few words."""
        return f"HPPNet of {self.model.channels} channels"

    def batch_spec(
        self, batch_size: int, num_frames: int
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes of a training batch of clips of `num_frames` frames."""
        samples_BxS = (batch_size, num_frames * self.features.hop_samples)
        return {
            "samples": jax.ShapeDtypeStruct(samples_BxS, jnp.float32),
            **roll_spec(batch_size, num_frames),
            **(pedal_spec(batch_size, num_frames) if self.has_pedal else {}),
        }

    def example_lengths(self, clip_frames: int) -> tuple[int, int | None]:
        """Return the frames and tokens of an example; tokens are None: it has rolls."""
        return clip_frames, None

    def train_options(self, max_examples_per_mix: int | None = None) -> dict[str, Any]:
        """Return the fields of `pipeline.TrainOptions` that the model asks for.

        Raises:
          ValueError: it is to train on mixes, or tasks lack what it learns.
        """
        if self.has_pedal:
            raise ValueError(
                "tasks have no pedal: train a model with pedal_channels on corpora "
                "(DataConfig)"
            )
        if max_examples_per_mix is not None:
            raise ValueError(
                f"max_examples_per_mix={max_examples_per_mix} is for token models; "
                "leave it out for a piano model"
            )
        return {"labels": self.labels}

    def converter_options(self) -> dict[str, Any]:
        """Return the options of the feature converter of training tasks."""
        return {"hop_samples": self.features.hop_samples}

    def notes(self, segments: Sequence[tuple[int, Any]]) -> Notes:
        """Return the notes of predicted rolls Tx4xP.

        Args:
          segments: the first frame and the rolls of each segment; they follow one
            another, and padding at the end is silent.
        """
        rolls_Tx4xP = np.concatenate([np.asarray(r, np.float32) for _, r in segments])
        rate_hz = self.features.frame_rate_hz
        rolls = Rolls.from_stack(rolls_Tx4xP, rate_hz)
        return rolls_to_notes(rolls, self.decoding)


def roll_spec(batch_size: int, num_frames: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of the target rolls in a batch."""
    roll_BxTxP = (batch_size, num_frames, NUM_PITCHES)
    return dict.fromkeys(ROLL_NAMES, jax.ShapeDtypeStruct(roll_BxTxP, jnp.float32))


def pedal_spec(batch_size: int, num_frames: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of the targets of key releases and pedal in a batch."""
    sizes = {"key": NUM_PITCHES, "pedal": len(PEDAL_COLUMNS)}
    return {
        name: jax.ShapeDtypeStruct((batch_size, num_frames, size), jnp.float32)
        for name, size in sizes.items()
    }


class PianoObjective:
    """HPPNet on log-CQT features, trained on rolls."""

    # The loss of a batch is the sum of its examples' losses: devices need not exchange
    # anything but these sums.
    separate_examples = True

    def __init__(self, config: PianoConfig, dtype: Any = jnp.float32) -> None:
        self.config = config
        self.dtype = dtype
        self.model = HPPNet(config.model)

    def init(self, rng: jax.Array) -> Params:
        """Draw the parameters."""
        feats_BxTxF = jnp.zeros((1, 2, self.config.features.num_bins))
        return self.model.init(rng, feats_BxTxF)["params"]

    def features(self, samples_BxS: jax.Array) -> jax.Array:
        """Turn samples, float or int16, into feats_BxTxF with T = S // hop."""
        # Frame S // hop is centred on the clip's end: it belongs to the next clip.
        return log_cqt(to_float(samples_BxS), self.config.features)[:, :-1]

    def predict(
        self,
        params: Params,
        samples_BxS: jax.Array,
        num_samples_B: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """Transcribe clips.

        Args:
          params: as from `init`.
          samples_BxS: audio, S a multiple of the hop.
          num_samples_B: length of each clip where it is padded at the end.

        Returns:
          Rolls BxTxP in float32 for onset, frame, offset and velocity, T = S // hop,
          and of the model's other heads; zero in padding.
        """
        feats_BxTxF = by_rows(self.features, samples_BxS)
        mask_BxT = None
        if num_samples_B is not None:
            num_frames_B = -(-num_samples_B // self.config.features.hop_samples)
            mask_BxT = jnp.arange(feats_BxTxF.shape[1]) < num_frames_B[:, None]
        inputs_BxTxF = feats_BxTxF.astype(self.dtype)
        rolls: Any = self.model.apply({"params": params}, inputs_BxTxF, mask_BxT)
        if mask_BxT is not None:
            keep = mask_BxT[..., None]
            rolls = {name: jnp.where(keep, roll, 0.0) for name, roll in rolls.items()}
        return rolls

    def loss(
        self, params: Params, batch: Batch, rng: jax.Array | None = None
    ) -> LossSums:
        """Return HPPNet's loss (eq. 3 to 7) as a sum with its weight.

        The velocity's error counts at onsets only and is divided by their weight, not
        by the number of keys and frames, as the authors' code has it.

        Args:
          params: as from `init`.
          batch: `samples` BxS and the target rolls `onset`, `frame`, `offset` and
            `velocity` BxTxP; for the pedal's heads `key` BxTxP and `pedal` BxTx3.
          rng: not used; HPPNet draws nothing.

        Returns:
          The sum with its weight (keys x frames), and the heads' parts.
        """
        del rng
        rolls = self.predict(params, batch["samples"])
        weight = jnp.asarray(batch["onset"].size, jnp.float32)
        parts: dict[str, tuple[jax.Array, jax.Array]] = {}
        if not self.config.pedal_alone:
            parts = roll_losses(
                rolls,
                batch,
                weight,
                self.config.onset_positive_weight,
                self.config.velocity_mean_weight,
            )
        shown = {}
        if self.config.has_pedal:
            parts |= pedal_losses(rolls, batch)
            shown["key_f1"] = _f1(rolls["key"], batch["key"])
            shown["pedal_f1"] = _f1(rolls["pedal"][..., 0], batch["pedal"][..., 0])
        weights = {
            "onset": self.config.onset_weight,
            "velocity": self.config.velocity_weight,
        }
        whole = losses.over_devices
        total = sum(
            weights.get(name, 1.0) * part * whole(weight) / whole(part_weight)
            for name, (part, part_weight) in parts.items()
        )
        return LossSums(jnp.asarray(total), weight, parts | shown)


def roll_losses(
    rolls: Mapping[str, jax.Array],
    batch: Batch,
    num_cells: jax.Array,
    onset_positive_weight: float,
    velocity_mean_weight: float = 1.0,
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Return HPPNet's loss of each head as (sum, weight)."""
    targets = {name: batch[name].astype(jnp.float32) for name in ROLL_NAMES}
    weights = {"onset": onset_positive_weight, "frame": 1.0, "offset": 1.0}
    parts = {
        name: (losses.binary_cross_entropy(rolls[name], targets[name], w), num_cells)
        for name, w in weights.items()
    }
    error = losses.masked_squared_error(
        rolls["velocity"],
        targets["velocity"],
        targets["onset"],
        velocity_mean_weight,
    )
    parts["velocity"] = error, jnp.maximum(jnp.sum(targets["onset"]), 1.0)
    return parts


def pedal_losses(
    rolls: Mapping[str, jax.Array], batch: Batch
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Return the cross-entropies of key releases and pedal as (sum, weight)."""
    return {
        name: (
            losses.binary_cross_entropy(rolls[name], batch[name].astype(jnp.float32)),
            jnp.asarray(batch[name].size, jnp.float32),
        )
        for name in PEDAL_ROLLS
    }


def _f1(roll: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the F1 score of what is likely against a target, as (sum, weight)."""
    est, ref = ((x > 0.5).astype(jnp.float32) for x in (roll, target))
    return 2 * jnp.sum(est * ref), jnp.maximum(jnp.sum(est) + jnp.sum(ref), 1.0)

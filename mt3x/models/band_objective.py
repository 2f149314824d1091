"""The objective of band models: notes, instruments, timbres and drums of mixtures."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mt3x.models import losses
from mt3x.models.band import BandNet, BandNetConfig
from mt3x.models.band_losses import (
    Batch,
    Part,
    cell_f1,
    class_loss,
    count_cells,
    drum_losses,
    timbre_loss,
)
from mt3x.models.features import (
    CQTConfig,
    LogMelConfig,
    by_rows,
    centred_log_mel,
    log_cqt,
    to_float,
)
from mt3x.models.losses import LossSums
from mt3x.models.model_config import WithoutTasks, read_config
from mt3x.models.piano_objective import (
    PianoConfig,
    PianoObjective,
    roll_losses,
    roll_spec,
)
from mt3x.models.roll_mean import mean_rolls
from mt3x.music.band_decoder import HeardNotes, heard_notes
from mt3x.music.band_rolls import BandRolls
from mt3x.music.drum_decoder import DrumDecodingConfig
from mt3x.music.instrument_assignment import AssignmentConfig
from mt3x.music.instrument_classes import DRUM_CLASSES
from mt3x.music.options import check_fields
from mt3x.music.roll_decoder import RollDecodingConfig
from mt3x.music.rolls import NUM_PITCHES, RollLabelConfig
from mt3x.music.vocabulary import TokenizerConfig

Params = Mapping[str, Any]
_HOP = 512

_WEIGHTS = (
    "onset_positive_weight",
    "drum_positive_weight",
    "onset_weight",
    "velocity_weight",
    "classes_weight",
    "timbre_weight",
    "drums_weight",
    "drum_velocity_weight",
    "velocity_mean_weight",
)

HPPNET = "hppnet"
"""The parameters of the HPPNet that hears notes too, among the others."""

BAND_LOSSES = ("classes", "timbre", "drums", "drum_velocity")
"""The parts of the loss besides those of rolls."""


@dataclass(frozen=True)
class BandConfig(WithoutTasks):
    """All that the weights of a band model depend on; stored in each checkpoint."""

    kind: ClassVar[str] = "band model"
    data: ClassVar[str] = "corpora of stems (DataConfig)"
    # The tokens that the model writes: none.
    tokens: ClassVar[TokenizerConfig | None] = None

    model: BandNetConfig = field(default_factory=BandNetConfig)
    features: CQTConfig = field(default_factory=lambda: CQTConfig(hop_samples=_HOP))
    drum_features: LogMelConfig = field(
        default_factory=lambda: LogMelConfig(
            hop_samples=_HOP // 4,
            num_bins=80,
            fft_samples=1024,
            fmin_hz=30.0,
            fmax_hz=8000.0,
        )
    )
    # Decibels below the clip's maximum at which the drums' spectrogram is cut.
    drum_range_db: float = 80.0
    labels: RollLabelConfig = field(
        default_factory=lambda: RollLabelConfig(
            frame_rate_hz=16000 / _HOP, onset_radius_frames=1.5
        )
    )
    decoding: RollDecodingConfig = field(default_factory=RollDecodingConfig)
    drum_decoding: DrumDecodingConfig = field(default_factory=DrumDecodingConfig)
    assignment: AssignmentConfig = field(default_factory=AssignmentConfig)
    # An HPPNet that hears the notes too: rolls are the means of both networks'. It does
    # not learn; its parameters are `hppnet` in those of the model. And its share.
    hppnet: PianoConfig | None = None
    hppnet_share: float = 0.5

    # Weight of onsets against other cells in the cross-entropies of onsets.
    onset_positive_weight: float = 2.0
    drum_positive_weight: float = 2.0
    # Weights in the loss, which is one of a cell of the rolls: of the onsets'
    # cross-entropy, against those of frames and offsets;
    onset_weight: float = 3.0
    # of the mean squared error of velocities at onsets;
    velocity_weight: float = 1.0
    # of the classes' cross-entropy and the timbres' InfoNCE, which have a value in the
    # cells where a note sounds and none in others;
    classes_weight: float = 1.0
    timbre_weight: float = 0.3
    # of the cross-entropy of drum onsets, a mean over steps and drums, and of the mean
    # squared error of their velocities. The branch for drums has its own parameters.
    drums_weight: float = 3.0
    drum_velocity_weight: float = 1.0
    # Weight of a clip's mean error within those of velocities: how loud all of a clip
    # was played cannot be heard where its gain is not known.
    velocity_mean_weight: float = 0.05
    # Cells of a clip that the timbres' InfoNCE compares, and its temperature.
    timbre_cells: int = 192
    timbre_temperature: float = 0.1

    def __post_init__(self) -> None:
        features, drums, model = self.features, self.drum_features, self.model
        check_fields(
            self,
            drum_range_db=(1, 1000),
            timbre_cells=(1, 65_536),
            timbre_temperature=(1e-3, 1e3),
            hppnet_share=(0, 1),
            **dict.fromkeys(_WEIGHTS, (0.0, 1e6)),
        )
        if features.frame_rate_hz != self.labels.frame_rate_hz:
            raise ValueError(
                f"features have {features.frame_rate_hz} frames per second and "
                f"labels {self.labels.frame_rate_hz}: they must be equal"
            )
        if features.num_bins != NUM_PITCHES * model.bins_per_pitch:
            raise ValueError(
                f"features have {features.num_bins} bins: give {NUM_PITCHES} keys "
                f"{model.bins_per_pitch} each"
            )
        if features.hop_samples % drums.hop_samples or (
            features.sample_rate_hz != drums.sample_rate_hz
        ):
            raise ValueError(
                f"hop_samples={features.hop_samples} of features must be a multiple of "
                f"drum_features' {drums.hop_samples}, at one sample rate"
            )
        if drums.fft_samples % (2 * drums.hop_samples):
            raise ValueError(
                f"fft_samples={drums.fft_samples} of drum_features must be a multiple "
                f"of twice the hop {drums.hop_samples}"
            )
        if self.hppnet is not None:
            rate_hz = self.hppnet.features.sample_rate_hz
            if rate_hz != features.sample_rate_hz:
                raise ValueError(
                    f"features are of {features.sample_rate_hz} Hz and those of hppnet "
                    f"of {rate_hz}: they must be equal"
                )
        bands = drums.num_bins
        for pool in model.drum_pools:
            if bands % pool:
                raise ValueError(
                    f"num_bins={drums.num_bins} of drum_features cannot be pooled by "
                    f"{model.drum_pools}"
                )
            bands //= pool

    @property
    def drum_steps(self) -> int:
        """Steps of the drums' rolls in a frame."""
        return self.features.hop_samples // self.drum_features.hop_samples

    def decode(self, blocks: Iterable[BandRolls]) -> HeardNotes:
        """Decode the rolls of a whole recording, which come in blocks of any length."""
        return heard_notes(
            blocks,
            self.decoding,
            self.drum_decoding,
            self.features.frame_rate_hz,
            self.drum_features.frame_rate_hz,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return {"objective": "band", **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BandConfig":
        """Raise ValueError where `values` are not a band model's configuration."""
        required = ("model", "features", "drum_features", "labels", "decoding")
        return read_config(cls, "band", values, (*required, "drum_decoding"))

    def summary(self) -> str:
        """Describe the model in a few words."""
        model = self.model
        return f"band model of {model.width} channels in {model.num_layers} layers"

    def batch_spec(
        self, batch_size: int, num_frames: int
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes of a training batch of clips of `num_frames` frames."""
        samples_BxS = (batch_size, num_frames * self.features.hop_samples)
        roll_BxTxP = (batch_size, num_frames, NUM_PITCHES)
        steps_BxUxD = (batch_size, num_frames * self.drum_steps, len(DRUM_CLASSES))
        return {
            "samples": jax.ShapeDtypeStruct(samples_BxS, jnp.float32),
            **roll_spec(batch_size, num_frames),
            "classes": jax.ShapeDtypeStruct(roll_BxTxP, jnp.int32),
            "parts": jax.ShapeDtypeStruct(roll_BxTxP, jnp.int8),
            "drums": jax.ShapeDtypeStruct(steps_BxUxD, jnp.float32),
            "drum_velocity": jax.ShapeDtypeStruct(steps_BxUxD, jnp.float32),
        }


class BandObjective:
    """The band network on log CQT and log-mel, trained on mixtures of stems."""

    # The loss of a batch is the sum of its examples' losses: devices need not exchange
    # anything but these sums. What is drawn is the same for all examples.
    separate_examples = True

    def __init__(self, config: BandConfig, dtype: Any = jnp.float32) -> None:
        self.config = config
        self.dtype = dtype
        self.model = BandNet(config.model)
        self.hppnet = config.hppnet and PianoObjective(config.hppnet, dtype)

    def init(self, rng: jax.Array) -> Params:
        """Draw the parameters."""
        config, frames = self.config, 2
        feats_BxTxF = jnp.zeros((1, frames, config.features.num_bins))
        steps = frames * config.drum_steps
        mel_BxUxM = jnp.zeros((1, steps, config.drum_features.num_bins))
        params = self.model.init(rng, feats_BxTxF, mel_BxUxM)["params"]
        others = {HPPNET: self.hppnet.init(rng)} if self.hppnet else {}
        return {**params, **others}

    def features(self, samples_BxS: jax.Array) -> jax.Array:
        """Turn samples, float or int16, into feats_BxTxF with T = S // hop."""
        # Frame S // hop is centred on the clip's end: it belongs to the next clip.
        return log_cqt(to_float(samples_BxS), self.config.features)[:, :-1]

    def drum_features(self, samples_BxS: jax.Array) -> jax.Array:
        """Turn samples, float or int16, into the drums' mel_BxUxM."""
        config = self.config
        samples_BxS = to_float(samples_BxS)
        return centred_log_mel(samples_BxS, config.drum_features, config.drum_range_db)

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
          What `BandNet` does, T = S // hop and U = T * drum_steps; zero in padding. Of
          a model with an HPPNet the rolls are the means of both.
        """
        outputs = self._heard(params, samples_BxS, num_samples_B)
        if self.hppnet:
            config = self.hppnet.config
            step_frames = self.config.features.hop_samples / config.features.hop_samples
            others = self.hppnet.predict(params[HPPNET], samples_BxS, num_samples_B)
            share = self.config.hppnet_share
            outputs |= mean_rolls(outputs, others, step_frames, share)
        if num_samples_B is not None:
            frames = outputs["onset"].shape[1]
            mask_BxT = self._mask(frames, num_samples_B)
            for name, values in outputs.items():
                keep = jnp.repeat(mask_BxT, values.shape[1] // frames, axis=1)
                keep = keep.reshape(*keep.shape, *[1] * (values.ndim - 2))
                outputs[name] = jnp.where(keep, values, 0.0)
        return outputs

    def _mask(self, frames: int, num_samples_B: jax.Array) -> jax.Array:
        """Return which frames are of the clips, and not padding: BxT."""
        num_frames_B = -(-num_samples_B // self.config.features.hop_samples)
        return jnp.arange(frames) < num_frames_B[:, None]

    def _heard(
        self,
        params: Params,
        samples_BxS: jax.Array,
        num_samples_B: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """Return what the band network alone hears; anything in padding."""
        feats_BxTxF = by_rows(self.features, samples_BxS)
        mel_BxUxM = by_rows(self.drum_features, samples_BxS)
        mask_BxT = None
        if num_samples_B is not None:
            mask_BxT = self._mask(feats_BxTxF.shape[1], num_samples_B)
        outputs: Any = self.model.apply(
            {"params": {k: part for k, part in params.items() if k != HPPNET}},
            feats_BxTxF.astype(self.dtype),
            mel_BxUxM.astype(self.dtype),
            mask_BxT,
        )
        return outputs

    def loss(
        self, params: Params, batch: Batch, rng: jax.Array | None = None
    ) -> LossSums:
        """Return the loss as a sum with its weight, and its parts.

        Classes and timbres count in the cells where a note sounds, velocities at
        onsets. An HPPNet does not learn, and is not asked.

        Args:
          params: as from `init`.
          batch: `samples` BxS; the target rolls `onset`, `frame`, `offset` and
            `velocity` BxTxP; `classes` BxTxP, whose bit k is set where class k sounds;
            `parts` BxTxP, the number (1, 2...) of the only part that sounds, 0 where
            none or several do; `drums` and `drum_velocity` BxUxD.
          rng: draws the cells with timbres that are compared, the same in all clips;
            None: always the same ones.

        Returns:
          The sum with its weight (keys x frames), and the parts: `onset`, `frame`,
          `offset`, `velocity`, `classes`, `timbre`, `drums`, `drum_velocity`. Besides
          `onset_f1` and `drum_f1`, of cells, and `class_accuracy`, of those where a
          note sounds.
        """
        config, whole = self.config, losses.over_devices
        outputs = self._heard(params, batch["samples"])
        num_cells = jnp.asarray(batch["onset"].size, jnp.float32)
        parts = roll_losses(
            outputs,
            batch,
            num_cells,
            config.onset_positive_weight,
            config.velocity_mean_weight,
        )
        parts["classes"] = class_loss(
            outputs["classes"], batch["classes"], batch["frame"]
        )
        rng = jax.random.key(0) if rng is None else rng
        parts["timbre"] = timbre_loss(
            outputs["timbre"],
            batch["parts"],
            rng,
            config.timbre_cells,
            config.timbre_temperature,
        )
        parts |= drum_losses(
            outputs, batch, config.drum_positive_weight, config.velocity_mean_weight
        )
        weights = {
            "onset": config.onset_weight,
            "velocity": config.velocity_weight,
            "drums": config.drums_weight,
            "drum_velocity": config.drum_velocity_weight,
        }
        sounding = whole(jnp.sum(batch["frame"].astype(jnp.float32)))
        total = jnp.zeros(())
        for name, (part, part_weight) in parts.items():
            mean = part / whole(part_weight)
            if name == "classes":
                total += config.classes_weight * mean * sounding
            elif name == "timbre":
                total += config.timbre_weight * mean * sounding
            else:
                total += weights.get(name, 1.0) * mean * whole(num_cells)
        # Weight decay must not move what does not learn.
        fixed = {HPPNET: params[HPPNET]} if self.hppnet else {}
        return LossSums(total, num_cells, parts | self._scores(outputs, batch), fixed)

    def _scores(
        self, outputs: Mapping[str, jax.Array], batch: Batch
    ) -> dict[str, Part]:
        """Return how good the outputs are, as (sum, weight), in terms that rise."""
        frame_BxTxP = (batch["frame"] > 0) & (batch["classes"] > 0)
        best_BxTxP = jnp.argmax(outputs["classes"], axis=-1)
        is_right_BxTxP = frame_BxTxP & ((batch["classes"] >> best_BxTxP) & 1 > 0)
        return {
            "onset_f1": cell_f1(
                outputs["onset"], batch["onset"], self.config.onset_positive_weight
            ),
            "drum_f1": cell_f1(
                outputs["drums"], batch["drums"], self.config.drum_positive_weight
            ),
            "class_accuracy": (
                count_cells(is_right_BxTxP),
                jnp.maximum(count_cells(frame_BxTxP), 1.0),
            ),
        }

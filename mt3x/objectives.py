"""Where a model meets its data: what is computed for training and for transcription."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from mt3x import losses
from mt3x.codec import Codec
from mt3x.features import CQTConfig, LogMelConfig, by_rows, log_cqt, log_mel
from mt3x.models.hppnet import HEADS, HPPNet, HPPNetConfig, SubnetConfig
from mt3x.models.seq2seq import Seq2Seq, Seq2SeqConfig
from mt3x.rolls import RollDecodingConfig, RollLabelConfig
from mt3x.tokens import TokenizerConfig

Params = Mapping[str, Any]
Batch = Mapping[str, jax.Array]


@dataclass(frozen=True)
class PianoConfig:
    """All that the weights of a piano model depend on; stored in each checkpoint."""

    model: HPPNetConfig = field(default_factory=HPPNetConfig)
    features: CQTConfig = field(default_factory=CQTConfig)
    labels: RollLabelConfig = field(default_factory=RollLabelConfig)
    decoding: RollDecodingConfig = field(default_factory=RollDecodingConfig)
    # Weight of onset frames against others in the onset's cross-entropy.
    onset_positive_weight: float = 2.0

    def __post_init__(self) -> None:
        if self.features.frame_rate_hz != self.labels.frame_rate_hz:
            raise ValueError(
                f"features have {self.features.frame_rate_hz} frames per second and "
                f"labels {self.labels.frame_rate_hz}: they must be equal"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return {"objective": "piano", **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PianoConfig":
        """Raise ValueError where `values` are not a piano model's configuration."""
        if values.get("objective") != "piano":
            raise ValueError(
                f"configuration of objective {values.get('objective')!r} instead of "
                "'piano': this is a checkpoint of another model"
            )
        try:
            model = dict(values["model"])
            subnets = [
                SubnetConfig(**{**subnet, "heads": tuple(subnet["heads"])})
                for subnet in model.pop("subnets")
            ]
            return cls(
                model=HPPNetConfig(**model, subnets=tuple(subnets)),
                features=CQTConfig(**values["features"]),
                labels=RollLabelConfig(**values["labels"]),
                decoding=RollDecodingConfig(**values["decoding"]),
                onset_positive_weight=values["onset_positive_weight"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"piano configuration does not fit this version of mt3x: {error}"
            ) from error


class PianoObjective:
    """HPPNet on log-CQT features, trained on rolls."""

    def __init__(self, config: PianoConfig, dtype: Any = jnp.float32) -> None:
        self.config = config
        self.dtype = dtype
        self.model = HPPNet(config.model)

    def init(self, rng: jax.Array) -> Params:
        """Draw the parameters."""
        feats_BxTxF = jnp.zeros((1, 2, self.config.features.num_bins))
        return self.model.init(rng, feats_BxTxF)["params"]

    def features(self, samples_BxS: jax.Array) -> jax.Array:
        """Samples, float or int16, to feats_BxTxF with T = S // hop."""
        if samples_BxS.dtype == jnp.int16:
            samples_BxS = samples_BxS.astype(jnp.float32) / 32768
        # Frame S // hop is centred on the clip's end: it belongs to the next clip.
        return log_cqt(samples_BxS, self.config.features)[:, :-1]

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
          num_samples_B: length of each clip where it is padded behind.

        Returns:
          Rolls BxTxP in float32 for onset, frame, offset and velocity, T = S // hop;
          zero in padding.
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
    ) -> tuple[jax.Array, jax.Array, dict[str, tuple[jax.Array, jax.Array]]]:
        """HPPNet's loss (eq. 3 to 7) as a sum with its weight.

        The velocity's error counts at onsets only and is divided by their weight, not
        by the number of keys and frames, as the authors' code has it.

        Args:
          params: as from `init`.
          batch: `samples` BxS and the target rolls `onset`, `frame`, `offset` and
            `velocity` BxTxP.
          rng: not used; HPPNet draws nothing.

        Returns:
          The sum, its weight (keys x frames), and for each part its (sum, weight).
        """
        del rng
        targets = {name: batch[name].astype(jnp.float32) for name in HEADS}
        rolls = self.predict(params, batch["samples"])
        weight = jnp.asarray(targets["onset"].size, jnp.float32)
        parts = {
            name: (losses.binary_cross_entropy(rolls[name], targets[name], w), weight)
            for name, w in (
                ("onset", self.config.onset_positive_weight),
                ("frame", 1.0),
                ("offset", 1.0),
            )
        }
        onset_weight = jnp.maximum(jnp.sum(targets["onset"]), 1.0)
        parts["velocity"] = (
            losses.masked_squared_error(
                rolls["velocity"], targets["velocity"], targets["onset"]
            ),
            onset_weight,
        )
        total = sum(part * weight / part_weight for part, part_weight in parts.values())
        return jnp.asarray(total), weight, parts


@dataclass(frozen=True)
class TokensConfig:
    """All that the weights of a token model depend on; stored in each checkpoint.

    The defaults are those of the model that MT3's authors published as `mt3`.
    """

    model: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)
    features: LogMelConfig = field(default_factory=LogMelConfig)
    tokens: TokenizerConfig = field(default_factory=TokenizerConfig)
    # Frames of audio in a segment.
    num_frames: int = 256
    # Tokens of a segment, its end marker included.
    max_tokens: int = 1024
    # Of the training loss (see `mt3x.losses.cross_entropy`).
    z_loss: float = 1e-4
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        num_embeddings = Codec(self.tokens.vocab).num_embeddings
        if self.model.vocab_size < num_embeddings:
            raise ValueError(
                f"the model has {self.model.vocab_size} embeddings, its vocabulary "
                f"needs {num_embeddings}: set Seq2SeqConfig.vocab_size"
            )
        if self.model.input_depth != self.features.num_bins:
            raise ValueError(
                f"the model takes {self.model.input_depth} features a frame, but there "
                f"are {self.features.num_bins}: they must be equal"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return {"objective": "tokens", **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TokensConfig":
        """Raise ValueError where `values` are not a token model's configuration."""
        values = dict(values)
        objective = values.pop("objective", None)
        if objective != "tokens":
            raise ValueError(
                f"configuration of objective {objective!r} instead of 'tokens': this "
                "is a checkpoint of another model"
            )
        try:
            model = dict(values.pop("model"))
            model["mlp_activations"] = tuple(model["mlp_activations"])
            return cls(
                model=Seq2SeqConfig(**model),
                features=LogMelConfig(**values.pop("features")),
                tokens=TokenizerConfig.from_dict(values.pop("tokens")),
                **values,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"token configuration does not fit this version of mt3x: {error}"
            ) from error


class TokensObjective:
    """MT3: a T5 encoder-decoder from log-mel features to event tokens.

    Transcription is a loop around `start` and `step` (see `mt3x.decoding`). Token ids
    are the model's: those of the codec behind three special ones.
    """

    def __init__(self, config: TokensConfig, dtype: Any = jnp.float32) -> None:
        self.config = config
        self.dtype = dtype
        self.model = Seq2Seq(config.model, dtype=jnp.dtype(dtype))

    def init(self, rng: jax.Array) -> Params:
        """Draw the parameters."""
        feats_BxTxF = jnp.zeros((1, 2, self.config.features.num_bins))
        inputs_BxL = jnp.zeros((1, 2), jnp.int32)
        return self.model.init(rng, feats_BxTxF, inputs_BxL)["params"]

    def features(self, frames_BxTxW: jax.Array, num_frames_B: jax.Array) -> jax.Array:
        """Audio frames, float or int16, to feats_BxTxF.

        Frames from `num_frames_B` on are padding: their features are 0, as in MT3,
        which pads features and not audio.
        """
        if frames_BxTxW.dtype == jnp.int16:
            frames_BxTxW = frames_BxTxW.astype(jnp.float32) / 32768
        samples_BxS = frames_BxTxW.reshape(len(frames_BxTxW), -1)
        feats_BxTxF = log_mel(samples_BxS, self.config.features)
        is_audio_BxT = jnp.arange(feats_BxTxF.shape[1]) < num_frames_B[:, None]
        return jnp.where(is_audio_BxT[..., None], feats_BxTxF, 0.0)

    def loss(
        self, params: Params, batch: Batch, rng: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, dict[str, tuple[jax.Array, jax.Array]]]:
        """Cross-entropy of the target tokens with z-loss, as a sum with its weight.

        Args:
          params: as from `init`.
          batch: `encoder_input_tokens` BxTxW (audio frames), `encoder_num_frames` B,
            `decoder_input_tokens`, `decoder_target_tokens` and `decoder_loss_weights`
            BxL: T5X's names.
          rng: for dropout; None leaves it out.

        Returns:
          The sum, its weight (target tokens), and for each part its (sum, weight).
        """
        feats_BxTxF = by_rows(
            self.features, batch["encoder_input_tokens"], batch["encoder_num_frames"]
        )
        logits_BxLxV: Any = self.model.apply(
            {"params": params},
            feats_BxTxF,
            batch["decoder_input_tokens"],
            deterministic=rng is None,
            rngs=None if rng is None else {"dropout": rng},
        )
        targets_BxL = batch["decoder_target_tokens"]
        weights_BxL = batch["decoder_loss_weights"].astype(jnp.float32)
        cross_entropy, penalty = losses.cross_entropy(
            logits_BxLxV,
            targets_BxL,
            weights_BxL,
            self.config.z_loss,
            self.config.label_smoothing,
        )
        weight = jnp.sum(weights_BxL)
        is_right_BxL = jnp.argmax(logits_BxLxV, axis=-1) == targets_BxL
        parts = {
            "cross_entropy": (cross_entropy, weight),
            "z_loss": (penalty, weight),
            "accuracy": (jnp.sum(weights_BxL, where=is_right_BxL), weight),
        }
        return cross_entropy + penalty, weight, parts

    def start(
        self, params: Params, frames_BxTxW: jax.Array, num_frames_B: jax.Array
    ) -> Any:
        """Encode segments; the cache that `step` reads and writes.

        Args:
          params: as from `init`.
          frames_BxTxW: audio frames.
          num_frames_B: how many of them are audio.
        """
        feats_BxTxF = self.features(frames_BxTxW, num_frames_B)

        def encode(model: Seq2Seq) -> Any:
            return model.start(model.encode(feats_BxTxF), self.config.max_tokens)

        return self.model.apply({"params": params}, method=encode)

    def step(
        self,
        params: Params,
        cache: Any,
        tokens_B: jax.Array,
        positions_B: jax.Array,
        length: int | None = None,
    ) -> tuple[jax.Array, Any]:
        """The next token's logits.

        Args:
          params: as from `init`.
          cache: from `start` or the step before.
          tokens_B: the token in front of the one to come; 0 at position 0.
          positions_B: how many tokens a row has so far.
          length: more than any position, as a static number; shorter is faster.

        Returns:
          logits_BxV in float32, and the cache that holds the token.
        """
        out: Any = self.model.apply(
            {"params": params}, cache, tokens_B, positions_B, length, method="step"
        )
        return out


def config_from_dict(values: Mapping[str, Any]) -> PianoConfig | TokensConfig:
    """The config that a checkpoint carries, of either kind.

    Raises:
      ValueError: it is of neither kind, or of another version of mt3x.
    """
    kinds = {"piano": PianoConfig, "tokens": TokensConfig}
    kind = values.get("objective")
    if kind not in kinds:
        raise ValueError(
            f"configuration of objective {kind!r}, which is none of {', '.join(kinds)}:"
            " give a checkpoint of mt3x"
        )
    return kinds[kind].from_dict(values)


def make_objective(
    config: PianoConfig | TokensConfig, dtype: Any = jnp.float32
) -> PianoObjective | TokensObjective:
    """The objective of a config, its arithmetic in `dtype`."""
    if isinstance(config, PianoConfig):
        return PianoObjective(config, dtype)
    return TokensObjective(config, dtype)

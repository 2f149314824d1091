"""The configuration of token models: all that their weights depend on."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mt3x.models.band_objective import BandConfig
from mt3x.models.draft import DraftIds
from mt3x.models.features import CQTConfig, LogMelConfig
from mt3x.models.model_config import read_config
from mt3x.models.piano_objective import roll_spec
from mt3x.models.seq2seq import Seq2SeqConfig
from mt3x.music import band_rolls
from mt3x.music.note_filter import without_stutter
from mt3x.music.notes import Notes
from mt3x.music.options import check_fields
from mt3x.music.roll_decoder import RollDecodingConfig, upgraded_decoding
from mt3x.music.rolls import ROLL_NAMES, RollLabelConfig
from mt3x.music.tokens import Decoded, Tokenizer
from mt3x.music.vocabulary import Codec, TokenizerConfig


@dataclass(frozen=True)
class RollsConfig:
    """HPPNet's heads on a token model's encoder, learnt beside the tokens."""

    # Features of a key before the heads, and LSTM units of a head.
    channels: int = 48
    # At the frame rate of the token model's features.
    labels: RollLabelConfig = field(
        default_factory=lambda: RollLabelConfig(frame_rate_hz=125.0)
    )
    decoding: RollDecodingConfig = field(default_factory=RollDecodingConfig)
    # Of the onset's, frame's, offset's and velocity's loss (HPPNet's means) against the
    # tokens' (mean over tokens).
    weights: tuple[float, float, float, float] = (10.0, 10.0, 10.0, 10.0)
    # Weight of onset frames against others in the onset's cross-entropy.
    onset_positive_weight: float = 2.0

    def __post_init__(self) -> None:
        if self.channels < 2 or self.channels % 2:
            raise ValueError(f"channels={self.channels} must be even and at least 2")
        if len(self.weights) != len(ROLL_NAMES) or min(self.weights) < 0:
            raise ValueError(
                f"weights={self.weights} must be {len(ROLL_NAMES)} numbers of 0 or "
                f"more: of {', '.join(ROLL_NAMES)}"
            )
        check_fields(
            self, channels=(2, 4096), weights=(0, 1e6), onset_positive_weight=(0, 1e6)
        )


@dataclass(frozen=True)
class TokensConfig:
    """All that the weights of a token model depend on; stored in each checkpoint.

    The defaults are those of the model that MT3's authors published as `mt3`.
    """

    kind: ClassVar[str] = "token model"

    model: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)
    features: LogMelConfig = field(default_factory=LogMelConfig)
    tokens: TokenizerConfig = field(default_factory=TokenizerConfig)
    # Frames of audio in a segment.
    num_frames: int = 256
    # Tokens of a segment, its end marker included.
    max_tokens: int = 1024
    # Seconds from a note to the next of its instrument and pitch; what comes sooner
    # prolongs it (`mt3x.music.note_filter.without_stutter`). 0: as MT3 has it.
    least_again_s: float = 0.0
    # Of the training loss (see `mt3x.models.losses.cross_entropy`).
    z_loss: float = 1e-4
    label_smoothing: float = 0.0
    # What a stem on a constant-Q transform reads beside the log-mel features.
    stem_features: CQTConfig | None = None
    # The band model that hears a recording before, whole, for a stem that reads its
    # rolls or for a draft. It does not learn; its parameters are `band` in those of the
    # model.
    band: BandConfig | None = None
    # Seconds by which notes of a draft end before the band model says so, for sets
    # whose notes end sooner (`mt3x.music.drafts.draft_of`).
    draft_early_s: float = 0.0
    # Heads for rolls on the encoder, as an auxiliary task; None: tokens alone.
    rolls: RollsConfig | None = None

    def __post_init__(self) -> None:
        check_fields(
            self,
            num_frames=(1, 2048),
            max_tokens=(1, 4096),
            least_again_s=(0, 1),
            draft_early_s=(0, 1),
            z_loss=(0, 1e3),
            label_smoothing=(0, 0.99),
        )
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
        if self.model.stem.reads_cqt != (self.stem_features is not None):
            raise ValueError(
                "TokensConfig.stem_features and a stem that reads them (harmonic, "
                "band) go together: set both or neither"
            )
        has_draft = self.model.draft_columns > 0
        if self.model.stem.reads_band_rolls + has_draft != (self.band is not None):
            raise ValueError(
                "TokensConfig.band and what reads it, a stem (band_rolls) or a draft "
                "(Seq2SeqConfig.draft_columns), go together: set it and one of these, "
                "or none"
            )
        if has_draft and (self.tokens.relative_shifts or self.rolls):
            raise ValueError(
                "a draft (Seq2SeqConfig.draft_columns) has times that count from the "
                "segment's start, and no heads beside it: set "
                "TokenizerConfig.relative_shifts=False and TokensConfig.rolls=None"
            )
        longest = self.num_frames * self.model.draft_columns
        if has_draft and self.max_tokens > longest:
            raise ValueError(
                f"max_tokens={self.max_tokens}: a draft of {self.num_frames} frames "
                f"has {longest} tokens (Seq2SeqConfig.draft_columns), so give at most "
                f"{longest}"
            )
        if has_draft != self.tokens.by_pitch:
            raise ValueError(
                "TokenizerConfig.by_pitch is for a draft (Seq2SeqConfig.draft_columns):"
                " set both or neither"
            )
        mel = self.features
        others = {"stem_features": self.stem_features}
        others["features of the band model"] = self.band and self.band.features
        for name, cqt in others.items():
            if cqt is not None and (cqt.sample_rate_hz, cqt.hop_samples) != (
                mel.sample_rate_hz,
                mel.hop_samples,
            ):
                raise ValueError(
                    f"{name} have a rate of {cqt.sample_rate_hz} Hz and a hop of "
                    f"{cqt.hop_samples}, features {mel.sample_rate_hz} and "
                    f"{mel.hop_samples}: they must be equal"
                )
        if self.rolls and self.rolls.labels.frame_rate_hz != mel.frame_rate_hz:
            raise ValueError(
                f"features have {mel.frame_rate_hz} frames per second and the labels "
                f"of rolls {self.rolls.labels.frame_rate_hz}: they must be equal"
            )

    @property
    def draft_ids(self) -> DraftIds:
        """Where the kinds of tokens are among the ids, for a draft."""
        return DraftIds.of(Codec(self.tokens.vocab), self.features.frame_rate_hz)

    @property
    def band_columns(self) -> int | None:
        """Numbers of the band model that follow the samples of a frame, if any."""
        if self.band is None or not self.model.stem.reads_band_rolls:
            return None
        return band_rolls.num_columns(self.band.drum_steps)

    @property
    def frame_width(self) -> int:
        """Numbers in a frame: samples, and what a band model said of it before."""
        columns = (self.band_columns or 0) + self.model.draft_columns
        return self.features.hop_samples + columns

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return {"objective": "tokens", **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TokensConfig":
        """Raise ValueError where `values` are not a token model's configuration."""
        required = ("model", "features", "tokens")
        upgrades = {RollDecodingConfig: upgraded_decoding}
        return read_config(cls, "tokens", values, required, upgrades)

    def summary(self) -> str:
        """Describe the model in a few words."""
        model = self.model
        return (
            f"{model.num_encoder_layers} + {model.num_decoder_layers} layers of width "
            f"{model.emb_dim}, {self.tokens.vocab.num_velocity_bins} velocity bins, "
            f"{self.num_frames} frames a segment"
        )

    def batch_spec(
        self, batch_size: int, num_frames: int | None = None
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes of a training batch; segments have frames of their own."""
        del num_frames
        frames_BxTxW = (batch_size, self.num_frames, self.frame_width)
        tokens_BxL = (batch_size, self.max_tokens)
        shape = jax.ShapeDtypeStruct
        return {
            **(roll_spec(batch_size, self.num_frames) if self.rolls else {}),
            "encoder_input_tokens": shape(frames_BxTxW, jnp.float32),
            "encoder_num_frames": shape((batch_size,), jnp.int32),
            "decoder_input_tokens": shape(tokens_BxL, jnp.int32),
            "decoder_target_tokens": shape(tokens_BxL, jnp.int32),
            "decoder_loss_weights": shape(tokens_BxL, jnp.float32),
        }

    def example_lengths(self, clip_frames: int) -> tuple[int, int | None]:
        """Return the frames and tokens of an example, which are those of a segment."""
        del clip_frames
        return self.num_frames, self.max_tokens

    def train_options(self, max_examples_per_mix: int | None = None) -> dict[str, Any]:
        """Return the fields of `pipeline.TrainOptions` that the model asks for."""
        return {
            "max_examples_per_mix": max_examples_per_mix,
            "program_granularity": self.tokens.program_granularity,
            "labels": self.rolls.labels if self.rolls else None,
            "band_columns": self.band_columns,
            "draft_columns": self.model.draft_columns,
            "draft_early_s": self.draft_early_s,
        }

    def converter_options(self) -> dict[str, Any]:
        """Return the options of the feature converter of training tasks."""
        return {"labels": self.rolls.labels if self.rolls else None}

    def notes(self, segments: Sequence[tuple[int, Any]]) -> Notes:
        """Return the notes of predicted tokens.

        Args:
          segments: the first frame and the model's ids of each segment.
        """
        rate_hz = self.features.frame_rate_hz
        return self.decode((first / rate_hz, ids) for first, ids in segments).notes

    def decode(self, segments: Iterable[tuple[float, Any]]) -> Decoded:
        """Return what predicted tokens say, notes that begin again too soon joined.

        Args:
          segments: the start in seconds and the model's ids of each segment.
        """
        tokenizer = Tokenizer(self.tokens)
        decoded = tokenizer.decode(
            (start_s, tokenizer.from_model_ids(ids)) for start_s, ids in segments
        )
        notes = without_stutter(decoded.notes, self.least_again_s)
        return decoded._replace(notes=notes)

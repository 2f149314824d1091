"""MT3's objective: event tokens from log-mel frames, and rolls beside them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mt3x.models import batch_norm, losses
from mt3x.models.band_objective import BandObjective
from mt3x.models.features import by_rows, log_cqt, log_mel, to_float
from mt3x.models.losses import LossSums
from mt3x.models.piano_objective import Batch, Params, roll_losses
from mt3x.models.seq2seq import Seq2Seq
from mt3x.models.tokens_config import TokensConfig
from mt3x.music.rolls import ROLL_NAMES

BAND = "band"
"""The parameters of the band model that hears a recording before, among the others."""


class TokensObjective:
    """MT3: a T5 encoder-decoder from log-mel features to event tokens.

    Transcription is a loop around `start` and `step` (see `mt3x.inference.decoding`).
    Token ids are the model's: those of the codec after three special ones.
    """

    def __init__(self, config: TokensConfig, dtype: Any = jnp.float32) -> None:
        self.config = config
        self.dtype = dtype
        channels = config.rolls and config.rolls.channels
        self.model = Seq2Seq(config.model, jnp.dtype(dtype), channels, config.draft_ids)

    def init(self, rng: jax.Array) -> Params:
        """Draw the parameters; batch norm's statistics are among them."""
        config, cqt = self.config, self.config.stem_features
        num_bins = config.features.num_bins + (cqt.num_bins if cqt else 0)
        num_bins += config.frame_width - config.features.hop_samples
        inputs = jnp.zeros((1, 2, num_bins)), jnp.zeros((1, 2), jnp.int32)
        params = batch_norm.join(self.model.init(rng, *inputs, method="with_rolls"))
        if config.band is not None:
            params[BAND] = BandObjective(config.band).init(rng)
        return params

    def features(self, frames_BxTxW: jax.Array, num_frames_B: jax.Array) -> jax.Array:
        """Turn audio frames, float or int16, into feats_BxTxF.

        Of a model that reads what a band model heard the frames are float, and columns
        follow the samples; they follow the features as well.

        Frames from `num_frames_B` on are padding: their features are 0, as in MT3,
        which pads features and not audio. Those of a constant-Q transform follow the
        log-mel ones; they are of windows around a frame's first sample, log-mel
        of windows that begin there.
        """
        hop_samples = self.config.features.hop_samples
        columns_BxTxH = frames_BxTxW[..., hop_samples:]
        samples_BxS = to_float(frames_BxTxW[..., :hop_samples])
        samples_BxS = samples_BxS.reshape(len(frames_BxTxW), -1)
        feats_BxTxF = log_mel(samples_BxS, self.config.features)
        is_audio_BxT = _is_audio(num_frames_B, feats_BxTxF.shape[1])
        feats_BxTxF = jnp.where(is_audio_BxT[..., None], feats_BxTxF, 0.0)
        if self.config.band is not None:
            return jnp.concatenate([feats_BxTxF, columns_BxTxH], axis=-1)
        if self.config.stem_features is None:
            return feats_BxTxF
        # Frame S // hop is centred on the segment's end: it belongs to the next one.
        cqt_BxTxF = log_cqt(samples_BxS, self.config.stem_features)[:, :-1]
        return jnp.concatenate([feats_BxTxF, cqt_BxTxF], axis=-1)

    def loss(
        self, params: Params, batch: Batch, rng: jax.Array | None = None
    ) -> LossSums:
        """Return the cross-entropy of target tokens with z-loss, a sum with its weight.

        The heads' losses, where there are heads, are added in proportion to it.

        Args:
          params: as from `init`.
          batch: `encoder_input_tokens` BxTxW (frames), `encoder_num_frames` B,
            `decoder_input_tokens`, `decoder_target_tokens` and `decoder_loss_weights`
            BxL: T5X's names. For the heads the target rolls `onset`, `frame`, `offset`
            and `velocity` BxTxP.
          rng: for training: dropout, and batch norm by the batch's own statistics.
            None: without dropout, by the running statistics.

        Returns:
          The sum with its weight (target tokens), all parts, and in training the new
          running statistics and what does not learn.
        """
        num_frames_B = batch["encoder_num_frames"]
        feats_BxTxF = by_rows(
            self.features, batch["encoder_input_tokens"], num_frames_B
        )
        is_audio_BxT = _is_audio(num_frames_B, feats_BxTxF.shape[1])
        out: Any = self.model.apply(
            _variables(params),
            feats_BxTxF,
            batch["decoder_input_tokens"],
            is_audio_BxT,
            deterministic=rng is None,
            rngs=None if rng is None else {"dropout": rng},
            mutable=[] if rng is None else ["batch_stats"],
            method="with_rolls",
        )
        (logits_BxLxV, rolls), new = out
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
        total = cross_entropy + penalty
        if self.config.rolls is not None:
            roll_parts = self._roll_losses(rolls, is_audio_BxT, batch)
            for name, factor in zip(ROLL_NAMES, self.config.rolls.weights, strict=True):
                part, part_weight = roll_parts[name]
                total += factor * part * weight / part_weight
            parts |= roll_parts
        statistics = new.get("batch_stats", {})
        if rng is not None:
            statistics = batch_norm.updated(statistics, self._fixed(params))
        return LossSums(total, weight, parts, statistics)

    def _fixed(self, params: Params) -> Params:
        """Return the parameters that do not learn: weight decay must not move them."""
        fixed = {}
        if self.config.band is not None:
            fixed[BAND] = params[BAND]
        if self.config.model.stem.frozen:
            notes = params["encoder"]["stem"]["notes"]
            fixed["encoder"] = {"stem": {"notes": notes}}
        return fixed

    def _roll_losses(
        self, rolls: Mapping[str, jax.Array], is_audio_BxT: jax.Array, batch: Batch
    ) -> dict[str, tuple[jax.Array, jax.Array]]:
        """Return the losses of the heads, over the frames of audio."""
        assert self.config.rolls is not None
        # Where both the roll and its target are 0 the loss is nothing.
        heard = {
            n: jnp.where(is_audio_BxT[..., None], r, 1e-7) for n, r in rolls.items()
        }
        num_cells = jnp.sum(is_audio_BxT, dtype=jnp.float32) * rolls["onset"].shape[2]
        return roll_losses(
            heard,
            batch,
            jnp.maximum(num_cells, 1.0),
            self.config.rolls.onset_positive_weight,
        )

    def encode(
        self, params: Params, frames_BxTxW: jax.Array, num_frames_B: jax.Array
    ) -> jax.Array:
        """Return encoded_BxTxD of segments, which `rolls` and `start_encoded` take.

        Args:
          params: as from `init`.
          frames_BxTxW: audio frames.
          num_frames_B: how many of them are audio.
        """
        feats_BxTxF = self.features(frames_BxTxW, num_frames_B)
        encoded: Any = self.model.apply(
            _variables(params), feats_BxTxF, method="encode"
        )
        return encoded

    def rolls(
        self, params: Params, encoded_BxTxD: jax.Array, num_frames_B: jax.Array
    ) -> dict[str, jax.Array]:
        """Return what the heads say of segments.

        Args:
          params: as from `init`.
          encoded_BxTxD: as from `encode`.
          num_frames_B: how many frames are audio.

        Returns:
          Rolls BxTxP in float32 for onset, frame, offset and velocity; zero in padding.
        """
        num_frames = encoded_BxTxD.shape[1] - self.config.model.end_marker
        is_audio_BxT = _is_audio(num_frames_B, num_frames)
        rolls: Any = self.model.apply(
            _variables(params), encoded_BxTxD, is_audio_BxT, method="rolls"
        )
        keep = is_audio_BxT[..., None]
        return {name: jnp.where(keep, roll, 0.0) for name, roll in rolls.items()}

    def predict_rolls(
        self, params: Params, frames_BxTxW: jax.Array, num_frames_B: jax.Array
    ) -> dict[str, jax.Array]:
        """Return the `rolls` of segments as `encode` takes them."""
        encoded_BxTxD = self.encode(params, frames_BxTxW, num_frames_B)
        return self.rolls(params, encoded_BxTxD, num_frames_B)

    def start(
        self, params: Params, frames_BxTxW: jax.Array, num_frames_B: jax.Array
    ) -> Any:
        """Return the `start_encoded` of segments as `encode` takes them."""
        encoded_BxTxD = self.encode(params, frames_BxTxW, num_frames_B)
        return self.start_encoded(params, encoded_BxTxD)

    def start_encoded(self, params: Params, encoded_BxTxD: jax.Array) -> Any:
        """Return the cache of segments that `step` reads and writes.

        Args:
          params: as from `init`.
          encoded_BxTxD: as from `encode`.
        """
        return self.model.apply(
            _variables(params),
            encoded_BxTxD,
            self.config.max_tokens,
            method="start",
        )

    def step(
        self,
        params: Params,
        cache: Any,
        tokens_B: jax.Array,
        positions_B: jax.Array,
        length: int | None = None,
    ) -> tuple[jax.Array, Any]:
        """Return the next token's logits.

        Args:
          params: as from `init`.
          cache: from `start` or the step before.
          tokens_B: the token before the one to come; 0 at position 0.
          positions_B: how many tokens a row has so far.
          length: more than any position, as a static number; shorter is faster.

        Returns:
          logits_BxV in float32, and the cache that holds the token.
        """
        out: Any = self.model.apply(
            _variables(params),
            cache,
            tokens_B,
            positions_B,
            length,
            method="step",
        )
        return out


def _variables(params: Params) -> dict[str, Any]:
    """Return Flax's collections of the network, without the band model before it."""
    own = {name: tree for name, tree in params.items() if name != BAND}
    return batch_norm.variables(own)


def _is_audio(num_frames_B: jax.Array, num_frames: int) -> jax.Array:
    """Return whether a frame is audio and not padding: BxT."""
    return jnp.arange(num_frames) < num_frames_B[:, None]

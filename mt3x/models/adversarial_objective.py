"""What a generator is trained for: the likelihood of music."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mt3x.models import losses
from mt3x.models.generator import Generator, GeneratorConfig
from mt3x.models.losses import LossSums
from mt3x.models.model_config import WithoutTasks, read_config
from mt3x.music.vocabulary import EOS_ID, PAD_ID, TokenizerConfig

__all__ = ["MusicConfig", "MusicObjective"]

Batch = Mapping[str, jax.Array]


@dataclass(frozen=True)
class MusicConfig(WithoutTasks):
    """All that the weights of a generator depend on; stored in each checkpoint."""

    kind: ClassVar[str] = "generator"
    data: ClassVar[str] = "clips with moods (MoodDataConfig)"
    tokens: ClassVar[TokenizerConfig | None] = None

    model: GeneratorConfig = field(default_factory=GeneratorConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return {"objective": "generator", **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MusicConfig":
        """Raise ValueError where `values` are not a generator's configuration."""
        return read_config(cls, "generator", values, ("model",))

    def summary(self) -> str:
        """Describe the model in a few words."""
        model = self.model
        return f"generator of {model.num_layers} layers of width {model.width}"

    def batch_spec(
        self, batch_size: int, num_frames: int
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes of a training batch of clips of `num_frames` tokens."""
        return {
            "tokens": jax.ShapeDtypeStruct((batch_size, num_frames), jnp.int32),
            "mood": jax.ShapeDtypeStruct((batch_size, 2), jnp.float32),
            "progress": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
        }


class MusicObjective:
    """A generator and the losses that train it."""

    separate_examples = False

    def __init__(self, config: MusicConfig, dtype: Any = jnp.float32) -> None:
        self.config = config
        self.dtype = dtype
        self.model = Generator(config.model)

    def init(self, rng: jax.Array) -> dict[str, Any]:
        """Draw the parameters."""
        tokens_BxT, mood_Bx2 = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 2))
        return {"generator": self.model.init(rng, tokens_BxT, mood_Bx2)["params"]}

    def loss(self, params: Any, batch: Batch, rng: jax.Array | None = None) -> LossSums:
        """Return the losses of a batch as a sum with its weight, and parts.

        Args:
          params: as from `init`.
          batch: `tokens`, `mood` and `progress`, see `mt3x.data.mood_batches`.
          rng: for dropout; None: without.

        Returns:
          The sum with its weight, the tokens; the parts `cross_entropy` (nats a token)
          and `accuracy` of the next token.
        """
        params = jax.tree.map(lambda p: p.astype(self.dtype), params)
        tokens_BxT = batch["tokens"]
        inputs_BxT = jnp.pad(
            tokens_BxT[:, :-1], ((0, 0), (1, 0)), constant_values=PAD_ID
        )
        logits_BxTxV: Any = self.model.apply(
            {"params": params["generator"]},
            inputs_BxT,
            batch["mood"],
            train=rng is not None,
            rngs=None if rng is None else {"dropout": rng},
        )
        # Clips are cut from pieces, so that their end is no end of music.
        known_BxT = (tokens_BxT > EOS_ID).astype(jnp.float32)
        total, _ = losses.cross_entropy(logits_BxTxV, tokens_BxT, known_BxT)
        right_BxT = jnp.argmax(logits_BxTxV, axis=-1) == tokens_BxT
        weight = jnp.maximum(jnp.sum(known_BxT), 1.0)
        parts = {
            "cross_entropy": (total, weight),
            "accuracy": (jnp.sum(known_BxT * right_BxT), weight),
        }
        return LossSums(total, weight, parts)

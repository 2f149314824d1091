"""What a generator is trained for: the likelihood of music, and to deceive.

After Neves, Fornari and Florindo, "Generating music with sentiment using
Transformer-GANs" (ISMIR 2022, arXiv:2212.11134), with the equations of
`mt3x.models.adversarial`. Likelihood comes first and alone; then a discriminator joins.
Its fakes go on from the first tokens of real music, and it compares them with what came
there in truth.

Differs from the paper's code: all losses make one sum, and each network is updated once
a step, both at the same time and with one optimizer; there the discriminator goes first
and the generator has an optimizer for each loss. Fakes are sampled freely, one token
after the other, but the gradient flows through the logits of each token and not
through the tokens before (there it is cut every 128 tokens): one parallel pass will do.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mt3x.models import losses
from mt3x.models.adversarial import (
    gradient_penalty,
    inverse_temperature,
    relativistic_loss,
    straight_through,
)
from mt3x.models.discriminator import Discriminator, DiscriminatorConfig, Scores
from mt3x.models.generator import Generator, GeneratorConfig
from mt3x.models.losses import LossSums
from mt3x.models.model_config import WithoutTasks, read_config
from mt3x.models.weights_file import Weights
from mt3x.music.options import check_fields
from mt3x.music.vocabulary import (
    EOS_ID,
    NUM_SPECIAL_IDS,
    PAD_ID,
    TokenizerConfig,
)

__all__ = [
    "AdversarialConfig",
    "MusicConfig",
    "MusicObjective",
    "without_discriminator",
]

Batch = Mapping[str, jax.Array]
_NEVER = -1e9  # the logit of tokens that are not music


@dataclass(frozen=True)
class AdversarialConfig:
    """Options of the second stage: the discriminator, and how it is used."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    prime_tokens: int = 128  # of real music, which fakes continue
    fake_tokens: int = 256
    # Of the generator's adversarial loss (eq. 3) against a token's cross-entropy, and
    # of the penalty (eq. 4) against the discriminator's loss (eq. 2).
    weight: float = 1.0
    penalty_weight: float = 10.0
    # tau_min, the temperature at the end.
    least_temperature: float = 1e-2

    def __post_init__(self) -> None:
        check_fields(
            self,
            prime_tokens=(1, 1_000_000),
            fake_tokens=(1, 1_000_000),
            weight=(0.0, 1e6),
            penalty_weight=(0.0, 1e6),
            least_temperature=(1e-6, 1.0),
        )
        if self.fake_tokens % self.discriminator.patch:
            raise ValueError(
                f"fake_tokens={self.fake_tokens} must be a multiple of the "
                f"discriminator's patch={self.discriminator.patch}"
            )


@dataclass(frozen=True)
class MusicConfig(WithoutTasks):
    """All that the weights of a generator depend on; stored in each checkpoint."""

    kind: ClassVar[str] = "generator"
    data: ClassVar[str] = "clips with moods (MoodDataConfig)"
    user: ClassVar[str] = "mt3x.Composer"
    tokens: ClassVar[TokenizerConfig | None] = None

    model: GeneratorConfig = field(default_factory=GeneratorConfig)
    # None: likelihood alone.
    adversarial: AdversarialConfig | None = None

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
        self.discriminator = None
        if config.adversarial is not None:
            self.discriminator = Discriminator(config.adversarial.discriminator)

    def init(self, rng: jax.Array) -> dict[str, Any]:
        """Draw the parameters: of `generator`, and `discriminator` where there is one.

        That of likelihood alone is the same with and without discriminator.
        """
        tokens_BxT, mood_Bx2 = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 2))
        params = {"generator": self.model.init(rng, tokens_BxT, mood_Bx2)["params"]}
        if self.discriminator is not None:
            assert self.config.adversarial is not None
            mask_BxT = jnp.ones((1, self.config.adversarial.fake_tokens))
            tokens_BxTxV = jnp.zeros((*mask_BxT.shape, self.config.model.vocab_size))
            params["discriminator"] = self.discriminator.init(
                jax.random.fold_in(rng, 1), tokens_BxTxV, mood_Bx2, mask_BxT
            )["params"]
        return params

    def loss(self, params: Any, batch: Batch, rng: jax.Array | None = None) -> LossSums:
        """Return the losses of a batch as a sum with its weight, and parts.

        Args:
          params: as from `init`.
          batch: `tokens`, `mood` and `progress`, see `mt3x.data.mood_batches`.
          rng: for dropout and fakes; None: likelihood alone, without dropout.

        Returns:
          The sum with its weight, the tokens; the parts `cross_entropy` (nats a token)
          and `accuracy` of the next token, and those of `_adversarial_parts`.
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
        # Clips are cut from pieces, so that their end is not the music's.
        known_BxT = (tokens_BxT > EOS_ID).astype(jnp.float32)
        total, _ = losses.cross_entropy(logits_BxTxV, tokens_BxT, known_BxT)
        right_BxT = jnp.argmax(logits_BxTxV, axis=-1) == tokens_BxT
        weight = jnp.maximum(jnp.sum(known_BxT), 1.0)
        parts = {
            "cross_entropy": (total, weight),
            "accuracy": (jnp.sum(jnp.where(right_BxT, known_BxT, 0.0)), weight),
        }
        adversarial = self.config.adversarial
        if adversarial is not None and rng is not None:
            found = self._adversarial_parts(params, batch, jax.random.fold_in(rng, 1))
            mean = {name: total / count for name, (total, count) in found.items()}
            total += weight * (
                adversarial.weight * mean["deceit"]
                + mean["discriminator"]
                + adversarial.penalty_weight * mean["penalty"]
            )
            parts |= found
        return LossSums(total, weight, parts)

    def _adversarial_parts(
        self, params: Any, batch: Batch, rng: jax.Array
    ) -> dict[str, tuple[jax.Array, jax.Array]]:
        """Return losses as sums with their weights.

        Each reaches its own network alone: `deceit` the generator (eq. 3),
        `discriminator` (eq. 2) and `penalty` (eq. 4) the discriminator. All of them add
        the score of the whole and those of patches. `told_apart` is the part of pairs
        whose real one has the higher score.
        """
        config = self.config.adversarial
        assert config is not None
        rngs = jax.random.split(rng, 2)
        num_prime, num_fake = config.prime_tokens, config.fake_tokens
        after_BxT = batch["tokens"][:, num_prime : num_prime + num_fake]
        if after_BxT.shape[1] < num_fake:
            raise ValueError(
                f"clips of {batch['tokens'].shape[1]} tokens are too short for "
                f"prime_tokens={num_prime} and fake_tokens={num_fake}"
            )
        mask_BxT = (after_BxT > EOS_ID).astype(self.dtype)
        real = jax.nn.one_hot(after_BxT, self.config.model.vocab_size, dtype=self.dtype)
        fake = self._fakes(params["generator"], batch, rngs[0]).astype(self.dtype)
        given_fake = jax.lax.stop_gradient(fake)

        def scores(params: Any, tokens_BxTxV: jax.Array) -> Scores:
            assert self.discriminator is not None
            found: Any = self.discriminator.apply(
                {"params": params}, tokens_BxTxV, batch["mood"], mask_BxT
            )
            return Scores(*(score.astype(jnp.float32) for score in found))

        learning = params["discriminator"]
        fixed = jax.lax.stop_gradient(learning)
        of_real, of_fake = scores(learning, real), scores(learning, given_fake)
        to_deceive = scores(fixed, fake)
        known_BxP = mask_BxT.reshape(len(mask_BxT), -1, config.discriminator.patch)
        known_BxP = known_BxP.max(axis=-1).astype(jnp.float32)
        known_B = known_BxP.max(axis=-1)
        count, patches = jnp.maximum(known_B.sum(), 1), jnp.maximum(known_BxP.sum(), 1)

        def mean(better: Scores, worse: Scores) -> jax.Array:
            of_whole, of_patches = map(relativistic_loss, better, worse)
            of_patches = jnp.sum(known_BxP * of_patches) / patches
            return jnp.sum(known_B * of_whole) / count + of_patches

        share_B = jax.random.uniform(rngs[1], known_B.shape, self.dtype)
        penalty_B = sum(
            gradient_penalty(score, real, given_fake, share_B)
            for score in (
                lambda x: jnp.sum(known_B * scores(learning, x).whole_B),
                lambda x: jnp.sum(known_BxP * scores(learning, x).patches_BxP),
            )
        )
        told_B = jnp.where(of_real.whole_B > of_fake.whole_B, known_B, 0.0)
        return {
            "deceit": (count * mean(to_deceive, _fixed(of_real)), count),
            "discriminator": (count * mean(of_real, of_fake), count),
            "penalty": (jnp.sum(known_B * penalty_B), count),
            "told_apart": (jnp.sum(told_B), count),
        }

    def _fakes(self, params: Any, batch: Batch, rng: jax.Array) -> jax.Array:
        """Return what the generator continues, fake_BxTxV: one-hot, with a gradient.

        Tokens are sampled one after the other; then one parallel pass over them gives
        the same logits with their gradient.
        """
        config = self.config.adversarial
        assert config is not None
        mood_Bx2 = batch["mood"]
        prime_BxT = batch["tokens"][:, : config.prime_tokens]
        noise_TxBxV = jax.random.gumbel(
            rng, (config.fake_tokens, len(prime_BxT), self.config.model.vocab_size)
        )

        def run(params: Any, tokens_BxT: jax.Array, state: Any) -> tuple[Any, Any]:
            given = {"params": params}, tokens_BxT, mood_Bx2, state
            logits_BxTxV, state = self.model.apply(*given, method=Generator.prefill)  # pyright: ignore
            return logits_BxTxV.at[..., :NUM_SPECIAL_IDS].set(_NEVER), state

        fixed = jax.lax.stop_gradient(params)
        _, state = run(
            fixed,
            jnp.pad(prime_BxT[:, :-1], ((0, 0), (1, 0)), constant_values=PAD_ID),
            self.model.initial_state(len(prime_BxT)),
        )

        def step(carried: Any, noise_BxV: jax.Array) -> tuple[Any, jax.Array]:
            token_B, state = carried
            logits_Bx1xV, state = run(fixed, token_B[:, None], state)
            token_B = jnp.argmax(logits_Bx1xV[:, 0] + noise_BxV, axis=-1)
            return (token_B.astype(jnp.int32), state), token_B

        _, fake_TxB = jax.lax.scan(step, (prime_BxT[:, -1], state), noise_TxBxV)
        seen_BxT = jnp.concatenate([prime_BxT[:, -1:], fake_TxB[:-1].T], axis=1)
        logits_BxTxV, _ = run(params, seen_BxT, state)
        cold_Bx1x1 = inverse_temperature(batch["progress"], config.least_temperature)[
            :, None, None
        ]
        return straight_through(logits_BxTxV, noise_TxBxV.swapaxes(0, 1), cold_Bx1x1)


def _fixed(scores: Scores) -> Scores:
    return jax.lax.stop_gradient(scores)


def without_discriminator(weights: Weights) -> Weights:
    """Return what generates music: weights without what trained them."""
    return weights._replace(
        params={"generator": weights.params["generator"]},
        config={**weights.config, "adversarial": None},
    )

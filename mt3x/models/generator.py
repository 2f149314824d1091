"""The generator: a decoder of linear attention that a wished mood steers.

After Neves, Fornari and Florindo, "Generating music with sentiment using
Transformer-GANs" (ISMIR 2022, arXiv:2212.11134): causal linear attention, and a mood
that scales and shifts every norm. Their code has one embedding for each of four
quadrants and one for "none". Here valence and arousal are continuous, the quadrants
being the points (+-1, +-1), and "none" has a row of its own. Also different from their
code: norms stand before the layers and not after them; heads forget instead of learnt
positions, which end after 8192 tokens; attention sees a short causal convolution, so
that neighbours are told apart.
"""

from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mt3x.models import linear_attention
from mt3x.music.event_stream import EventStream
from mt3x.music.options import check_fields

__all__ = ["ConditionalNorm", "Generator", "GeneratorConfig", "Mood", "State"]

# By layer: the sums of attention and the inputs of its convolution.
State = dict[str, dict[str, jax.Array]]


@dataclass(frozen=True)
class GeneratorConfig:
    """Size of the generator, and the tokens it speaks."""

    stream: EventStream = field(default_factory=EventStream)
    num_layers: int = 4
    width: int = 256
    # One for each head, in tokens; 0: the head forgets nothing.
    half_lives: tuple[float, ...] = (8.0, 64.0, 512.0, 4096.0)
    mlp_width: int = 1024
    mood_width: int = 64
    # Of the convolution before attention; 1: none.
    taps: int = 4
    # Tokens that attention takes at a time in training.
    chunk: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        # Gin and JSON give lists.
        object.__setattr__(self, "half_lives", tuple(self.half_lives))
        check_fields(
            self,
            num_layers=(1, 64),
            width=(1, 8192),
            half_lives=(0.0, 1e9),
            mlp_width=(1, 65536),
            mood_width=(1, 8192),
            taps=(1, 64),
            chunk=(1, 4096),
            dropout=(0.0, 0.9),
        )
        if not self.half_lives or self.width % len(self.half_lives):
            raise ValueError(
                f"width={self.width} does not divide over the heads of "
                f"half_lives={self.half_lives}"
            )

    @property
    def num_heads(self) -> int:
        return len(self.half_lives)

    @property
    def vocab_size(self) -> int:
        return self.stream.vocab_size


class Mood(nn.Module):
    """Valence and arousal to the condition of all norms."""

    width: int

    @nn.compact
    def __call__(self, mood: jax.Array) -> jax.Array:
        """Return condition_BxTxC of mood_BxTx2 or (T = 1) mood_Bx2; NaN is "none"."""
        mood_BxTx2 = mood if mood.ndim == 3 else mood[:, None]
        none_C = self.param("none", nn.initializers.normal(0.02), (self.width,))
        is_known_BxTx1 = jnp.isfinite(mood_BxTx2).all(axis=-1, keepdims=True)
        x = nn.Dense(self.width, name="in")(jnp.where(is_known_BxTx1, mood_BxTx2, 0))
        x = nn.Dense(self.width, name="out")(nn.gelu(x))
        return jnp.where(is_known_BxTx1, x, none_C)


class ConditionalNorm(nn.Module):
    """Layer norm whose scale and shift come from a condition."""

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, condition_BxTxC: jax.Array) -> jax.Array:
        x_BxTxD = nn.LayerNorm(use_bias=False, use_scale=False)(x_BxTxD)
        change_BxTx2D = nn.Dense(
            2 * x_BxTxD.shape[-1],
            kernel_init=nn.initializers.normal(0.02),
            name="change",
        )(condition_BxTxC)
        scale_BxTxD, shift_BxTxD = jnp.split(change_BxTx2D, 2, axis=-1)
        return x_BxTxD * (1 + scale_BxTxD) + shift_BxTxD


class CausalAttention(nn.Module):
    """A convolution over the last tokens, and heads of causal linear attention."""

    config: GeneratorConfig

    @nn.compact
    def __call__(
        self, x_BxTxD: jax.Array, state: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        config = self.config
        length, width = x_BxTxD.shape[1:]
        taps_KxD = self.param("taps", _last_tap, (config.taps, width))
        longer = jnp.concatenate([state["recent"].astype(x_BxTxD.dtype), x_BxTxD], 1)
        x_BxTxD = sum(
            (taps_KxD[k] * longer[:, k : k + length] for k in range(config.taps)),
            start=jnp.zeros((), x_BxTxD.dtype),
        )
        heads = (*x_BxTxD.shape[:2], config.num_heads, width // config.num_heads)
        query, key, value = (
            nn.Dense(width, use_bias=False, name=name)(x_BxTxD).reshape(heads)
            for name in ("query", "key", "value")
        )
        out_BxTxHxD, sums = linear_attention.causal(
            query, key, value, state["sums"], config.half_lives, config.chunk
        )
        x_BxTxD = out_BxTxHxD.reshape(x_BxTxD.shape)
        recent = longer[:, length:].astype(jnp.float32)
        out = nn.Dense(width, use_bias=False, name="out")(x_BxTxD)
        return out, {"sums": sums, "recent": recent}


def _last_tap(rng: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Any:
    """Draw taps that begin with the token itself, and little of those before."""
    drawn = 0.1 * jax.random.normal(rng, shape, dtype)
    return drawn.at[-1].add(1.0)


class Mlp(nn.Module):
    """Two dense layers with GELU."""

    inner_width: int

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        width = x_BxTxD.shape[-1]
        x = nn.gelu(nn.Dense(self.inner_width, name="wi")(x_BxTxD))
        return nn.Dense(width, name="wo")(x)


class Layer(nn.Module):
    """Attention and MLP, each after a norm and added."""

    config: GeneratorConfig

    @nn.compact
    def __call__(
        self,
        x_BxTxD: jax.Array,
        condition_BxTxC: jax.Array,
        state: dict[str, jax.Array],
        train: bool,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        drop = nn.Dropout(self.config.dropout, deterministic=not train)
        y = ConditionalNorm(name="attention_norm")(x_BxTxD, condition_BxTxC)
        y, state = CausalAttention(self.config, name="attention")(y, state)
        x_BxTxD += drop(y)
        y = ConditionalNorm(name="mlp_norm")(x_BxTxD, condition_BxTxC)
        return x_BxTxD + drop(Mlp(self.config.mlp_width, name="mlp")(y)), state


class Generator(nn.Module):
    """Tokens and moods to logits of the next tokens."""

    config: GeneratorConfig

    def setup(self) -> None:
        config = self.config
        self.token_embedder = nn.Embed(config.vocab_size, config.width)
        self.mood = Mood(config.mood_width)
        self.layers = [
            Layer(config, name=f"layer_{n}") for n in range(config.num_layers)
        ]
        self.norm = ConditionalNorm()
        self.logits_dense = nn.Dense(config.vocab_size)

    def __call__(
        self, tokens_BxT: jax.Array, mood: jax.Array, train: bool = False
    ) -> jax.Array:
        """Return logits_BxTxV (float32) of the tokens that follow each of `tokens`.

        Args:
          tokens_BxT: ids, the first one PAD: it begins a piece.
          mood: Bx2 or, for moods that change, BxTx2: valence and arousal in -1..1; NaN
            in either: none.
          train: drop out; needs the rng "dropout".
        """
        state = self.initial_state(len(tokens_BxT))
        return self._run(tokens_BxT, mood, state, train)[0]

    def prefill(
        self, tokens_BxT: jax.Array, mood: jax.Array, state: State
    ) -> tuple[jax.Array, State]:
        """Return logits_BxTxV as `__call__`, after the tokens of a state, and its next.

        A long prompt may be given in parts.
        """
        return self._run(tokens_BxT, mood, state)

    def step(
        self, token_B: jax.Array, mood_Bx2: jax.Array, state: State
    ) -> tuple[jax.Array, State]:
        """Return logits_BxV of what follows one more token, and the next state."""
        logits_Bx1xV, state = self._run(token_B[:, None], mood_Bx2, state)
        return logits_Bx1xV[:, 0], state

    @nn.nowrap
    def initial_state(self, batch: int) -> State:
        """Return the state before any token; its size stays the same."""
        config = self.config
        head_width = config.width // config.num_heads
        return {
            f"layer_{n}": {
                "sums": linear_attention.initial_state(
                    batch, config.num_heads, head_width
                ),
                "recent": jnp.zeros((batch, config.taps - 1, config.width)),
            }
            for n in range(config.num_layers)
        }

    def _run(
        self,
        tokens_BxT: jax.Array,
        mood: jax.Array,
        state: State,
        train: bool = False,
    ) -> tuple[jax.Array, State]:
        x_BxTxD = self.token_embedder(tokens_BxT)
        condition_BxTxC = self.mood(mood)
        after: State = {}
        for layer in self.layers:
            name = str(layer.name)
            x_BxTxD, after[name] = layer(x_BxTxD, condition_BxTxC, state[name], train)
        logits_BxTxV = self.logits_dense(self.norm(x_BxTxD, condition_BxTxC))
        return logits_BxTxV.astype(jnp.float32), after

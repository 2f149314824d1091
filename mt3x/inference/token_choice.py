"""How the next token of each row is chosen: the likeliest, a drawn one, or by beams.

The part of `mt3x.inference.decoding` that looks at probabilities.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mt3x.music.vocabulary import EOS_ID, PAD_ID

# T5X's log-probability of what can't be; finite, so that sums of it stay numbers.
NEVER = -1.0e7


@dataclass(frozen=True)
class DecodingConfig:
    """How tokens are chosen."""

    # Sequences end with EOS, or with this many tokens.
    max_tokens: int = 1024
    # 0 takes the likeliest token; otherwise logits are divided by it and sampled from.
    temperature: float = 0.0
    # Sample from the k likeliest tokens only (and those as likely as the last); 0: all.
    top_k: int = 0
    # Sample from the fewest tokens whose probabilities reach p together; 1: all.
    top_p: float = 1.0
    # More than 1: beam search.
    num_beams: int = 1
    # Beams compare log-probability / ((5 + tokens) / 6)^alpha (Wu et al. 2016, eq. 14).
    beam_alpha: float = 0.6
    # Seed of sampling.
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "max_tokens": self.max_tokens >= 1,
            "temperature": self.temperature >= 0,
            "top_k": self.top_k >= 0,
            "top_p": 0 < self.top_p <= 1,
            "num_beams": self.num_beams >= 1,
            "beam_alpha": self.beam_alpha >= 0,
        }
        for name, holds in limits.items():
            if not holds:
                raise ValueError(f"{name} can't be {getattr(self, name)}")
        if self.num_beams > 1 and self.temperature > 0:
            raise ValueError("beams are not sampled: set temperature 0 or num_beams 1")


class Generated(NamedTuple):
    """The tokens of each row, up to and with EOS, then padding.

    `scores_B` are sums of the tokens' log-probabilities by the model (before the
    constraint, temperature, top-k and top-p), divided for finished beams as
    `beam_alpha` says.
    """

    tokens_BxL: jax.Array
    lengths_B: jax.Array
    scores_B: jax.Array


class Rows(NamedTuple):
    """What is decoded: B rows of K beams; leaves of `state` and `rules` have B * K."""

    state: Any
    rules: Any
    index_B: jax.Array
    active_B: jax.Array
    # Number of tokens so far: the place of the next one.
    position_B: jax.Array
    last_BxK: jax.Array
    tokens_BxKxL: jax.Array
    # Log-probabilities of the tokens.
    scores_BxK: jax.Array
    # The best finished beams, scores with the brevity penalty, NEVER where none is.
    ended_tokens_BxKxL: jax.Array
    ended_scores_BxK: jax.Array


def new_rows(state, index_B, config: DecodingConfig, constraint) -> Rows:
    batch, beams = len(index_B), config.num_beams
    tokens_BxKxL = jnp.full((batch, beams, config.max_tokens), PAD_ID, jnp.int32)
    # All beams begin alike: only the first counts.
    scores_K = jnp.full(beams, NEVER).at[0].set(0.0)
    if beams > 1:
        state = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), state)
    return Rows(
        state=state,
        rules=None if constraint is None else constraint.init(batch * beams),
        index_B=index_B,
        active_B=jnp.ones(batch, bool),
        position_B=jnp.zeros(batch, jnp.int32),
        last_BxK=jnp.full((batch, beams), PAD_ID, jnp.int32),
        tokens_BxKxL=tokens_BxKxL,
        scores_BxK=jnp.tile(scores_K, (batch, 1)),
        ended_tokens_BxKxL=tokens_BxKxL.copy(),
        ended_scores_BxK=jnp.full((batch, beams), NEVER),
    )


def choose_tokens(rows, log_probs_Bx1xV, rng, config: DecodingConfig) -> Rows:
    """Append the likeliest token to each row, or one that is drawn."""
    log_probs_BxV = log_probs_Bx1xV[:, 0]
    if config.temperature == 0:
        token_B = jnp.argmax(log_probs_BxV, axis=-1).astype(jnp.int32)
    else:
        logits_BxV = restrict(
            log_probs_BxV / config.temperature, config.top_k, config.top_p
        )
        number_B = rows.index_B * config.max_tokens + rows.position_B
        key_B = jax.vmap(partial(jax.random.fold_in, rng))(number_B)
        token_B = jax.vmap(jax.random.categorical)(key_B, logits_BxV).astype(jnp.int32)
    token_B = jnp.where(rows.active_B, token_B, PAD_ID)
    row_B = jnp.arange(len(token_B))
    gain_B = jnp.where(rows.active_B, log_probs_BxV[row_B, token_B], 0.0)
    position_B = rows.position_B + rows.active_B.astype(jnp.int32)
    return rows._replace(
        active_B=rows.active_B & (token_B != EOS_ID) & (position_B < config.max_tokens),
        position_B=position_B,
        last_BxK=token_B[:, None],
        tokens_BxKxL=rows.tokens_BxKxL.at[row_B, 0, rows.position_B].set(
            token_B, mode="drop"
        ),
        scores_BxK=rows.scores_BxK + gain_B[:, None],
    )


def restrict(logits_BxV: jax.Array, top_k: int, top_p: float | jax.Array) -> jax.Array:
    """Set to -inf what top-k, then top-p (nucleus; Holtzman et al. 2020) leave out."""
    num_tokens = logits_BxV.shape[-1]
    if 0 < top_k < num_tokens:
        lowest_Bx1 = jax.lax.top_k(logits_BxV, top_k)[0][:, -1:]
        logits_BxV = jnp.where(logits_BxV < lowest_Bx1, -jnp.inf, logits_BxV)
    if isinstance(top_p, jax.Array) or top_p < 1:
        sorted_BxV = -jnp.sort(-logits_BxV, axis=-1)
        probs_BxV = jax.nn.softmax(sorted_BxV)
        before_BxV = jnp.cumsum(probs_BxV, axis=-1) - probs_BxV
        kept_BxV = jnp.where(before_BxV < top_p, sorted_BxV, jnp.inf)
        lowest_Bx1 = jnp.min(kept_BxV, axis=-1, keepdims=True)
        logits_BxV = jnp.where(logits_BxV < lowest_Bx1, -jnp.inf, logits_BxV)
    return logits_BxV


def choose_beams(rows: Rows, log_probs_BxKxV, config: DecodingConfig) -> Rows:
    """Take one step of beam search as T5X does it; each row stops by itself.

    Twice as many candidates as beams are looked at, so that as many stay alive when
    half of them end. A row is done when its worst finished beam is better than its best
    living one can become.
    """
    batch, beams, num_tokens = log_probs_BxKxV.shape
    row_Bx1 = jnp.arange(batch)[:, None]
    position_Bx1 = rows.position_B[:, None]
    scores_BxKxV = rows.scores_BxK[:, :, None] + log_probs_BxKxV
    scores_BxC, place_BxC = jax.lax.top_k(scores_BxKxV.reshape(batch, -1), 2 * beams)
    parent_BxC, token_BxC = place_BxC // num_tokens, place_BxC % num_tokens
    candidate_1xC = jnp.arange(2 * beams)[None]
    tokens_BxCxL = rows.tokens_BxKxL[row_Bx1, parent_BxC]
    tokens_BxCxL = tokens_BxCxL.at[row_Bx1, candidate_1xC, position_Bx1].set(
        token_BxC, mode="drop"
    )
    ends_BxC = token_BxC == EOS_ID

    penalized_BxC = scores_BxC / _brevity_penalty(position_Bx1 + 1, config.beam_alpha)
    ended_BxC = jnp.where(ends_BxC, penalized_BxC, NEVER)
    ended_scores_BxK, best_BxK = jax.lax.top_k(
        jnp.concatenate([rows.ended_scores_BxK, ended_BxC], axis=1), beams
    )
    ended_tokens_BxKxL = jnp.concatenate([rows.ended_tokens_BxKxL, tokens_BxCxL], 1)
    ended_tokens_BxKxL = ended_tokens_BxKxL[row_Bx1, best_BxK]

    alive_BxC = jnp.where(ends_BxC, NEVER, scores_BxC)
    scores_BxK, best_BxK = jax.lax.top_k(alive_BxC, beams)
    parent_BxK = parent_BxC[row_Bx1, best_BxK]
    inherit = jax.tree.map(
        lambda leaf: leaf[(row_Bx1 * beams + parent_BxK).reshape(-1)],
        (rows.state, rows.rules),
    )
    bound_B = scores_BxK[:, 0] / _brevity_penalty(
        jnp.int32(config.max_tokens + 1), config.beam_alpha
    )
    decided_B = ended_scores_BxK[:, -1] > bound_B

    def keep(new, old):
        """Leave rows that are done as they are."""
        return jnp.where(jnp.expand_dims(rows.active_B, range(1, new.ndim)), new, old)

    position_B = rows.position_B + rows.active_B.astype(jnp.int32)
    return rows._replace(
        state=inherit[0],
        rules=inherit[1],
        active_B=rows.active_B & ~decided_B & (position_B < config.max_tokens),
        position_B=position_B,
        last_BxK=token_BxC[row_Bx1, best_BxK],
        tokens_BxKxL=keep(tokens_BxCxL[row_Bx1, best_BxK], rows.tokens_BxKxL),
        scores_BxK=keep(scores_BxK, rows.scores_BxK),
        ended_tokens_BxKxL=keep(ended_tokens_BxKxL, rows.ended_tokens_BxKxL),
        ended_scores_BxK=keep(ended_scores_BxK, rows.ended_scores_BxK),
    )


def _brevity_penalty(num_tokens: jax.Array, alpha: float) -> jax.Array:
    return ((5.0 + num_tokens.astype(jnp.float32)) / 6.0) ** alpha


@jax.jit
def results(rows: Rows) -> Generated:
    """Return the best finished beam of each row, or else its best living one."""
    row_B = jnp.arange(len(rows.position_B))
    score_B, live_B = jnp.max(rows.scores_BxK, 1), jnp.argmax(rows.scores_BxK, 1)
    ended_score_B = jnp.max(rows.ended_scores_BxK, 1)
    ended_B = ended_score_B > NEVER / 2
    tokens_BxL = jnp.where(
        ended_B[:, None],
        rows.ended_tokens_BxKxL[row_B, jnp.argmax(rows.ended_scores_BxK, 1)],
        rows.tokens_BxKxL[row_B, live_B],
    )
    is_eos_BxL = tokens_BxL == EOS_ID
    lengths_B = jnp.where(
        jnp.any(is_eos_BxL, 1), jnp.argmax(is_eos_BxL, 1) + 1, rows.position_B
    )
    return Generated(tokens_BxL, lengths_B, jnp.where(ended_B, ended_score_B, score_B))

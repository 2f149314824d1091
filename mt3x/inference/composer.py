"""Music of a wished mood: `Composer`."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.inference.stream_grammar import StreamGrammar, StreamState
from mt3x.inference.token_choice import restrict
from mt3x.inference.wish import ANY_KEY, Wish, draw_seed, seeds
from mt3x.models import weights_file
from mt3x.models.adversarial_objective import MusicConfig, MusicObjective
from mt3x.models.generator import Generator
from mt3x.models.platform import use_compilation_cache
from mt3x.music.event_stream import EventStream
from mt3x.music.key import TONICS, estimate_key, key_weights
from mt3x.music.notes import Notes
from mt3x.music.vocabulary import EOS_ID, NUM_SPECIAL_IDS, PAD_ID

__all__ = ["Composer"]

_BLOCK = 256
"""Tokens that are computed at once, some ten seconds of music."""

# What is read of a prompt: its end.
_PROMPT_NOTES, _PROMPT_S = 512, 120.0

# How much a key counts; at 3 a tone outside of the scale is some 16 times less likely
# than it was, against the tonic.
_KEY_STRENGTH = 3.0


class Composer:
    """Composes piano music with a generator; from nothing, or to continue notes."""

    def __init__(self, checkpoint: str | os.PathLike[str] | None = None) -> None:
        """Load a model.

        Args:
          checkpoint: a weights file or run folder; by default the package's weights.

        Raises:
          OSError: the checkpoint cannot be read.
          ValueError: it is not that of a generator.
        """
        use_compilation_cache()
        if checkpoint is None:
            checkpoint = weights_file.packaged("generator")
        weights = weights_file.load(checkpoint)
        try:
            config = MusicConfig.from_dict(weights.config)
        except ValueError as error:
            raise ValueError(f"{checkpoint}: {error}") from error
        objective = MusicObjective(config)
        params = {"generator": weights.params.get("generator", {})}
        expected = jax.eval_shape(objective.init, jax.random.key(0))
        expected = {"generator": expected["generator"]}
        weights_file.check_params(params, expected, checkpoint)
        self._take(objective.model, params["generator"])

    @classmethod
    def from_model(cls, model: Generator, params: Any) -> "Composer":
        """Return the composer of a generator and its parameters."""
        composer = cls.__new__(cls)
        composer._take(model, params)
        return composer

    def _take(self, model: Generator, params: Any) -> None:
        self._model, self._params = model, params
        self.stream: EventStream = model.config.stream
        self._grammar = StreamGrammar(self.stream)

    def __call__(
        self,
        valence: float | None = None,
        arousal: float | None = None,
        seconds: float = Wish.seconds,
        *,
        prompt: Notes | None = None,
        moods: Sequence[tuple[float, float, float]] = (),
        guidance: float = Wish.guidance,
        key: str | None = None,
        seed: int | None = None,
        temperature: float = Wish.temperature,
        top_k: int = Wish.top_k,
        top_p: float = Wish.top_p,
    ) -> Notes:
        """Compose a piece.

        Args:
          valence: from sad (-1) to happy (1); 0 where only arousal is given.
          arousal: from calm (-1) to excited (1); 0 where only valence is given.
          seconds: when the last notes begin; they ring on for 2 s at most.
          prompt: notes to continue. They come first in the result, and the music
            begins where the last of them ends. What the model can play of them is
            read: their end, without drums.
          moods: instead of valence and arousal some (seconds, valence, arousal); in
            between the mood moves on straight lines.
          guidance: how much the mood counts; 1 as in the music that was learnt from,
            in half the time.
          key: such as `Eb` or `C#m`, whose notes are preferred; `any` for none. By
            default, where there is a mood, the valence chooses between major and minor
            of the prompt's tonic, or of one that is drawn.
          seed: the same seed gives the same piece; by default it is drawn.
          temperature, top_k, top_p: how daring it is, see `Wish`.

        Raises:
          ValueError: a value makes no sense, or nothing can be played of the prompt.
        """
        wish = Wish(
            valence,
            arousal,
            seconds,
            moods,
            guidance,
            key,
            draw_seed() if seed is None else seed,
            temperature,
            top_k,
            top_p,
        )
        return self.compose(wish, prompt)[0]

    def compose(
        self,
        wish: Wish,
        prompt: Notes | None = None,
        num_pieces: int = 1,
        on_progress: Callable[[float], None] | None = None,
    ) -> list[Notes]:
        """Compose several pieces at once.

        Args:
          wish: what all of them are to be like. Their seeds are its seed and those that
            follow, see `mt3x.inference.wish.seeds`.
          prompt: notes to continue, as for a call.
          num_pieces: how many.
          on_progress: told how many seconds of each piece there are so far.

        Raises:
          ValueError: there are too many pieces, or nothing can be played of the prompt.
        """
        seeds_B = np.array(seeds(wish, num_pieces), np.uint32)
        tokens_L = np.array([PAD_ID], np.int32)
        start_s = 0.0
        if prompt is not None:
            tokens_L = np.concatenate([tokens_L, self._prompt_tokens(prompt)])
            start_s = float(prompt.offset_s.max())
        moods_Tx3 = wish.moods_Tx3()
        mood_Gx2 = moods_Tx3[:1, 1:]
        is_guided = wish.has_mood and wish.guidance != 1
        if is_guided:  # the same music twice: with its mood, and with any
            mood_Gx2 = np.concatenate([mood_Gx2, np.full_like(mood_Gx2, np.nan)])
        state = self._read(tokens_L[:-1], mood_Gx2)
        rows = _Rows(
            jax.tree.map(lambda leaf: jnp.repeat(leaf, num_pieces, axis=0), state),
            self._grammar.init(num_pieces),
            jnp.full(num_pieces, tokens_L[-1]),
            jnp.zeros((), jnp.int32),
        )
        options = _Options(
            jnp.int32(self._grammar.steps(wish.seconds)),
            jnp.float32(max(wish.temperature, 1e-6)),
            jnp.float32(wish.top_p),
            jnp.float32(wish.guidance),
        )
        biases_BxKxV = jnp.asarray(self._biases(wish, prompt, seeds_B))
        rng_B = jax.vmap(jax.random.key)(seeds_B)
        blocks = []
        while not blocks or (blocks[-1][-1] > EOS_ID).any():
            rows, block_LxB = _advance(
                self._params,
                rows,
                moods_Tx3,
                biases_BxKxV,
                options,
                rng_B,
                model=self._model,
                grammar=self._grammar,
                top_k=wish.top_k,
                is_cut=wish.top_p < 1,
                is_guided=is_guided,
            )
            blocks.append(np.asarray(block_LxB))
            if on_progress is not None:
                now = int(rows.rules.now_B.min())
                passed_s = now / self.stream.vocab.steps_per_second
                on_progress(min(passed_s, wish.seconds))
        pieces = []
        for tokens_L in np.concatenate(blocks).T:
            notes = self.stream.decode(tokens_L)
            if prompt is not None:
                notes = Notes.concatenate([prompt, notes.shift(start_s)])
            pieces.append(notes)
        return pieces

    def _prompt_tokens(self, prompt: Notes) -> np.ndarray:
        """Return the tokens of a prompt's last notes, without EOS."""
        notes = self.stream.playable(prompt)
        if not len(notes):
            why = "has no notes"
            if len(prompt):
                why = "has drums alone" if prompt.is_drum.all() else "has no piano keys"
            raise ValueError(
                f"the prompt {why}: give notes of pitches {self.stream.lowest_pitch} "
                f"to {self.stream.highest_pitch}"
            )
        notes = notes[-_PROMPT_NOTES:]
        notes = notes[notes.onset_s >= notes.onset_s[-1] - _PROMPT_S]
        return self.stream.encode(notes.shift(-notes.onset_s[0]))[:-1]

    def _read(self, tokens_L: np.ndarray, mood_Gx2: np.ndarray) -> Any:
        """Return the model's state after tokens, a row for each mood."""
        state = self._model.initial_state(len(mood_Gx2))
        while len(tokens_L):
            # Two sizes: each is compiled.
            size = _BLOCK if len(tokens_L) >= _BLOCK else 1
            part_GxL = np.tile(tokens_L[:size], (len(mood_Gx2), 1))
            state = _prefill(self._params, part_GxL, mood_Gx2, state, model=self._model)
            tokens_L = tokens_L[size:]
        return state

    def _biases(
        self, wish: Wish, prompt: Notes | None, seeds_B: np.ndarray
    ) -> np.ndarray:
        """Return what is added to the logits of notes that begin: B x 2 x V.

        The first is for high valence, the second for low valence.
        """
        shape = (len(seeds_B), 2, self.stream.vocab_size)
        if wish.key == ANY_KEY or (wish.key is None and not wish.has_mood):
            return np.zeros(shape, np.float32)
        if wish.key is not None:
            return np.broadcast_to(self._bias(wish.key), shape)
        key = None if prompt is None else estimate_key(prompt)
        tonics = [key.rstrip("m")] * len(seeds_B) if key else map(_drawn_tonic, seeds_B)
        rows = [[self._bias(tonic), self._bias(tonic + "m")] for tonic in tonics]
        return np.array(rows, np.float32)

    def _bias(self, key: str) -> np.ndarray:
        weight_C = key_weights(key)
        first, last = self.stream.tokenizer.codec.ranges["pitch"]
        pitch_P = np.arange(last - first + 1)
        bias_V = np.zeros(self.stream.vocab_size, np.float32)
        bias_V[NUM_SPECIAL_IDS + first :][: len(pitch_P)] = _KEY_STRENGTH * np.log(
            weight_C[pitch_P % 12] / weight_C.max()
        )
        return bias_V


def _drawn_tonic(seed: int) -> str:
    return str(np.random.default_rng(seed).choice(TONICS))


class _Rows(NamedTuple):
    """B pieces that are composed."""

    state: Any  # of the model; where the mood is guided, B more for any mood
    rules: StreamState
    last_B: jax.Array  # tokens that the model has not seen yet; EOS stays
    position: jax.Array  # how many tokens there are


class _Options(NamedTuple):
    """Options that are arrays, so that no value of them is compiled anew."""

    end_step: jax.Array
    temperature: jax.Array
    top_p: jax.Array
    guidance: jax.Array


@partial(jax.jit, static_argnames="model", donate_argnames="state")
def _prefill(params, tokens_GxL, mood_Gx2, state, model: Generator) -> Any:
    method = Generator.prefill
    _, state = model.apply(
        {"params": params}, tokens_GxL, mood_Gx2, state, method=method
    )
    return state


@partial(
    jax.jit,
    static_argnames=("model", "grammar", "top_k", "is_cut", "is_guided"),
    donate_argnames="rows",
)
def _advance(
    params: Any,
    rows: _Rows,
    moods_Tx3: jax.Array,
    biases_BxKxV: jax.Array,
    options: _Options,
    rng_B: jax.Array,
    model: Generator,
    grammar: StreamGrammar,
    top_k: int,
    is_cut: bool,
    is_guided: bool,
) -> tuple[_Rows, jax.Array]:
    """Compose a block; return the next rows and tokens_LxB, padded after EOS."""
    batch = len(rows.last_B)
    steps_per_second = grammar.stream.vocab.steps_per_second

    def go_on(carried: tuple[_Rows, jax.Array, jax.Array]) -> jax.Array:
        rows, _, index = carried
        return (index < _BLOCK) & jnp.any(rows.last_B != EOS_ID)

    def step(carried: tuple[_Rows, jax.Array, jax.Array]) -> Any:
        rows, tokens_LxB, index = carried
        mood_Bx2 = _moods(moods_Tx3, rows.rules.now_B / steps_per_second)
        valence_B, arousal_B = mood_Bx2.T
        # From major to minor where the valence goes from 0.5 to -0.5.
        major_Bx1 = jnp.clip(0.5 + jnp.nan_to_num(valence_B), 0, 1)[:, None]
        bias_BxV = major_Bx1 * biases_BxKxV[:, 0] + (1 - major_Bx1) * biases_BxKxV[:, 1]
        last_B = rows.last_B
        if is_guided:
            last_B = jnp.tile(last_B, 2)
            mood_Bx2 = jnp.concatenate([mood_Bx2, jnp.full_like(mood_Bx2, jnp.nan)])
        logits_BxV, state = model.apply(
            {"params": params}, last_B, mood_Bx2, rows.state, method=Generator.step
        )
        if is_guided:
            wished_BxV, any_BxV = jnp.split(logits_BxV, 2)
            logits_BxV = _guided(wished_BxV, any_BxV, options.guidance)
        ends_Bx1 = rows.rules.syntax.velocity_B[:, None] == 0
        logits_BxV += jnp.where(ends_Bx1, 0.0, bias_BxV)
        logits_BxV += grammar.pressure(rows.rules, arousal_B)
        logits_BxV /= options.temperature
        allowed_BxV = grammar.allowed(rows.rules, options.end_step)
        logits_BxV = jnp.where(allowed_BxV, logits_BxV, -jnp.inf)
        logits_BxV = restrict(logits_BxV, top_k, options.top_p if is_cut else 1.0)
        key_B = jax.vmap(jax.random.fold_in, (0, None))(rng_B, rows.position)
        token_B = jax.vmap(jax.random.categorical)(key_B, logits_BxV).astype(jnp.int32)
        ended_B = rows.last_B == EOS_ID
        new = _Rows(
            state,
            grammar.advance(rows.rules, token_B),
            jnp.where(ended_B, EOS_ID, token_B),
            rows.position + 1,
        )
        token_B = jnp.where(ended_B, PAD_ID, token_B)
        return new, tokens_LxB.at[index].set(token_B), index + 1

    tokens_LxB = jnp.full((_BLOCK, batch), PAD_ID, jnp.int32)
    rows, tokens_LxB, _ = jax.lax.while_loop(go_on, step, (rows, tokens_LxB, 0))
    return rows, tokens_LxB


def _guided(
    logits_BxV: jax.Array, any_mood_BxV: jax.Array, guidance: jax.Array
) -> jax.Array:
    """Return logits as far from those of any mood as is wished."""
    return any_mood_BxV + guidance * (logits_BxV - any_mood_BxV)


def _moods(moods_Tx3: jax.Array, now_s_B: jax.Array) -> jax.Array:
    """Return moods_Bx2 at times."""
    if len(moods_Tx3) == 1:  # what depends on it can be computed once, for all steps
        return jnp.broadcast_to(moods_Tx3[:, 1:], (len(now_s_B), 2))
    time_s_T, *axes = moods_Tx3.T
    return jnp.stack([jnp.interp(now_s_B, time_s_T, axis_T) for axis_T in axes], axis=1)

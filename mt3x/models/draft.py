"""A draft: the tokens of what was heard before, which the decoder writes again.

The draft's tokens are those of the targets, one by one, but for names: programs and
drum keys. The encoder reads them after the frames. The decoder is told at each place
what the encoder makes of the token there, and writes this token, or another name for a
name. An untrained model writes the draft as it is. What an instrument plays keeps its
name until it ends: a name that was given to a key is the likeliest one when the draft's
player has this key again.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mt3x.models.transformer import dense, sinusoids
from mt3x.music.vocabulary import EOS_ID, NUM_SPECIAL_IDS, Codec

_FRAMES = 3  # heard with a token, from its time on
# Logits at first: of the draft's token, and of the name that its key has already.
_AS_IT_IS, _AS_BEFORE = np.float32(10), np.float32(8)

_NEVER = np.float32(-50.0)  # logit of what may not be written

# An id has two parts that bfloat16 can hold.
_PART = 128


@dataclass(frozen=True)
class DraftIds:
    """Where the kinds of tokens are among the model's ids: first, and after the last.

    The defaults are MT3's, and its frames.
    """

    shifts: tuple[int, int] = (3, 1004)
    pitches: tuple[int, int] = (1004, 1132)
    programs: tuple[int, int] = (1135, 1263)
    drums: tuple[int, int] = (1263, 1391)
    frames_per_step: float = 1.25

    @staticmethod
    def of(codec: Codec, frame_rate_hz: float) -> "DraftIds":
        """Return those of a vocabulary; shifts count from the segment's start."""
        ranges = {
            kind: (NUM_SPECIAL_IDS + first, NUM_SPECIAL_IDS + last + 1)
            for kind, (first, last) in codec.ranges.items()
        }
        return DraftIds(
            shifts=ranges["shift"],
            pitches=ranges["pitch"],
            programs=ranges["program"],
            drums=ranges["drum"],
            frames_per_step=frame_rate_hz / codec.config.steps_per_second,
        )

    def frame(self, ids_BxM: jax.Array) -> jax.Array:
        """Return the frame of each token's time: BxM."""
        steps_BxM = jnp.where(_is(ids_BxM, self.shifts), ids_BxM - self.shifts[0], 0)
        step_BxM = jax.lax.cummax(steps_BxM, axis=1).astype(jnp.float32)
        return (step_BxM * np.float32(self.frames_per_step)).astype(jnp.int32)

    def head(self, ids_BxM: jax.Array) -> jax.Array:
        """Return the pitch or drum a token belongs to, 0 after the last: BxM."""
        length = ids_BxM.shape[1]
        is_head_BxM = _is(ids_BxM, self.pitches) | _is(ids_BxM, self.drums)
        place_BxM = jnp.where(is_head_BxM, np.arange(length), length)
        place_BxM = jax.lax.cummin(place_BxM, axis=1, reverse=True)
        return jnp.take_along_axis(jnp.pad(ids_BxM, [(0, 0), (0, 1)]), place_BxM, 1)

    def before(self, ids_BxM: jax.Array) -> jax.Array:
        """Return where a program was last named for the pitch it is named for: BxM.

        -1 where it was not, and where there is no program.
        """
        key_BxM = ids_BxM * self.drums[1] + self.head(ids_BxM)
        is_program_BxM = _is(ids_BxM, self.programs)
        same_BxMxM = key_BxM[:, :, None] == key_BxM[:, None]
        same_BxMxM &= is_program_BxM[:, :, None]
        places_M = np.arange(ids_BxM.shape[1])
        same_BxMxM &= places_M < places_M[:, None]
        return jnp.max(jnp.where(same_BxMxM, places_M, -1), axis=2)


def _is(ids: Any, kind: tuple[int, int]) -> Any:
    return (ids >= kind[0]) & (ids < kind[1])


def to_parts(ids_BxM: jax.Array, dtype: Any) -> jax.Array:
    """Return BxMx2, from which `from_parts` reads the ids."""
    parts = jnp.stack([ids_BxM // _PART, ids_BxM % _PART], axis=-1)
    return parts.astype(dtype)


def from_parts(parts_BxMx2: jax.Array) -> jax.Array:
    """Return ids."""
    parts = parts_BxMx2.astype(jnp.int32)
    return parts[..., 0] * _PART + parts[..., 1]


class DraftEmbedding(nn.Module):
    """A draft's tokens as the encoder reads them, with what is heard at their times."""

    width: int
    vocab_size: int
    ids: DraftIds
    dtype: Any

    @nn.compact
    def __call__(self, ids_BxM: jax.Array, feats_BxTxF: jax.Array) -> jax.Array:
        """Return BxMxD in float32.

        Args:
          ids_BxM: the draft, 0 after its end.
          feats_BxTxF: features of the frames.
        """

        def embed(ids_BxM: jax.Array, name: str) -> jax.Array:
            init = nn.initializers.normal(1.0)
            args: Any = {"dtype": self.dtype, "embedding_init": init, "name": name}
            return nn.Embed(self.vocab_size, self.width, **args)(ids_BxM)

        num_frames = feats_BxTxF.shape[1]
        ahead = jnp.pad(feats_BxTxF, [(0, 0), (0, _FRAMES - 1), (0, 0)])
        ahead = [ahead[:, k : k + num_frames] for k in range(_FRAMES)]
        init = nn.initializers.lecun_normal()
        heard_BxTxD = dense(self.width, self.dtype, init, "heard")(
            jnp.concatenate(ahead, axis=-1)
        )
        heard_BxTxD += sinusoids(num_frames, self.width)
        frame_BxM = jnp.minimum(self.ids.frame(ids_BxM), num_frames - 1)
        heard_BxMxD = jnp.take_along_axis(heard_BxTxD, frame_BxM[..., None], axis=1)
        x_BxMxD = embed(ids_BxM, "tokens") + embed(self.ids.head(ids_BxM), "heads")
        return x_BxMxD.astype(jnp.float32) + heard_BxMxD


class Draft(NamedTuple):
    """What the decoder knows of a draft; the batch is on axis 0 of all arrays."""

    ids_BxL: jax.Array
    before_BxL: jax.Array  # from `DraftIds.before`
    encoded_BxLxD: jax.Array
    written_BxL: jax.Array  # the decoder's inputs so far

    def at(self, positions_B: jax.Array) -> "Draft":
        """Return it at one place of each row, with L = 1, but for what is written."""

        def take(array: jax.Array) -> jax.Array:
            return array[jnp.arange(len(array)), positions_B][:, None]

        return Draft(
            take(self.ids_BxL),
            take(self.before_BxL),
            take(self.encoded_BxLxD),
            self.written_BxL,
        )

    def write(self, tokens_B: jax.Array, positions_B: jax.Array) -> "Draft":
        """Return it with the decoder's inputs at these places."""
        rows = jnp.arange(len(tokens_B))
        written_BxL = self.written_BxL.at[rows, positions_B].set(tokens_B)
        return self._replace(written_BxL=written_BxL)


class Reviser(nn.Module):
    """What the draft makes of the decoder's inputs and logits."""

    width: int
    vocab_size: int
    ids: DraftIds
    dtype: Any

    def setup(self) -> None:
        self.told = dense(self.width, jnp.float32, nn.initializers.lecun_normal())
        self.programs, self.drums = (
            self.param(name, nn.initializers.zeros, (end - first, end - first))
            for name, (first, end) in (
                ("programs", self.ids.programs),
                ("drums", self.ids.drums),
            )
        )

    def read(
        self, encoded_BxMxD: jax.Array, ids_BxM: jax.Array, max_tokens: int
    ) -> Draft:
        """Return a draft that the encoder has read, cut or filled to `max_tokens`."""
        missing = max(0, max_tokens - ids_BxM.shape[1])
        ids_BxL = jnp.pad(ids_BxM, [(0, 0), (0, missing)])[:, :max_tokens]
        encoded = jnp.pad(encoded_BxMxD, [(0, 0), (0, missing), (0, 0)])
        before_BxL = self.ids.before(ids_BxL)
        return Draft(
            ids_BxL, before_BxL, encoded[:, :max_tokens], jnp.zeros_like(ids_BxL)
        )

    def inputs(self, draft: Draft) -> jax.Array:
        """Return what to add to the decoder's inputs: BxLxD in float32."""
        return self.told(draft.encoded_BxLxD)

    def __call__(self, logits_BxLxV: jax.Array, draft: Draft) -> jax.Array:
        """Return the logits of what may be written: a name for a name, or the draft.

        After the draft's end there is nothing but the end marker.

        Args:
          logits_BxLxV: the decoder's own, float32.
          draft: what is known of it.
        """
        ids_BxL = jnp.where(draft.ids_BxL > 0, draft.ids_BxL, EOS_ID)
        is_draft_BxLxV = ids_BxL[..., None] == np.arange(self.vocab_size)
        may_BxLxV = is_draft_BxLxV
        logits_BxLxV += jnp.where(is_draft_BxLxV, _AS_IT_IS, np.float32(0))
        for kind, names in (
            (self.ids.programs, self.programs),
            (self.ids.drums, self.drums),
        ):
            row_BxL = jnp.where(
                _is(draft.ids_BxL, kind), draft.ids_BxL - kind[0], len(names)
            )
            found = jnp.pad(names, [(0, 1), (0, 0)])[row_BxL]
            logits_BxLxV = logits_BxLxV.at[..., slice(*kind)].add(found)
            is_kind_V = _is(np.arange(self.vocab_size), kind)
            may_BxLxV |= _is(ids_BxL, kind)[..., None] & is_kind_V
        # The decoder's inputs are one place later than what it wrote.
        name_BxL = jnp.take_along_axis(draft.written_BxL, draft.before_BxL + 1, axis=1)
        is_name_BxL = (draft.before_BxL >= 0) & _is(name_BxL, self.ids.programs)
        name_BxL = jnp.where(is_name_BxL, name_BxL, -1)
        is_before_BxLxV = name_BxL[..., None] == np.arange(self.vocab_size)
        logits_BxLxV += jnp.where(is_before_BxLxV, _AS_BEFORE, np.float32(0))
        return jnp.where(may_BxLxV, logits_BxLxV, _NEVER)

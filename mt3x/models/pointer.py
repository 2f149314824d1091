"""A pointer: the decoder copies what a band model says of a frame.

The encoder squeezes 88 keys into one vector a frame, and the decoder would have to
learn to name each of them. A pointer network (Vinyals et al. 2015, arXiv:1506.03134;
See et al. 2017, arXiv:1704.04368) looks at the rolls themselves: attention chooses
frames, and gates choose what of them is added to the logits. The tokens so far tell it
the time, what holds, and what it has just written.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mt3x.models.transformer import KeysValues, dense
from mt3x.music.band_rolls import NUM_KEY_COLUMNS, NUM_STEP_COLUMNS
from mt3x.music.instrument_classes import DRUM_CLASSES
from mt3x.music.rolls import LOWEST_PITCH, NUM_PITCHES, ROLL_NAMES
from mt3x.music.vocabulary import NUM_SPECIAL_IDS, Codec

NUM_HEADS = 3
NUM_WAVES = 16
NUM_NUMBERS = 128  # of pitches, and of drums
MEMORY_STEPS = np.float32(8)
LONG_AGO = np.float32(-1000)
SHORTEST_WAVE, LONGEST_WAVE = 2.5, 500.0  # frames
ONSET, FRAME, OFFSET = map(ROLL_NAMES.index, ("onset", "frame", "offset"))


@dataclass(frozen=True)
class TokenHistory:
    """What the tokens so far say: the time, what holds, and the last strokes.

    The latest shift, velocity and program hold until the next. The defaults are the ids
    of MT3's vocabulary, and its frames.
    """

    # The first id and the one after the last; shifts count from the segment's start.
    shifts: tuple[int, int] = (3, 1004)
    frames_per_step: float = 1.25
    settings: tuple[tuple[int, int], ...] = ((1132, 1134), (1135, 1263))
    # Of pitches and drums; with the first velocity in force, pitches end.
    pitches: tuple[int, int] = (1004, 1132)
    drums: tuple[int, int] = (1263, 1391)

    @staticmethod
    def of(codec: Codec, frame_rate_hz: float) -> "TokenHistory":
        """Return that of a vocabulary's model ids."""
        ranges = {
            name: (NUM_SPECIAL_IDS + first, NUM_SPECIAL_IDS + last + 1)
            for name, (first, last) in codec.ranges.items()
        }
        frames_per_step = frame_rate_hz / codec.config.steps_per_second
        settings = ranges["velocity"], ranges["program"]
        heads = ranges["pitch"], ranges["drum"]
        return TokenHistory(ranges["shift"], frames_per_step, settings, *heads)

    @property
    def kinds(self) -> tuple[tuple[int, int], ...]:
        """The ranges of shifts and settings."""
        return (self.shifts, *self.settings)

    def latest(self, tokens_BxL: jax.Array) -> jax.Array:
        """Return the latest token of each kind, up to each place: BxLxK, 0 for none."""
        places_L = jnp.arange(1, tokens_BxL.shape[1] + 1)
        after_0_BxL = jnp.pad(tokens_BxL, [(0, 0), (1, 0)])
        found = []
        for first, end in self.kinds:
            is_kind_BxL = (tokens_BxL >= first) & (tokens_BxL < end)
            place_BxL = jax.lax.cummax(jnp.where(is_kind_BxL, places_L, 0), axis=1)
            found.append(jnp.take_along_axis(after_0_BxL, place_BxL, axis=1))
        return jnp.stack(found, axis=-1)

    def advance(self, latest_BxK: jax.Array, tokens_B: jax.Array) -> jax.Array:
        """Return `latest` with one token more."""
        first_K, end_K = np.transpose(self.kinds)
        is_kind_BxK = (tokens_B[:, None] >= first_K) & (tokens_B[:, None] < end_K)
        return jnp.where(is_kind_BxK, tokens_B[:, None], latest_BxK)

    def steps(self, latest: jax.Array) -> jax.Array:
        """Return the step of the latest shifts, float32: [..., K] -> [...]."""
        return jnp.maximum(latest[..., 0] - self.shifts[0], 0).astype(jnp.float32)

    def frames(self, latest: jax.Array) -> jax.Array:
        """Return the frame, a fraction, of the latest shifts: [..., K] -> [...]."""
        return self.steps(latest) * np.float32(self.frames_per_step)

    def struck(self, tokens: jax.Array, latest: jax.Array) -> jax.Array:
        """Return the step at which a token begins, ends or strikes a pitch or drum.

        Args:
          tokens: [...], and what holds there.
          latest: [..., K]

        Returns:
          [..., 3, 128]: of pitches that begin, pitches that end, drums; `LONG_AGO`
          where the token is another.
        """
        numbers = np.arange(NUM_NUMBERS)
        is_pitch = tokens[..., None] == self.pitches[0] + numbers
        is_drum = tokens[..., None] == self.drums[0] + numbers
        ends = (latest[..., 1] == self.settings[0][0])[..., None]
        which = jnp.stack([is_pitch & ~ends, is_pitch & ends, is_drum], axis=-2)
        return jnp.where(which, self.steps(latest)[..., None, None], LONG_AGO)

    def recent(self, struck: jax.Array, latest: jax.Array) -> jax.Array:
        """Return how recent the last strokes are: 1 now, 1 / e after `MEMORY_STEPS`.

        Args:
          struck: [..., 3, 128], the maximum of `struck` so far.
          latest: [..., K]
        """
        now = self.steps(latest)[..., None, None]
        return jnp.exp((struck - now) / MEMORY_STEPS)


def waves(frames: Any) -> jax.Array:
    """Return cosines and sines of times, [...] -> [...] x 32.

    The scalar product of two of them is the larger, the nearer the times are.
    """
    lengths = np.geomspace(SHORTEST_WAVE, LONGEST_WAVE, NUM_WAVES, dtype=np.float32)
    angles = jnp.asarray(frames, jnp.float32)[..., None] * (2 * np.pi) / lengths
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def _hits(steps_BxTxU: jax.Array) -> jax.Array:
    """Return the `waves` of the drums' steps, weighted by their strongest hit."""
    shape = (*steps_BxTxU.shape[:2], -1, NUM_STEP_COLUMNS)
    hit_BxTxS = jnp.max(steps_BxTxU.reshape(shape)[..., : len(DRUM_CLASSES)], axis=-1)
    _, num_frames, steps = hit_BxTxS.shape
    times_TxS = np.arange(num_frames)[:, None] + np.arange(steps) / steps
    waves_TxSxE = waves(times_TxS).astype(steps_BxTxU.dtype)
    return jnp.einsum("bts,tse->bte", hit_BxTxS, waves_TxSxE)


class PointerCache(NamedTuple):
    """What the pointer keeps between steps."""

    frames: KeysValues
    latest_BxK: jax.Array  # `TokenHistory.latest` of each row
    struck_Bx3xN: jax.Array  # the last step of each stroke, `TokenHistory.struck`

    def advance(
        self, history: TokenHistory, tokens_B: jax.Array, positions_B: jax.Array
    ) -> "PointerCache":
        """Return the same with one token more; those at position 0 begin anew."""
        begins_B = positions_B == 0
        latest_BxK = jnp.where(begins_B[:, None], 0, self.latest_BxK)
        latest_BxK = history.advance(latest_BxK, tokens_B)
        before = jnp.where(begins_B[:, None, None], LONG_AGO, self.struck_Bx3xN)
        struck_Bx3xN = jnp.maximum(before, history.struck(tokens_B, latest_BxK))
        return self._replace(latest_BxK=latest_BxK, struck_Bx3xN=struck_Bx3xN)


class Pointer(nn.Module):
    """What frames say of keys, players, drums and time, as logits of the next token.

    Its last maps start at zero: at first nothing is copied.
    """

    channels: int  # of a key
    vocab_size: int
    history: TokenHistory
    dtype: Any

    def setup(self) -> None:
        init, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros

        def query_init(*args: Any) -> jax.Array:
            return init(*args) / np.float32(np.sqrt(2 * NUM_WAVES))

        def same_time(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
            del key
            return jnp.tile(jnp.eye(shape[0], dtype=dtype), (1, shape[1] // shape[0]))

        joined = NUM_HEADS * 2 * NUM_WAVES
        self.query = dense(joined, self.dtype, query_init)
        self.key = dense(joined, self.dtype, init)
        # At first the frame of now has the highest weight.
        self.query_time = dense(joined, self.dtype, same_time)
        self.key_time = dense(joined, self.dtype, same_time)
        self.key_events = dense(joined, self.dtype, init)
        self.keyboard = nn.Dense(self.channels, dtype=self.dtype, kernel_init=init)
        # For each head one gate for each channel of a key, and one for the rest.
        self.gate = dense(NUM_HEADS * (self.channels + 1), self.dtype, init)
        # How much recent strokes count against the same, of each kind.
        self.again = dense(3, jnp.float32, zeros)
        self.what = dense(self.vocab_size, jnp.float32, zeros)
        self.when = dense(2 * NUM_WAVES, jnp.float32, zeros)

    def memory(self, encoded_BxTxD: jax.Array, columns_BxTxH: jax.Array) -> KeysValues:
        """Return where the pointer may point, and what it finds there.

        Args:
          encoded_BxTxD: the encoder's frames.
          columns_BxTxH: `BandRolls.columns` of these.
        """
        num_keys = NUM_PITCHES * NUM_KEY_COLUMNS
        columns_BxTxH = columns_BxTxH.astype(self.dtype)
        keys, steps_BxTxU = jnp.split(columns_BxTxH, [num_keys], axis=-1)
        keys_BxTxPxC = keys.reshape(*keys.shape[:2], NUM_PITCHES, NUM_KEY_COLUMNS)
        classes_BxTxPxK = keys_BxTxPxC[..., len(ROLL_NAMES) :]
        players = [
            jnp.max(keys_BxTxPxC[..., roll, None] * classes_BxTxPxK, axis=2)
            for roll in (ONSET, FRAME, OFFSET)
        ]
        events = jnp.concatenate([*players, steps_BxTxU], axis=-1)
        keys_BxTxPxC = nn.relu(self.keyboard(keys_BxTxPxC))
        times_TxE = waves(np.arange(keys.shape[1])).astype(self.dtype)
        found = [
            keys_BxTxPxC.reshape(*keys.shape[:2], -1),
            events,
            _hits(steps_BxTxU),
            jnp.broadcast_to(times_TxE, (len(keys), *times_TxE.shape)),
        ]
        where = self.key(encoded_BxTxD) + self.key_time(times_TxE)
        where_BxTxHxA = self._heads(where + self.key_events(events))
        found_BxTxW = jnp.concatenate(found, axis=-1)
        return KeysValues(where_BxTxHxA.swapaxes(1, 2), found_BxTxW[:, None])

    def __call__(
        self,
        x_BxLxD: jax.Array,
        latest_BxLxK: jax.Array,
        recent_BxLx3xN: jax.Array,
        memory: KeysValues,
    ) -> jax.Array:
        """Return what is added to the logits: BxLxV in float32.

        Args:
          x_BxLxD: the decoder's last layer.
          latest_BxLxK: what holds there, `TokenHistory.latest`.
          recent_BxLx3xN: how recent strokes are, `TokenHistory.recent`.
          memory: from `memory`.
        """
        history = self.history
        time_BxLxE = waves(history.frames(latest_BxLxK)).astype(self.dtype)
        query = self.query(x_BxLxD) + self.query_time(time_BxLxE)
        logits_BxHxLxT = jnp.einsum(
            "blha,bhta->bhlt",
            self._heads(query),
            memory.keys_BxHxKxC,
            preferred_element_type=jnp.float32,
        )
        weights_BxHxLxT = jax.nn.softmax(logits_BxHxLxT).astype(self.dtype)
        seen_BxHxLxW = weights_BxHxLxT @ memory.values_BxHxKxC
        size = NUM_PITCHES * self.channels
        keys, rest_BxHxLxR = jnp.split(seen_BxHxLxW, [size], axis=-1)
        keys_BxHxLxPxC = keys.reshape(*keys.shape[:3], NUM_PITCHES, self.channels)
        # What has just been written is not there any more.
        last_key = LOWEST_PITCH + NUM_PITCHES
        silent_BxLxP = 1 - recent_BxLx3xN[:, :, 0, LOWEST_PITCH:last_key]
        keys_BxHxLxPxC *= silent_BxLxP.astype(self.dtype)[:, None, ..., None]
        gate_BxLxHxG = self._heads(self.gate(x_BxLxD))
        keys_BxLxP = jnp.einsum(
            "bhlpc,blhc->blp", keys_BxHxLxPxC, gate_BxLxHxG[..., :-1]
        )
        any_BxHxLxC = jnp.max(keys_BxHxLxPxC, axis=3)
        rest_BxHxLxR = jnp.concatenate([any_BxHxLxC, rest_BxHxLxR], axis=-1)
        rest_BxLxR = jnp.einsum("bhlr,blh->blr", rest_BxHxLxR, gate_BxLxHxG[..., -1])
        copied = jnp.concatenate([keys_BxLxP, rest_BxLxR], axis=-1).astype(jnp.float32)
        logits_BxLxV = self.what(copied)
        shifts_SxE = waves(np.arange(np.ptp(history.shifts)) * history.frames_per_step)
        logits_BxLxS = self.when(copied[..., -4 * NUM_WAVES :]) @ shifts_SxE.T
        again_BxLx3xN = self.again(x_BxLxD)[..., None] * recent_BxLx3xN
        pitches_BxLxN = again_BxLx3xN[..., 0, :] + again_BxLx3xN[..., 1, :]
        for ids, logits in (
            (history.shifts, logits_BxLxS),
            (history.pitches, pitches_BxLxN),
            (history.drums, again_BxLx3xN[..., 2, :]),
        ):
            logits_BxLxV = logits_BxLxV.at[..., slice(*ids)].add(logits)
        return logits_BxLxV

    def _heads(self, joined: jax.Array) -> jax.Array:
        return joined.reshape(*joined.shape[:-1], NUM_HEADS, -1)

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


class Past(NamedTuple):
    """Where the tokens so far have come to, at any number of places."""

    # The latest shift, velocity and program, 0 for none: [..., K].
    latest: jax.Array
    # The last step at which a pitch began, a pitch ended, a drum was hit: [..., 3, N].
    struck: jax.Array

    @property
    def settings(self) -> jax.Array:
        """The velocity and program that hold."""
        return self.latest[..., 1:]


class Recall(NamedTuple):
    """What a pointer knows of a past."""

    frame: jax.Array  # the time, a fraction of frames: [...]
    # 1 for what was struck now, 1 / e for what was `MEMORY_STEPS` ago: [..., 3, N].
    recent: jax.Array


@dataclass(frozen=True)
class TokenHistory:
    """How the tokens so far are read: the time, what holds, and the last strokes.

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

    def read(self, tokens_BxL: jax.Array) -> Past:
        """Return the past of each place, its own token included."""
        places_L = jnp.arange(1, tokens_BxL.shape[1] + 1)
        after_0_BxL = jnp.pad(tokens_BxL, [(0, 0), (1, 0)])
        found = []
        for first, end in self.kinds:
            is_kind_BxL = (tokens_BxL >= first) & (tokens_BxL < end)
            place_BxL = jax.lax.cummax(jnp.where(is_kind_BxL, places_L, 0), axis=1)
            found.append(jnp.take_along_axis(after_0_BxL, place_BxL, axis=1))
        latest_BxLxK = jnp.stack(found, axis=-1)
        struck_BxLx3xN = self._struck(tokens_BxL, latest_BxLxK)
        return Past(latest_BxLxK, jax.lax.cummax(struck_BxLx3xN, axis=1))

    def start(self, batch: int) -> Past:
        """Return the past of rows without tokens."""
        latest_BxK = jnp.zeros((batch, len(self.kinds)), jnp.int32)
        return Past(latest_BxK, jnp.full((batch, 3, NUM_NUMBERS), LONG_AGO))

    def advance(self, past: Past, tokens_B: jax.Array, positions_B: jax.Array) -> Past:
        """Return the past with one token more; rows at position 0 begin anew."""
        begins_B = positions_B == 0
        latest_BxK = jnp.where(begins_B[:, None], 0, past.latest)
        first_K, end_K = np.transpose(self.kinds)
        is_kind_BxK = (tokens_B[:, None] >= first_K) & (tokens_B[:, None] < end_K)
        latest_BxK = jnp.where(is_kind_BxK, tokens_B[:, None], latest_BxK)
        struck_Bx3xN = jnp.where(begins_B[:, None, None], LONG_AGO, past.struck)
        struck_now = self._struck(tokens_B, latest_BxK)
        return Past(latest_BxK, jnp.maximum(struck_Bx3xN, struck_now))

    def recall(self, past: Past) -> Recall:
        """Return what a pointer knows of a past."""
        step = self._step(past.latest)
        recent = jnp.exp((past.struck - step[..., None, None]) / MEMORY_STEPS)
        return Recall(step * np.float32(self.frames_per_step), recent)

    def _step(self, latest: jax.Array) -> jax.Array:
        return jnp.maximum(latest[..., 0] - self.shifts[0], 0).astype(jnp.float32)

    def _struck(self, tokens: jax.Array, latest: jax.Array) -> jax.Array:
        """Return `Past.struck` by these tokens alone, `LONG_AGO` for all others."""
        numbers = np.arange(NUM_NUMBERS)
        is_pitch = tokens[..., None] == self.pitches[0] + numbers
        is_drum = tokens[..., None] == self.drums[0] + numbers
        ends = (latest[..., 1] == self.settings[0][0])[..., None]
        which = jnp.stack([is_pitch & ~ends, is_pitch & ends, is_drum], axis=-2)
        return jnp.where(which, self._step(latest)[..., None, None], LONG_AGO)


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
    past: Past


class Pointer(nn.Module):
    """What frames say of keys, players, drums and time, as logits of the next token.

    Its last maps start at zero: at first nothing is copied.
    """

    channels: int  # of a key
    width: int
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
        self.time = dense(self.width, jnp.float32, init)
        self.settings = dense(self.width, jnp.float32, init)
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

    def known(self, recall: Recall, settings: jax.Array) -> jax.Array:
        """Return what is added to the embedding of a token: [..., D] in float32.

        Args:
          recall: of the tokens up to it.
          settings: the embeddings of `Past.settings`, [..., K, D].
        """
        joined = settings.reshape(*settings.shape[:-2], -1)
        return self.time(waves(recall.frame)) + self.settings(joined)

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
        self, x_BxLxD: jax.Array, recall: Recall, memory: KeysValues
    ) -> jax.Array:
        """Return what is added to the logits: BxLxV in float32.

        Args:
          x_BxLxD: the decoder's last layer.
          recall: of the tokens up to each place, BxL.
          memory: from `memory`.
        """
        history, recent_BxLx3xN = self.history, recall.recent
        time_BxLxE = waves(recall.frame).astype(self.dtype)
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

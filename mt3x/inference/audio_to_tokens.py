"""Samples in, event tokens and rolls out: a token model over recordings of any length.

Audio is cut into segments that follow one another without overlap, as in MT3 (ties
carry notes over the seams). They are decoded side by side with continuous batching; the
segments come out in their order. Where a model has heads for rolls, these are computed
of batches of the same segments.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mt3x.inference.audio_to_band import AudioToBand
from mt3x.inference.decoding import Constraint, DecodingConfig, generate_stream
from mt3x.models.objectives import TokensConfig, TokensObjective
from mt3x.models.tokens_objective import BAND
from mt3x.music.drafts import draft_of, draft_rows
from mt3x.music.rolls import ROLL_NAMES, Rolls
from mt3x.music.tokens import Decoded, Tokenizer

# Segments decoded at once. A step reads all weights whatever their number.
NUM_SLOTS = {"cpu": 16, "gpu": 64, "tpu": 64}


Cut = tuple[np.ndarray, int]
"""A segment's frames_TxW, and how many of them are audio.

Of a model that reads what a band model heard, that follows the samples."""

Item = dict[str, np.ndarray]
"""What decoding starts from: frames and their number, or what is encoded of them."""


class Segment(NamedTuple):
    """A stretch of a recording and its tokens."""

    start_s: float
    duration_s: float
    tokens_L: np.ndarray  # the model's ids, up to and with the end marker


class AudioToTokens:
    """A token model on a device."""

    def __init__(
        self,
        config: TokensConfig,
        params: Any,
        device: Any,
        precision: str = "float32",
        num_slots: int | None = None,
        decoding: DecodingConfig | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        """Put the model on the device.

        Args:
          config: the model's.
          params: its parameters.
          device: where to compute.
          precision: of the network's arithmetic, `float32` or `bfloat16`.
          num_slots: segments computed at once; by default 16 on a CPU, 64 elsewhere.
          decoding: how tokens are chosen; by default the likeliest ones.
          constraint: which tokens may be chosen (see `mt3x.inference.grammar`).
        """
        self.config = config
        self._decoding = decoding or DecodingConfig(max_tokens=config.max_tokens)
        self._constraint = constraint
        self._num_slots = num_slots or NUM_SLOTS[device.platform]
        self._device = device
        self._band = None
        if config.band is not None:
            self._band = AudioToBand(config.band, params[BAND], device, precision)
        self._params = jax.device_put(params, device)
        start, step, self._predict_rolls = _functions(config, precision)
        self._start = jax.tree_util.Partial(start, self._params)
        self._step = jax.tree_util.Partial(step, self._params)

    def __call__(
        self,
        blocks: Iterable[np.ndarray],
        on_rolls: Callable[[Rolls], None] | None = None,
    ) -> Iterator[Segment]:
        """Turn consecutive blocks samples_S into consecutive segments.

        Args:
          blocks: samples at the features' rate.
          on_rolls: called with the rolls of each segment, in their order and before
            their tokens; of models with heads.
        """
        waiting: dict[int, np.ndarray] = {}
        next_index = 0
        segments: list[int] = []  # frames of each that was begun
        frame_rate_hz = self.config.features.frame_rate_hz

        def items() -> Iterator[Item]:
            for frames_TxW, num_frames in self._cut(blocks):
                segments.append(num_frames)
                yield {"frames": frames_TxW, "num_frames": np.array(num_frames)}

        def encoded_items(on_rolls: Callable[[Rolls], None]) -> Iterator[Item]:
            for encoded_TxD, rolls in self._with_rolls(self._cut(blocks)):
                segments.append(rolls.num_frames)
                on_rolls(rolls)
                yield {"encoded": encoded_TxD}

        stream = items() if on_rolls is None else encoded_items(on_rolls)
        first = list(itertools.islice(stream, self._num_slots))
        num_slots = self._size(len(first))
        for index, tokens_L in generate_stream(
            self._start,
            self._step,
            itertools.chain(first, stream),
            num_slots,
            self._decoding,
            self._constraint,
        ):
            waiting[index] = tokens_L
            while next_index in waiting:
                yield Segment(
                    next_index * self.config.num_frames / frame_rate_hz,
                    segments[next_index] / frame_rate_hz,
                    waiting.pop(next_index),
                )
                next_index += 1

    def decode(
        self,
        blocks: Iterable[np.ndarray],
        on_progress: Callable[[float], None] = lambda seconds: None,
        on_rolls: Callable[[Rolls], None] | None = None,
    ) -> Decoded:
        """Turn consecutive blocks samples_S into notes.

        Args:
          blocks: samples at the features' rate.
          on_progress: called with the seconds of each segment when it is done.
          on_rolls: as for a call.
        """

        def segments() -> Iterator[tuple[float, np.ndarray]]:
            for segment in self(blocks, on_rolls):
                on_progress(segment.duration_s)
                yield segment.start_s, segment.tokens_L

        return self.config.decode(segments())

    def rolls(self, blocks: Iterable[np.ndarray]) -> Iterator[Rolls]:
        """Turn consecutive blocks samples_S into consecutive rolls, one each segment.

        Frame t is the features' frame t: there is one more than the samples fill.
        """
        for _, rolls in self._with_rolls(self._cut(blocks)):
            yield rolls

    def _cut(self, blocks: Iterable[np.ndarray]) -> Iterator[Cut]:
        if self._band is None:
            return self._cut_plain(blocks)
        if self.config.model.draft_columns:
            return self._with_drafts(blocks, self._band)
        blocks, heard = itertools.tee(blocks)
        columns = (rolls.columns() for rolls in self._band(heard))
        return with_columns(self._cut_plain(blocks), columns)

    def _cut_plain(self, blocks: Iterable[np.ndarray]) -> Iterator[Cut]:
        hop_samples = self.config.features.hop_samples
        return cut_segments(blocks, hop_samples, self.config.num_frames)

    def _with_drafts(
        self, blocks: Iterable[np.ndarray], band: AudioToBand
    ) -> Iterator[Cut]:
        """Let each frame of segments be followed by its share of a draft.

        The samples are kept, as the draft is known when all are heard: a quarter of a
        gigabyte an hour.
        """
        config, tokenizer = self.config, Tokenizer(self.config.tokens)
        blocks, heard = itertools.tee(blocks)
        lengths: list[int] = []

        def measured() -> Iterator[np.ndarray]:
            for block_S in heard:
                lengths.append(len(block_S))
                yield block_S

        notes = band.notes(measured())
        num_frames = sum(lengths) // config.features.hop_samples + 1
        rate_hz, length = config.features.frame_rate_hz, config.num_frames
        early_s = config.draft_early_s
        events = tokenizer.events(draft_of(notes, early_s), num_frames, rate_hz)
        columns = config.model.draft_columns
        for index, (frames_TxW, count) in enumerate(self._cut_plain(blocks)):
            place = index * length, length
            rows_TxK = draft_rows(events, tokenizer, *place, columns)
            yield np.concatenate([frames_TxW, rows_TxK], axis=1), count

    def _with_rolls(self, cuts: Iterator[Cut]) -> Iterator[tuple[np.ndarray, Rolls]]:
        """Yield encoded_TxD of segments with their rolls, computed in batches."""
        size = None
        while batch := list(itertools.islice(cuts, self._num_slots)):
            size = size or self._size(len(batch))
            padded = batch + batch[-1:] * (size - len(batch))
            frames_BxTxW = np.stack([frames_TxW for frames_TxW, _ in padded])
            num_frames_B = np.array([num_frames for _, num_frames in padded], np.int32)
            inputs = jax.device_put((frames_BxTxW, num_frames_B), self._device)
            encoded, predicted = self._predict_rolls(self._params, *inputs)
            encoded_BxTxD = np.asarray(encoded)
            arrays = [np.asarray(predicted[name]) for name in ROLL_NAMES]
            for b, (_, num_frames) in enumerate(batch):
                rolls = (array_BxTxP[b, :num_frames] for array_BxTxP in arrays)
                rate_hz = self.config.features.frame_rate_hz
                yield encoded_BxTxD[b], Rolls(*rolls, frame_rate_hz=rate_hz)

    def _size(self, count: int) -> int:
        """Return how many segments are computed at once, if the first are `count`.

        It is no more than a short recording fills, in few sizes, as each is compiled.
        """
        return min(self._num_slots, 1 << (count - 1).bit_length())


def cut_segments(
    blocks: Iterable[np.ndarray], hop_samples: int, num_frames: int
) -> Iterator[Cut]:
    """Cut a stream of samples into segments.

    The last one is padded with zeros. As in MT3, a recording ends with a frame that is
    not full: one of zeros where its length is a multiple of the hop.

    Args:
      blocks: consecutive samples_S.
      hop_samples: samples in a frame.
      num_frames: frames in a segment.

    Yields:
      frames_TxW of `num_frames` frames, and how many of them are audio.
    """
    size = hop_samples * num_frames
    rest_S = np.zeros(0, np.float32)
    for block_S in blocks:
        rest_S = np.concatenate([rest_S, block_S])
        # A full segment with nothing after it may yet get the frame of zeros: it
        # does not become the last one.
        whole = len(rest_S) // size
        for i in range(whole):
            segment_S = rest_S[i * size : (i + 1) * size]
            yield segment_S.reshape(num_frames, hop_samples), num_frames
        rest_S = rest_S[whole * size :]
    last_S = np.zeros(size, np.float32)
    last_S[: len(rest_S)] = rest_S
    yield last_S.reshape(num_frames, hop_samples), len(rest_S) // hop_samples + 1


def with_columns(cuts: Iterable[Cut], columns: Iterable[np.ndarray]) -> Iterator[Cut]:
    """Let each frame of segments be followed by its row of consecutive columns_TxH.

    Frames after the last row get zeros.
    """
    stream = iter(columns)
    rest_TxH = next(stream)
    for frames_TxW, num_frames in cuts:
        length = len(frames_TxW)
        while len(rest_TxH) < length and (block_TxH := next(stream, None)) is not None:
            rest_TxH = np.concatenate([rest_TxH, block_TxH])
        rows_TxH, rest_TxH = rest_TxH[:length], rest_TxH[length:]
        rows_TxH = np.pad(rows_TxH, ((0, length - len(rows_TxH)), (0, 0)))
        yield np.concatenate([frames_TxW, rows_TxH], axis=1), num_frames


@functools.lru_cache(maxsize=8)
def _functions(config: TokensConfig, precision: str) -> tuple[Any, Any, Any]:
    """Return a model's start, step and prediction of rolls.

    All that share the model get the same objects, and so share compiled programs.
    """
    objective = TokensObjective(config, jnp.dtype(precision))

    def start(params: Any, inputs: Any) -> Any:
        if "encoded" in inputs:
            return objective.start_encoded(params, inputs["encoded"])
        return objective.start(params, inputs["frames"], inputs["num_frames"])

    def predict_rolls(params: Any, frames_BxTxW: Any, num_frames_B: Any) -> Any:
        encoded_BxTxD = objective.encode(params, frames_BxTxW, num_frames_B)
        return encoded_BxTxD, objective.rolls(params, encoded_BxTxD, num_frames_B)

    return start, objective.step, jax.jit(predict_rolls)

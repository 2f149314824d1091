"""Stretches of a recording without music: what networks hear instead of them.

Networks normalise by all that they hear in a window, and were trained on music. A note
in a window that is empty otherwise is lost, and true zeros, which no microphone gives,
lie far below anything that they know. So long quiet stretches are left out before
windows are cut (`QuietCuts`), and a noise that nobody would hear fills digital silence
(`with_noise`).
"""

import functools
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

# Frames whose loudness is looked at together: a third of a second.
BLOCK_FRAMES = 16
# A stretch is quiet where its blocks are alike, as noise is, and so many decibels below
# the loudest so far, or below what ends it.
SPREAD_DB, QUIET_DB = 4.0, 40.0
# Blocks of a quiet stretch: shorter ones stay whole; of others so many on both sides.
# Of stretches that end in something loud, so many are known.
LEAST_BLOCKS, SIDE_BLOCKS, MOST_BLOCKS = 16, 4, 128
# Below this all is alike: -120 dB of full scale.
LOWEST_LEVEL = 1e-6
FULL_SCALE_DB = 0.0
# The noise's level below a window's loudest sample.
NOISE_DB = -65.0
# A recording begins with a note where its first ms is 20 dB below its first 60 ms. A
# network that knows nothing of the time before misses it.
START_S, BEGIN_S, RISE_DB = 0.001, 0.06, 20.0
# Frames of silence before such a recording.
LEAD_FRAMES = 3


def with_noise(samples_S: np.ndarray, hop_samples: int, num_frames: int) -> np.ndarray:
    """Return a window's samples with noise in the frames that are quieter than that.

    Its level is far below the window's loudest sample. After the first `num_frames`,
    where a window is padded with its mirror image, it is mirrored, too.
    """
    level = float(np.abs(samples_S).max()) * 10 ** (NOISE_DB / 20)
    frames_TxS = samples_S.reshape(-1, hop_samples)
    quiet_T = np.sqrt(np.mean(np.square(frames_TxS), axis=1)) < level
    noise_TxS = noise(num_frames * hop_samples, len(samples_S)).reshape(-1, hop_samples)
    filled_TxS = frames_TxS + np.float32(level) * noise_TxS * quiet_T[:, np.newaxis]
    return filled_TxS.reshape(-1)


@functools.lru_cache(maxsize=4)
def noise(size: int, padded_size: int) -> np.ndarray:
    """Return noise of variance 1, always the same; after `size` its mirror image."""
    noise_S = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    return np.pad(noise_S, (0, padded_size - size), mode="reflect")


class QuietCuts:
    """Leaves long quiet stretches out of a stream of samples, and puts them back.

    Bounded in memory; at most 41 s of samples at 50 frames per second are held.
    """

    def __init__(self, hop_samples: int, frame_rate_hz: float) -> None:
        """Begin a recording.

        Args:
          hop_samples: of a frame.
          frame_rate_hz: frames per second.
        """
        self._hop = hop_samples
        self._rate_hz = hop_samples * frame_rate_hz
        # Where rows are missing, in frames of what is kept, and how many; less than 0:
        # how many are to be dropped.
        self._cuts: deque[list[int]] = deque()
        self._num_kept = 0

    def kept(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the samples that are not left out."""
        stretch = _Stretch()
        loudest, cut = -math.inf, None
        stream = _followed(self._with_lead(_even(blocks, BLOCK_FRAMES * self._hop)))
        for block_S, next_level_db in stream:
            level_db = _level_db(block_S)
            if not stretch.is_like(level_db):
                louder = max(loudest, level_db, next_level_db)
                yield from self._released(stretch, louder, cut)
                stretch, cut = _Stretch(), None
            stretch.push(block_S, level_db)
            loudest = max(loudest, level_db)
            # What is loud cannot turn out to be quiet: it goes on at once.
            most = MOST_BLOCKS if stretch.is_below(max(loudest, FULL_SCALE_DB)) else 1
            if len(stretch.blocks) <= most:
                continue
            if cut is None and most > 1 and stretch.is_below(loudest):
                for _ in range(SIDE_BLOCKS):
                    yield self._keep(stretch.blocks.popleft())
                cut = self._cut()
            elif cut is None:
                yield self._keep(stretch.blocks.popleft())
            else:
                cut[1] += len(stretch.blocks.popleft()) // self._hop
        yield from self._released(stretch, loudest, cut, num_after=0)

    def restored(
        self, parts: Iterable[dict[str, np.ndarray]], rows: Mapping[str, int]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the rows of what was kept, and zeros for what was left out.

        Args:
          parts: consecutive rows by name.
          rows: how many there are of each name in a frame.
        """
        begin = 0
        for arrays in parts:
            name, array = next(iter(arrays.items()))
            end = begin + len(array) // rows[name]
            while self._cuts and self._cuts[0][0] < end:
                at, missing = self._cuts.popleft()
                if at > begin:
                    yield _rows(arrays, rows, 0, at - begin)
                yield from _zeros(arrays, rows, missing)
                begin_at = at - begin + max(-missing, 0)
                arrays = _rows(arrays, rows, begin_at, end - begin)
                begin += begin_at
            yield arrays
            begin = end
            last = arrays
        while self._cuts:
            yield from _zeros(last, rows, self._cuts.popleft()[1])

    def _with_lead(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the blocks; before them silence, if a note begins with the first."""
        blocks = iter(blocks)
        first_S = next(blocks, np.zeros(0, np.float32))
        start_S = first_S[: math.ceil(START_S * self._rate_hz)]
        begin_S = first_S[: math.ceil(BEGIN_S * self._rate_hz)]
        if _level_db(start_S) < _level_db(begin_S) - RISE_DB:
            self._cuts.append([0, -LEAD_FRAMES])
            lead_S = np.zeros(LEAD_FRAMES * self._hop, np.float32)
            first_S = np.concatenate([lead_S, first_S])
        return itertools.chain([first_S], blocks)

    def _released(
        self,
        stretch: "_Stretch",
        loudest: float,
        cut: list[int] | None,
        num_after: int = SIDE_BLOCKS,
    ) -> Iterator[np.ndarray]:
        """Yield a stretch that has ended, without its middle if it was quiet."""
        blocks = list(stretch.blocks)
        if cut is not None or (
            len(blocks) >= LEAST_BLOCKS and stretch.is_below(loudest)
        ):
            if cut is None:
                yield from map(self._keep, blocks[:SIDE_BLOCKS])
                cut, blocks = self._cut(), blocks[SIDE_BLOCKS:]
            last = len(blocks) - num_after
            cut[1] += -(-sum(map(len, blocks[:last])) // self._hop)
            blocks = blocks[last:]
        yield from map(self._keep, blocks)

    def _keep(self, block_S: np.ndarray) -> np.ndarray:
        self._num_kept += len(block_S)
        return block_S

    def _cut(self) -> list[int]:
        """Begin to leave out what follows."""
        self._cuts.append([self._num_kept // self._hop, 0])
        return self._cuts[-1]


class _Stretch:
    """Blocks of about the same loudness."""

    def __init__(self) -> None:
        self.blocks: deque[np.ndarray] = deque()
        self._lowest, self._highest = math.inf, -math.inf

    def is_like(self, level_db: float) -> bool:
        lowest, highest = min(self._lowest, level_db), max(self._highest, level_db)
        return highest - lowest <= SPREAD_DB

    def is_below(self, level_db: float) -> bool:
        return self._highest < level_db - QUIET_DB

    def push(self, block_S: np.ndarray, level_db: float) -> None:
        self.blocks.append(block_S)
        self._lowest = min(self._lowest, level_db)
        self._highest = max(self._highest, level_db)


def _level_db(samples_S: np.ndarray) -> float:
    """Return the loudness of samples, or of none."""
    power = (
        float(np.mean(np.square(samples_S, dtype=np.float64))) if len(samples_S) else 0
    )
    return 20 * math.log10(max(math.sqrt(power), LOWEST_LEVEL))


def _even(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yield samples in blocks of one size; the last may be shorter."""
    held_S = np.zeros(0, np.float32)
    for block_S in blocks:
        held_S = np.concatenate([held_S, block_S])
        whole = len(held_S) // size * size
        yield from np.split(held_S[:whole], range(size, whole, size)) if whole else ()
        held_S = held_S[whole:]
    if len(held_S):
        yield held_S


def _followed(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, float]]:
    """Yield each block with the loudness of the next."""
    for block_S, next_S in itertools.pairwise(
        itertools.chain(blocks, [np.zeros(0, np.float32)])
    ):
        yield block_S, _level_db(next_S)


def _rows(
    arrays: Mapping[str, np.ndarray], rows: Mapping[str, int], begin: int, end: int
) -> dict[str, np.ndarray]:
    """Return the rows of some frames."""
    return {
        name: array[begin * rows[name] : end * rows[name]]
        for name, array in arrays.items()
    }


def _zeros(
    like: Mapping[str, np.ndarray], rows: Mapping[str, int], num_frames: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield rows of zeros, not too many at a time."""
    for begin in range(0, num_frames, 1024):
        size = min(num_frames - begin, 1024)
        yield {
            name: np.zeros((size * rows[name], *array.shape[1:]), array.dtype)
            for name, array in like.items()
        }

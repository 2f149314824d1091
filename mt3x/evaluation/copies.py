"""How much of a sequence is copied: the longest run it shares with others."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["longest_copies"]

_BASE = 0x9E3779B97F4A7C15  # odd


def longest_copies(
    queries: Sequence[npt.ArrayLike], references: Sequence[npt.ArrayLike]
) -> np.ndarray:
    """Return how long a run of each of N queries stands in some reference [N].

    Runs of tokens are compared by hashes of 64 bits, each length by all of it that the
    references hold: exact but for the chance of a collision.
    """
    query = _Runs(queries)
    reference = _Runs(references)
    longest_N = np.zeros(len(queries), int)
    step = 1
    while step <= min(query.most, reference.most):
        step *= 2
    # Powers of two from the longest down: what has no run of n has none above it.
    while step := step // 2:
        length_N = longest_N + step
        for length in np.unique(length_N):
            wanted, owner = query.hashes(length)
            hit = _is_among(wanted, reference.hashes(length)[0])
            hit_N = np.bincount(owner[hit], minlength=len(queries))
            longest_N[(length_N == length) & (hit_N > 0)] = length
    return longest_N


def _is_among(few: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Return which of few hashes are among many other ones."""
    is_possible = np.zeros(1 << 22, bool)
    is_possible[few >> np.uint64(42)] = True
    return np.isin(few, many[is_possible[many >> np.uint64(42)]])


class _Runs:
    """Hashes of all runs of a length."""

    def __init__(self, sequences: Sequence[npt.ArrayLike]) -> None:
        arrays = [np.asarray(sequence).astype(np.int64) for sequence in sequences]
        lengths = np.array([len(array) for array in arrays], int)
        tokens = np.concatenate([*arrays, np.zeros(0, np.int64)])
        self.most = int(lengths.max(initial=0))
        self._owner = np.repeat(np.arange(len(arrays)), lengths)
        # How many tokens there are from each on to the end of its sequence.
        self._left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))
        # Of runs of 1, 2, 4, ... tokens: made when they are needed first.
        self._powers = [tokens.astype(np.uint64) * np.uint64(_BASE) + np.uint64(1)]

    def hashes(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the hashes of the runs of a length, and the sequence of each."""
        num = max(len(self._left) - length + 1, 0)
        found, start = np.zeros(num, np.uint64), 0
        for power in range(int(length).bit_length()):
            if length >> power & 1:
                part = self._power(power)[start : start + num]
                found = found * _factor(power) + part
                start += 1 << power
        is_whole = self._left[:num] >= length
        return found[is_whole], self._owner[:num][is_whole]

    def _power(self, power: int) -> np.ndarray:
        while len(self._powers) <= power:
            last = len(self._powers) - 1
            half, size = self._powers[last], 1 << last
            second = np.concatenate([half[size:], np.zeros(size, np.uint64)])
            self._powers.append(half * _factor(last) + second)
        return self._powers[power]


def _factor(power: int) -> np.uint64:
    return np.uint64(pow(_BASE, 1 << power, 1 << 64))

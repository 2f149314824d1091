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
            known = np.unique(reference.hashes(length)[0])
            found, owner = query.hashes(length)
            hit_N = np.bincount(owner[np.isin(found, known)], minlength=len(queries))
            is_longer_N = (length_N == length) & (hit_N > 0)
            longest_N[is_longer_N] = length
    return longest_N


class _Runs:
    """Hashes of all runs of a length."""

    def __init__(self, sequences: Sequence[npt.ArrayLike]) -> None:
        arrays = [np.asarray(sequence).astype(np.int64) for sequence in sequences]
        lengths = np.array([len(array) for array in arrays], int)
        tokens = np.concatenate([*arrays, np.zeros(0, np.int64)])
        self.most = int(lengths.max(initial=0))
        self._owner = np.repeat(np.arange(len(arrays)), lengths)
        self._end = np.repeat(np.cumsum(lengths), lengths)
        # Of runs of 1, 2, 4, ... tokens: made when they are needed first.
        self._powers = [tokens.astype(np.uint64) * np.uint64(_BASE) + np.uint64(1)]

    def hashes(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the hashes of the runs of a length, and the sequence of each."""
        start = np.flatnonzero(np.arange(len(self._end)) + length <= self._end)
        found = np.zeros(len(start), np.uint64)
        at = start
        for power in range(int(length).bit_length()):
            if length >> power & 1:
                found = found * _factor(power) + self._power(power)[at]
                at = at + (1 << power)
        return found, self._owner[start]

    def _power(self, power: int) -> np.ndarray:
        while len(self._powers) <= power:
            last = len(self._powers) - 1
            half, size = self._powers[last], 1 << last
            second = np.concatenate([half[size:], np.zeros(size, np.uint64)])
            self._powers.append(half * _factor(last) + second)
        return self._powers[power]


def _factor(power: int) -> np.uint64:
    return np.uint64(pow(_BASE, 1 << power, 1 << 64))

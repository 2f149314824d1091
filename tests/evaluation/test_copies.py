"""Longest copies against a search by brute force."""

import numpy as np
import pytest

from mt3x.evaluation.copies import longest_copies


def brute_force(query, references):
    runs = {
        tuple(r[i : i + n])
        for r in references
        for n in range(1, len(r) + 1)
        for i in range(len(r) - n + 1)
    }
    return max(
        (
            n
            for n in range(1, len(query) + 1)
            for i in range(len(query) - n + 1)
            if tuple(query[i : i + n]) in runs
        ),
        default=0,
    )


@pytest.mark.parametrize("seed", range(8))
def test_as_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    sequences = [
        rng.integers(rng.integers(2, 9), size=rng.integers(0, 40)).tolist()
        for _ in range(9)
    ]
    queries, references = sequences[:4], sequences[4:]
    found = longest_copies(queries, references)
    assert found.tolist() == [brute_force(query, references) for query in queries]


@pytest.mark.parametrize(
    "query,references,longest",
    [
        ([1, 2, 3, 4], [[1, 2], [3, 4]], 2),  # not across two sequences
        ([5, 6, 7], [[1, 5, 6, 7, 2]], 3),  # all of it
        ([1, 5, 6, 7, 2], [[5, 6, 7]], 3),
        ([0, 0, 0], [[0, 0]], 2),
        ([0], [[-3]], 0),
        ([], [[1]], 0),
        ([1], [], 0),
    ],
)
def test_edges(query, references, longest):
    assert longest_copies([query], references).tolist() == [longest]


def test_queries_do_not_join():
    assert longest_copies([[1, 2], [3, 4]], [[1, 2, 3, 4]]).tolist() == [2, 2]
    assert longest_copies([], [[1]]).tolist() == []

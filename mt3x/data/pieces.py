"""Pieces: recordings with their notes, and their stems where these are known."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mt3x.music.notes import Notes


@dataclass(frozen=True, eq=False)
class Stem:
    """One instrument's part of a piece."""

    name: str
    instrument: str  # its class in the data set, such as Slakh's "Electric Bass"
    notes: Notes
    samples_S: np.ndarray | None = None  # float32 in -1..1


@dataclass(frozen=True, eq=False)
class Piece:
    """A recording with its notes; where stems are known, these are the stems' notes."""

    id: str
    samples_S: np.ndarray  # float32 in -1..1
    sample_rate_hz: int
    notes: Notes
    stems: tuple[Stem, ...] = ()


def mix_samples(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sum of samples of several lengths, scaled down where it exceeds 1."""
    parts = list(parts)
    sum_S = np.zeros(max(map(len, parts)), np.float32)
    for samples_S in parts:
        sum_S[: len(samples_S)] += samples_S
    return sum_S / max(float(np.abs(sum_S).max(initial=0)), 1.0)


def submixes(piece: Piece, number: int, least: int = 4) -> list[Piece]:
    """Return random sub-mixes of a piece, as MT3 makes them of Slakh.

    Each is the sum of `least` stems or more, scaled down where it exceeds 1. The same
    piece gives the same sub-mixes again.
    """
    rng = np.random.default_rng(list(piece.id.encode()))
    pieces = []
    for index in range(number):
        num_stems = rng.integers(min(least, len(piece.stems)), len(piece.stems) + 1)
        chosen = sorted(rng.permutation(len(piece.stems))[:num_stems])
        stems = tuple(piece.stems[i] for i in chosen)
        samples_S = mix_samples(
            stem.samples_S for stem in stems if stem.samples_S is not None
        )
        notes = Notes.concatenate([stem.notes for stem in stems])
        id = f"{piece.id}_mix{index}"
        pieces.append(Piece(id, samples_S, piece.sample_rate_hz, notes, stems))
    return pieces

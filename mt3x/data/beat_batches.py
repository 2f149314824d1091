"""Training batches of beat models: a pure function of the seed and the step."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mt3x.data.batches import Batch, rows_of
from mt3x.data.beat_pieces import BeatPiece, read_pieces
from mt3x.data.synthesis.rubato import perform_clip
from mt3x.music.beat_frames import (
    BEAT_RATE_HZ,
    CLIP_BEATS,
    NUM_SLOT_INPUTS,
    NUM_SLOTS,
    beat_targets,
    loudness,
    notes_to_frames,
    notes_to_slots,
)
from mt3x.music.beats import Beats
from mt3x.music.notes import Notes

__all__ = ["HELD_OUT", "BeatBatches", "BeatDataConfig", "is_held_out"]

HELD_OUT = 22
"""Every 22nd song or score of a file is for tests, one in between for validation."""


_LEVELS = (
    (1.0, (0.0,)),
    (0.5, (0.0,)),
    (2.0, (0.0, 1.0)),
    (1 / 3, (0.0,)),
    (3.0, (0.0, 1.0, 2.0)),
    (2 / 3, (0.0, 1 / 3)),
    (1.5, (0.0, 0.5, 1.0)),
    (1.0, (0.5,)),
)
"""What tracked beats may be: beats between them, and where in a beat they begin."""
_SHARES = (0.5, 0.14, 0.16, 0.03, 0.05, 0.04, 0.05, 0.03)


def is_held_out(number: int) -> bool:
    """Return whether a song or score is for tests: the 22nd, the 44th, ..."""
    return number % HELD_OUT == HELD_OUT - 1


def _is_validation(number: int) -> bool:
    return number % HELD_OUT == HELD_OUT // 2 - 1


@dataclass(frozen=True)
class BeatDataConfig:
    """The pieces that a beat model is trained on."""

    name: ClassVar[str] = "pieces with beats (BeatDataConfig)"

    # Files written by `mt3x corpus beats`.
    pieces: tuple[str, ...] = ()
    # How often each is drawn from, relative to the others; None: all equally often.
    weights: tuple[float, ...] | None = None
    batch_size: int = 8
    clip_frames: int = 1536  # even
    # How often pieces in 4/4 get drums, where there are pieces of drums alone.
    drums_prob: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        # Gin and JSON give lists.
        object.__setattr__(self, "pieces", tuple(self.pieces))
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
            if len(self.weights) != len(self.pieces):
                raise ValueError(
                    f"{len(self.weights)} weights for {len(self.pieces)} files of "
                    "pieces; give one each or none"
                )
        if self.clip_frames % 2 or self.clip_frames < 2:
            raise ValueError(f"clip_frames={self.clip_frames} must be even")

    def fitted(self, objective: Any) -> "BeatDataConfig":
        """Return the same: all beat models take the same data."""
        del objective
        return self

    def make_batches(
        self, objective: Any = None, shard: tuple[int, int] = (0, 1)
    ) -> "BeatBatches":
        """Return training batches, or a process's part of them.

        Raises:
          ValueError: no files are named, or the batch does not divide.
          OSError: a file is missing.
        """
        if not self.pieces:
            raise ValueError("no pieces to train on; set BeatDataConfig.pieces")
        return BeatBatches([read_pieces(path) for path in self.pieces], self, shard)

    def validation_batches(
        self, objective: Any = None, corpus: str | os.PathLike[str] | None = None
    ) -> "BeatBatches":
        """Return batches of the pieces for validation, in all runs the same."""
        files = [read_pieces(path) for path in self.pieces]
        return BeatBatches(files, replace(self, seed=0), validation=True)

    @contextmanager
    def opened(self, objective: Any, shard: tuple[int, int]) -> Iterator["BeatBatches"]:
        """Yield the batches of `make_batches`."""
        yield self.make_batches(objective, shard)


class BeatBatches:
    """Clips of pieces, each performed anew."""

    def __init__(
        self,
        files: Sequence[Sequence[BeatPiece]],
        config: BeatDataConfig,
        shard: tuple[int, int] = (0, 1),
        validation: bool = False,
    ) -> None:
        self.config = config
        self._validation = validation
        self._rows = rows_of(shard, config.batch_size)
        self._files = [
            [
                piece
                for piece in pieces
                if _is_validation(piece.number) == validation
                if not is_held_out(piece.number)
            ]
            for pieces in files
        ]
        if not all(self._files):
            raise ValueError("a file of pieces has too few to hold some out")
        weights = np.array(config.weights or [1.0] * len(files), float)
        self._shares = weights / weights.sum()
        self._grooves = [
            piece
            for pieces in self._files
            for piece in pieces
            if piece.notes.is_drum.all() and piece.beats.meter == "4/4"
            if len(piece.beats) >= 8
        ]

    def batch(self, step: int) -> Batch:
        """Return `frames` BxTxF and `targets` BxTx3 (see `mt3x.music.beat_frames`)."""
        examples = [self._example(step, row) for row in self._rows]
        return {key: np.stack([e[key] for e in examples]) for key in examples[0]}

    def ids(self, step: int) -> list[str]:
        """Return the pieces of each example."""
        return [self._draw(self._rng(step, row)).name for row in self._rows]

    def _rng(self, step: int, row: int) -> np.random.Generator:
        return np.random.default_rng((self.config.seed, step, row, self._validation))

    def _draw(self, rng: np.random.Generator) -> BeatPiece:
        pieces = self._files[int(rng.choice(len(self._files), p=self._shares))]
        return pieces[int(rng.integers(len(pieces)))]

    def _example(self, step: int, row: int) -> Batch:
        rng, num_frames = self._rng(step, row), self.config.clip_frames
        piece, groove = self._draw(rng), None
        wants_drums = rng.random() < self.config.drums_prob
        is_four = piece.beats.meter == "4/4" and not piece.notes.is_drum.any()
        if wants_drums and is_four and self._grooves:
            groove = self._grooves[int(rng.integers(len(self._grooves)))]
        notes, beats = perform_clip(piece, rng, num_frames / BEAT_RATE_HZ, groove)
        loudness_N = loudness(notes.velocity)
        slots, downbeats = _bars(notes, beats, loudness_N, num_frames, rng)
        return {
            "frames": notes_to_frames(notes, 0, num_frames, loudness_N),
            "targets": beat_targets(beats, num_frames),
            "slots": slots,
            "downbeats": downbeats,
        }


def _bars(
    notes: Notes,
    beats: Beats,
    loudness_N: np.ndarray,
    num_frames: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return slots KxSxF and Kx4, as `mt3x.models.beat_objective` takes them.

    Beats are not quite where they should be, and half the time at another level or
    between beats, as those that are tracked may be.
    """
    inside = (beats.time_s > 0) & (beats.time_s < num_frames / BEAT_RATE_HZ)
    time_s, is_down = beats.time_s[inside], beats.position[inside] == 1
    slots_KxSxF = np.zeros((CLIP_BEATS, NUM_SLOTS, NUM_SLOT_INPUTS), np.float32)
    bars_Kx4 = np.zeros((CLIP_BEATS, 4), np.float32)
    step, phases = _LEVELS[int(rng.choice(len(_LEVELS), p=_SHARES))]
    phase = phases[int(rng.integers(len(phases)))]
    at = np.arange(phase, len(time_s) - 1 + 1e-6, step)
    if len(at) < 2:
        return slots_KxSxF, bars_Kx4
    on_beat = np.abs(at - np.round(at)) < 1e-6
    at_down = on_beat & is_down[np.round(at).astype(int)]
    is_known = step <= 2 and at_down.sum() == is_down.sum()
    time_s = np.interp(at, np.arange(len(time_s)), time_s)[:CLIP_BEATS]
    num = len(time_s)
    # Beats keep their order.
    most_s = 0.3 * min(float(np.diff(time_s).min()), 0.1)
    time_s = time_s + np.clip(0.01 * rng.normal(0, 1, num), -most_s, most_s)
    slots_KxSxF[:num] = notes_to_slots(notes, time_s, loudness_N)
    bars_Kx4[:num, 0] = at_down[:num]
    bars_Kx4[:num, 1] = is_known
    bars_Kx4[:num, 2] = (step, phase) == (1.0, 0.0)
    bars_Kx4[:num, 3] = 1
    return slots_KxSxF, bars_Kx4

"""Training batches of generators: a pure function of the seed and the step."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mt3x.data.batches import Batch, rows_of
from mt3x.data.mood_pieces import MoodPiece, read_moods
from mt3x.music.event_stream import EventStream
from mt3x.music.notes import Notes
from mt3x.music.options import check_fields

__all__ = ["MoodBatches", "MoodDataConfig"]


@dataclass(frozen=True)
class MoodDataConfig:
    """The clips with moods that a generator is trained on."""

    name: ClassVar[str] = "clips with moods (MoodDataConfig)"

    # Files written by `mt3x corpus moods`.
    moods: tuple[str, ...] = ()
    # How often each is drawn from, relative to the others; None: by its clips.
    weights: tuple[float, ...] | None = None
    batch_size: int = 8
    num_tokens: int = 1024  # of a clip
    # Updates over which the temperature of samples falls to its least: a GAN's.
    anneal_steps: int = 100_000
    # How often a mood is hidden, so that music without a wish is learnt too.
    hidden_mood_prob: float = 0.1
    # Clips are transposed by up to this, and stretched by up to this part.
    max_transposition: int = 3
    max_stretch: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        # Gin and JSON give lists.
        object.__setattr__(self, "moods", tuple(self.moods))
        check_fields(
            self,
            batch_size=(1, 1_000_000),
            num_tokens=(1, 1_000_000),
            anneal_steps=(1, 1e12),
            hidden_mood_prob=(0.0, 1.0),
            max_transposition=(0, 24),
            max_stretch=(0.0, 0.9),
        )
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
            if len(self.weights) != len(self.moods):
                raise ValueError(
                    f"{len(self.weights)} weights for {len(self.moods)} files of "
                    "clips; give one each or none"
                )

    def fitted(self, objective: Any) -> "MoodDataConfig":
        """Return the same: all generators take the same data."""
        del objective
        return self

    def make_batches(
        self, objective: Any, shard: tuple[int, int] = (0, 1)
    ) -> "MoodBatches":
        """Return training batches, or a process's part of them.

        Raises:
          ValueError: no files are named, or the batch does not divide.
          OSError: a file is missing.
        """
        return MoodBatches(self._read("train"), self, objective.model.stream, shard)

    def validation_batches(
        self, objective: Any, corpus: str | os.PathLike[str] | None = None
    ) -> "MoodBatches":
        """Return batches of the clips for validation, unchanged, the same in all runs.

        They are those of the first file.
        """
        del corpus
        files = [read_moods(path, "validation") for path in self.moods[:1]]
        plain = replace(
            self,
            weights=None,
            hidden_mood_prob=0.0,
            max_transposition=0,
            max_stretch=0.0,
            seed=0,
        )
        return MoodBatches(files, plain, objective.model.stream)

    @contextmanager
    def opened(self, objective: Any, shard: tuple[int, int]) -> Iterator["MoodBatches"]:
        """Yield the batches of `make_batches`."""
        yield self.make_batches(objective, shard)

    def _read(self, split: str) -> list[list[MoodPiece]]:
        if not self.moods:
            raise ValueError("no clips to train on; set MoodDataConfig.moods")
        return [read_moods(path, split) for path in self.moods]


class MoodBatches:
    """Clips as tokens, each changed a little, with their moods."""

    def __init__(
        self,
        files: Sequence[Sequence[MoodPiece]],
        config: MoodDataConfig,
        stream: EventStream,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.config = config
        self._stream = stream
        self._rows = rows_of(shard, config.batch_size)
        self._files = files
        weights = np.array(config.weights or [len(clips) for clips in files], float)
        self._shares = weights / weights.sum()

    def batch(self, step: int) -> Batch:
        """Return the arrays of a step.

        `tokens` BxT (int32): model ids, PAD at the end; `mood` Bx2 (float32): valence
        and arousal, NaN where hidden or not known; `progress` B (float32): the part of
        `anneal_steps` that is done, from 0 to 1.
        """
        examples = [self._example(step, row) for row in self._rows]
        batch = {key: np.stack([e[key] for e in examples]) for key in examples[0]}
        done = min(step / self.config.anneal_steps, 1.0)
        return {**batch, "progress": np.full(len(examples), done, np.float32)}

    def ids(self, step: int) -> list[str]:
        """Return the pieces of each example."""
        return [self._draw(self._rng(step, row)).piece for row in self._rows]

    def _rng(self, step: int, row: int) -> np.random.Generator:
        return np.random.default_rng((self.config.seed, step, row))

    def _draw(self, rng: np.random.Generator) -> MoodPiece:
        clips = self._files[int(rng.choice(len(self._files), p=self._shares))]
        return clips[int(rng.integers(len(clips)))]

    def _example(self, step: int, row: int) -> Batch:
        config, rng = self.config, self._rng(step, row)
        clip = self._draw(rng)
        mood = np.array([clip.valence, clip.arousal], np.float32)
        if rng.random() < config.hidden_mood_prob:
            mood[:] = np.nan
        tokens_T = np.zeros(config.num_tokens, np.int32)
        notes = self._changed(clip.notes, rng)
        written = self._stream.encode(notes)[: config.num_tokens]
        tokens_T[: len(written)] = written
        return {"tokens": tokens_T, "mood": mood}

    def _changed(self, notes: Notes, rng: np.random.Generator) -> Notes:
        """Return notes from one of them on, transposed and stretched, from time 0."""
        config = self.config
        notes = self._stream.playable(notes)
        if not len(notes):
            return notes
        # A note takes four tokens or so: begin where what is left fills the example.
        spare = max(len(notes) - config.num_tokens // 4, 0)
        notes = notes[int(rng.integers(spare + 1)) :]
        lowest = max(
            -config.max_transposition,
            self._stream.lowest_pitch - int(notes.pitch.min()),
        )
        highest = min(
            config.max_transposition,
            self._stream.highest_pitch - int(notes.pitch.max()),
        )
        up = int(rng.integers(lowest, highest + 1))
        stretch = 1 + rng.uniform(-config.max_stretch, config.max_stretch)
        begin_s = float(notes.onset_s.min())
        return replace(
            notes,
            onset_s=(notes.onset_s - begin_s) * stretch,
            offset_s=(notes.offset_s - begin_s) * stretch,
            pitch=notes.pitch + up,
        )

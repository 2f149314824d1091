"""Training batches from corpora: a pure function of the seed and the step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mt3x.data.augment import AugmentConfig, augment
from mt3x.data.corpus import Corpus
from mt3x.music.notes import Notes
from mt3x.music.pedal_rolls import pedal_to_roll
from mt3x.music.performance import NO_PEDAL, Performance
from mt3x.music.rolls import RollLabelConfig, notes_to_rolls
from mt3x.music.samples import from_int16, resample

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class BatchConfig:
    """Options of batches: their shape and what is done to their clips."""

    batch_size: int = 8  # B
    clip_samples: int = 81920  # S, a multiple of hop_samples
    hop_samples: int = 320
    labels: RollLabelConfig = field(default_factory=RollLabelConfig)
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)  # None: as is
    detune_prob: float = 0.3  # how often a clip is played faster or slower
    max_detune_semitones: float = 0.3
    noise_only_prob: float = 0.02  # how often a clip is noise without notes
    # Also targets of key releases and pedal, of corpora that have them.
    pedal: bool = False
    lead_s: float = 0.5  # audio before a clip that feeds its reverberation

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1: {self.batch_size}")
        if self.clip_samples < 1 or self.clip_samples % self.hop_samples:
            raise ValueError(
                f"clip_samples must be a multiple of hop_samples "
                f"{self.hop_samples}: {self.clip_samples}"
            )

    @property
    def num_frames(self) -> int:
        return self.clip_samples // self.hop_samples


def rows_of(shard: tuple[int, int], batch_size: int) -> range:
    """Return the examples of a batch that process `shard[0]` of `shard[1]` makes.

    Raises:
      ValueError: they cannot have as many each.
    """
    number, count = shard
    if batch_size % count:
        raise ValueError(
            f"batch_size={batch_size} does not divide over {count} processes; make it "
            f"a multiple of {count}"
        )
    size = batch_size // count
    return range(number * size, (number + 1) * size)


class _Place(NamedTuple):
    """Where a clip comes from."""

    corpus: Corpus
    index: int  # of the piece
    start: int  # sample
    speed: float  # at which it is played


class CorpusBatches:
    """Random clips of weighted corpora with their label rolls."""

    def __init__(
        self,
        corpora: Sequence[Corpus],
        weights: Sequence[float] | None = None,
        config: BatchConfig | None = None,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ):
        """Prepare the draw.

        Args:
          corpora: at least one, all at one sample rate.
          weights: chance of each corpus; by its duration where left out. Within a
            corpus every second of audio is as likely as any other.
          config: shapes and augmentation.
          seed: with the step, decides every batch.
          shard: this process and how many there are; each makes its part of a batch,
            and the parts together are the batch of one process.

        Raises:
          ValueError: where the corpora, weights and rates do not fit together, or the
            batch does not divide over the processes.
        """
        self.corpora = list(corpora)
        self.config = config or BatchConfig()
        self.seed = seed
        self._rows = rows_of(shard, self.config.batch_size)
        if not self.corpora or not all(len(corpus) for corpus in self.corpora):
            raise ValueError("every corpus must hold a piece, and there must be one")
        rates = {corpus.sample_rate_hz for corpus in self.corpora}
        if len(rates) > 1:
            raise ValueError(f"corpora have different sample rates: {sorted(rates)}")
        self.sample_rate_hz = rates.pop()
        frame_rate_hz = self.sample_rate_hz / self.config.hop_samples
        if frame_rate_hz != self.config.labels.frame_rate_hz:
            raise ValueError(
                f"{self.sample_rate_hz} Hz at hop {self.config.hop_samples} is "
                f"{frame_rate_hz} frames/s, labels want "
                f"{self.config.labels.frame_rate_hz}"
            )
        if weights is None:
            weights = [corpus.duration_s for corpus in self.corpora]
        shares = np.asarray(weights, float)
        if shares.shape != (len(self.corpora),) or not (shares >= 0).all():
            raise ValueError(f"expected {len(self.corpora)} weights >= 0: {weights}")
        if not shares.sum() > 0:
            raise ValueError("all weights are 0")
        for corpus in self.corpora:
            if self.config.pedal and not corpus.has_pedal:
                raise ValueError(
                    f"{corpus.folder}: when keys and pedal are released is not known; "
                    "render the corpus again with `mt3x corpus`"
                )
        self._shares = shares / shares.sum()
        self._ends = [
            np.cumsum([piece.num_samples for piece in corpus.pieces])
            for corpus in self.corpora
        ]

    def batch(self, step: int) -> Batch:
        """Return this process's part of the batch of a step.

        Returns:
          {"samples": float32 BxS, "onset", "frame", "offset", "velocity": float32
          BxTxP} with T = S / hop; with `pedal` also "key" BxTxP and "pedal" BxTx3.
        """
        examples = [self._example(step, row) for row in self._rows]
        return {key: np.stack([e[key] for e in examples]) for key in examples[0]}

    def ids(self, step: int) -> list[str]:
        """Return each example's piece and where it begins."""
        return [self._id(step, row) for row in self._rows]

    def _id(self, step: int, row: int) -> str:
        rng = np.random.default_rng((self.seed, step, row))
        if rng.random() < self.config.noise_only_prob:
            return "noise without notes"
        corpus, index, start, _ = self._draw(rng)
        start_s = start / self.sample_rate_hz
        return f"{corpus.folder} {corpus.pieces[index].name} at {start_s:.2f} s"

    def _example(self, step: int, row: int) -> Batch:
        config = self.config
        rng = np.random.default_rng((self.seed, step, row))
        if rng.random() < config.noise_only_prob:
            samples_S = self._noise(rng)
            notes, played = Notes.empty(), Performance(Notes.empty(), NO_PEDAL)
        else:
            samples_S, notes, played = self._clip(rng)
        rolls = notes_to_rolls(notes, config.num_frames, config.labels)
        example = {"samples": samples_S, **rolls.by_name()}
        if config.pedal:
            keys = notes_to_rolls(played.keys, config.num_frames, config.labels)
            example["key"] = keys.frame_TxP
            example["pedal"] = pedal_to_roll(
                played.pedal_s, config.num_frames, config.labels.frame_rate_hz
            )
        return example

    def _draw(self, rng: np.random.Generator) -> _Place:
        config = self.config
        which = int(rng.choice(len(self.corpora), p=self._shares))
        corpus, ends = self.corpora[which], self._ends[which]
        index = int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
        speed = 1.0
        if rng.random() < config.detune_prob:
            bound = config.max_detune_semitones
            speed = float(2 ** (rng.uniform(-bound, bound) / 12))
        num_source = int(np.ceil(config.clip_samples * speed))
        num_samples = corpus.pieces[index].num_samples
        start = int(rng.integers(max(num_samples - num_source, 0) + 1))
        return _Place(corpus, index, start, speed)

    def _clip(self, rng: np.random.Generator) -> tuple[np.ndarray, Notes, Performance]:
        """Return samples of a random clip, its notes and what is played.

        Times are seconds from its start. Nothing is played where `config.pedal` is off.
        """
        config, rate_hz = self.config, self.sample_rate_hz
        corpus, index, start, speed = self._draw(rng)
        lead = round(config.lead_s * rate_hz) if config.augment else 0
        # In samples of the corpus; played `speed` times as fast.
        num_source = int(np.ceil(config.clip_samples * speed))
        num_lead = int(np.ceil(lead * speed))
        source_S = corpus.samples(index)[max(start - num_lead, 0) : start + num_source]
        missing = max(num_lead - start, 0)
        source_S = from_int16(source_S)
        wanted = num_lead + num_source
        source_S = np.pad(source_S, (missing, wanted - missing - len(source_S)))
        source_S = resample(source_S, rate_hz * speed, rate_hz, "MQ")
        # The lead's length in output samples need not be whole: cut at the clip's.
        first = round(num_lead / speed)
        total = first + config.clip_samples
        samples_S = np.pad(source_S[:total], (0, max(total - len(source_S), 0)))
        if config.augment:
            samples_S = augment(samples_S, rng, config.augment, rate_hz, first)
        start_s, span_s = start / rate_hz, num_source / rate_hz
        notes = corpus.notes_between(index, start_s - 0.5, start_s + span_s + 0.5)
        notes = notes.shift(-start_s).stretched(1 / speed)
        played = Performance(Notes.empty(), NO_PEDAL)
        if config.pedal:
            played = corpus.performance_between(index, start_s, start_s + span_s)
            played = played.shift(-start_s).stretched(1 / speed)
        return samples_S[-config.clip_samples :], notes, played

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        """Return a clip without music: silence, or noise of a random colour."""
        config = self.config
        level = float(10 ** (rng.uniform(-80, -25) / 20)) * (rng.random() < 0.8)
        noise_S = rng.standard_normal(config.clip_samples, dtype=np.float32)
        if config.augment:
            noise_S = augment(noise_S, rng, config.augment, self.sample_rate_hz)
            noise_S /= max(float(np.abs(noise_S).max()), 1e-9)
            level *= 4
        return np.clip(noise_S * np.float32(level), -1, 1)

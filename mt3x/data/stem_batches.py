"""Training batches mixed from stems: a pure function of the seed and the step.

A clip is a mix of a few stems of corpora that `mt3x synth --stems` renders, or of
pianos' corpora: of one song, or of any. Levels, speed, room and recorder are drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from mt3x.data.augment import AugmentConfig, augment, colour
from mt3x.data.batches import Batch, rows_of
from mt3x.data.corpus import Corpus
from mt3x.music.instrument_classes import CLASS_OF_PROGRAM, CLASSES, DRUM_CLASS_OF_KEY
from mt3x.music.instrument_classes import DRUM_CLASSES as DRUMS
from mt3x.music.notes import Notes
from mt3x.music.rolls import (
    LOWEST_PITCH,
    NUM_PITCHES,
    RollLabelConfig,
    notes_to_rolls,
    on_one_keyboard,
)
from mt3x.music.samples import from_int16, resample

_MAX_STEMS = 6


@dataclass(frozen=True)
class MixConfig:
    """Options of mixed clips."""

    batch_size: int = 2  # B
    clip_samples: int = 65536  # S, a multiple of hop_samples
    hop_samples: int = 512
    labels: RollLabelConfig = field(
        default_factory=lambda: RollLabelConfig(31.25, onset_radius_frames=1.5)
    )
    # Steps of the drums' targets in a frame, and the half width of their onsets.
    drum_steps: int = 4
    drum_radius_steps: float = 3.0
    # Leave out what piano models do not learn: all except for the rolls.
    rolls_only: bool = False
    # Chance of no, one, two, ... pitched stems in a clip; without any there are drums.
    num_stems: tuple[float, ...] = (0.05, 0.28, 0.18, 0.17, 0.17, 0.09, 0.06)
    drums_prob: float = 0.65
    same_song_prob: float = 0.5  # how often stems are of one song, in time
    # Chance of a class of instruments: its hours of stems to this power, times what is
    # given for it.
    class_power: float = 0.5
    class_weights: Mapping[str, float] = field(
        default_factory=lambda: {"piano": 2.5, "acoustic guitar": 1.5}
    )
    level_db: tuple[float, float] = (-12.0, 6.0)  # of a stem against the others
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            strings_prob=0.0,
            slow_prob=0.1,
            rough_prob=0.5,
            reverb_prob=0.7,
            rt60_s=(0.1, 2.5),
            reverb_db=(-25.0, 3.0),
        )
    )
    # How often a stem is coloured by itself before it is mixed, and how: no two
    # instruments of a kind sound alike, and libraries of samples have few. Pianos have
    # strings that sound along, and low partials that rise late.
    colour_prob: float = 0.6
    stem_colour: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            eq_db=7.0,
            rough_prob=0.3,
            slow_prob=0.0,
            strings_prob=0.0,
            highpass_prob=0.1,
            lowpass_prob=0.15,
        )
    )
    piano_colour: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(rough_prob=0.4, lowpass_prob=0.15)
    )
    detune_prob: float = 0.5
    max_detune_semitones: float = 0.3
    # How often a clip is played faster or slower by whole semitones, at most so many.
    shift_prob: float = 0.3
    max_shift_semitones: int = 3
    noise_only_prob: float = 0.015
    lead_s: float = 0.5  # audio before a clip that feeds its reverberation

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_stems", tuple(self.num_stems))
        object.__setattr__(self, "level_db", tuple(self.level_db))
        names = {found.name for found in CLASSES}
        if unknown := sorted(set(self.class_weights) - names):
            raise ValueError(f"class_weights: no class is called {unknown[0]!r}")
        if self.clip_samples < 1 or self.clip_samples % self.hop_samples:
            raise ValueError(
                f"clip_samples must be a multiple of hop_samples "
                f"{self.hop_samples}: {self.clip_samples}"
            )
        if not 1 <= len(self.num_stems) <= _MAX_STEMS + 1 or sum(self.num_stems) <= 0:
            raise ValueError(
                f"num_stems needs a chance for each of 0 to at most {_MAX_STEMS} "
                f"stems: {self.num_stems}"
            )

    @property
    def num_frames(self) -> int:
        return self.clip_samples // self.hop_samples


class _Stem(NamedTuple):
    """A stem in its corpus."""

    corpus: int
    piece: int
    program: int
    is_drum: bool
    group: str


class _Taken(NamedTuple):
    """A stem's part in a clip."""

    stem: _Stem
    samples_S: np.ndarray  # with the lead
    notes: Notes  # in seconds from the clip's start, as played


class StemBatches:
    """Random mixes with their labels."""

    def __init__(
        self,
        corpora: Sequence[Corpus],
        config: MixConfig | None = None,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """Prepare the draw.

        Args:
          corpora: of stems, with `program`, `is_drum` and `group` in their pieces'
            info; where these are missing, pieces are piano solos.
          config: shapes, mixing and augmentation.
          seed: with the step, decides every batch.
          shard: this process and how many there are; each makes its part of a batch.

        Raises:
          ValueError: the corpora, rates and processes do not fit together, or there
            are no pitched stems.
        """
        self.corpora = list(corpora)
        self.config = config or MixConfig()
        self.seed = seed
        self._rows = rows_of(shard, self.config.batch_size)
        rates = {corpus.sample_rate_hz for corpus in self.corpora}
        if len(rates) != 1:
            raise ValueError(f"corpora must have one sample rate: {sorted(rates)}")
        self.sample_rate_hz = rates.pop()
        rate_hz = self.sample_rate_hz / self.config.hop_samples
        if rate_hz != self.config.labels.frame_rate_hz:
            raise ValueError(
                f"{self.sample_rate_hz} Hz at hop {self.config.hop_samples} is "
                f"{rate_hz} frames/s, labels want {self.config.labels.frame_rate_hz}"
            )
        stems = [
            _stem_of(corpus, c, p)
            for c, corpus in enumerate(self.corpora)
            for p in range(len(corpus))
            if corpus.pieces[p].num_notes
        ]
        self._drums = [stem for stem in stems if stem.is_drum]
        self._groups: dict[str, list[_Stem]] = {}
        self._classes: dict[int, list[_Stem]] = {}
        for stem in stems:
            self._groups.setdefault(stem.group, []).append(stem)
            if not stem.is_drum:
                which = int(CLASS_OF_PROGRAM[stem.program])
                self._classes.setdefault(which, []).append(stem)
        if not self._classes:
            raise ValueError("the corpora have no pitched stems")
        seconds = [sum(map(self._seconds, s)) for s in self._classes.values()]
        weights = self.config.class_weights
        shares = np.array(seconds) ** self.config.class_power
        shares *= [weights.get(CLASSES[which].name, 1.0) for which in self._classes]
        self._shares = shares / shares.sum()
        self._bands = [
            group
            for group in self._groups.values()
            if sum(not stem.is_drum for stem in group) > 1
        ]

    def batch(self, step: int) -> Batch:
        """Return this process's part of the batch of a step.

        Returns (with `rolls_only` the first two kinds alone):
          float32 "samples" BxS; "onset", "frame", "offset", "velocity" BxTxP of all
          pitched notes; int32 "classes" BxTxP, whose bit k is set where class k of
          `CLASSES` sounds; int8 "parts" BxTxP, the number of the only stem that sounds
          there, 0 where none or several do; "drums" and "drum_velocity" BxUxD, soft
          onsets of `DRUM_CLASSES` with U = T * drum_steps.
        """
        examples = [self._example(step, row) for row in self._rows]
        return {key: np.stack([e[key] for e in examples]) for key in examples[0]}

    def ids(self, step: int) -> list[str]:
        """Return the stems of each example."""
        found = []
        for row in self._rows:
            stems = self._draw(np.random.default_rng((self.seed, step, row)))
            names = [self.corpora[s.corpus].pieces[s.piece].name for s in stems]
            found.append(" + ".join(names) or "noise")
        return found

    def _seconds(self, stem: _Stem) -> float:
        corpus = self.corpora[stem.corpus]
        return corpus.pieces[stem.piece].num_samples / corpus.sample_rate_hz

    def _draw(self, rng: np.random.Generator) -> list[_Stem]:
        """Return the stems of a clip; none: it is noise."""
        config = self.config
        if rng.random() < config.noise_only_prob:
            return []
        chances = np.array(config.num_stems) / sum(config.num_stems)
        num = int(rng.choice(len(chances), p=chances))
        wants_drums = bool(self._drums) and (
            num == 0 or rng.random() < config.drums_prob
        )
        together: list[_Stem] = []
        if num > 1 and self._bands and rng.random() < config.same_song_prob:
            band = self._bands[int(rng.integers(len(self._bands)))]
            pitched = [stem for stem in band if not stem.is_drum]
            chosen = rng.permutation(len(pitched))[:num]
            together = [pitched[i] for i in chosen]
            together += [s for s in band if s.is_drum and wants_drums]
        stems = together or [self._one(rng) for _ in range(max(num, 0))]
        if wants_drums and not any(stem.is_drum for stem in stems):
            stems.append(self._drums[int(rng.integers(len(self._drums)))])
        return stems or [self._one(rng)]

    def _one(self, rng: np.random.Generator) -> _Stem:
        which = list(self._classes)[rng.choice(len(self._classes), p=self._shares)]
        stems = self._classes[which]
        return stems[int(rng.integers(len(stems)))]

    def _example(self, step: int, row: int) -> Batch:
        config, rate_hz = self.config, self.sample_rate_hz
        rng = np.random.default_rng((self.seed, step, row))
        stems = self._draw(rng)
        lead = round(config.lead_s * rate_hz)
        if not stems:
            samples_S = rng.standard_normal(config.clip_samples, dtype=np.float32)
            samples_S *= np.float32(10 ** (rng.uniform(-80, -20) / 20))
            return {"samples": samples_S, **self._labels([])}
        semitones = 0
        if rng.random() < config.shift_prob:
            bound = config.max_shift_semitones
            semitones = int(rng.integers(-bound, bound + 1))
        detune = 0.0
        if rng.random() < config.detune_prob:
            detune = rng.uniform(-1, 1) * config.max_detune_semitones
        speed = float(2 ** ((semitones + detune) / 12))
        taken = self._take(stems, rng, lead, speed, semitones)
        num = lead + config.clip_samples
        mix_S = np.zeros(num, np.float32)
        for part in taken:
            mix_S[: len(part.samples_S)] += part.samples_S[:num]
        peak = float(np.abs(mix_S).max(initial=0.0))
        mix_S *= np.float32(0.5 / max(peak, 1e-4))
        samples_S = augment(mix_S, rng, config.augment, rate_hz, lead)
        return {"samples": samples_S, **self._labels(taken)}

    def _take(
        self,
        stems: Sequence[_Stem],
        rng: np.random.Generator,
        lead: int,
        speed: float,
        semitones: int,
    ) -> list[_Taken]:
        """Cut the stems' parts, those of one group at the same place."""
        config, rate_hz = self.config, self.sample_rate_hz
        num_source = int(np.ceil(config.clip_samples * speed))
        num_lead = int(np.ceil(lead * speed))
        starts: dict[str, int] = {}
        taken = []
        for stem in stems:
            corpus = self.corpora[stem.corpus]
            if stem.group not in starts:
                starts[stem.group] = _start(corpus, stem.piece, rng, num_source)
            start = starts[stem.group]
            low = max(start - num_lead, 0)
            source_S = from_int16(corpus.samples(stem.piece)[low : start + num_source])
            source_S = np.pad(source_S, (max(num_lead - start, 0), 0))
            if rng.random() < config.colour_prob:
                is_piano = not stem.is_drum and CLASS_OF_PROGRAM[stem.program] == 0
                chosen = config.piano_colour if is_piano else config.stem_colour
                source_S = colour(source_S, rng, chosen, rate_hz)
            level = float(np.sqrt(np.mean(np.square(source_S[num_lead:]))))
            gain_db = rng.uniform(*config.level_db) if len(stems) > 1 else 0.0
            gain = 10 ** (gain_db / 20) / max(level, 0.003)
            if speed != 1:
                source_S = resample(source_S, rate_hz * speed, rate_hz, "MQ")
            start_s, span_s = start / rate_hz, num_source / rate_hz
            notes = corpus.notes_between(
                stem.piece, start_s - 0.5, start_s + span_s + 0.5
            )
            notes = notes.shift(-start_s).stretched(1 / speed)
            velocity = np.clip(np.round(notes.velocity + gain_db), 1, 127).astype(int)
            notes = replace(notes, velocity=velocity)
            if not stem.is_drum:
                notes = notes.transposed(semitones)
            taken.append(_Taken(stem, source_S * np.float32(gain), notes))
        return taken

    def _labels(self, taken: Sequence[_Taken]) -> Batch:
        config = self.config
        shape = config.num_frames, NUM_PITCHES
        classes_TxP = np.zeros(shape, np.int32)
        count_TxP, part_TxP = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
        pitched, drums = [Notes.empty()], [Notes.empty()]
        for number, part in enumerate(taken, start=1):
            if part.stem.is_drum:
                drums.append(part.notes)
                continue
            pitched.append(part.notes)
            frames_TxP = _frames(part.notes, config)
            which = int(CLASS_OF_PROGRAM[part.stem.program])
            classes_TxP[frames_TxP] |= 1 << which
            count_TxP[frames_TxP] += 1
            part_TxP[frames_TxP] = number
        notes = Notes.concatenate(pitched)
        notes = on_one_keyboard(notes, config.labels.frame_rate_hz)
        rolls = notes_to_rolls(notes, config.num_frames, config.labels)
        if config.rolls_only:
            return rolls.by_name()
        drums_UxD, velocity_UxD = self._drum_labels(Notes.concatenate(drums))
        return {
            **rolls.by_name(),
            "classes": classes_TxP,
            "parts": np.where(count_TxP == 1, part_TxP, 0).astype(np.int8),
            "drums": drums_UxD,
            "drum_velocity": velocity_UxD,
        }

    def _drum_labels(self, notes: Notes) -> tuple[np.ndarray, np.ndarray]:
        """Return soft onsets and velocities UxD of drums."""
        config = self.config
        num_steps = config.num_frames * config.drum_steps
        rate_hz = config.labels.frame_rate_hz * config.drum_steps
        onset_UxD, velocity_UxD = np.zeros((2, num_steps, len(DRUMS)), np.float32)
        radius = config.drum_radius_steps
        which_N = DRUM_CLASS_OF_KEY[notes.pitch] if len(notes) else np.zeros(0, int)
        for which, onset_s, velocity in zip(
            which_N, notes.onset_s, notes.velocity, strict=True
        ):
            exact = onset_s * rate_hz
            low = max(int(np.ceil(exact - radius)), 0)
            near = np.arange(low, min(int(np.floor(exact + radius)) + 1, num_steps))
            if which < 0 or not len(near):
                continue
            soft = (1 - np.abs(near - exact) / radius).astype(np.float32)
            louder = soft > onset_UxD[near, which]
            velocity_UxD[near[louder], which] = velocity / 128
            onset_UxD[near, which] = np.maximum(onset_UxD[near, which], soft)
        return onset_UxD, velocity_UxD


def _stem_of(corpus: Corpus, c: int, p: int) -> _Stem:
    piece = corpus.pieces[p]
    info: Mapping[str, object] = piece.info
    program = int(str(info.get("program", 0)))
    group = str(info.get("group", f"{c} {piece.name}"))
    return _Stem(c, p, program, bool(info.get("is_drum", False)), f"{c} {group}")


def _start(
    corpus: Corpus, piece: int, rng: np.random.Generator, num_source: int
) -> int:
    """Return where a clip of a piece begins: one of its notes begins well inside."""
    onset_s = corpus.notes(piece).onset_s
    begin = int(rng.choice(onset_s) * corpus.sample_rate_hz)
    begin -= int(rng.uniform(0, 0.9) * num_source)
    latest = max(corpus.pieces[piece].num_samples - num_source, 0)
    return int(np.clip(begin, 0, latest))


def _frames(notes: Notes, config: MixConfig) -> np.ndarray:
    """Return TxP where a part sounds, as `notes_to_rolls` has it."""
    frames_TxP = np.zeros((config.num_frames, NUM_PITCHES), bool)
    rate_hz = config.labels.frame_rate_hz
    first = np.round(notes.onset_s * rate_hz).astype(int)
    last = np.maximum(np.round(notes.offset_s * rate_hz).astype(int), first + 1)
    key = notes.pitch - LOWEST_PITCH
    for k, begin, end in zip(key, first, last, strict=True):
        if 0 <= k < NUM_PITCHES and end > 0:
            frames_TxP[max(begin, 0) : end, k] = True
    return frames_TxP


assert len(CLASSES) <= 31  # bits of an int32

"""Random recordings and tokens for the parity of `mt3x.music.tokens` with MT3."""

from pathlib import Path

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.vocabulary import EVENT_TYPES, Codec, TokenizerConfig, VocabConfig

CONFIGS = {
    "mt3": TokenizerConfig(mt3_ties=True),
    "ismir2021": TokenizerConfig(VocabConfig(num_velocity_bins=127), use_ties=False),
    "acoustic_transformer": TokenizerConfig(
        VocabConfig(max_shift_steps=204), mt3_ties=True
    ),
    "onsets": TokenizerConfig(use_ties=False, onsets_only=True),
    "fine": TokenizerConfig(
        VocabConfig(steps_per_second=250, max_shift_steps=30, num_velocity_bins=32),
        mt3_ties=True,
    ),
    "coarse": TokenizerConfig(VocabConfig(steps_per_second=30), use_ties=False),
    "flat": TokenizerConfig(program_granularity="flat", mt3_ties=True),
    "midi_class": TokenizerConfig(
        VocabConfig(num_velocity_bins=5),
        program_granularity="midi_class",
        mt3_ties=True,
    ),
}


NUM_GOLDEN = 6
FOLDER = Path(__file__).parent
MIDI_FILES = FOLDER.parent / "data" / "prelude.mid", FOLDER / "pedal.mid"


def recordings(num_random: int) -> list[tuple[Notes, int]]:
    """The MIDI files of the tests and random ones: notes and number of frames."""
    files = [Notes.from_midi(path) for path in MIDI_FILES]
    return [
        *((notes, int(notes.offset_s.max() * 125)) for notes in files),
        *map(recording, range(num_random)),
    ]


def recording(seed: int) -> tuple[Notes, int]:
    """Notes of few pitches and programs, many at one time, and a number of frames.

    They overlap, are as short as 1 ms, and some go on beyond the end.
    """
    rng = np.random.default_rng(seed)
    num_frames = int(rng.integers(1, 1200))
    num_notes = int(rng.integers(1, 80))
    grid_s = rng.choice([0.001, 0.01, 0.0125, 0.25])
    onset_s = rng.uniform(0, num_frames / 125, num_notes)
    onset_s = np.round(onset_s / grid_s) * grid_s
    duration_s = np.round(rng.exponential(0.5, num_notes) / grid_s) * grid_s
    notes = Notes(
        onset_s,
        onset_s + np.maximum(duration_s, 0.001),
        rng.integers(58, 64, num_notes),
        rng.integers(1, 128, num_notes),
        rng.choice([0, 3, 8, 40, 127], num_notes),
        rng.random(num_notes) < 0.2,
    )
    return notes, num_frames


def spans(recordings: list[tuple[Notes, int]]) -> list[list[tuple[int, int]]]:
    """Segments (first frame, frames) of each: the first of one length, and others."""
    rng = np.random.default_rng(0)
    of_all = []
    for _, num_frames in recordings:
        length = int(rng.choice([1, 7, 256, 512]))
        starts = range(0, num_frames, length)[:6]
        others = rng.integers(0, num_frames, 3).tolist()
        of_all.append([(f, min(length, num_frames - f)) for f in [*starts, *others]])
    return of_all


def mixes(num_segments: int, num_mixes: int) -> list[list[int]]:
    """Sub-mixes of 1 to 8 segments, as indices."""
    rng = np.random.default_rng(1)
    return [
        rng.integers(0, num_segments, rng.integers(1, 9)).tolist()
        for _ in range(num_mixes)
    ]


def random_segments(
    seed: int, config: TokenizerConfig
) -> list[tuple[float, np.ndarray]]:
    """Segments of random ids, most of them events in an order that can be right."""
    rng = np.random.default_rng(seed)
    ranges, num_classes = Codec(config.vocab).ranges, Codec(config.vocab).num_classes
    start_step = np.cumsum(rng.integers(0, 300, rng.integers(1, 5)))
    segments = []
    for start_s in np.unique(start_step) / config.vocab.steps_per_second:
        types = rng.choice(EVENT_TYPES, 60, p=[0.2, 0.4, 0.2, 0.03, 0.1, 0.07])
        ids = [
            int(rng.integers(first, last + 1))
            if type != "shift" or rng.random() < 0.1
            else int(rng.integers(0, 60))
            for type, (first, last) in zip(types, map(ranges.get, types), strict=True)
        ]
        ids = np.array(ids)
        ids[types == "pitch"] = (
            ranges["pitch"][0] + rng.integers(60, 63, 60)[types == "pitch"]
        )
        ids[types == "program"] = (
            ranges["program"][0] + rng.integers(0, 2, 60)[types == "program"]
        )
        wrong = rng.random(60) < 0.03
        ids[wrong] = rng.choice([-2, -1, num_classes, 10**6], wrong.sum())
        order = np.sort(rng.choice(60, rng.integers(0, 61), replace=False))
        segments.append((float(start_s), ids[order]))
    return segments


def corrupt(ids: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Some ids lost, some changed, two parts swapped, the end cut off."""
    ids = ids[rng.random(len(ids)) > 0.05]
    changed = rng.random(len(ids)) < 0.05
    ids = np.where(changed, rng.integers(-2, num_classes + 2, len(ids)), ids)
    first, second, end = np.sort(rng.integers(0, len(ids) + 1, 3))
    return np.concatenate([ids[first:second], ids[:first], ids[second:end]])

"""Tokens against MT3's encoder, its TensorFlow loops and its decoder.

    PYTHONPATH=. python bench/tokens.py

A band of random notes, four minutes. The lines of the encoder: the whole recording,
once; then all its segments of 256 frames, run-length encoded and without repetitions;
sub-mixes of four segments; then decoding of all segments to notes. MT3's lines need
mt3 with tensorflow, seqio and note-seq. A ratio above 1 says that mt3x is faster.
"""

import argparse
import importlib.util
import sys
import warnings
from pathlib import Path

from timing import limit_threads, median_times, report

limit_threads()

import numpy as np  # noqa: E402

from mt3x.music.notes import Notes  # noqa: E402
from mt3x.music.tokens import Tokenizer, trim_overlaps  # noqa: E402
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig  # noqa: E402

CONFIGS = {
    "mt3": TokenizerConfig(),
    "ismir2021": TokenizerConfig(VocabConfig(num_velocity_bins=127), use_ties=False),
}
NUM_MIXED = 4


def band(seconds: float, notes_per_second: float) -> Notes:
    """Random notes of four instruments and drums."""
    rng = np.random.default_rng(0)
    count = int(seconds * notes_per_second)
    onset_s = rng.uniform(0, seconds, count)
    is_drum = rng.random(count) < 0.3
    program = np.where(is_drum, 0, rng.choice([0, 25, 33, 48], count))
    duration_s = rng.exponential(0.4, count) + 0.02
    pitch = rng.integers(36, 90, count)
    velocity = rng.integers(30, 110, count)
    return trim_overlaps(
        Notes(onset_s, onset_s + duration_s, pitch, velocity, program, is_drum)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--notes-per-second", type=float, default=12)
    parser.add_argument("--frames", type=int, default=256, help="of a segment")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    notes = band(args.seconds, args.notes_per_second)
    num_frames = int(args.seconds * 125)
    firsts = range(0, num_frames, args.frames)
    print(f"{len(notes)} notes, {len(firsts)} segments", flush=True)
    for name, config in CONFIGS.items():
        calls = ours(Tokenizer(config), notes, num_frames, firsts)
        others = theirs(config, notes, num_frames, firsts)
        for what, call in calls.items():
            pair = {"mt3x": call} | ({"mt3": others[what]} if others else {})
            times_s = median_times(pair, args.repeats)
            if others:
                report(f"{name}, {what}", times_s, "mt3x", "mt3")
            else:
                print(f"{name}, {what}: mt3x {1e3 * times_s['mt3x']:.2f} ms")
    if not others:
        print("mt3's own times are left out: mt3 or tensorflow is not installed")


def ours(tokenizer: Tokenizer, notes: Notes, num_frames: int, firsts: range) -> dict:
    def segments():
        return [tokenizer.segment(events, first, firsts.step) for first in firsts]

    events = tokenizer.events(notes, num_frames)
    ids = segments()
    timed = [(first / 125, ids_L) for first, ids_L in zip(firsts, ids, strict=True)]
    mixes = [ids[i : i + NUM_MIXED] for i in range(0, len(ids), NUM_MIXED)]
    return {
        "recording": lambda: tokenizer.events(notes, num_frames),
        "segments": segments,
        "mixes": lambda: [tokenizer.merge(mix) for mix in mixes],
        "decoding": lambda: tokenizer.decode(timed),
    }


def theirs(
    config: TokenizerConfig, notes: Notes, num_frames: int, firsts: range
) -> dict | None:
    """MT3's calls; None where it is not installed. Graphs are built beforehand."""
    if not all(map(importlib.util.find_spec, ("mt3", "tensorflow", "note_seq"))):
        return None
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
    import mt3_reference as mt3

    spans = [[(first, firsts.step) for first in firsts]]
    encoded = mt3.encode(notes, num_frames, config)
    targets = mt3.to_arrays(mt3.extract([encoded], spans, config))
    dataset = mt3.without_repeats(
        mt3.run_length(mt3.to_dataset(targets), config), config
    )
    tracks = mt3.to_arrays(mt3.run_length(mt3.to_dataset(targets), config))
    padded = [
        mt3.pad(tracks[i : i + NUM_MIXED]) for i in range(0, len(tracks), NUM_MIXED)
    ]
    mixed = mt3.without_repeats(mt3.merge(mt3.to_dataset(padded), config), config)
    starts_s = [int(first / 1.25) / 100 for first in firsts]
    timed = list(zip(starts_s, mt3.to_arrays(dataset), strict=True))
    return {
        "recording": lambda: mt3.encode(notes, num_frames, config),
        "segments": lambda: mt3.to_arrays(dataset),
        "mixes": lambda: mt3.to_arrays(mixed),
        "decoding": lambda: mt3.decode(timed, config),
    }


if __name__ == "__main__":
    main()

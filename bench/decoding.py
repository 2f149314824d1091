"""What note decoding gains on a validation set: refinement, gathering, thresholds.

    python bench/decoding.py FOLDER [--checkpoint FILE] [--seconds 60] [--pieces N]

FOLDER holds recordings with labels beside them, as MAPS has them, or is a corpus
written by `mt3x corpus`. The network runs once; its rolls are decoded in every way, and
one line each gives the mean F1 of notes at 50 ms and at 25 ms, with offset, with offset
and velocity, and of frames, then the median size of the onsets' errors and their
median, in ms. Choose on validation recordings only.
"""

import argparse
import dataclasses

import numpy as np
from recordings import clips

from mt3x.inference.transcriber import Transcriber
from mt3x.music.metrics import match_notes, note_scores
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import (
    ONSET_REFINEMENTS,
    RollDecodingConfig,
    rolls_to_notes,
)
from mt3x.music.rolls import Rolls

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
LATENCIES_S = (0.0, 0.004, 0.008)


def onset_accuracy(ref: Notes, est: Notes) -> tuple[float, float, float]:
    """Note F1 at 25 ms instead of 50 ms; onset errors in ms: median size, median."""
    match = {
        tolerance_s: match_notes(ref, est, tolerance_s, offset_ratio=None)
        for tolerance_s in (0.025, 0.05)
    }
    r, e = match[0.05].T
    errors_s = est.onset_s[e] - ref.onset_s[r] if len(r) else np.array([np.nan])
    f1 = 2 * len(match[0.025]) / (len(ref) + len(est))
    return (
        f1,
        1e3 * float(np.median(np.abs(errors_s))),
        1e3 * float(np.median(errors_s)),
    )


def line(pieces: list[tuple[Notes, Rolls]], config: RollDecodingConfig) -> str:
    """Mean scores of one way to decode."""
    rows = []
    for ref, rolls in pieces:
        est = rolls_to_notes(rolls, config)
        scores = note_scores(ref, est)
        f1_25ms, *errors_ms = onset_accuracy(ref, est)
        kinds = (scores.note_offset, scores.note_offset_velocity, scores.frame)
        rows.append((scores.note.f1, f1_25ms, *(kind.f1 for kind in kinds), *errors_ms))
    means = np.mean(rows, axis=0)
    f1 = " ".join(f"{100 * mean:7.2f}" for mean in means[:-2])
    return f"{f1} {means[-2]:7.1f} {means[-1]:+7.1f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--checkpoint")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pieces", type=int)
    args = parser.parse_args()
    transcriber = Transcriber(args.checkpoint)
    rate_hz = transcriber.sample_rate_hz
    pieces = [
        (ref, transcriber.rolls(samples_S, rate_hz))
        for samples_S, ref in clips(args.folder, rate_hz, args.seconds, args.pieces)
    ]
    default = transcriber.roll_decoding

    print(f"{'decoding':28s}    note  25 ms  offset    vel.   frame  error    bias")
    for name in ONSET_REFINEMENTS:
        config = dataclasses.replace(default, onset_refinement=name)
        print(f"{'onset ' + name:28s} {line(pieces, config)}", flush=True)
    options = {
        "refine_offsets": (False, True),
        "even_keys": (False, True),
        "gather": (False, True),
        "latency_s": LATENCIES_S,
        "onset_threshold": THRESHOLDS,
        "frame_threshold": THRESHOLDS,
    }
    for name, values in options.items():
        for value in values:
            config = dataclasses.replace(default, **{name: value})
            print(f"{f'{name} {value}':28s} {line(pieces, config)}", flush=True)


if __name__ == "__main__":
    main()

"""Scores of a band's notes: a whole hour, and against mir_eval's own calls.

    PYTHONPATH=. python bench/evaluation.py [--seconds 3600] [--against 300]

Seven instruments with drums, 11 notes a second; the estimate is the reference with
blurred times and velocities, a seventh of the notes missing and some programs wrong.
First come the seconds and the peak memory of all that `mt3x evaluate` gives for the
whole, its start and the reading of two MIDI files included; then the note scores of a
shorter piece against mir_eval, which compares every note with every other. A ratio
above 1 says that mt3x is faster.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import limit_threads, median_times, report

limit_threads()

import mir_eval  # noqa: E402
import numpy as np  # noqa: E402

from mt3x.music.metrics import note_scores  # noqa: E402
from mt3x.music.notes import Notes  # noqa: E402

NOTES_PER_SECOND = 11
PROGRAMS = (0, 25, 33, 48, 56, 73)


def band(seconds: float) -> tuple[Notes, Notes]:
    """Return random notes of a band, and what a model might hear."""
    rng = np.random.default_rng(0)
    count = int(seconds * NOTES_PER_SECOND)
    is_drum = rng.random(count) < 0.25
    program = np.where(is_drum, 0, rng.choice(PROGRAMS, count))
    pitch = np.where(is_drum, rng.integers(35, 50, count), rng.integers(36, 90, count))
    velocity = rng.integers(30, 110, count)
    onset_s = rng.uniform(0, seconds, count)
    offset_s = onset_s + rng.exponential(0.4, count) + 0.03
    ref = Notes(onset_s, offset_s, pitch, velocity, program, is_drum)
    onset_s = np.maximum(ref.onset_s + rng.normal(0, 0.02, count), 0)
    offset_s = np.maximum(ref.offset_s + rng.normal(0, 0.06, count), onset_s + 0.01)
    is_wrong = (rng.random(count) < 0.1) & ~ref.is_drum
    program = np.where(is_wrong, rng.choice(PROGRAMS, count), ref.program)
    velocity = np.clip(ref.velocity + rng.integers(-15, 15, count), 1, 127)
    est = Notes(onset_s, offset_s, ref.pitch, velocity, program, ref.is_drum)
    return ref, est[rng.random(count) < 0.85]


def mir_eval_scores(ref: Notes, est: Notes) -> list[float]:
    """Return the F1 of notes by onset, with offset, and with velocity."""
    sides = [
        (
            np.stack([notes.onset_s, notes.offset_s], axis=1),
            mir_eval.util.midi_to_hz(notes.pitch.astype(float)),
            notes.velocity,
        )
        for notes in (ref, est)
    ]
    plain = [array for side in sides for array in side[:2]]
    by_time = mir_eval.transcription.precision_recall_f1_overlap
    by_velocity = mir_eval.transcription_velocity.precision_recall_f1_overlap
    return [
        by_time(*plain, offset_ratio=None)[2],
        by_time(*plain)[2],
        by_velocity(*sides[0], *sides[1])[2],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600, help="of the whole")
    parser.add_argument("--against", type=float, default=300, help="for mir_eval")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("ref.mid", "est.mid")]
        for notes, path in zip(band(args.seconds), paths, strict=True):
            path.write_bytes(notes.to_midi())
        start_s = time.perf_counter()
        command = [sys.executable, "-m", "mt3x", "evaluate", *map(str, paths)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start_s
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    count = int(args.seconds * NOTES_PER_SECOND)
    print(f"mt3x evaluate, {count} notes: {seconds:.2f} s, {peak:.0f} MB", flush=True)

    ref, est = band(args.against)
    scores, golden = note_scores(ref, est), mir_eval_scores(ref, est)
    ours = (scores.note, scores.note_offset, scores.note_offset_velocity)
    np.testing.assert_allclose([score.f1 for score in ours], golden)
    calls = {
        "mt3x": lambda: note_scores(ref, est),
        "mir_eval": lambda: mir_eval_scores(ref, est),
    }
    times_s = median_times(calls, args.repeats)
    report(f"note scores, {len(ref)} notes", times_s, "mt3x", "mir_eval")


if __name__ == "__main__":
    main()

"""Scores of beats from notes: POP909 that was held out, and performances of ASAP.

    python bench/beats.py pop909 POP909
    python bench/beats.py asap asap-dataset
    python bench/beats.py asap asap-dataset --part validation
    python bench/beats.py asap asap-dataset --part rest

POP909: the songs 022, 044, ... 880 (tests) or 011, 033, ... 869 (validation), which are
not trained on. ASAP (evaluation only): of its pieces in the order of their folders, the
second, fourth, ... are for tests and the others for validation; of each part 50 evenly
spaced pieces, and of each piece the first performance by name. `rest` is all others
of those for validation.

F-measure of mir_eval within 70 ms, first 90 s, means over pieces; AMLt allows for other
metrical levels (mir_eval's `Any Metric Level Total`). References before the first onset
and after the last one are left out. Besides, how often the number of beats in a bar is
the annotated one.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import mir_eval
import numpy as np

from mt3x.data.beat_batches import HELD_OUT
from mt3x.data.published.beat_sources import read_pop909
from mt3x.inference.beat_tracker import BeatTracker
from mt3x.music.beats import Beats, most_common_bar
from mt3x.music.notes import Notes

END_S = 90.0
NUM_ASAP = 50


class Piece(NamedTuple):
    """Notes, and where their beats are."""

    name: str
    notes: Notes
    beat_s: np.ndarray
    position: np.ndarray


def pop909(folder: Path, part: str) -> Iterator[Piece]:
    """Yield 40 songs."""
    first = HELD_OUT - 1 if part == "test" else HELD_OUT // 2 - 1
    songs = list(folder.glob("*/*.mid"))
    assert len(songs) >= 909, f"{folder}: {len(songs)} songs"
    for index in range(first, 40 * HELD_OUT, HELD_OUT):
        (piece,) = read_pop909(folder / f"{index + 1:03}", print)
        yield Piece(piece.name, piece.notes, piece.beats.time_s, piece.beats.position)


def asap(folder: Path, part: str) -> Iterator[Piece]:
    """Yield 50 performances, or the others of those for validation."""
    pieces: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*_annotations.txt")):
        if path.name != "midi_score_annotations.txt":
            pieces.setdefault(path.parent, path)
    chosen = [pieces[name] for name in sorted(pieces)][1 if part == "test" else 0 :: 2]
    spaced = np.linspace(0, len(chosen) - 1, NUM_ASAP).round().astype(int)
    rest = np.setdiff1d(np.arange(len(chosen)), spaced)
    for index in rest if part == "rest" else spaced:
        path = chosen[index]
        midi = path.with_name(path.name.replace("_annotations.txt", ".mid"))
        rows = [line.split("\t") for line in path.read_text().splitlines() if line]
        beat_s = np.array([float(row[0]) for row in rows])
        down = np.flatnonzero([row[2].startswith("db") for row in rows])
        index_N = np.arange(len(beat_s))
        last = np.searchsorted(down, index_N, side="right") - 1
        position = index_N - down[np.maximum(last, 0)] + 1
        beat_s, unique = np.unique(beat_s, return_index=True)
        name = str(path.parent.relative_to(folder))
        yield Piece(name, Notes.from_midi(midi), beat_s, position[unique])


def partitura_beats(notes: Notes) -> Beats:
    """Return the beats of partitura's estimate, whose bars begin with the first beat.

    Where it finds none, they are even.
    """
    from partitura.musicanalysis import estimate_time

    kinds = [("onset_sec", float), ("duration_sec", float), ("pitch", int)]
    array = np.zeros(len(notes), [*kinds, ("velocity", int)])
    array["onset_sec"], array["pitch"] = notes.onset_s, notes.pitch
    array["duration_sec"] = notes.offset_s - notes.onset_s
    array["velocity"] = notes.velocity
    found = estimate_time(array)
    per_bar = int(found["meter_numerator"])
    beat_s = np.unique(found["beats"])
    if len(beat_s) < 2:
        return Beats.from_bpm(120, notes.onset_s[0], notes.onset_s[-1])
    return Beats(beat_s, np.arange(len(beat_s)) % per_bar + 1, per_bar)


def score(piece: Piece, est: Beats) -> dict[str, float]:
    """Return the scores of a piece, in percent."""
    onset_s = piece.notes.onset_s

    def known(time_s: np.ndarray) -> np.ndarray:
        last_s = min(END_S, onset_s[-1] + 0.07)
        return time_s[(time_s >= onset_s[0] - 0.07) & (time_s <= last_s)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no beats
        ref_s, est_s = known(piece.beat_s), known(est.time_s)
        ref_down_s = known(piece.beat_s[piece.position == 1])
        est_down_s = known(est.downbeat_s)
        scores = {
            "beats": mir_eval.beat.f_measure(ref_s, est_s),
            "AMLt": mir_eval.beat.continuity(ref_s, est_s)[3],
            "downbeats": mir_eval.beat.f_measure(ref_down_s, est_down_s),
            "meter": float(most_common_bar(piece.position) == est.beats_per_bar),
        }
    return {name: 100 * value for name, value in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", choices=("pop909", "asap"))
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--part", choices=("test", "validation", "rest"), default="test"
    )
    parser.add_argument("--checkpoint", help="Weights of a beat model.")
    parser.add_argument(
        "--partitura", action="store_true", help="Its estimate instead."
    )
    parser.add_argument("--each", action="store_true", help="Print every piece.")
    args = parser.parse_args()
    if (args.data, args.part) == ("pop909", "rest"):
        parser.error("pop909 has no rest: all its validation songs have a part")
    track: Callable[[Notes], Beats] = partitura_beats
    if not args.partitura:
        track = BeatTracker(args.checkpoint)
    rows, begin_s = [], time.perf_counter()
    for piece in {"pop909": pop909, "asap": asap}[args.data](args.folder, args.part):
        # A little more than is scored, so that the end is not an end of the music.
        notes = piece.notes.clip(0, END_S + 20)
        piece = piece._replace(notes=notes)
        rows.append(score(piece, track(notes)))
        if args.each:
            values = "  ".join(f"{k} {v:5.1f}" for k, v in rows[-1].items())
            print(f"{values}  {piece.name}")
    means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    values = "  ".join(f"{name} {value:.1f}" for name, value in means.items())
    print(f"{args.data} {args.part}, {len(rows)} pieces: {values}")
    print(f"{(time.perf_counter() - begin_s) / len(rows):.2f} s a piece")


if __name__ == "__main__":
    main()

"""Scores of the sustain pedal and of key releases.

    python bench/pedal.py corpora/valid/splendid corpora/valid/old-fb
    python bench/pedal.py MAPS/ENSTDkCl --end 60

Corpora are those of `mt3x corpus` whose performances are known. Folders of recordings
have tables beside them with ends of notes and, in the fifth column, of keys (MAPS): the
pedal is known there only as far as these tell (`mt3x.music.pedal_metrics.heard_pedal`).

Of notes: F1 with offset in percent, means over pieces, where the reference's notes end
with their keys ("key ends") or with their sound ("notes"). Of the pedal: F1 of frames
and events of all pieces together, and what a pedal that is always down gets.
"""

import argparse
import itertools
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mt3x.data.corpus import Corpus
from mt3x.data.published.maps import read_maps
from mt3x.inference.transcriber import Transcriber
from mt3x.music.metrics import note_scores
from mt3x.music.note_files import read_notes
from mt3x.music.notes import Notes
from mt3x.music.pedal_metrics import Counts, heard_scores, pedal_scores
from mt3x.music.performance import Performance
from mt3x.music.roll_decoder import rolls_to_notes
from mt3x.music.rolls import Rolls
from mt3x.music.samples import from_int16


class Piece(NamedTuple):
    """A recording, and what was played."""

    samples_S: np.ndarray  # a few seconds more, for what ends later
    duration_s: float
    keys: Notes
    notes: Notes
    pedal_s: np.ndarray | None


def pieces(folder: Path, end_s: float) -> Iterator[Piece]:
    """Yield the beginnings of the pieces of a folder."""
    if (folder / "index.json").is_file():
        corpus = Corpus(folder)
        for index in range(len(corpus)):
            samples_S = from_int16(corpus.samples(index))
            played = corpus.performance_between(index, -np.inf, np.inf)
            yield _piece(samples_S, played.keys, played.notes(), played.pedal_s, end_s)
        return
    for found in read_maps(folder):
        keys = read_notes(found.notes_path, sustain_pedal=False)
        yield _piece(found.samples(16000), keys, found.notes(), None, end_s)


def _piece(samples_S, keys, notes, pedal_s, end_s) -> Piece:
    end_s = min(end_s, len(samples_S) / 16000)
    samples_S = samples_S[: round((end_s + 10) * 16000)]
    if pedal_s is not None:
        pedal_s = Performance(keys, pedal_s).clip(0, end_s).pedal_s
    return Piece(samples_S, end_s, keys.clip(0, end_s), notes.clip(0, end_s), pedal_s)


def note_f1(piece: Piece, played: Performance, heard: Notes) -> dict[str, float]:
    """Return note F1 with offset by name."""
    estimates = {
        "as heard": heard,
        "with key releases": played.keys,
        "as heard with the pedal": played.notes(),
    }
    return {
        f"{what}, {name}": note_scores(ref, est).note_offset.f1
        for what, ref in (("key ends", piece.keys), ("notes", piece.notes))
        for name, est in estimates.items()
    }


def pedal_counts(piece: Piece, played: Performance) -> Mapping[str, Counts]:
    if piece.pedal_s is None:
        return heard_scores(piece.notes, piece.keys, played)
    return pedal_scores(piece.pedal_s, played.pedal_s, piece.duration_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--checkpoint", help="Weights.  [default: the package's]")
    parser.add_argument("--end", type=float, default=60.0, help="Seconds of a piece.")
    parser.add_argument("--pieces", type=int, help="At most so many of each folder.")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    transcriber = Transcriber(options.checkpoint)
    decoding = transcriber.roll_decoding
    assert decoding is not None  # of piano models
    for folder in options.folders:
        rows, counts, always = [], [], []
        for piece in itertools.islice(pieces(folder, options.end), options.pieces):
            parts: list[Rolls] = []
            played = transcriber.perform(piece.samples_S, 16000, parts.append)
            heard = rolls_to_notes(Rolls.concatenate(parts), decoding)
            end_s = piece.duration_s
            played, heard = played.clip(0, end_s), heard.clip(0, end_s)
            rows.append(note_f1(piece, played, heard))
            counts.append(pedal_counts(piece, played))
            down = Performance(played.keys, np.array([[0.0, end_s]]))
            always.append(pedal_counts(piece, down))
        print(f"{folder}: {len(rows)} pieces")
        for name in rows[0]:
            print(f"  {name:40} {100 * np.mean([row[name] for row in rows]):5.1f}")
        for name in counts[0]:
            pooled, all_down = (
                Counts(*np.sum([each[name] for each in found], axis=0).tolist())
                for found in (counts, always)
            )
            of = pooled.scores()
            print(
                f"  pedal {name:34} {100 * of.f1:5.1f}  "
                f"(precision {100 * of.precision:.1f}, recall {100 * of.recall:.1f}, "
                f"of {pooled.ref}; always down {100 * all_down.scores().f1:.1f})"
            )


if __name__ == "__main__":
    main()

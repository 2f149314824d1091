"""The table of bands: groups of real recordings, by mt3x and by other programs.

    python bench/band.py [FOLDER] [--piano FOLDER] [--checkpoint FILE]
    python bench/band.py --onset-threshold 0.3 0.4 0.5 --frame-threshold 0.3 0.5
    python bench/band.py --envs ENVS --peers "basic-pitch 0.4.0" --keep OUT
    python bench/band.py --no-mt3x --system "basic-pitch 0.4.0=OUT/basic-pitch_0.4.0"

FOLDER holds recordings, tables of their notes (onset, offset, pitch, velocity, program,
is_drum) and `test_info.json`, which has the group of each. The piano's are `PIANO`,
from a folder as MAPS has it. Of each recording at most the first minute is taken.

Each system is a row: mt3x, once for each choice of thresholds, decoded from rolls that
are computed once; peers, in environments of their own as `bench/peers.py` makes them
(`--envs`); and folders with a note file for each recording. `--keep` keeps what was
transcribed in such folders.

Scores are F1 in percent by `mt3x.music.band_metrics`, and a group's are the means of
its recordings: notes / with offset / frames, whatever their instrument; drums, which
are kick, snare and hats; notes with their class and family of instruments. Then come
the notes a second that are written for drums alone. The mean is that of the groups
`REAL`; those without recordings are left out and named.
"""

import argparse
import dataclasses
import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from peers import PEERS, install
from timing import run_process

from mt3x.music.band_metrics import (
    TOTALS,
    BandScores,
    band_scores,
    mean_band_scores,
    pooled_band_scores,
)
from mt3x.music.note_files import NOTE_SUFFIXES, read_notes
from mt3x.music.notes import Notes

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SECONDS = 60.0
REAL = (
    "quartet",
    "duet-trio",
    "solo-wind-string",
    "violin",
    "guitar",
    "voice",
    "collage",
)
# The first four by name of the recordings of MAPS's real piano ENSTDkCl.
PIANO = (
    "MAPS_MUS-alb_se2_ENSTDkCl",
    "MAPS_MUS-bk_xmas4_ENSTDkCl",
    "MAPS_MUS-bor_ps6_ENSTDkCl",
    "MAPS_MUS-chpn-e01_ENSTDkCl",
)
NOTE_COLUMNS = (*REAL, "mean", "piano", "synth-band")
# Groups and the score that is shown of each.
OTHER_COLUMNS = (
    *((group, "kick_snare_hats") for group in ("drums", "band-drums", "collage")),
    ("synth-band", "kick_snare_hats"),
    ("quartet", "note_class"),
    ("quartet", "note_family"),
    ("duet-trio", "note_class"),
    ("collage", "note_class"),
    ("synth-band", "note_class"),
)
SHORT = {
    "kick_snare_hats": "drums",
    "note_class": "note + class",
    "note_family": "note + family",
}
# F1 of notes (and with offset); the piano's is 2 below the piano weights'. Voice counts
# in that of the mean.
GOALS = {
    "quartet": "85",
    "duet-trio": "88",
    "solo-wind-string": "92",
    "violin": "90",
    "guitar": "90",
    "voice": "65",
    "collage": "80",
    "mean": "85 / 62",
    "synth-band": "85",
}
OTHER_GOALS = {("drums", "kick_snare_hats"): 75, ("quartet", "note_class"): 60}


@dataclass(frozen=True)
class Piece:
    """A recording with its notes."""

    name: str
    group: str
    audio_path: Path
    ref: Notes
    seconds: float  # no more than SECONDS

    def samples(self) -> tuple[np.ndarray, int]:
        """Its samples and their rate."""
        rate_hz = soundfile.info(self.audio_path).samplerate
        frames = round(self.seconds * rate_hz)
        return soundfile.read(self.audio_path, frames=frames, dtype="float32")


@dataclass
class System:
    """The scores of a system's transcriptions, by the names of the pieces."""

    scores: dict[str, BandScores] = field(default_factory=dict)
    notes_per_s: dict[str, float] = field(default_factory=dict)  # drums are none

    def add(self, piece: Piece, est: Notes) -> None:
        est = est.clip(0.0, piece.seconds)
        self.scores[piece.name] = band_scores(piece.ref, est)
        self.notes_per_s[piece.name] = float((~est.is_drum).sum() / piece.seconds)

    def groups(self, pieces: Sequence[Piece]) -> dict[str, dict[str, float]]:
        """F1 in percent by group and score, `mean` among the groups."""
        groups: dict[str, dict[str, float]] = {}
        for group in dict.fromkeys(piece.group for piece in pieces):
            scores = [self.scores[p.name] for p in pieces if p.group == group]
            # Only the drums of these have labels.
            names = TOTALS[-2:] if group in ("drums", "band-drums") else TOTALS
            means = mean_band_scores(scores)
            groups[group] = {
                name: 100 * means[name].f1 for name in names if name in means
            }
        real = [scores for group, scores in groups.items() if group in REAL]
        if real:
            groups["mean"] = {
                name: float(np.mean([scores[name] for scores in real]))
                for name in ("note", "note_offset", "frame", "note_class")
            }
        return groups

    def false_notes_per_s(self, pieces: Sequence[Piece]) -> float | None:
        """Notes a second that are written where there are drums alone."""
        found = [self.notes_per_s[p.name] for p in pieces if p.group == "drums"]
        return float(np.mean(found)) if found else None


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=DATA / "band")
    parser.add_argument("--piano", type=Path, default=DATA / "maps" / "valid")
    parser.add_argument("--groups", nargs="+", help="only these")
    parser.add_argument("--checkpoint", help="by default the package's band weights")
    for name in ("onset", "frame", "drum"):
        parser.add_argument(
            f"--{name}-threshold", type=float, nargs="+", default=[None]
        )
    parser.add_argument("--no-mt3x", action="store_true")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=[])
    parser.add_argument("--envs", type=Path, help="environments of the peers")
    parser.add_argument("--python", nargs="+", default=[], metavar="3.10=PATH")
    parser.add_argument("--system", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--keep", type=Path, help="folder for the transcriptions")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--out", type=Path, help="file for the table")
    args = parser.parse_args()
    if args.peers and not args.envs:
        parser.error("--peers needs --envs")
    return args


def read_pieces(folder: Path, piano: Path, groups: Sequence[str] | None) -> list[Piece]:
    """The recordings of some groups, or of all; none that are held out."""
    info = json.loads((folder / "test_info.json").read_text(encoding="utf-8"))
    found = [(p["name"], p["group"], folder) for p in info if not p["held_out"]]
    if piano.is_dir():
        found += [(name, "piano", piano) for name in PIANO]
    pieces = []
    for name, group, parent in found:
        if groups is None or group in groups:
            audio_path = parent / f"{name}.flac"
            seconds = min(soundfile.info(audio_path).duration, SECONDS)
            ref = read_notes(parent / f"{name}.tsv").clip(0.0, seconds)
            pieces.append(Piece(name, group, audio_path, ref, seconds))
    if not pieces:
        raise SystemExit(f"{folder}: there are no recordings of {groups}")
    return pieces


def by_mt3x(
    pieces: Sequence[Piece], args: argparse.Namespace
) -> Iterator[tuple[str, Notes, Piece]]:
    """Names of systems, one for each choice of thresholds; their notes; pieces."""
    from mt3x.inference.transcriber import Transcriber
    from mt3x.models.weights_file import DEFAULT_WEIGHTS

    checkpoint, band = args.checkpoint, DEFAULT_WEIGHTS.with_name("band.safetensors")
    if checkpoint is None and band.exists():
        checkpoint = str(band)
    transcriber = Transcriber(checkpoint)
    print(f"mt3x: {checkpoint or DEFAULT_WEIGHTS}, a {transcriber.kind}", flush=True)
    ways = list(
        itertools.product(
            args.onset_threshold, args.frame_threshold, args.drum_threshold
        )
    )
    for piece in pieces:
        rolls = transcriber.rolls(*piece.samples())
        for way in ways:
            yield *decoded(transcriber, rolls, way), piece


def decoded(
    transcriber: Any, rolls: Any, thresholds: tuple[float | None, ...]
) -> tuple[str, Notes]:
    """The system's name, and the notes of rolls of a piano or a band model.

    Args:
      transcriber: its model.
      rolls: of a whole recording.
      thresholds: of onsets, frames and drums; None: the model's.
    """
    from mt3x.music.roll_decoder import rolls_to_notes
    from mt3x.music.rolls import Rolls

    onset, frame, drum = thresholds
    decoding = with_given(
        transcriber.roll_decoding, onset_threshold=onset, frame_threshold=frame
    )
    name = f"mt3x {decoding.onset_threshold:g} / {decoding.frame_threshold:g}"
    if isinstance(rolls, Rolls):
        return name, rolls_to_notes(rolls, decoding)

    from mt3x.music.band_decoder import BandDecoder, band_notes

    config = transcriber.config
    drum_decoding = with_given(config.drum_decoding, onset_threshold=drum)
    decoder = BandDecoder(
        decoding, drum_decoding, rolls.frame_rate_hz, rolls.drum_rate_hz
    )
    decoder.push(rolls)
    name += f" / {drum:g}" if drum is not None else ""
    return name, band_notes(decoder.finish(), config.assignment)


def with_given(decoding: Any, **values: float | None) -> Any:
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(decoding, **given)


def by_peer(
    name: str, pieces: Sequence[Piece], args: argparse.Namespace, out: Path
) -> Iterator[tuple[Piece, Notes]]:
    """Transcribe all pieces in one process of another program's."""
    bin = install(
        PEERS[name], args.envs, dict(given.split("=", 1) for given in args.python)
    )
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.mid"):
        old.unlink()  # basic-pitch does not overwrite
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{piece.name}.wav" for piece in pieces]
        for file, piece in zip(files, pieces, strict=True):
            soundfile.write(file, *piece.samples())
        run_process(PEERS[name].all_files(bin, files, out))
    return from_folder(out, pieces)


def from_folder(folder: Path, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Notes]]:
    """Notes that some program wrote, one file for each piece."""
    for piece in pieces:
        endings = (*NOTE_SUFFIXES, "_basic_pitch.mid")
        paths = [folder / f"{piece.name}{ending}" for ending in endings]
        found = [path for path in paths if path.is_file()]
        if not found:
            raise SystemExit(f"{folder} has no transcription of {piece.name}")
        yield piece, read_notes(found[0])


def folder_name(system: str) -> str:
    return re.sub(r"[^\w.-]+", "_", system)


def run(pieces: Sequence[Piece], args: argparse.Namespace) -> dict[str, System]:
    systems: dict[str, System] = {}
    if not args.no_mt3x:
        for name, est, piece in by_mt3x(pieces, args):
            systems.setdefault(name, System()).add(piece, est)
            if args.keep:
                folder = args.keep / folder_name(name)
                folder.mkdir(parents=True, exist_ok=True)
                est.to_midi(folder / f"{piece.name}.mid", overwrite=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.peers:
            out = (args.keep or Path(temporary)) / folder_name(name)
            systems[name] = scored(by_peer(name, pieces, args, out))
            print(f"{name}: done", flush=True)
    for given in args.system:
        name, folder = given.split("=", 1)
        systems[name] = scored(from_folder(Path(folder), pieces))
    return systems


def scored(transcriptions: Iterator[tuple[Piece, Notes]]) -> System:
    system = System()
    for piece, est in transcriptions:
        system.add(piece, est)
    return system


def tables(pieces: Sequence[Piece], systems: Mapping[str, System]) -> str:
    """Both tables in Markdown, with the goals and what is left out."""
    groups = {name: system.groups(pieces) for name, system in systems.items()}
    some = next(iter(groups.values()))
    notes = [column for column in NOTE_COLUMNS if column in some]
    rows = [
        [name, *(note_cell(found[column]) for column in notes)]
        for name, found in groups.items()
    ]
    rows.append(["goal", *(GOALS.get(column, "") for column in notes)])
    lines = [*table(["notes / with offset / frames", *notes], rows), ""]

    others = [(g, score) for g, score in OTHER_COLUMNS if score in some.get(g, {})]
    heads = [f"{group}: {SHORT[score]}" for group, score in others]
    rows = []
    for name, found in groups.items():
        cells = [f"{found[group][score]:.1f}" for group, score in others]
        per_s = systems[name].false_notes_per_s(pieces)
        rows.append([name, *cells, "" if per_s is None else f"{per_s:.2f}"])
    rows.append(["goal", *(str(OTHER_GOALS.get(other, "")) for other in others), ""])
    lines += [*table(["", *heads, "drums: notes a second"], rows), ""]

    seconds = sum(piece.seconds for piece in pieces)
    lines.append(f"{len(pieces)} recordings, {seconds:.0f} s.")
    if missing := [group for group in REAL if group not in some]:
        lines.append(f"Not in the mean, for want of recordings: {', '.join(missing)}.")
    if "piano" in some:
        lines.append(f"Piano: the first {SECONDS:g} s of {', '.join(PIANO)}.")
    scores = next(iter(systems.values())).scores.values()
    if left_out := sum(piece.num_ref_left_out for piece in scores):
        lines.append(f"Left out: {left_out} drums of the labels that no class has.")
    return "\n".join(lines)


def note_cell(scores: Mapping[str, float]) -> str:
    return "{note:.1f} / {note_offset:.0f} / {frame:.0f}".format(**scores)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def document(pieces: Sequence[Piece], systems: Mapping[str, System]) -> dict[str, Any]:
    """All figures: of groups, of pieces, and what is taken for what in each group."""
    return {
        name: {
            "groups": system.groups(pieces),
            "false_notes_per_s": system.false_notes_per_s(pieces),
            "confusion": {
                group: pooled_band_scores(
                    [system.scores[p.name] for p in pieces if p.group == group]
                ).confusion
                for group in dict.fromkeys(piece.group for piece in pieces)
            },
            "pieces": {
                piece.name: {
                    "group": piece.group,
                    "notes_per_s": system.notes_per_s[piece.name],
                    **dataclasses.asdict(system.scores[piece.name]),
                }
                for piece in pieces
            },
        }
        for name, system in systems.items()
    }


def main() -> None:
    args = options()
    pieces = read_pieces(args.folder, args.piano, args.groups)
    systems = run(pieces, args)
    if not systems:
        raise SystemExit("nothing to compare: give --peers or --system")
    text = tables(pieces, systems)
    print("\n" + text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    if args.json:
        figures = json.dumps(document(pieces, systems), indent=1)
        args.json.write_text(figures + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

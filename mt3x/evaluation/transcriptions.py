"""Scoring of files and folders of transcriptions against their references.

The scores and their conventions are those of `mt3x.music.metrics` and, where a piece
has drums or several programs on either side, those of `mt3x.music.instrument_metrics`
too, then for all pieces; the integrated score and those of `mt3x.music.band_metrics`
are added where they are asked for. What is added here:

- Note files are MIDI (.mid, .midi), tables (.tsv, .txt: onset, offset, pitch,
  velocity, key-up, as the MAPS labels) and the .csv and .json of `mt3x transcribe`.
- The sustain pedal is in both sides' offsets: CC64 of MIDI files is applied as
  MAESTRO's convention has it (a note is held until the pedal's release or the key's
  next onset, see `mt3x.music.midi`), tables hold it in their offset column. Without the
  pedal, notes end when their key is released: for tables the key-up column.
- In folders (searched deeply), a reference and an estimate belong together when
  their paths inside of the folders agree, without the ending; of the others, those
  whose names do. A name is the same in every form of Unicode. Where a folder has one
  name with several endings, the first of .mid .midi .tsv .txt .csv .json is taken.
- Alignment takes the median onset shift of a piece off its estimate, before anything
  is cut. Where no shift is found, the piece stays as it is and has a remark.
- A time range keeps the notes of both sides that begin in it, and clips their offsets
  to its end.
- The mean is that of the pieces' scores. Pieces without a partner or with an
  unreadable file are reported and are not in the mean.
"""

import math
import os
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from mt3x.files import find_files, name_key
from mt3x.music.band_metrics import BandScores, band_scores
from mt3x.music.instrument_metrics import has_instruments, instrument_scores
from mt3x.music.metrics import (
    MAX_FRAME_RATE_HZ,
    Cells,
    Scores,
    integrated,
    median_onset_shift,
    note_scores,
)
from mt3x.music.note_files import NOTE_SUFFIXES, check_note_file, read_notes
from mt3x.music.notes import Notes

__all__ = [
    "EvaluationConfig",
    "FailedPiece",
    "Pair",
    "Pairing",
    "PieceResult",
    "evaluate_pair",
    "evaluate_pairs",
    "pair_paths",
]

LONGEST_S = 86_400.0
"""No recording is longer than a day; a table of samples or milliseconds may be."""
LONGEST_RATIO = 300.0
"""Nor is it much longer than its transcription, which such a table is."""
PIECES_PER_WORKER = 32
"""A process takes as long to start as this many pieces take to score."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Options of the comparison; the module's docstring explains each."""

    sustain_pedal: bool = True  # offsets with the pedal, else of the keys
    align: bool = False  # take off each piece's median onset shift
    start_s: float = 0.0  # only notes that begin at or after this
    end_s: float = math.inf  # and before this
    # Frames per second of the integrated score; None: leave it out.
    integrated_frame_rate_hz: float | None = None

    def __post_init__(self) -> None:
        if not self.start_s < self.end_s:
            raise ValueError(
                f"the range {self.start_s} s to {self.end_s} s is empty; "
                "give an end after the start"
            )
        rate_hz = self.integrated_frame_rate_hz
        if rate_hz is not None and not 0 < rate_hz <= MAX_FRAME_RATE_HZ:
            raise ValueError(
                f"{rate_hz} frames per second of the integrated score: give a positive "
                f"number, at most {MAX_FRAME_RATE_HZ:g}"
            )


@dataclass(frozen=True)
class Pair:
    """A piece and its two files."""

    name: str
    ref_path: Path
    est_path: Path


@dataclass(frozen=True)
class Pairing:
    """The pairs of two folders, and the files that have no partner."""

    pairs: list[Pair]
    ref_alone: list[Path]
    est_alone: list[Path]


@dataclass(frozen=True)
class PieceResult:
    """The scores of one piece."""

    name: str
    num_ref: int
    num_est: int
    shift_s: float | None  # what was taken off the estimate; None: nothing
    scores: Scores
    instruments: dict[str, float] | None  # by MT3's names; None: a single program
    integrated: Cells | None = None  # None: not asked for
    band: BandScores | None = None  # the same
    remarks: tuple[str, ...] = ()  # what may be wrong with its files


@dataclass(frozen=True)
class FailedPiece:
    """A piece that could not be scored, and why."""

    name: str
    error: str


def evaluate_pair(
    pair: Pair, config: EvaluationConfig, full: bool = False, band: bool = False
) -> PieceResult:
    """Score one piece.

    Args:
      pair: the piece.
      config: what is compared.
      full: add the scores of instruments even where there is but one program.
      band: add the scores of bands.

    Raises:
      OSError, ValueError: a file cannot be read, or its notes cannot be compared; the
        message names it.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        ref = read_notes(pair.ref_path, config.sustain_pedal)
        est = read_notes(pair.est_path, config.sustain_pedal)
    remarks = [str(warning.message) for warning in caught]
    ref_end_s, est_end_s = (n.offset_s.max(initial=0.0) for n in (ref, est))
    for path, end_s, other_end_s in (
        (pair.ref_path, ref_end_s, est_end_s),
        (pair.est_path, est_end_s, ref_end_s),
    ):
        if end_s > LONGEST_S or end_s > LONGEST_RATIO * other_end_s > 0:
            remarks.append(
                f"{path}: its notes reach to {end_s:.0f} s; are its times in seconds?"
            )
    try:
        result = _scored(pair.name, ref, est, config, full, band)
    except ValueError as error:
        raise ValueError(f"{pair.est_path} and {pair.ref_path}: {error}") from error
    if config.align and result.shift_s is None:
        remarks.append(f"{pair.est_path}: no shift is found, and none is taken off")
    lines = [" ".join(remark.split()) for remark in remarks]
    return replace(result, remarks=tuple(dict.fromkeys(lines)))


def _scored(
    name: str, ref: Notes, est: Notes, config: EvaluationConfig, full: bool, band: bool
) -> PieceResult:
    shift_s = median_onset_shift(ref, est) if config.align else None
    if shift_s is not None:
        est = est.shift(-shift_s)
    ref = ref.clip(config.start_s, config.end_s)
    est = est.clip(config.start_s, config.end_s)
    frame_rate_hz = config.integrated_frame_rate_hz
    return PieceResult(
        name,
        len(ref),
        len(est),
        shift_s,
        note_scores(ref, est),
        instrument_scores(ref, est)
        if full or has_instruments(Notes.concatenate([ref, est]))
        else None,
        integrated(ref, est, frame_rate_hz) if frame_rate_hz is not None else None,
        band_scores(ref, est) if band else None,
    )


def evaluate_pairs(
    pairs: Sequence[Pair],
    config: EvaluationConfig,
    num_workers: int | None = None,
    full: bool = False,
    band: bool = False,
) -> list[PieceResult | FailedPiece]:
    """Score the pieces in order; one that fails does not stop the others.

    Args:
      pairs: the pieces.
      config: what is compared.
      num_workers: processes; by default as many as there are cores where the pieces
        are enough to be worth their start, else none but this one.
      full: add the scores of instruments even where no piece has several.
      band: add the scores of bands.
    """
    outcomes = _evaluate_each(pairs, config, num_workers, full, band)
    results = [piece for piece in outcomes if isinstance(piece, PieceResult)]
    plain = {piece.name for piece in results if piece.instruments is None}
    if len(plain) in (0, len(results)):
        return outcomes
    # Some have several instruments: their mean needs the scores of all.
    missing = [pair for pair in pairs if pair.name in plain]
    again = {
        piece.name: piece
        for piece in _evaluate_each(missing, config, num_workers, True, band)
    }
    return [again.get(piece.name, piece) for piece in outcomes]


def _evaluate_each(
    pairs: Sequence[Pair],
    config: EvaluationConfig,
    num_workers: int | None,
    full: bool,
    band: bool,
) -> list[PieceResult | FailedPiece]:
    if num_workers is None:
        worthwhile = math.ceil(len(pairs) / PIECES_PER_WORKER)
        num_workers = min(os.cpu_count() or 1, worthwhile)
    jobs = [(pair, config, full, band) for pair in pairs]
    if num_workers <= 1:
        return list(map(_evaluate_or_fail, jobs))
    # Spawned, as forking a process that has threads (BLAS, JAX) can lock up.
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        try:
            return list(pool.map(_evaluate_or_fail, jobs, chunksize=4))
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process that scores pieces was ended, perhaps for want of memory; "
                "try --workers 1"
            ) from error


def pair_paths(ref_path: Path, est_path: Path) -> Pairing:
    """Pair two files, or by name the files of two folders or of a folder and a file.

    Raises:
      OSError: a path does not exist, or a folder cannot be read.
      ValueError: a file is not a note file, a name could be that of several, or nothing
        pairs up.
    """
    if ref_path.is_file() and est_path.is_file():
        for path in (ref_path, est_path):
            check_note_file(path)
        return Pairing([Pair(name_key(ref_path.stem), ref_path, est_path)], [], [])
    refs, ests = _note_files(ref_path), _note_files(est_path)
    partners = {key: key for key in refs.keys() & ests.keys()}
    ref_names, est_names = _by_name(refs, partners), _by_name(ests, partners)
    for name in ref_names.keys() & est_names.keys():
        for files, keys in ((refs, ref_names[name]), (ests, est_names[name])):
            if len(keys) > 1:
                raise ValueError(
                    f"{files[keys[0]]} and {files[keys[1]]} have one name; rename one, "
                    "or give a single folder"
                )
        partners[ref_names[name][0]] = est_names[name][0]
    if not partners:
        raise ValueError(
            f"no note file of {est_path} ({len(ests)} found) has the name of one of "
            f"{ref_path} ({len(refs)} found); give estimates their reference's name"
        )
    counts = Counter(map(_name, partners))
    pairs = [
        Pair(_name(ref) if counts[_name(ref)] == 1 else ref, refs[ref], ests[est])
        for ref, est in partners.items()
    ]
    return Pairing(
        pairs=sorted(pairs, key=lambda pair: pair.name),
        # A single file picks its partner; the rest of the folder is not missed.
        ref_alone=_alone(refs, partners) if est_path.is_dir() else [],
        est_alone=_alone(ests, partners.values()) if ref_path.is_dir() else [],
    )


def _evaluate_or_fail(
    job: tuple[Pair, EvaluationConfig, bool, bool],
) -> PieceResult | FailedPiece:
    pair, config, full, band = job
    try:
        return evaluate_pair(pair, config, full, band)
    except (ValueError, OSError) as error:
        return FailedPiece(pair.name, " ".join(str(error).split()))
    except MemoryError:
        paths = f"{pair.est_path} and {pair.ref_path}"
        return FailedPiece(pair.name, f"{paths}: not enough memory to score them")


def _note_files(path: Path) -> dict[str, Path]:
    """Return the note files of a folder, or one file, by path without the ending."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; name a note file or a folder")
    if path.is_file():
        check_note_file(path)
        return {name_key(path.stem): path}
    found: dict[str, Path] = {}
    for file in sorted(find_files(path, NOTE_SUFFIXES), key=_preference):
        inside = file.relative_to(path).with_name(file.stem)
        known = found.setdefault(name_key(inside.as_posix()), file)
        if known != file and known.suffix.lower() == file.suffix.lower():
            raise ValueError(f"{known} and {file} have one name; rename one")
    return found


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _by_name(files: dict[str, Path], taken: Collection[str]) -> dict[str, list[str]]:
    """Return the keys of files without a partner, by their names alone."""
    found: dict[str, list[str]] = {}
    for key in sorted(files.keys() - set(taken)):
        found.setdefault(_name(key), []).append(key)
    return found


def _preference(path: Path) -> tuple[int, Path]:
    return NOTE_SUFFIXES.index(path.suffix.lower()), path


def _alone(files: dict[str, Path], taken: Collection[str]) -> list[Path]:
    return sorted(files[key] for key in files.keys() - set(taken))

"""Pieces of a data set -> sharded TFRecords and a manifest, by Apache Beam.

A folder that `prepare` fills holds, per split, `train-00000-of-00010.tfrecord` and so
on, beside each `....tfrecord.json` with what is in it, and at the end `manifest.json`.
A shard takes its name when it is whole, and then gets its JSON. A run that resumes
makes those that have none, and those again where less has to be left out than
before. Paths may be of any file system that TensorFlow knows.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from mt3x.data.pieces import Piece, submixes
from mt3x.data.pipeline.data_set import MANIFEST_NAME, RECORDS_NAME
from mt3x.data.pipeline.record_format import encode_piece
from mt3x.data.pipeline.steps import BLOCK_FRAMES
from mt3x.data.published.source import MINOR, Problem, ReadOptions, Source

HOP_SAMPLES = 128  # of the frames that the manifest counts
PIECES_PER_SHARD = 16
POLL_S = 0.5


@dataclass(frozen=True)
class RecordOptions:
    """Options of records: what is written of a piece."""

    read: ReadOptions = field(default_factory=ReadOptions)
    form: str = "FLAC"  # or "WAV": twice the size, faster to read
    num_submixes: int = 0  # random sub-mixes of stems instead of a training piece

    def __post_init__(self) -> None:
        if self.form not in ("FLAC", "WAV"):
            raise ValueError(f"form is {self.form!r}; give FLAC or WAV")
        if self.num_submixes < 0:
            raise ValueError(f"num_submixes must not be negative: {self.num_submixes}")


@dataclass(frozen=True)
class Shard:
    """A file to write: its path and the pieces in it."""

    path: str
    split: str
    sources: tuple[Source, ...]

    @property
    def about_path(self) -> str:
        return f"{self.path}.json"


def plan_shards(
    sources: Iterable[Source], folder: str, pieces_per_shard: int = PIECES_PER_SHARD
) -> list[Shard]:
    """Return the files of all splits; pieces are dealt out, so that shards are alike.

    Raises:
      ValueError: two pieces of a split have one id, or pieces_per_shard is not 1 or
        more.
    """
    if pieces_per_shard < 1:
        raise ValueError(f"pieces_per_shard must be at least 1: {pieces_per_shard}")
    splits: dict[str, list[Source]] = {}
    for source in sources:
        splits.setdefault(source.split, []).append(source)
    shards = []
    for split, members in sorted(splits.items()):
        twice = [id for id, n in Counter(s.id for s in members).items() if n > 1]
        if twice:
            raise ValueError(f"two pieces of split {split} are called {twice[0]!r}")
        num_shards = -(-len(members) // pieces_per_shard)
        for index in range(num_shards):
            name = RECORDS_NAME.format(split=split, shard=index, num_shards=num_shards)
            path = os.path.join(folder, name)
            shards.append(Shard(path, split, tuple(members[index::num_shards])))
    return shards


def prepare(
    name: str,
    sources: Sequence[Source],
    folder: str | os.PathLike[str],
    options: RecordOptions | None = None,
    pieces_per_shard: int = PIECES_PER_SHARD,
    beam_arguments: Sequence[str] = (),
    report: Callable[[int, int], None] = lambda finished, total: None,
) -> dict[str, Any]:
    """Write the records of a data set; resume where a stopped run ended.

    Args:
      name: of the data set, for the manifest.
      sources: its pieces.
      folder: is made; it may hold finished shards of the same pieces and options.
      options: what is written.
      pieces_per_shard: how many pieces a file holds at most.
      beam_arguments: of Beam's command line, such as --runner=DataflowRunner.
      report: told now and then how many shards of how many are finished.

    Returns:
      The manifest, which is in `folder/manifest.json` too.

    Raises:
      ValueError: the folder was filled with other options or from other pieces.
    """
    options, folder = options or RecordOptions(), os.fspath(folder)
    shards = plan_shards(sources, folder, pieces_per_shard)
    tf.io.gfile.makedirs(folder)
    ours = {shard.path for shard in shards}
    others = set(tf.io.gfile.glob(os.path.join(folder, "*.tfrecord"))) - ours
    if others:
        raise ValueError(
            f"{min(others)} is not one of the files that are to be made; name another "
            "folder, or remove it"
        )
    missing = [
        shard
        for shard in shards
        if not is_finished(shard, options) or _left_out(_read_json(shard.about_path))
    ]
    if missing:
        arguments = PipelineOptions(list(beam_arguments), save_main_session=False)
        with _watched(shards, report), beam.Pipeline(options=arguments) as pipeline:
            _ = (
                pipeline
                | beam.Create(missing)
                | beam.Reshuffle()
                | beam.Map(write_shard, options=options)
            )
    manifest = make_manifest(name, shards, options)
    _write_json(os.path.join(folder, MANIFEST_NAME), manifest)
    report(len(shards), len(shards))
    return manifest


@contextlib.contextmanager
def _watched(
    shards: Sequence[Shard], report: Callable[[int, int], None]
) -> Iterator[None]:
    """Report from a thread how many shards are finished, until the block ends.

    The workers may be anywhere: what they share with this process is the folder.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_S):
            finished = [tf.io.gfile.exists(shard.about_path) for shard in shards]
            report(sum(finished), len(shards))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def is_finished(shard: Shard, options: RecordOptions) -> bool:
    """Return whether the shard is there, written with these options and pieces.

    Raises:
      ValueError: it was written with others.
    """
    if not tf.io.gfile.exists(shard.about_path):
        return False
    about = _read_json(shard.about_path)
    wanted = _identity(shard, options)
    for key, value in wanted.items():
        if about.get(key) != value:
            raise ValueError(
                f"{shard.path} was made with other {key}; name another folder, or "
                "remove it to make it again"
            )
    return True


def write_shard(shard: Shard, options: RecordOptions) -> None:
    """Write one file of records and, last of all, its JSON.

    A file that is there stays, except where less has to be left out of it now.
    """
    if is_finished(shard, options) and not _is_repaired(shard, options):
        return
    problems: list[dict[str, str]] = []
    pieces: list[dict[str, Any]] = []
    partial = f"{shard.path}.part-{os.getpid()}"
    with tf.io.TFRecordWriter(partial) as writer:
        for source in shard.sources:
            found: list[Problem] = []
            for piece in _pieces(source, shard.split, options, found):
                writer.write(encode_piece(piece, options.form))
                pieces.append(_count(piece))
            problems += [{"piece": source.id, **each._asdict()} for each in found]
    tf.io.gfile.rename(partial, shard.path, overwrite=True)
    for abandoned in tf.io.gfile.glob(f"{shard.path}*.part-*"):
        tf.io.gfile.remove(abandoned)  # of a run that was killed
    about = {
        **_identity(shard, options),
        "split": shard.split,
        "sha256": _sha256(shard.path),
        "pieces": pieces,
        "problems": problems,
    }
    _write_json(shard.about_path, about)


def _left_out(about: dict[str, Any]) -> dict[str, set[tuple[str, str]]]:
    """Return for which problems something was left out of a shard, by piece."""
    found: dict[str, set[tuple[str, str]]] = {}
    for problem in about["problems"]:
        # Older files do not name the piece.
        if "piece" in problem and problem["kind"] not in MINOR:
            kinds = found.setdefault(problem["piece"], set())
            kinds.add((problem["kind"], problem["what"]))
    return found


def _is_repaired(shard: Shard, options: RecordOptions) -> bool:
    """Return whether a piece of a shard has fewer problems than when it was written."""
    before = _left_out(_read_json(shard.about_path))
    for source in shard.sources:
        if source.id in before:
            _, problems = source.read(_read_options(shard.split, options))
            now = {tuple(each) for each in problems if each.kind not in MINOR}
            if now < before[source.id]:
                return True
    return False


def make_manifest(
    name: str, shards: Sequence[Shard], options: RecordOptions
) -> dict[str, Any]:
    """Return what finished shards hold: counts, hours, checksums and problems."""
    splits: dict[str, dict[str, Any]] = {}
    problems: list[dict[str, str]] = []
    files = {}
    for shard in shards:
        about = _read_json(shard.about_path)
        files[os.path.basename(shard.path)] = {
            "sha256": about["sha256"],
            "pieces": len(about["pieces"]),
        }
        problems += about["problems"]
        total = splits.setdefault(
            shard.split, {"pieces": 0, "hours": 0.0, "notes": 0, "blocks": 0}
        )
        total["pieces"] += len(about["pieces"])
        for piece in about["pieces"]:
            total["hours"] += piece["seconds"] / 3600
            total["notes"] += piece["notes"]
            total["blocks"] += piece["blocks"]
    return {
        "data_set": name,
        "options": asdict(options),
        "splits": splits,
        "problem_counts": dict(sorted(Counter(p["kind"] for p in problems).items())),
        "problems": problems,
        "files": files,
    }


def num_left_out(manifest: dict[str, Any]) -> int:
    """Return the number of problems for which something was left out."""
    counts = manifest["problem_counts"]
    return sum(number for kind, number in counts.items() if kind not in MINOR)


def _pieces(
    source: Source, split: str, options: RecordOptions, problems: list[Problem]
) -> Iterator[Piece]:
    mixes = options.num_submixes if split == "train" else 0
    piece, found = source.read(_read_options(split, options))
    problems += found
    if piece is None:
        return
    if mixes and not piece.stems:
        raise ValueError(f"{source.id} has no stems to make sub-mixes of")
    yield from submixes(piece, mixes) if mixes else [piece]


def _read_options(split: str, options: RecordOptions) -> ReadOptions:
    if options.num_submixes and split == "train":
        return replace(options.read, stem_audio=True)
    return options.read


def _count(piece: Piece) -> dict[str, Any]:
    num_frames = len(piece.samples_S) // HOP_SAMPLES + 1
    return {
        "id": piece.id,
        "seconds": len(piece.samples_S) / piece.sample_rate_hz,
        "notes": len(piece.notes),
        "programs": np.unique(piece.notes.program[~piece.notes.is_drum]).tolist(),
        "drums": bool(piece.notes.is_drum.any()),
        "blocks": -(-num_frames // BLOCK_FRAMES),  # training examples per epoch
    }


def _identity(shard: Shard, options: RecordOptions) -> dict[str, Any]:
    """Return what a shard must have been made of to be kept."""
    return {"options": asdict(options), "sources": [s.id for s in shard.sources]}


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_json(path: str) -> dict[str, Any]:
    with tf.io.gfile.GFile(path, "r") as file:
        return json.loads(file.read())


def _write_json(path: str, values: dict[str, Any]) -> None:
    partial = f"{path}.part-{os.getpid()}"
    with tf.io.gfile.GFile(partial, "w") as file:
        file.write(json.dumps(values, indent=1) + "\n")
    tf.io.gfile.rename(partial, path, overwrite=True)

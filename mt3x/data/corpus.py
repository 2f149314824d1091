"""Corpora: folders of audio and notes made for fast random access in training.

A corpus is a folder with three files:
  audio.npy   int16, mono, all pieces one after the other; memory-mapped on reading
  notes.npz   onset_s, offset_s (float64, from the piece's start), pitch, velocity
              (int32), all pieces one after the other; where it is known what the
              hands and the foot do, key_up_s of each note (else NaN), and pedal_s
              (K x 2), when the sustain pedal goes down and up
  index.json  sample rate, and for each piece its name, place in the two and origin;
              what was left out, and why
While it is written it is called `NAME.part`, and a later run resumes there.
"""

import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mt3x.files import locked, one_line, write_whole
from mt3x.music.notes import Notes
from mt3x.music.performance import NO_PEDAL, Performance
from mt3x.music.samples import to_int16

if TYPE_CHECKING:
    from mt3x.data.published.source import NotesSource

FORMAT = "mt3x-corpus-1"
_HEADER_BYTES = 128
_WORK_FILES = ("notes.bin", "key_ups.bin", "pedals.bin", "pieces.jsonl", "rate")
_DAMAGE = ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile
"""What reading damaged files raises."""


@dataclass(frozen=True)
class Entry:
    """Where a piece lies in its corpus."""

    name: str
    start_sample: int
    num_samples: int
    first_note: int
    num_notes: int
    info: dict[str, Any] = field(default_factory=dict)  # origin, split, settings
    # Of the sustain pedal; None: when keys and pedal are released is not known.
    first_pedal: int = 0
    num_pedals: int | None = None


class Corpus:
    """A finished corpus, opened for reading."""

    def __init__(self, folder: str | os.PathLike[str]):
        """Open a folder written by `CorpusWriter`.

        Raises:
          FileNotFoundError: where there is none, or it is not finished.
          ValueError: where its files are damaged or do not fit together.
        """
        self.folder = Path(folder)
        index_path = self.folder / "index.json"
        if not index_path.is_file():
            raise FileNotFoundError(
                f"{self.folder}: not a finished corpus (no index.json); "
                "build it with `mt3x corpus`"
            )
        try:
            self._read(json.loads(index_path.read_text(encoding="utf-8")))
        except _DAMAGE as error:
            raise ValueError(
                f"{self.folder}: a damaged corpus ({one_line(error)}); build it again"
            ) from error
        num_samples = sum(piece.num_samples for piece in self.pieces)
        num_notes = sum(piece.num_notes for piece in self.pieces)
        if len(self._audio_S) != num_samples or len(self._pitch) != num_notes:
            raise ValueError(f"{self.folder}: files disagree; build the corpus again")

    def _read(self, index: dict[str, Any]) -> None:
        if index["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        self.sample_rate_hz = int(index["sample_rate_hz"])
        self.pieces = [Entry(**piece) for piece in index["pieces"]]
        self.left_out = dict(index.get("left_out", {}))
        self._audio_S = np.load(self.folder / "audio.npy", mmap_mode="r")
        # NumPy would leave a damaged file open.
        with open(self.folder / "notes.npz", "rb") as file, np.load(file) as arrays:
            self._onset_s, self._offset_s = arrays["onset_s"], arrays["offset_s"]
            self._pitch, self._velocity = arrays["pitch"], arrays["velocity"]
            # Corpora of older versions lack them.
            unknown = np.full(len(self._pitch), np.nan)
            self._key_up_s = arrays.get("key_up_s", unknown)
            self._pedal_s = arrays.get("pedal_s", NO_PEDAL)

    def __len__(self) -> int:
        return len(self.pieces)

    def __reduce__(self) -> tuple[type["Corpus"], tuple[Path]]:
        # Another process maps the file itself.
        return Corpus, (self.folder,)

    def __repr__(self) -> str:
        hours = self.duration_s / 3600
        return f"Corpus({str(self.folder)!r}: {len(self)} pieces, {hours:.2f} h)"

    @property
    def duration_s(self) -> float:
        return len(self._audio_S) / self.sample_rate_hz

    def samples(self, index: int) -> np.ndarray:
        """Return int16 samples_S of a piece, a view of the mapped file."""
        piece = self.pieces[index]
        return self._audio_S[
            piece.start_sample : piece.start_sample + piece.num_samples
        ]

    def notes(self, index: int) -> Notes:
        """Return all notes of a piece."""
        return self.notes_between(index, -np.inf, np.inf)

    def notes_between(self, index: int, start_s: float, end_s: float) -> Notes:
        """Return the notes that sound in a time span; times stay the piece's."""
        return self._notes_between(index, start_s, end_s, self._offset_s)

    @property
    def has_pedal(self) -> bool:
        """Whether it is known of all pieces when keys and pedal are released."""
        return all(piece.num_pedals is not None for piece in self.pieces)

    def performance_between(
        self, index: int, start_s: float, end_s: float
    ) -> Performance:
        """Return the keys that sound in a time span, and all of the pedal.

        Raises:
          ValueError: they are not known; see `has_pedal`.
        """
        piece = self.pieces[index]
        if piece.num_pedals is None:
            raise ValueError(
                f"{self.folder}: of {piece.name} neither key releases nor pedal are "
                "known; build the corpus again from performances"
            )
        span = slice(piece.first_pedal, piece.first_pedal + piece.num_pedals)
        keys = self._notes_between(index, start_s, end_s, self._key_up_s)
        return Performance(keys, self._pedal_s[span])

    def _notes_between(
        self, index: int, start_s: float, end_s: float, ends_s: np.ndarray
    ) -> Notes:
        """Return the notes that sound in a time span, with some of their ends."""
        piece = self.pieces[index]
        span = slice(piece.first_note, piece.first_note + piece.num_notes)
        inside = (self._onset_s[span] < end_s) & (self._offset_s[span] >= start_s)
        columns = (self._onset_s, ends_s, self._pitch, self._velocity)
        return Notes(*(column[span][inside] for column in columns))


class CorpusWriter:
    """A corpus that is written piece by piece; use it as a context manager.

    An exception inside the `with` block leaves `NAME.part`. A writer opened later for
    the same folder resumes after its last whole piece (`len(writer)` pieces are there
    already).

    Raises:
      FileExistsError: where the finished folder exists.
      BlockingIOError: another process writes it.
      ValueError: where an unfinished one was begun at another sample rate.
    """

    def __init__(self, folder: str | os.PathLike[str], sample_rate_hz: int = 16000):
        self.folder = Path(folder)
        self.sample_rate_hz = sample_rate_hz
        if self.folder.exists():
            raise FileExistsError(
                f"{self.folder} exists: remove it or choose another name"
            )
        self._part = self.folder.with_name(self.folder.name + ".part")
        self._part.mkdir(parents=True, exist_ok=True)
        self.left_out: dict[str, str] = {}
        """Why pieces are not in the corpus, by their names."""
        with ExitStack() as stack:
            stack.enter_context(locked(self._part))
            rate_path = self._part / "rate"
            if rate_path.exists() and rate_path.read_text() != str(sample_rate_hz):
                raise ValueError(
                    f"{self._part} was begun at {rate_path.read_text()} Hz: remove it"
                )
            rate_path.write_text(str(sample_rate_hz))
            self.pieces = self._read_pieces()
            end = _HEADER_BYTES + 2 * self._num_samples
            self._audio = stack.enter_context(self._open("audio.npy", end))
            end = 32 * self._num_notes
            self._notes = stack.enter_context(self._open("notes.bin", end))
            end = 8 * self._num_notes
            self._key_ups = stack.enter_context(self._open("key_ups.bin", end))
            end = 16 * self._num_pedals
            self._pedals = stack.enter_context(self._open("pedals.bin", end))
            log = (self._part / "pieces.jsonl").open("a")
            self._log = stack.enter_context(log)
            self._files = stack.pop_all()

    def __enter__(self) -> "CorpusWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.close()
        if kind is None:
            self._finish()

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def duration_s(self) -> float:
        return self._num_samples / self.sample_rate_hz

    def add(
        self,
        name: str,
        samples_S: np.ndarray,
        notes: Notes | Performance,
        info: dict[str, Any] | None = None,
    ) -> None:
        """Add a piece.

        Args:
          name: for people.
          samples_S: mono at the corpus's rate, int16 or float in -1..1.
          notes: piano notes, or what the hands and the foot do; times from the first
            sample on.
          info: JSON values that say where the piece comes from.
        """
        pedal_s, num_pedals = NO_PEDAL, None
        if isinstance(notes, Performance):
            key_up_s, pedal_s = notes.keys.offset_s, notes.pedal_s
            notes, num_pedals = notes.notes(), len(pedal_s)
        else:
            key_up_s = np.full(len(notes), np.nan)
        if samples_S.ndim != 1:
            raise ValueError(f"{name}: expected mono samples, got {samples_S.shape}")
        if samples_S.dtype != np.int16:
            samples_S = to_int16(samples_S)
        columns = (notes.onset_s, notes.offset_s, notes.pitch, notes.velocity)
        piece = Entry(
            name,
            self._num_samples,
            len(samples_S),
            self._num_notes,
            len(notes),
            info or {},
            self._num_pedals,
            num_pedals,
        )
        self._audio.write(samples_S.astype("<i2").tobytes())
        for file, rows in (
            (self._notes, np.stack(columns, axis=1)),
            (self._key_ups, key_up_s),
            (self._pedals, pedal_s),
        ):
            file.write(rows.astype("<f8").tobytes())
        for file in (self._audio, self._notes, self._key_ups, self._pedals):
            file.flush()
        self._log.write(json.dumps(asdict(piece)) + "\n")
        self._log.flush()
        self.pieces.append(piece)

    @property
    def _num_samples(self) -> int:
        last = self.pieces[-1] if self.pieces else None
        return last.start_sample + last.num_samples if last else 0

    @property
    def _num_notes(self) -> int:
        last = self.pieces[-1] if self.pieces else None
        return last.first_note + last.num_notes if last else 0

    @property
    def _num_pedals(self) -> int:
        last = self.pieces[-1] if self.pieces else None
        return last.first_pedal + (last.num_pedals or 0) if last else 0

    def _read_pieces(self) -> list[Entry]:
        """Read the whole lines of the log; a line cut short by a crash is dropped."""
        path = self._part / "pieces.jsonl"
        if not path.exists():
            return []
        lines = path.read_text().split("\n")[:-1]
        with write_whole(path, overwrite=True, text=True) as file:
            file.writelines(line + "\n" for line in lines)
        try:
            return [Entry(**json.loads(line)) for line in lines]
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}: damaged ({one_line(error)}); remove {self._part}"
            ) from error

    def _open(self, name: str, num_bytes: int) -> Any:
        """Open a binary file at its end, cut back to what the log vouches for."""
        path = self._part / name
        path.touch()
        file = path.open("r+b")
        if name == "audio.npy" and path.stat().st_size < _HEADER_BYTES:
            file.write(_npy_header(0))
        file.truncate(num_bytes)
        file.seek(num_bytes)
        return file

    def _finish(self) -> None:
        with (self._part / "audio.npy").open("r+b") as file:
            file.write(_npy_header(self._num_samples))
        rows = np.fromfile(self._part / "notes.bin", "<f8").reshape(-1, 4)
        np.savez(
            self._part / "notes.npz",
            onset_s=rows[:, 0],
            offset_s=rows[:, 1],
            pitch=rows[:, 2].astype(np.int32),
            velocity=rows[:, 3].astype(np.int32),
            key_up_s=np.fromfile(self._part / "key_ups.bin", "<f8"),
            pedal_s=np.fromfile(self._part / "pedals.bin", "<f8").reshape(-1, 2),
        )
        index = {
            "format": FORMAT,
            "sample_rate_hz": self.sample_rate_hz,
            "pieces": [asdict(piece) for piece in self.pieces],
            "left_out": self.left_out,
        }
        (self._part / "index.json").write_text(json.dumps(index, indent=1))
        for name in (*_WORK_FILES, "lock", "lock.pid"):
            (self._part / name).unlink(missing_ok=True)
        os.replace(self._part, self.folder)


class Written(NamedTuple):
    """A piece of a data set, and why it is left out of a corpus if it is."""

    piece: "NotesSource"
    problem: str = ""


def write_corpus(
    pieces: "Iterable[NotesSource]",
    folder: str | os.PathLike[str],
    sample_rate_hz: int = 16000,
) -> Iterator[Written]:
    """Write the pieces of a data set into a corpus; resume where a stopped run ended.

    A piece that cannot be read is left out. A later run adds it when it can be.

    Yields each piece once it is written (for progress). The corpus is finished when the
    iterator is.

    Raises:
      FileExistsError: the corpus exists, and nothing was left out of it.
      ValueError: no piece can be read.
    """
    folder, left_out = Path(folder), {}
    writer, done = None, set()
    with ExitStack() as stack:
        if (folder / "index.json").is_file() and Corpus(folder).left_out:
            done = {entry.name for entry in Corpus(folder).pieces}
        else:
            writer = stack.enter_context(CorpusWriter(folder, sample_rate_hz))
            done = {entry.name for entry in writer.pieces}
        for piece in pieces:
            if piece.id in done:
                yield Written(piece)
                continue
            try:
                samples_S, notes = piece.samples(sample_rate_hz), piece.notes()
            except (OSError, ValueError) as error:
                left_out[piece.id] = one_line(error)
                yield Written(piece, left_out[piece.id])
                continue
            if writer is None:
                _reopen(folder)
                writer = stack.enter_context(CorpusWriter(folder, sample_rate_hz))
            writer.add(piece.id, samples_S, notes, {**piece.info, "split": piece.split})
            yield Written(piece)
        if writer is not None:
            if left_out and not writer.pieces:
                first = next(iter(left_out.values()))
                raise ValueError(f"none of {len(left_out)} pieces can be read: {first}")
            writer.left_out = left_out


def _reopen(folder: Path) -> None:
    """Make a finished corpus an unfinished one, to which pieces can be added."""
    corpus = Corpus(folder)
    with np.load(folder / "notes.npz") as arrays:
        names = ("onset_s", "offset_s", "pitch", "velocity")
        rows = np.stack([arrays[name] for name in names], axis=1)
        key_up_s = arrays.get("key_up_s", np.full(len(rows), np.nan))
        pedal_s = arrays.get("pedal_s", NO_PEDAL)
    for name, array in (("notes", rows), ("key_ups", key_up_s), ("pedals", pedal_s)):
        (folder / f"{name}.bin").write_bytes(array.astype("<f8").tobytes())
    (folder / "rate").write_text(str(corpus.sample_rate_hz))
    lines = [json.dumps(asdict(piece)) + "\n" for piece in corpus.pieces]
    (folder / "pieces.jsonl").write_text("".join(lines))
    os.replace(folder, folder.with_name(folder.name + ".part"))


def _npy_header(num_samples: int) -> bytes:
    """Return the 128 bytes at the head of a one-dimensional int16 .npy file."""
    text = f"{{'descr': '<i2', 'fortran_order': False, 'shape': ({num_samples},), }}"
    text = text.ljust(_HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()

"""Pieces and the records that hold them: audio with notes, and stems where known.

A record is a serialized `tf.train.Example`. Two families are read: MT3's, one layout
per data set (`RecordLayout`), and mt3x's own, which every data set shares:

    id            bytes, the piece's name
    mt3x/audio    bytes, a FLAC or WAV file, mono
    mt3x/notes    bytes, one NOTE_DTYPE row per note, little endian
    mt3x/stems    bytes list, a FLAC or WAV file per stem; may be missing
    mt3x/stem_names, mt3x/stem_classes   bytes lists, one item per stem
    mt3x/stem_programs, mt3x/stem_drums  integer lists, one item per stem

A note's `stem` is the index of its stem, NO_STEM where there are none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mt3x.music.audio import encode_audio
from mt3x.music.notes import Notes

NOTE_DTYPE = np.dtype(
    [
        ("onset_s", "<f8"),
        ("offset_s", "<f8"),
        ("pitch", "u1"),
        ("velocity", "u1"),
        ("program", "u1"),
        ("is_drum", "u1"),
        ("stem", "<u2"),
    ]
)
NO_STEM = 0xFFFF
_COLUMNS = ("onset_s", "offset_s", "pitch", "velocity", "program", "is_drum")


@dataclass(frozen=True, eq=False)
class Stem:
    """One instrument's part of a piece."""

    name: str
    instrument: str  # its class in the data set, such as Slakh's "Electric Bass"
    program: int  # General MIDI program of its source, which may differ from its notes'
    is_drum: bool
    notes: Notes
    samples_S: np.ndarray | None = None  # float32 in -1..1


@dataclass(frozen=True, eq=False)
class Piece:
    """A recording with its notes; where stems are known, their notes are the notes."""

    id: str
    samples_S: np.ndarray  # float32 in -1..1
    sample_rate_hz: int
    notes: Notes
    stems: tuple[Stem, ...] = ()


@dataclass(frozen=True)
class RecordLayout:
    """Where one of MT3's record layouts keeps what; names are feature keys.

    Attributes:
      audio: a WAV file's bytes, or samples where `sample_rate` is a key.
      sample_rate: key of the rate of float samples, None for a WAV file.
      sequences: one serialized NoteSequence or several, one per track.
      names: the tracks' instruments, looked up in `instruments`; None where notes
        keep their programs, or where all are `instruments[""]`.
      instruments: name -> program and whether it is drums.
    """

    audio: str = "audio"
    sample_rate: str | None = None
    rate_is_float: bool = False
    sequences: str = "sequence"
    names: str | None = None
    id: str = "id"
    instruments: Mapping[str, tuple[int, bool]] | None = None


def pack_notes(notes: Notes, stem_N: Any = NO_STEM) -> bytes:
    """Notes as NOTE_DTYPE rows."""
    rows_N = np.zeros(len(notes), NOTE_DTYPE)
    for name in _COLUMNS:
        rows_N[name] = getattr(notes, name)
    rows_N["stem"] = stem_N
    return rows_N.tobytes()


def unpack_notes(data: bytes) -> Notes:
    """The notes that `pack_notes` gave."""
    rows_N = np.frombuffer(data, NOTE_DTYPE)
    return Notes(*(rows_N[name] for name in _COLUMNS))


def encode_piece(piece: Piece, form: str = "FLAC", stem_audio: bool = False) -> bytes:
    """A piece as a serialized record of mt3x's own layout.

    Args:
      piece: its notes are those of its stems where it has any.
      form: "FLAC" (about half the size) or "WAV" (faster to read).
      stem_audio: store the stems' audio too.

    Raises:
      ValueError: stem audio is wanted and a stem has none.
    """
    import tensorflow as tf

    def audio(samples_S: np.ndarray) -> bytes:
        return encode_audio(samples_S, piece.sample_rate_hz, form)

    def texts(values: list[bytes]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def numbers(values: list[int]) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    notes = pack_notes(piece.notes)
    if piece.stems:
        notes = b"".join(
            pack_notes(stem.notes, index) for index, stem in enumerate(piece.stems)
        )
    features = {
        "id": texts([piece.id.encode()]),
        "mt3x/audio": texts([audio(piece.samples_S)]),
        "mt3x/notes": texts([notes]),
        "mt3x/stem_names": texts([stem.name.encode() for stem in piece.stems]),
        "mt3x/stem_classes": texts([stem.instrument.encode() for stem in piece.stems]),
        "mt3x/stem_programs": numbers([stem.program for stem in piece.stems]),
        "mt3x/stem_drums": numbers([int(stem.is_drum) for stem in piece.stems]),
    }
    if stem_audio:
        stems = []
        for stem in piece.stems:
            if stem.samples_S is None:
                raise ValueError(f"{piece.id}: stem {stem.name} has no audio to store")
            stems.append(audio(stem.samples_S))
        features["mt3x/stems"] = texts(stems)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)

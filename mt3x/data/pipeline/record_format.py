"""What a TFRecord example holds: audio and notes.

A record is a serialized `tf.train.Example`. Two families are read: MT3's, one layout
per data set (`RecordLayout`), and mt3x's own, which all data sets share:

    id            bytes, the piece's name
    mt3x/audio    bytes, a FLAC or WAV file, mono
    mt3x/notes    bytes, one NOTE_DTYPE row per note, little endian

Records that mt3x wrote before may also have `mt3x/stems` and `mt3x/stem_*`, which are
not read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mt3x.data.pieces import Piece
from mt3x.music.audio import encode_audio
from mt3x.music.notes import Notes

_COLUMNS = ("onset_s", "offset_s", "pitch", "velocity", "program", "is_drum")
NOTE_DTYPE = np.dtype(
    {
        "names": _COLUMNS,
        "formats": ["<f8", "<f8", "u1", "u1", "u1", "u1"],
        # Two bytes are left over: the number of a stem, in older records.
        "itemsize": 22,
    }
)
ROLL_NOTES = "roll_notes"
"""Feature: packed notes to draw rolls of, in seconds from the example's beginning."""

Example = Mapping[str, tf.Tensor]


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


def pack_notes(notes: Notes) -> bytes:
    """Return notes as NOTE_DTYPE rows."""
    rows_N = np.zeros(len(notes), NOTE_DTYPE)
    for name in _COLUMNS:
        rows_N[name] = getattr(notes, name)
    return rows_N.tobytes()


def unpack_notes(data: bytes) -> Notes:
    """Return the notes that `pack_notes` packed."""
    rows_N = np.frombuffer(data, NOTE_DTYPE)
    return Notes(*(rows_N[name] for name in _COLUMNS))


def encode_piece(piece: Piece, form: str = "FLAC") -> bytes:
    """Return a piece as a serialized record of mt3x's own layout.

    Args:
      piece: the piece.
      form: "FLAC" (about half the size) or "WAV" (faster to read).
    """
    values = {
        "id": piece.id.encode(),
        "mt3x/audio": encode_audio(piece.samples_S, piece.sample_rate_hz, form),
        "mt3x/notes": pack_notes(piece.notes),
    }
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def parse_record(layout: RecordLayout) -> Callable[[tf.Tensor], Example]:
    """Return a map from serialized records, MT3's or mt3x's own, to their fields."""

    def texts() -> tf.io.FixedLenSequenceFeature:
        return tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)

    rate_type = tf.float32 if layout.rate_is_float else tf.int64
    audio_type = tf.string if layout.sample_rate is None else tf.float32
    features = {
        layout.audio: tf.io.FixedLenSequenceFeature([], audio_type, allow_missing=True),
        layout.sequences: texts(),
        **{
            name: tf.io.FixedLenFeature([], tf.string, default_value="")
            for name in ("id", layout.id)  # mt3x's own records have "id"
        },
        "mt3x/audio": texts(),
        "mt3x/notes": texts(),
    }
    if layout.sample_rate is not None:
        features[layout.sample_rate] = tf.io.FixedLenFeature([], rate_type, 0)
    if layout.names is not None:
        features[layout.names] = texts()

    def parse(record: tf.Tensor) -> Example:
        found = tf.io.parse_single_example(record, features)
        none = tf.zeros([0], tf.string)
        files, samples_S = found["mt3x/audio"], tf.zeros([0])
        if layout.sample_rate is None:
            files = tf.concat([files, found[layout.audio]], axis=0)
        else:
            samples_S = found[layout.audio]
        rate_hz = found[layout.sample_rate] if layout.sample_rate else 0.0
        id = found["id"]
        return {
            "id": tf.where(tf.equal(id, ""), found[layout.id], id),
            "files": files,
            "samples": samples_S,
            "sample_rate": tf.cast(rate_hz, tf.float32),
            "packed": found["mt3x/notes"],
            "sequences": found[layout.sequences],
            "names": found[layout.names] if layout.names else none,
        }

    return parse


def example_id(data_set: str, segment: Example, frame_rate_hz: float) -> tf.Tensor:
    """Return a name for people, such as "slakh Track00001 at 12.30 s"."""
    start_s = tf.cast(segment["first_frame"], tf.float64) / frame_rate_hz
    time = tf.strings.as_string(start_s, precision=2)
    return tf.strings.join([data_set, " ", segment["id"], " at ", time, " s"])

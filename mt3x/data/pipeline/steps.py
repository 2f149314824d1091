"""Preprocessors from a record to an example, as SeqIO runs them: tf.data around NumPy.

A training example takes this way, in brackets what happens once where a task is cached:

    [record -> piece: frames_TxW and packed notes -> blocks of at most 2000 frames]
    -> a random segment of each block -> its tokens -> mix of several, where wanted
    -> model ids with EOS

This is MT3's way (Gardner et al. 2022), segment for segment. But blocks keep the notes
that matter to them instead of tokens, so that a cache serves every vocabulary.
An example's `first_frame` counts from the beginning of its piece; its `id` says what it
is, for people.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from mt3x.data.pipeline.note_sequences import read_sequences
from mt3x.data.pipeline.record_format import (
    ROLL_NOTES,
    Example,
    RecordLayout,
    example_id,
    pack_notes,
    unpack_notes,
)
from mt3x.music.audio import decode_audio
from mt3x.music.notes import Notes
from mt3x.music.samples import resample
from mt3x.music.tokens import Tokenizer, trim_overlaps
from mt3x.music.vocabulary import EOS_ID, NUM_SPECIAL_IDS

BLOCK_FRAMES = 2000
NO_ID = -1
"""Fills up rows of tokens where several stand in one array."""
EOS_ALONE = np.array([EOS_ID], np.int32)
_MARGIN_S = 0.1  # more than times move when they are rounded to steps
_AUTOTUNE = tf.data.AUTOTUNE


def read_pieces(
    dataset: tf.data.Dataset,
    layout: RecordLayout,
    sample_rate_hz: int,
    hop_samples: int,
    trim: bool,
) -> tf.data.Dataset:
    """Turn fields of records into `inputs` (frames_TxW), `notes` (packed) and `id`.

    The last frame is filled up with zeros; a recording of whole frames gets one more,
    as MT3's do. With `trim`, overlaps of one program and pitch are trimmed.
    """

    def read(
        files: np.ndarray,
        samples_S: np.ndarray,
        rate_hz: np.float32,
        packed: np.ndarray,
        sequences: np.ndarray,
        names: np.ndarray,
        id: bytes,
    ) -> tuple[np.ndarray, bytes]:
        if not len(files) and not rate_hz > 0:
            raise ValueError(
                f"record {id.decode()!r} has no audio where it is looked for; it is of "
                "another layout"
            )
        if len(files):
            samples_S = decode_audio(files[0], sample_rate_hz)
        else:
            samples_S = resample(samples_S, float(rate_hz), sample_rate_hz)
        if len(packed):
            notes = unpack_notes(packed[0])
        else:
            notes = read_sequences(list(sequences), _instruments(layout, names, id))
        notes = trim_overlaps(notes) if trim else notes
        missing = hop_samples - len(samples_S) % hop_samples
        frames_TxW = np.pad(samples_S, (0, missing)).reshape(-1, hop_samples)
        return frames_TxW, pack_notes(notes)

    def to_piece(record: Example) -> Example:
        fields = "files samples sample_rate packed sequences names id".split()
        frames_TxW, notes = tf.numpy_function(
            read, [record[name] for name in fields], (tf.float32, tf.string)
        )
        frames_TxW.set_shape([None, hop_samples])
        notes.set_shape([])
        return {"inputs": frames_TxW, "notes": notes, "id": record["id"]}

    return dataset.map(to_piece, num_parallel_calls=_AUTOTUNE)


def _instruments(
    layout: RecordLayout, names: np.ndarray, id: bytes
) -> list[tuple[int, bool]] | None:
    """Return program and is_drum of each track of a record."""
    if layout.instruments is None:
        return None
    if layout.names is None:
        return [layout.instruments[""]]
    named = [name.decode() for name in names]
    unknown = [name for name in named if name not in layout.instruments]
    if unknown:
        raise ValueError(
            f"record {id.decode()}: unknown instrument {unknown[0]!r}; the data set's "
            f"are {', '.join(sorted(layout.instruments))}"
        )
    return [layout.instruments[name] for name in named]


def split_into_blocks(dataset: tf.data.Dataset, frame_rate_hz: float) -> Any:
    """Split pieces into blocks of at most BLOCK_FRAMES with the notes they need."""

    def split(packed: bytes, num_frames: int) -> np.ndarray:
        notes = unpack_notes(packed)
        blocks = [
            pack_notes(block_notes(notes, first, int(num_frames), frame_rate_hz))
            for first in range(0, num_frames, BLOCK_FRAMES)
        ]
        return np.array(blocks, dtype=object)

    def blocks(piece: Example) -> tf.data.Dataset:
        frames_TxW = piece["inputs"]
        num_frames = tf.shape(frames_TxW)[0]
        (notes_K,) = tf.numpy_function(split, [piece["notes"], num_frames], [tf.string])
        notes_K.set_shape([None])

        def block(first: tf.Tensor, notes: tf.Tensor) -> Example:
            return {
                "inputs": frames_TxW[first : first + BLOCK_FRAMES],
                "notes": notes,
                "first_frame": first,
                "num_frames": num_frames,
                "id": piece["id"],
            }

        firsts_K = tf.range(0, num_frames, BLOCK_FRAMES)
        return tf.data.Dataset.from_tensor_slices((firsts_K, notes_K)).map(block)

    return dataset.flat_map(blocks)


def block_notes(
    notes: Notes,
    first_frame: int,
    num_frames: int,
    frame_rate_hz: float,
    length: int = BLOCK_FRAMES,
) -> Notes:
    """Return the notes of a piece that a block's segments need for their tokens.

    They are those that sound in the block, those before that overlap with them on their
    key (their ends end what sounds), and those that the piece ends with: MT3's tie
    sections name the notes before the last event (`TokenizerConfig.mt3_ties`).

    Args:
      notes: the piece's.
      first_frame: where the block begins.
      num_frames: of the piece; the last block has all that follows.
      frame_rate_hz: frames per second.
      length: frames of the block.
    """
    if not len(notes):
        return notes
    end_frame = first_frame + length
    end_s = np.inf if end_frame >= num_frames else end_frame / frame_rate_hz + _MARGIN_S
    last_N = np.where(notes.is_drum, notes.onset_s, notes.offset_s)
    first_s = min(first_frame / frame_rate_hz, last_N.max()) - _MARGIN_S
    sounds_N = (notes.onset_s < end_s) & (last_N >= first_s)
    earlier_N = sounds_N & (notes.onset_s < first_s) & ~notes.is_drum
    key_N = notes.program * 128 + notes.pitch
    since_s = np.full(128 * 128, np.inf)
    np.minimum.at(since_s, key_N[earlier_N], notes.onset_s[earlier_N])
    overlaps_N = ~notes.is_drum & (notes.offset_s >= since_s[key_N])
    overlaps_N &= notes.offset_s < first_s
    sounds_N[last_N.argmax()] = True
    return notes[sounds_N | overlaps_N]


def random_segments(
    dataset: tf.data.Dataset, sequence_length: Mapping[str, int]
) -> tf.data.Dataset:
    """Cut a segment of each block, at most `sequence_length["inputs"]` frames.

    Every frame is as likely as any other to be in it: segments begin from length - 1
    frames before the block to its last frame, and what lies outside is cut off, as T5's
    select_random_chunk does.
    """
    length = sequence_length["inputs"]

    @seqio.map_over_dataset(num_seeds=1)
    def choose(block: Example, seed: tf.Tensor) -> Example:
        frames_TxW = block["inputs"]
        num_frames = tf.shape(frames_TxW)[0]
        begin = tf.random.stateless_uniform(
            [], minval=1 - length, maxval=num_frames, dtype=tf.int32, seed=seed
        )
        first = tf.maximum(begin, 0)
        return {
            **block,
            "inputs": frames_TxW[first : begin + length],
            "first_frame": block["first_frame"] + first,
        }

    return choose(dataset)  # pyright: ignore[reportCallIssue]


def tokenize(
    dataset: tf.data.Dataset,
    tokenizer: Tokenizer,
    frame_rate_hz: float,
    data_set: str = "",
) -> tf.data.Dataset:
    """Turn segments into `inputs` and `targets`, their codec ids; ROLL_NOTES stay."""

    def encode(packed: bytes, first: int, length: int, num_frames: int) -> np.ndarray:
        notes, place = unpack_notes(packed), (int(first), int(num_frames))
        notes = block_notes(notes, *place, frame_rate_hz, int(length))
        events = tokenizer.events(notes, int(num_frames), frame_rate_hz)
        return tokenizer.segment(events, int(first), int(length))

    def to_example(segment: Example) -> Example:
        length = tf.shape(segment["inputs"])[0]
        (ids_L,) = tf.numpy_function(
            encode,
            [segment["notes"], segment["first_frame"], length, segment["num_frames"]],
            [tf.int32],
        )
        ids_L.set_shape([None])
        kept = {
            name: segment[name] for name in ("inputs", ROLL_NOTES) if name in segment
        }
        id = example_id(data_set, segment, frame_rate_hz)
        return {**kept, "targets": ids_L, "id": id}

    return dataset.map(to_example, num_parallel_calls=_AUTOTUNE)


def mix_examples(
    dataset: tf.data.Dataset, tokenizer: Tokenizer, max_examples: int | None
) -> tf.data.Dataset:
    """Mix 1 to `max_examples` examples, every number as often as any other.

    Audio is added and scaled to a peak of 1 (also that of a single example), tokens are
    merged, as MT3 does; ROLL_NOTES are those of all. None leaves the examples as they
    are.
    """
    if max_examples is None:
        return dataset
    # An example goes into a mix of n with a chance in proportion to n, so that there
    # are as many mixes of each n.
    sizes = np.arange(1, max_examples + 1)
    log_share = tf.math.log(tf.constant(sizes, tf.float32))

    @seqio.map_over_dataset(num_seeds=1)
    def draw_size(example: Example, seed: tf.Tensor) -> Example:
        drawn = tf.random.stateless_categorical(log_share[tf.newaxis], 1, seed)
        return {**example, "size": drawn[0, 0] + 1}

    def merge(ids_NxL: np.ndarray) -> np.ndarray:
        return tokenizer.merge([ids_L[ids_L != NO_ID] for ids_L in ids_NxL])

    def mix(group: Example) -> Example:
        sum_TxW = tf.reduce_sum(group["inputs"], axis=0)
        peak = tf.reduce_max(tf.abs(sum_TxW))
        (ids_L,) = tf.numpy_function(merge, [group["targets"]], [tf.int32])
        ids_L.set_shape([None])
        mixed = {
            "inputs": tf.math.divide_no_nan(sum_TxW, peak),
            "targets": ids_L,
            "id": tf.strings.reduce_join(group["id"], separator=" + "),
        }
        if ROLL_NOTES in group:
            mixed[ROLL_NOTES] = tf.strings.reduce_join(group[ROLL_NOTES])
        return mixed

    # Neighbours are of one piece: shuffle what is mixed. SeqIO gives seeds to maps
    # alone; there is no public way to one for a shuffle.
    dataset = dataset.shuffle(
        seqio.SHUFFLE_BUFFER_SIZE // max_examples, seed=seqio.utils._NEXT_MAP_SEED
    )
    dataset = draw_size(dataset)  # pyright: ignore[reportCallIssue]
    padding: dict[str, Any] = {
        "inputs": 0.0,
        "targets": NO_ID,
        "size": np.int64(0),
        "id": "",
    }
    found: Any = dataset.element_spec
    if ROLL_NOTES in found:
        padding[ROLL_NOTES] = ""
    dataset = dataset.group_by_window(
        key_func=lambda example: example["size"],
        reduce_func=lambda size, group: group.padded_batch(
            size, padding_values=padding
        ),
        window_size_func=lambda size: size,
    )
    return dataset.map(mix, num_parallel_calls=_AUTOTUNE)


def drop_or_refuse_too_long(
    dataset: tf.data.Dataset, sequence_length: Mapping[str, int], skip: bool
) -> tf.data.Dataset:
    """Leave out examples with too many tokens for their length, or stop the run."""
    max_tokens = sequence_length["targets"] - 1

    def fits(example: Example) -> tf.Tensor:
        return tf.size(example["targets"]) <= max_tokens

    def check(example: Example) -> Example:
        message = f"more than {max_tokens} tokens; raise max_tokens or skip too long"
        with tf.control_dependencies([tf.debugging.Assert(fits(example), [message])]):
            return {name: tf.identity(value) for name, value in example.items()}

    return dataset.filter(fits) if skip else dataset.map(check)


def to_model_ids(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turn codec ids into model ids with EOS."""

    def convert(example: Example) -> Example:
        ids_L = example["targets"] + NUM_SPECIAL_IDS
        return {**example, "targets": tf.concat([ids_L, [EOS_ID]], axis=0)}

    return dataset.map(convert, num_parallel_calls=_AUTOTUNE)


def split_into_segments(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int],
    targets: np.ndarray = EOS_ALONE,
) -> tf.data.Dataset:
    """Split pieces into consecutive segments with what evaluation needs.

    `unique_id` (of the piece, counted from 0), its `id`, `first_frame`, and `notes`
    (packed; of the piece's first segment alone, empty in the others). `targets` are EOS
    alone: whole pieces are compared by notes.
    """
    length = sequence_length["inputs"]

    def segments(index: tf.Tensor, piece: Example) -> tf.data.Dataset:
        frames_TxW = piece["inputs"]

        def segment(first: tf.Tensor) -> Example:
            return {
                "inputs": frames_TxW[first : first + length],
                "targets": tf.constant(targets),
                "unique_id": tf.cast(index, tf.int32)[tf.newaxis],
                "id": piece["id"][tf.newaxis],
                "first_frame": first[tf.newaxis],
                "notes": tf.where(first == 0, piece["notes"], "")[tf.newaxis],
            }

        firsts = tf.range(0, tf.shape(frames_TxW)[0], length)
        return tf.data.Dataset.from_tensor_slices(firsts).map(segment)

    pieces = dataset.enumerate()
    return pieces.flat_map(segments)  # pyright: ignore[reportArgumentType]

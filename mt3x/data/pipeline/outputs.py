"""What comes out of tasks: the vocabulary of tokens, references, and their scores."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from mt3x.data.pipeline.record_format import unpack_notes
from mt3x.music.instrument_metrics import instrument_scores, mean_instrument_scores
from mt3x.music.instruments import Instruments
from mt3x.music.metrics import mean_scores, note_scores
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import RollDecodingConfig, rolls_to_notes
from mt3x.music.rolls import Rolls
from mt3x.music.tokens import INVALID_ID, Tokenizer
from mt3x.music.vocabulary import EOS_ID, NUM_EXTRA_IDS, NUM_SPECIAL_IDS, UNK_ID


class EventVocabulary(seqio.Vocabulary):
    """Codec ids <-> model ids; others decode to INVALID_ID, and EOS is left out.

    `encode` raises ValueError for what is not a codec id, and `encode_tf` TensorFlow's
    InvalidArgumentError.
    """

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        super().__init__(extra_ids=NUM_EXTRA_IDS)

    @property
    def eos_id(self) -> int:
        return EOS_ID

    @property
    def unk_id(self) -> int:
        return UNK_ID

    @property
    def _base_vocab_size(self) -> int:
        return NUM_SPECIAL_IDS + self._num_classes

    def _encode(self, s: Iterable[int]) -> list[int]:
        ids = list(s)
        for id in ids:
            if not 0 <= id < self._num_classes or id != int(id):
                raise ValueError(
                    f"codec id {id} is unknown; 0 to {self._num_classes - 1} exist"
                )
        return [int(id) + NUM_SPECIAL_IDS for id in ids]

    def _decode(self, ids: Iterable[int]) -> list[int]:
        return [
            id - NUM_SPECIAL_IDS if id >= NUM_SPECIAL_IDS else INVALID_ID
            for id in ids
            if id != EOS_ID
        ]

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        is_known = tf.reduce_all(tf.logical_and(s >= 0, s < self._num_classes))
        message = f"unknown codec ids; 0 to {self._num_classes - 1} exist:"
        with tf.control_dependencies([tf.debugging.Assert(is_known, [message, s])]):
            return s + NUM_SPECIAL_IDS

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.where(ids >= NUM_SPECIAL_IDS, ids - NUM_SPECIAL_IDS, INVALID_ID)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EventVocabulary):
            return False
        return self._num_classes == other._num_classes

    __hash__ = None  # type: ignore[assignment]


def postprocess(
    tokens: Sequence[int],
    example: Mapping[str, Any],
    is_target: bool,
    frame_rate_hz: float,
) -> dict[str, Any]:
    """Return a segment's codec ids or its reference, and its place.

    Reference notes are those of the whole piece; only its first segment has them.
    """
    unique_id = int(example["unique_id"][0])
    if is_target:
        packed, first_frame = example["notes"][0], int(example["first_frame"][0])
        notes = unpack_notes(packed) if first_frame == 0 else None
        return {"unique_id": unique_id, "ref_notes": notes}
    return {
        "unique_id": unique_id,
        "start_s": int(example["first_frame"][0]) / frame_rate_hz,
        "ids": np.asarray(tokens, np.int32),
    }


def postprocess_rolls(
    rolls_Tx4xP: np.ndarray, example: Mapping[str, Any], is_target: bool
) -> dict[str, Any]:
    """Return a segment's rolls without padding or its reference, and its place."""
    unique_id, first_frame = (
        int(example["unique_id"][0]),
        int(example["first_frame"][0]),
    )
    if is_target:
        notes = unpack_notes(example["notes"][0]) if first_frame == 0 else None
        return {"unique_id": unique_id, "ref_notes": notes}
    return {
        "unique_id": unique_id,
        "first_frame": first_frame,
        "rolls": np.asarray(rolls_Tx4xP, np.float32)[: len(example["inputs"])],
    }


def roll_metrics(
    targets: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    frame_rate_hz: float,
) -> dict[str, float]:
    """Return mean note scores of the decoded rolls, as a SeqIO metric function does.

    Args:
      targets, predictions: what `postprocess_rolls` gave for the same segments.
      frame_rate_hz: of the rolls.

    Returns:
      `note_f1`, `note_precision`, `note_offset_f1`, `frame_f1` and so on.
    """
    scores = []
    for reference, segments in _pieces(targets, predictions, "first_frame", "rolls"):
        in_order = sorted(segments, key=lambda segment: segment[0])
        rolls_Tx4xP = np.concatenate([rolls for _, rolls in in_order])
        rolls = Rolls.from_stack(rolls_Tx4xP, frame_rate_hz)
        scores.append(
            note_scores(reference, rolls_to_notes(rolls, RollDecodingConfig()))
        )
    return {
        f"{kind}_{name}": value
        for kind, values in mean_scores(scores).to_dict().items()
        for name, value in values.items()
    }


def transcription_metrics(
    targets: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    tracks: Mapping[str, Instruments] | None = None,
) -> dict[str, float]:
    """Return mean scores by instrument, as a SeqIO metric function does.

    Args:
      targets, predictions: what `postprocess` gave for the same segments.
      tokenizer: what the model writes.
      tracks: instruments that are scored by themselves, too.

    Returns:
      The scores, and of all pieces together the `Invalid tokens` and `Dropped tokens`.
    """
    scores, num_invalid, num_dropped = [], 0, 0
    for reference, segments in _pieces(targets, predictions, "start_s", "ids"):
        decoded = tokenizer.decode(segments)
        num_invalid += decoded.num_invalid
        num_dropped += decoded.num_dropped
        onsets_only = tokenizer.config.onsets_only
        scores.append(instrument_scores(reference, decoded.notes, onsets_only, tracks))
    return {
        **mean_instrument_scores(scores),
        "Invalid tokens": float(num_invalid),
        "Dropped tokens": float(num_dropped),
    }


def _pieces(
    targets: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    first: str,
    second: str,
) -> Iterator[tuple[Notes, list[tuple[Any, Any]]]]:
    """Yield each piece's reference notes and two fields of each of its predictions."""
    references: dict[int, Notes] = {}
    segments: dict[int, list[tuple[Any, Any]]] = {}
    for target, prediction in zip(targets, predictions, strict=True):
        piece = target["unique_id"]
        if target["ref_notes"] is not None:
            references[piece] = target["ref_notes"]
        segment = prediction[first], prediction[second]
        segments.setdefault(piece, []).append(segment)
    for piece, reference in references.items():
        yield reference, segments[piece]

"""The output of T5X's inference on our tasks: notes as JSON, and MIDI files."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mt3x.models.objectives import ModelConfig

# MT3's names of what a note has.
NOTE_KEYS = {
    "start_time": "onset_s",
    "end_time": "offset_s",
    "pitch": "pitch",
    "velocity": "velocity",
    "program": "program",
    "is_drum": "is_drum",
}


def write_notes(
    path: str,
    inferences: tuple[Sequence[Any], Mapping[str, Any]],
    task_dataset: Any,
    mode: str,
    vocabulary: Any,
    objective: ModelConfig,
    output_dir: str,
) -> None:
    """Write a line for each piece, and OUTPUT_DIR/TASK/NUMBER_ID.mid, for T5X.

    A line is JSON with the piece's `id` and `est_notes`, as MT3 writes it.

    Args:
      path: file for the lines, which T5X names TASK-MODE.jsonl-...
      inferences: what the model predicted of each segment, and more (not used).
      task_dataset: the segments of whole pieces, as an evaluation task gives them.
      mode: `predict` or `predict_with_aux`.
      vocabulary: the task's (not used).
      objective: says what predictions mean.
      output_dir: gets the MIDI files.

    Raises:
      ValueError: `mode` is `score`: scores are not notes.
    """
    if mode == "score":
        raise ValueError(
            "mode='score' gives no notes to write: take --gin_file=t5x/score.gin, or "
            "infer with 'predict'"
        )
    folder = Path(output_dir, Path(path).name.partition(f"-{mode}.")[0])
    folder.mkdir(parents=True, exist_ok=True)
    segments = zip(inferences[0], task_dataset.as_numpy_iterator(), strict=True)
    with open(path, "w", encoding="utf-8") as lines:
        for number, (id, parts) in _pieces(segments).items():
            notes = objective.notes(parts)
            safe_id = re.sub(r"[^\w.-]+", "_", id)
            notes.to_midi(folder / f"{number:05d}_{safe_id}.mid", overwrite=True)
            columns = [getattr(notes, name).tolist() for name in NOTE_KEYS.values()]
            rows = zip(*columns, strict=True)
            est_notes = [dict(zip(NOTE_KEYS, row, strict=True)) for row in rows]
            lines.write(json.dumps({"id": id, "est_notes": est_notes}) + "\n")


Part = tuple[int, Any]
"""Where a segment begins, in frames, and what was predicted of it."""


def _pieces(
    segments: Iterable[tuple[Any, Mapping[str, np.ndarray]]],
) -> dict[int, tuple[str, list[Part]]]:
    """Return the id and segments of each piece, by its number."""
    pieces: dict[int, tuple[str, list[Part]]] = {}
    for predicted, example in segments:
        piece = (example["id"][0].decode(), [])
        part = int(example["first_frame"][0]), predicted
        pieces.setdefault(int(example["unique_id"][0]), piece)[1].append(part)
    return pieces

"""A checkpoint on the pieces of a SeqIO task: their transcriptions, and their scores.

Each piece that is done is a line of a `.jsonl` file, so that a run that was stopped
resumes; `config.json` keeps runs with other settings out of the folder.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mt3x.data.clips import TaskPiece
from mt3x.evaluation.reports import to_csv, to_json
from mt3x.evaluation.transcriptions import EvaluationConfig, Pairing, PieceResult
from mt3x.files import check_local, locked, write_whole
from mt3x.inference.transcriber import Transcriber
from mt3x.models import weights_file
from mt3x.models.objectives import ModelConfig
from mt3x.music.instrument_metrics import instrument_scores
from mt3x.music.metrics import (
    FRAME_RATE_HZ,
    Cells,
    PrecisionRecallF1,
    Scores,
    integrated,
    note_scores,
)
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import RollDecodingConfig
from mt3x.training.run_folder import write_config

__all__ = ["Evaluation", "Inference", "TranscriberConfig", "check_model"]

Row = dict[str, Any]
"""What is known of a piece, as JSON."""
Progress = Callable[[TaskPiece, float], AbstractContextManager[Callable[[float], None]]]
"""Shows a piece of some seconds being done; called with the seconds of each part."""


@dataclass(frozen=True)
class TranscriberConfig:
    """Options of `mt3x.Transcriber`: how pieces are transcribed."""

    decoder: Any = None  # tokens, rolls or both; None: as the model
    onset_threshold: float | None = None  # where rolls are decoded, as the next
    frame_threshold: float | None = None
    constrain: bool = False  # where tokens are decoded, as the next
    beams: int | None = None
    device: Any = None  # cpu, gpu or tpu
    precision: Any = "float32"
    batch_size: int | None = None  # segments or windows at once


@dataclass(frozen=True)
class _OnTask:
    """Options of both programs: pieces, checkpoint, and where to write."""

    # Weights file, checkpoint folder or run folder.
    checkpoint: str = ""
    # A task of whole pieces or a mixture, such as slakh_notes_ties_vb1_test, and the
    # module that registers it.
    task: str = ""
    module: str = "mt3x.tasks"
    output_dir: str = ""
    # The first pieces alone; None: all.
    max_pieces: int | None = None
    transcriber: TranscriberConfig = field(default_factory=TranscriberConfig)

    def __post_init__(self) -> None:
        for name in ("checkpoint", "task", "output_dir"):
            if not getattr(self, name):
                kind = type(self).__name__
                raise ValueError(f"{kind}.{name} is not set: give it a value")
        for path in (self.checkpoint, self.output_dir):
            check_local(path)
        if self.max_pieces is not None and self.max_pieces < 1:
            raise ValueError(f"max_pieces={self.max_pieces} must be at least 1")

    def _rows(
        self,
        objective: ModelConfig | None,
        progress: Progress,
        describe: Callable[[TaskPiece, Notes], Row],
        shard: tuple[int, int] = (0, 1),
    ) -> list[Row]:
        """Return a row for each piece, those of earlier starts included."""
        from mt3x.data.pipeline.task_pieces import task_pieces

        model = Transcriber(self.checkpoint, **dataclasses.asdict(self.transcriber))
        if objective is not None:
            check_model(objective, model.config, self.checkpoint)
        hop_samples = model.config.features.hop_samples
        pieces = task_pieces(self.task, self.module, hop_samples)
        pieces = itertools.islice(pieces, self.max_pieces)
        suffix = "" if shard[1] == 1 else f"-{shard[0]:05d}-of-{shard[1]:05d}"
        folder = Path(self.output_dir)
        with _claimed(folder, self, suffix):
            log = _Log(folder / f"pieces{suffix}.jsonl")
            for piece in itertools.islice(pieces, shard[0], None, shard[1]):
                if log.has(piece):
                    continue
                # Zeros fill the last frame, at least one; the model fills it again.
                samples_S = piece.samples_S[:-1]
                duration_s = len(samples_S) / model.sample_rate_hz
                with progress(piece, duration_s) as advance:
                    notes = model(samples_S, model.sample_rate_hz, on_progress=advance)
                head = {"task": piece.task, "number": piece.number, "id": piece.id}
                row = {"duration_s": duration_s, "notes": len(notes)}
                log.add(head | row | describe(piece, notes))
        return log.rows


@dataclass(frozen=True)
class Inference(_OnTask):
    """Transcribes the pieces of a task: MIDI files and `pieces.jsonl`."""

    # This run's part of the pieces, of so many; each writes its own .jsonl file.
    shard_id: int = 0
    num_shards: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.shard_id < self.num_shards:
            raise ValueError(
                f"shard_id={self.shard_id} is not one of 0 to {self.num_shards - 1}, "
                f"the numbers of num_shards={self.num_shards}"
            )

    def run(self, objective: ModelConfig | None, progress: Progress) -> list[Row]:
        """Transcribe the pieces that are left; return a row for each of this shard.

        Args:
          objective: the model that the checkpoint is to be of.
          progress: shows what is being done.

        Raises:
          ValueError: the checkpoint is of another model, there is no such task, or the
            folder holds the output of another run.
          OSError: checkpoint or records are missing, or the output cannot be written.
        """

        def write_midi(piece: TaskPiece, notes: Notes) -> Row:
            id = re.sub(r"[^\w.-]+", "_", piece.id)
            name = f"{piece.task}/{piece.number:05d}_{id}.mid"
            path = Path(self.output_dir) / name
            path.parent.mkdir(exist_ok=True)
            # One that is there is of a run that was stopped before its line.
            with write_whole(path, overwrite=True) as file:
                file.write(notes.to_midi())
            return {"midi": name}

        shard = self.shard_id, self.num_shards
        return self._rows(objective, progress, write_midi, shard)


@dataclass(frozen=True)
class Evaluation(_OnTask):
    """Transcribes the pieces of a task and scores them: `TASK.json` and `TASK.csv`."""

    def run(
        self, objective: ModelConfig | None, progress: Progress
    ) -> dict[str, list[PieceResult]]:
        """Score the pieces that are left; return the results of each task.

        Arguments and errors are those of `Inference.run`.
        """

        def scores(piece: TaskPiece, notes: Notes) -> Row:
            return {
                "ref_notes": len(piece.notes),
                "scores": note_scores(piece.notes, notes).to_dict(),
                "instruments": instrument_scores(piece.notes, notes),
                "integrated": vars(integrated(piece.notes, notes)),
            }

        results: dict[str, list[PieceResult]] = {}
        for row in self._rows(objective, progress, scores):
            results.setdefault(row["task"], []).append(_result(row))
        config = EvaluationConfig(integrated_frame_rate_hz=FRAME_RATE_HZ)
        for task, pieces in results.items():
            texts = {
                "json": to_json(pieces, [], Pairing([], [], []), config),
                "csv": to_csv(pieces),
            }
            for suffix, text in texts.items():
                path = Path(self.output_dir) / f"{task}.{suffix}"
                with write_whole(path, overwrite=True, text=True) as file:
                    file.write(text)
        return results


def check_model(described: ModelConfig, found: ModelConfig, checkpoint: str) -> None:
    """Raise ValueError where a checkpoint is not of the model that was described.

    What matters in training alone may differ, and so may the decoding where the
    description has the default.
    """
    if described.kind != found.kind:
        raise ValueError(
            f"{checkpoint} is a {found.kind}, but the gin files describe a "
            f"{described.kind}: name the gin file of its model"
        )
    given = weights_file.flatten(described.to_dict())
    there = weights_file.flatten(found.to_dict())
    free = {
        "onset_positive_weight",
        "onset_weight",
        "velocity_weight",
        "velocity_mean_weight",
    }
    free |= {"z_loss", "label_smoothing"}
    free |= {f"model/{name}" for name in ("dropout_rate", "remat", "scan_layers")}
    if getattr(described, "decoding", None) == RollDecodingConfig():
        free |= {name for name in given if name.startswith("decoding/")}
    if not getattr(described, "least_again_s", 0.0):
        free.add("least_again_s")
    differing = [
        f"{name.replace('/', '.')} {there.get(name)!r}, not {value!r}"
        for name, value in given.items()
        if name not in free
        and not name.startswith("labels/")
        and there.get(name) != value
    ]
    if differing:
        raise ValueError(
            f"{checkpoint} is not of the model that the gin files describe: it has "
            f"{'; '.join(differing[:4])}"
        )


def _claimed(
    folder: Path, program: _OnTask, suffix: str
) -> AbstractContextManager[None]:
    """Hold the output folder for this run alone.

    Raises:
      FileExistsError: it holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "config.json").is_file():
            raise FileExistsError(
                f"{folder} is not empty and no output of mt3x: choose another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    config = dataclasses.asdict(program)
    config["weights"] = _digest(program.checkpoint)
    write_config(folder, config, free=["checkpoint", "output_dir", "shard_id"])
    return locked(folder, f"lock{suffix}")


def _digest(checkpoint: str) -> str:
    """Return a number for the weights and their configuration, decoding included.

    Those of a run change under the same name.
    """
    weights = weights_file.load(checkpoint)
    digest = hashlib.sha256(json.dumps(weights.config, sort_keys=True).encode())
    for name, value in sorted(weights_file.flatten(weights.params).items()):
        digest.update(name.encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:16]


class _Log:
    """The rows of a file, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        data = path.read_bytes() if path.exists() else b""
        # The last line of a run that was killed may be half a line.
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            os.truncate(path, len(whole))
        self.rows: list[Row] = [json.loads(line) for line in whole.splitlines()]

    def has(self, piece: TaskPiece) -> bool:
        return any(
            (row["task"], row["number"]) == (piece.task, piece.number)
            for row in self.rows
        )

    def add(self, row: Row) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)


def _result(row: Mapping[str, Any]) -> PieceResult:
    scores = {
        kind: PrecisionRecallF1(**numbers) for kind, numbers in row["scores"].items()
    }
    return PieceResult(
        name=f"{row['number']:05d}_{row['id']}",
        num_ref=row["ref_notes"],
        num_est=row["notes"],
        shift_s=None,
        scores=Scores(**scores),
        instruments=row["instruments"],
        # Rows of older versions have none.
        integrated=Cells(**row["integrated"]) if "integrated" in row else None,
    )

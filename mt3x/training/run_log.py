"""The log of a training run: a learning curve, TensorBoard, a progress bar.

`learning_curve.csv` in the run folder has one row per logged step: the means since the
row before, and validation scores where the step was scored. It needs nothing but
Python. TensorBoard files are written where tensorboardX is installed, and a progress
bar is drawn where rich is installed and the error stream is a terminal; elsewhere each
row is one line of text on the error stream.
"""

import csv
import importlib.util
import io
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mt3x.files import write_whole

# How long what TensorBoard is to show may wait in memory.
_FLUSH_S = 30.0


class RunLog:
    """The rows of one run; reopening it drops what came after `first_step`.

    Without a `run_dir`, as in processes that are not the first, it keeps silent.
    """

    def __init__(
        self, run_dir: Path | None = None, first_step: int = 0, last_step: int = 0
    ) -> None:
        self._curve = self._board = self._bar = None
        if run_dir is None:
            return
        self._curve = LearningCurve(run_dir / "learning_curve.csv", first_step)
        self._board = _open_tensorboard(run_dir / "tensorboard", first_step)
        self._bar = _open_bar(first_step, last_step)

    def advance(self, step: int) -> None:
        """Move the bar: `step` steps are done."""
        if self._bar is not None:
            self._bar.advance(step)

    def say(self, line: str) -> None:
        """Tell the user a line."""
        if self._bar is not None:
            self._bar.say(line)
        elif self._curve is not None:
            print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars of a step; more of the same step join its row."""
        if self._curve is None:
            return
        self._curve.add(step, values)
        if self._board is not None:
            for name, value in values.items():
                self._board.add("scalar", step, name, value)
        shown = {k: v for k, v in values.items() if k != "learning_rate"}
        if self._bar is not None:
            self._bar.show(shown)
        else:
            row = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
            self.say(f"step {step}  {row}")

    def add_picture(self, step: int, name: str, picture_HxWx3: np.ndarray) -> None:
        """Give TensorBoard a picture (uint8)."""
        if self._board is not None:
            self._board.add("image", step, name, picture_HxWx3, dataformats="HWC")

    def add_sound(
        self, step: int, name: str, samples_Sx2: np.ndarray, sample_rate_hz: int
    ) -> None:
        """Give TensorBoard a sound in stereo, where soundfile can encode it."""
        if self._board is not None and importlib.util.find_spec("soundfile"):
            self._board.add("audio", step, name, samples_Sx2, sample_rate_hz)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._board is not None:
            self._board.close()


class LearningCurve:
    """The rows of step and scalars in a CSV file that is whole at any time."""

    def __init__(self, path: Path, first_step: int) -> None:
        self._path = path
        self._rows: dict[int, dict[str, Any]] = {}
        if path.exists():
            for row in read_curve(path):
                if row["step"] <= first_step:
                    self._rows[int(row.pop("step"))] = row

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars to the row of `step` and write the file."""
        self._rows.setdefault(step, {}).update(values)
        names = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, ["step", *names], lineterminator="\n")
        writer.writeheader()
        for number in sorted(self._rows):
            writer.writerow({"step": number, **self._rows[number]})
        with write_whole(self._path, overwrite=True, text=True) as file:
            file.write(table.getvalue())


def read_curve(path: str | Path) -> list[dict[str, float]]:
    """Return the rows of a learning curve, each with what its step measured.

    Raises:
      ValueError: a row is damaged; its line is named.
      OSError: the file cannot be read.
    """
    found: list[dict[str, float]] = []
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            for row in rows:
                # Of a row that is cut or too long, the reader makes None.
                if None in row or None in row.values():
                    raise ValueError("it has not as many values as the header")
                values = {k: float(v) for k, v in row.items() if v != ""}
                step = values.get("step", -1.0)
                if not step.is_integer() or step < 0:
                    raise ValueError("it has no step")
                found.append(values)
        except (ValueError, csv.Error) as error:
            raise ValueError(
                f"{path}: line {max(rows.line_num, 1)} is damaged ({error}); "
                "delete the line, or move the file away"
            ) from error
    return found


class _Bar:
    """A rich progress bar with rate, remaining time and the newest scalars."""

    def __init__(self, first_step: int, last_step: int) -> None:
        from rich import progress
        from rich.console import Console

        self._first = first_step
        self._progress = progress.Progress(
            progress.TextColumn("step"),
            progress.MofNCompleteColumn(),
            progress.BarColumn(bar_width=20),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[values]}"),
            console=Console(stderr=True),
            speed_estimate_period=120.0,
        )
        self._task = self._progress.add_task(
            "", total=last_step, completed=first_step, rate="", values=""
        )
        self._values: dict[str, float] = {}
        self._progress.start()

    def advance(self, step: int) -> None:
        speed = self._progress.tasks[0].speed
        rate = f"{speed:.3g}/s" if speed else ""
        self._progress.update(self._task, completed=step, rate=rate)

    def show(self, values: Mapping[str, float]) -> None:
        self._values |= values
        names = [n for n in ("loss", "valid/note_f1") if n in self._values]
        text = " ".join(f"{name} {self._values[name]:.4g}" for name in names)
        self._progress.update(self._task, values=text)

    def say(self, line: str) -> None:
        self._progress.console.print(line)

    def close(self) -> None:
        self._progress.stop()


def _open_bar(first_step: int, last_step: int) -> _Bar | None:
    if not sys.stderr.isatty():
        return None
    try:
        return _Bar(first_step, last_step)
    except ImportError:
        return None


class _Board:
    """A file for TensorBoard.

    tensorboardX's SummaryWriter writes in a thread, which ends where a disk is full:
    the run would then wait for it forever. Here the caller writes, and is told.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2

        messages: Any = event_pb2  # made at run time
        self._summary, self._event = summary, messages.Event
        self._folder = folder
        self._flushed_s = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._writer = event_file_writer.EventsWriter(str(folder / "events"))
            if first_step:  # what came after it in earlier files is not shown
                start = messages.SessionLog(status=messages.SessionLog.START)
                for about in (
                    {"file_version": "brain.Event:2"},
                    {"session_log": start},
                ):
                    self._writer.write_event(self._event(step=first_step + 1, **about))

    def add(self, kind: str, step: int, *args: Any, **options: Any) -> None:
        """Add what the function `kind` of tensorboardX.summary makes of the rest."""
        made = getattr(self._summary, kind)(*args, **options)
        with self._explained():
            self._writer.write_event(
                self._event(wall_time=time.time(), step=step, summary=made)
            )
            if time.monotonic() > self._flushed_s + _FLUSH_S:
                self._writer.flush()
                self._flushed_s = time.monotonic()

    def close(self) -> None:
        with self._explained():
            self._writer.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise type(error)(
                f"cannot write {self._folder}: {error.strerror or error}; check the "
                "folder's permissions and free space"
            ) from error


def _open_tensorboard(folder: Path, first_step: int) -> _Board | None:
    try:
        return _Board(folder, first_step)
    except ImportError:
        print("tensorboardX is not installed: no TensorBoard files", file=sys.stderr)
        return None

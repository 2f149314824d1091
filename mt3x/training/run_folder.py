"""The folder of a training run: lock, configuration, checkpoints, log and scores.

config.json            what the run is made of; `operative_config.gin` beside it
checkpoints/STEP/      `mt3x.training.run_checkpoints`
learning_curve.csv     losses, rates and validation scores (`mt3x.training.run_log`)
tensorboard/
lock                   held by the process that trains
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mt3x.files import locked, write_whole
from mt3x.models.orbax_items import read_object
from mt3x.models.weights_file import flatten
from mt3x.training.run_log import RunLog, read_curve

if TYPE_CHECKING:
    from mt3x.training.run_checkpoints import RunCheckpoints

Settings = Mapping[str, Any]


class RunFolder:
    """The folder of one run; it is made when the run claims it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def has_run(self) -> bool:
        """Whether a run was begun here and has logged something."""
        return self._config.is_file() and self._curve.is_file()

    @property
    def config(self) -> dict[str, Any]:
        """The contents of `config.json`.

        Raises:
          ValueError: there is no run yet, or the file is damaged.
        """
        if not self._config.is_file():
            raise ValueError(
                f"{self.path} holds no run yet; name a --gin_file to start one"
            )
        return read_object(self._config)

    @property
    def curve(self) -> list[dict[str, float]]:
        """The rows of the learning curve."""
        return read_curve(self._curve)

    @contextmanager
    def claimed(
        self,
        config: Settings,
        free: Sequence[str] = (),
        read: Callable[[Settings], Settings] | None = None,
        gin_text: str | None = None,
    ) -> Iterator[None]:
        """Hold the folder for this process and this run.

        Args:
          config, free, read: as for `write_config`.
          gin_text: the gin file that gives the run, kept as `operative_config.gin`.

        Raises:
          ValueError: the folder's run has other settings.
          OSError: another process holds the folder, or it cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            write_config(self.path, config, free, read)
            if gin_text is not None:
                self.write("operative_config.gin", gin_text)
            yield

    def write(self, name: str, text: str) -> None:
        """Write a file of text, in place of an earlier one."""
        with write_whole(self.path / name, overwrite=True, text=True) as file:
            file.write(text)

    def checkpoints(self, keep: int) -> "RunCheckpoints":
        """Open the checkpoints; the newest `keep` and the best are kept."""
        from mt3x.training.run_checkpoints import RunCheckpoints

        return RunCheckpoints(self.path, keep)

    def log(self, first_step: int, last_step: int) -> RunLog:
        """Open the log; what came after `first_step` is dropped."""
        return RunLog(self.path, first_step, last_step)

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    @property
    def _curve(self) -> Path:
        return self.path / "learning_curve.csv"


def write_config(
    folder: Path,
    config: Settings,
    free: Sequence[str] = (),
    read: Callable[[Settings], Settings] | None = None,
) -> None:
    """Write `config.json`, or compare with the one of an earlier start.

    Args:
      folder: of the run or evaluation; it exists.
      config: nested dicts; anything JSON.
      free: settings (`a/b`) that may differ from those of an earlier start.
      read: gives the config of an earlier start the settings that it lacks: the
        defaults of this version.

    Raises:
      ValueError: the folder's run differs in a setting that is not free, or its config
        is damaged.
    """
    given = _as_json(config)
    path = folder / "config.json"
    if path.exists():
        earlier = read_object(path)
        if read is not None:
            try:
                earlier = _as_json(read(earlier))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
        was, now = flatten(earlier), flatten(given)
        differing = [
            f"{name.replace('/', '.')} {was.get(name)!r} -> {now.get(name)!r}"
            for name in sorted((was.keys() | now.keys()) - set(free))
            if was.get(name) != now.get(name)
        ]
        if differing:
            raise ValueError(
                f"{folder} holds a run with another config "
                f"({'; '.join(differing[:4])}); choose another run folder"
            )
    with write_whole(path, overwrite=True, text=True) as file:
        json.dump(given, file, indent=2, sort_keys=True)
        file.write("\n")


def _as_json(config: Settings) -> dict[str, Any]:
    return json.loads(json.dumps(config))

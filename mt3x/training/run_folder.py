"""The folder of a training run: one config and one process at a time."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mt3x.files import write_whole
from mt3x.models.weights_file import flatten


def write_config(
    run_dir: Path,
    config: Mapping[str, Any],
    free: Sequence[str] = (),
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> None:
    """Write `config.json`, or compare with the one of an earlier start.

    Args:
      run_dir: the run's folder, which exists.
      config: nested dicts; anything JSON.
      free: settings (`a/b`) that may differ from those of an earlier start.
      read: gives the config of an earlier start the settings that it lacks, as this
        version has them and that one had not: their defaults.

    Raises:
      ValueError: the folder's run differs in a setting that is not free.
    """
    given = _as_json(config)
    path = run_dir / "config.json"
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if read is not None:
            earlier = _as_json(read(earlier))
        was, now = flatten(earlier), flatten(given)
        differing = [
            f"{name.replace('/', '.')} {was.get(name)!r} -> {now.get(name)!r}"
            for name in sorted((was.keys() | now.keys()) - set(free))
            if was.get(name) != now.get(name)
        ]
        if differing:
            raise ValueError(
                f"{run_dir} holds a run with another config "
                f"({'; '.join(differing[:4])}); choose another run folder"
            )
    with write_whole(path, overwrite=True, text=True) as file:
        json.dump(given, file, indent=2, sort_keys=True)
        file.write("\n")


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(config))


def write_gin(run_dir: Path, text: str) -> None:
    """Write `operative_config.gin`: what the last start read of its gin files."""
    path = run_dir / "operative_config.gin"
    with write_whole(path, overwrite=True, text=True) as file:
        file.write(text)

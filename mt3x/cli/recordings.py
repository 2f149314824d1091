"""Recordings that a command line names, and where their outputs go."""

import glob
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mt3x.inference.outputs import FORMATS

# Files that are taken from a folder; a file that is named may be called anything.
AUDIO_SUFFIXES = set(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 .rf64 "
    ".m4a .aac .mp4 .wma .webm .mka".split()
)


@dataclass
class Recording:
    """A recording and what to write of it."""

    source: Path | None  # None is standard input
    outputs: dict[str, Path | None]  # by format; None is standard output
    audio: Any = None  # what mt3x.music.audio reads: the source, or the bytes of stdin
    duration_s: float = 0.0
    done_s: float = field(default=0.0, init=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.source is None else str(self.source)

    @property
    def title(self) -> str:
        """What progress bars and pictures call it."""
        return self.name if self.source is None else self.source.name


def find_recordings(inputs: Sequence[str]) -> dict[Path | None, Path]:
    """Find the recordings that arguments name, each once.

    Returns:
      For each recording (None is standard input) its path inside of an output folder:
      below the folder it was found in, or the bare name.

    Raises:
      ValueError: a folder without recordings or a pattern that matches nothing.
    """
    found: dict[Path | None, Path] = {}
    known: set[Path] = set()

    def add(path: Path, inside: Path) -> None:
        if path.resolve() not in known:
            known.add(path.resolve())
            found[path] = inside

    for text in inputs:
        path = Path(text)
        if text == "-":
            found[None] = Path("stdin")
        elif path.is_dir():
            inner = _recordings_in(path)
            if not inner:
                raise ValueError(f"{path}: no sound files in this folder")
            for recording in inner:
                add(recording, recording.relative_to(path))
        elif glob.has_magic(text) and not path.exists():
            # Kept in an output folder is what follows the parts without a wildcard.
            fixed = itertools.takewhile(lambda x: not glob.has_magic(x), path.parts)
            base = Path(*fixed)
            matches = [Path(match) for match in glob.glob(text, recursive=True)]
            inner = [p for p in matches if _is_recording(p)]
            inner += [r for p in matches if p.is_dir() for r in _recordings_in(p)]
            if not inner:
                raise ValueError(f"no sound files match {text}: check the pattern")
            for recording in sorted(inner):
                add(recording, recording.relative_to(base))
        else:
            add(path, Path(path.name))
    return found


def _recordings_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if _is_recording(path)]


def _is_recording(path: Path) -> bool:
    return (
        path.suffix.lower() in AUDIO_SUFFIXES
        and not path.name.startswith(".")
        and not path.name.endswith(FORMATS["sonify"].suffix)
        and path.is_file()
    )


def choose_outputs(
    found: dict[Path | None, Path],
    formats: list[str] | None,
    output: str | None,
    out_dir: Path | None,
) -> list[Recording]:
    """Choose the outputs of each recording.

    Raises:
      ValueError: two recordings would write one file, or one would be overwritten by
        its own output.
    """
    if output is not None:
        path = None if output == "-" else Path(output)
        if formats is None:
            formats = [_format_of(path)]
        if len(found) != 1 or len(formats) != 1:
            raise ValueError(
                f"-o {output} is one file, but {len(found)} recordings in "
                f"{len(formats)} formats were asked for: use --out-dir"
            )
        recordings = [Recording(source, {formats[0]: path}) for source in found]
    else:
        formats = formats or ["midi"]
        recordings = []
        for source, inside in found.items():
            if out_dir is not None:
                place = out_dir / inside
            elif source is not None:
                place = source
            elif len(formats) == 1:
                recordings.append(Recording(None, {formats[0]: None}))
                continue
            else:
                raise ValueError(
                    "standard output takes one format: use --out-dir for more"
                )
            recordings.append(
                Recording(
                    source, {f: place.with_suffix(FORMATS[f].suffix) for f in formats}
                )
            )
    _check_conflicts(recordings)
    return recordings


def _check_conflicts(recordings: Sequence[Recording]) -> None:
    sources = {each.source.resolve() for each in recordings if each.source}
    writers: dict[Path, str] = {}
    for recording in recordings:
        for path in filter(None, recording.outputs.values()):
            other = writers.setdefault(path.resolve(), recording.name)
            if path.resolve() in sources:
                raise ValueError(f"{path} would be overwritten: choose another output")
            if other != recording.name:
                raise ValueError(
                    f"{other} and {recording.name} would both write {path}: rename "
                    "one, or transcribe them one at a time with different --out-dir"
                )


def _format_of(path: Path | None) -> str:
    """Return the format that a file's ending names; MIDI where it names none."""
    by_suffix = {form.suffix.rpartition(".")[2]: name for name, form in FORMATS.items()}
    by_suffix["midi"] = "midi"
    if path is None or not path.suffix:
        return "midi"
    if path.suffix[1:].lower() not in by_suffix:
        raise ValueError(
            f"-o {path}: name it with one of .{', .'.join(by_suffix)}, or give -f"
        )
    return by_suffix[path.suffix[1:].lower()]

"""Recordings that a command line names, and where their outputs go."""

import fnmatch
import glob
import itertools
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mt3x.files import find_files, name_key, one_line
from mt3x.inference.outputs import ENDINGS, FORMATS

# Files that are taken from a folder; a file that is named may be called anything.
AUDIO_SUFFIXES = set(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 .rf64 "
    ".m4a .aac .mp4 .wma .webm .mka".split()
)
# Endings that outputs do not keep. Others belong to the name, as in "Op. 10 No. 3".
_DROPPED = AUDIO_SUFFIXES | set(
    ".3gp .ac3 .amr .ape .avi .bin .dat .m4b .m4v .mkv .mov .mp2 .mpeg .mpg .ogv .raw "
    ".snd .spx .voc .wmv .wv".split()
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
        return "standard input" if self.source is None else one_line(self.source)

    @property
    def title(self) -> str:
        """What progress bars and pictures call it."""
        return self.name if self.source is None else one_line(self.source.name)


def find_recordings(
    inputs: Sequence[str], on_error: Callable[[OSError], object] | None = None
) -> dict[Path | None, Path]:
    """Find the recordings that arguments name, each once.

    Args:
      inputs: files, folders, patterns, or `-` for standard input.
      on_error: told of each folder that cannot be read; by default it is raised.

    Returns:
      For each recording (None is standard input) its path inside of an output folder:
      below the folder it was found in, or the bare name.

    Raises:
      ValueError: an address, a folder without recordings, or a pattern that matches
        nothing.
      OSError: a folder cannot be read.
    """
    errors: list[OSError] = []
    found: dict[Path | None, Path] = {}
    known: set[str] = set()

    def add(path: Path, inside: Path) -> None:
        if os.path.realpath(path) not in known:
            known.add(os.path.realpath(path))
            found[path] = inside

    def tell(error: OSError) -> None:
        if on_error is None:
            raise error
        errors.append(error)
        on_error(error)

    for text in inputs:
        if re.match(r"[a-z]+://", text, re.IGNORECASE):
            raise ValueError(_about_address(text))
        path = _as_on_disk(Path(text))
        if text in ("-", "/dev/stdin"):
            found[None] = Path("stdin")
        elif os.path.isdir(path):
            inner = _recordings_in(path, tell)
            if not inner and not errors:
                raise ValueError(f"{path}: no sound files in this folder")
            for recording in inner:
                add(recording, recording.relative_to(path))
        elif glob.has_magic(text) and not os.path.lexists(path):
            # Kept in an output folder is what follows the parts without a wildcard.
            fixed = itertools.takewhile(lambda x: not glob.has_magic(x), path.parts)
            base = Path(*fixed)
            inner = _recordings_like(path, base, tell)
            if not inner and not errors:
                raise ValueError(f"no sound files match {text}: check the pattern")
            for recording in sorted(inner):
                add(recording, recording.relative_to(base))
        else:
            add(path, Path(path.name))
    return found


def split_output(inputs: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Return the inputs, and the output where `IN OUT` was meant as other tools do.

    That is so of two arguments where the second has the ending of an output that no
    recording has. Whether it exists does not matter: nothing would be lost.
    """
    if len(inputs) == 2:
        suffix = Path(inputs[1]).suffix.lower()
        if suffix[1:] in ENDINGS and suffix not in AUDIO_SUFFIXES:
            return inputs[:1], inputs[1]
    return inputs, None


def _about_address(text: str) -> str:
    """Return what to do with an address."""
    is_sound = Path(text.partition("?")[0]).suffix.lower() in AUDIO_SUFFIXES
    fetch = "curl -L" if is_sound else "yt-dlp -f bestaudio -o -"
    return (
        f"{text} is an address, and links are not fetched: download it, or pipe it in "
        f"by `{fetch} {shlex.quote(text)} | mt3x transcribe - -o out.mid`"
    )


def _as_on_disk(path: Path) -> Path:
    """Return the path of a file whose name is written in another form of Unicode."""
    if not os.path.lexists(path) and os.path.isdir(path.parent):
        for name in os.listdir(path.parent):
            if name_key(name) == name_key(path.name):
                return path.with_name(name)
    return path


def _recordings_in(folder: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    return [path for path in find_files(folder, None, on_error) if is_recording(path)]


def _recordings_like(
    pattern: Path, base: Path, on_error: Callable[[OSError], None]
) -> list[Path]:
    """Return the recordings that a pattern matches, and those in folders that it does.

    Args:
      pattern: may have `**`, which stands for any folders.
      base: the folders before its first wildcard.
      on_error: told of folders that cannot be read.
    """
    if "**" not in pattern.parts:
        matches = [Path(match) for match in glob.glob(str(pattern))]
        inner = [p for p in matches if is_recording(p)]
        inner += [r for p in matches if p.is_dir() for r in _recordings_in(p, on_error)]
        return inner
    # glob.glob would follow links in a circle.
    wanted = pattern.parts[len(base.parts) :]
    found = []
    for path in _recordings_in(base, on_error):
        parts = path.parts[len(base.parts) :]
        if any(_matches(parts[: n + 1], wanted) for n in range(len(parts))):
            found.append(path)
    return found


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[n:], pattern[1:]) for n in range(len(parts) + 1))
    is_like = bool(parts) and fnmatch.fnmatch(parts[0], pattern[0])
    return is_like and _matches(parts[1:], pattern[1:])


def is_recording(path: Path) -> bool:
    """Return whether a file of a folder is a recording.

    Its ending says so or, where it has none, what is in it. A link that leads nowhere
    counts, so that it is reported.
    """
    name = path.name.lower()
    if name.startswith(".") or name.endswith(FORMATS["sonify"].suffix):
        return False
    if os.path.exists(path) and not os.path.isfile(path):
        return False
    if _has_ending(path):
        return path.suffix.lower() in AUDIO_SUFFIXES
    return _is_sound(path)


def _has_ending(path: Path) -> bool:
    """Return whether a name has an ending, unlike "Op. 10 No. 3"."""
    return re.fullmatch(r"\.\w*[^\W\d]\w*", path.suffix) is not None


def _is_sound(path: Path) -> bool:
    import soundfile

    try:
        with open(path, "rb") as file:
            soundfile.info(file)
    except (soundfile.LibsndfileError, OSError):
        return False
    return True


def _with_ending(path: Path, suffix: str) -> Path:
    """Return the path of an output of a recording."""
    name = path.stem if path.suffix.lower() in _DROPPED else path.name
    return path.with_name(name + suffix)


def choose_outputs(
    found: Mapping[Path | None, Path],
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
            formats = [format_of(path)]
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
                    source, {f: _with_ending(place, FORMATS[f].suffix) for f in formats}
                )
            )
    _check_conflicts(recordings)
    return recordings


def _check_conflicts(recordings: Sequence[Recording]) -> None:
    sources = {os.path.realpath(each.source) for each in recordings if each.source}
    writers: dict[str, str] = {}
    for recording in recordings:
        for path in filter(None, recording.outputs.values()):
            real = os.path.realpath(path)
            other = writers.setdefault(real, recording.name)
            if real in sources:
                raise ValueError(f"{path} would be overwritten: choose another output")
            if other != recording.name:
                raise ValueError(
                    f"{other} and {recording.name} would both write {path}: rename "
                    "one, or transcribe them one at a time with different --out-dir"
                )


def format_of(path: Path | None, endings: Mapping[str, str] = ENDINGS) -> str:
    """Return the format that a file's ending names; MIDI where it names none."""
    if path is None or not _has_ending(path):
        return "midi"
    if path.suffix[1:].lower() not in endings:
        raise ValueError(
            f"-o {path}: name it with one of .{', .'.join(endings)}, or give -f"
        )
    return endings[path.suffix[1:].lower()]

"""SFZ files: text that lists samples and the keys and velocities that they serve.

The format: https://sfzformat.com. Read here: comments, `#define`, `#include`, and the
headers control, global, master, group and region.
"""

import re
from collections.abc import Iterator
from pathlib import Path

_NOTE_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_DEFINE = re.compile(r"#define\s+(\$\w+)\s+(\S+)|#include\s+\"([^\"]+)\"")
_TOKEN = re.compile(r"<(\w+)>|([\w$]+)=(.*?)(?=\s+[\w$]+=|<|\n|$)")
_MAX_INCLUDE_DEPTH = 8


def _substitute(text: str, defines: dict[str, str]) -> str:
    for name in sorted(defines, key=len, reverse=True):
        text = text.replace(name, defines[name])
    return text


def _expand_text(
    text: str, root: Path, defines: dict[str, str], depth: int
) -> Iterator[str]:
    if depth > _MAX_INCLUDE_DEPTH:
        raise ValueError(f"{root}: SFZ includes are nested too deeply")
    text = re.sub(r"//[^\n]*", "", text.replace("\r", ""))
    position = 0
    for found in _DEFINE.finditer(text):
        yield _substitute(text[position : found.start()], defines)
        position = found.end()
        if found[1]:
            defines[found[1]] = found[2]
        else:
            included = root / _substitute(found[3], defines).replace("\\", "/")
            inner = included.read_text("latin-1")
            yield from _expand_text(inner, root, defines, depth + 1)
            yield "\n"
    yield _substitute(text[position:], defines)


def read_regions(path: Path) -> Iterator[dict[str, str]]:
    """Yield the opcodes of each region, with those of the headers around it."""
    levels = ("control", "global", "master", "group", "region")
    scopes: dict[str, dict[str, str]] = {level: {} for level in levels}
    header = ""
    text = "".join(_expand_text(path.read_text("latin-1"), path.parent, {}, 0))
    for found in _TOKEN.finditer(text + "\n<end>"):
        if found[1]:
            if header == "region":
                yield {k: v for level in levels for k, v in scopes[level].items()}
            header = found[1]
            if header in levels[1:]:
                for level in levels[levels.index(header) :]:
                    scopes[level] = {}
        elif header in levels:
            scopes[header][found[2]] = found[3].strip()


def plays_at_rest(opcodes: dict[str, str]) -> bool:
    """Return whether a region plays with every controller at its initial value."""
    for name, value in opcodes.items():
        found = re.fullmatch(r"(lo|hi)cc(\d+)", name)
        if not found:
            continue
        raw = opcodes.get(f"set_cc{found[2]}")
        raw_hd = opcodes.get(f"set_hdcc{found[2]}")
        state = float(raw) if raw else 127 * float(raw_hd) if raw_hd else 0.0
        if (state < float(value)) == (found[1] == "lo") and state != float(value):
            return False
    return True


def key_of_name(name: str) -> int:
    """Return the MIDI key of a note name such as `C#4` (60 is C4) or of a number."""
    found = re.fullmatch(r"([A-Ga-g])([#b]?)(-?\d+)", name)
    if not found:
        return int(name)
    step = _NOTE_STEPS[found[1].upper()] + {"#": 1, "b": -1, "": 0}[found[2]]
    return 12 * (int(found[3]) + 1) + step

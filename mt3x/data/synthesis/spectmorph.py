"""Instruments of SpectMorph: an XML file that lists samples, their keys and loops.

The format is that of https://github.com/swesterfeld/spectmorph-instruments.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

__all__ = ["Sample", "read_samples"]


class Sample(NamedTuple):
    """One recorded note."""

    path: Path
    key: int
    clip_s: tuple[float, float]  # what of the file is the note
    loop_s: tuple[float, float] | None  # what can be played to and fro to hold it


def read_samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of an instrument.

    Args:
      path: its `instrument.xml`; samples lie beside it.

    Raises:
      ValueError: it is no such file.
    """
    try:
        for sample in ElementTree.parse(path).getroot().iter("sample"):
            clip_s, loop_s = (_span(sample.find(name)) for name in ("clip", "loop"))
            yield Sample(
                path.parent / sample.attrib["filename"],
                int(sample.attrib["midi_note"]),
                clip_s or (0.0, float("inf")),
                loop_s,
            )
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not an instrument of SpectMorph: {error}") from error


def _span(found: ElementTree.Element | None) -> tuple[float, float] | None:
    if found is None:
        return None
    return float(found.attrib["start"]) / 1000, float(found.attrib["end"]) / 1000

"""Scores drawn by verovio: MusicXML to SVG."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

__all__ = ["draw_pages", "draw_screens", "to_svg"]

_SVG = "http://www.w3.org/2000/svg"
# A4, in tenths of a millimetre; a space of a staff is about 1.8 mm.
_PAGE = {"pageWidth": 2100, "pageHeight": 2970}
_OPTIONS = {
    **_PAGE,
    "adjustPageHeight": False,
    "breaks": "auto",
    "condense": "none",
    "footer": "none",
    "header": "auto",
    "justifyVertically": True,
    "mnumInterval": 0,
    "pageMarginLeft": 120,
    "pageMarginRight": 120,
    "pageMarginTop": 120,
    "pageMarginBottom": 120,
    "unit": 8.0,
    "scale": 40,
    "svgRemoveXlink": False,
    "svgViewBox": False,
    "xmlIdSeed": 1,  # the same file each time
}
# Systems that are spread over a page would reach below one that is no higher than them.
_FITTED = {"adjustPageHeight": True, "justifyVertically": False}
# As high as a few systems, and as wide as is asked for.
_SCREEN = {
    **_FITTED,
    "pageHeight": 2400,
    "smuflTextFont": "none",
    **{f"pageMargin{side}": 30 for side in ("Left", "Right", "Top", "Bottom")},
}
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
_GLYPH = re.compile(r'(\bid="|href="#)(E[0-9A-F]{4}-)')
# Notes in tempo marks: of a music font, and of others.
_MARKS = str.maketrans(
    {"\ueca3": "\U0001d15e", "\ueca5": "♩", "\ueca7": "♪", "\uecb7": "."}
)
_LENGTH = re.compile(r"^([\d.]+)px$")


def to_svg(musicxml: bytes) -> bytes:
    """Return all pages of a score, one below the other, in one SVG file.

    Raises:
      ModuleNotFoundError: verovio is missing.
      ValueError: verovio cannot read the MusicXML.
    """
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    pages = [ET.fromstring(page) for page in draw_pages(musicxml, fit=True)]
    if len(pages) == 1:
        return ET.tostring(pages[0], encoding="utf-8", xml_declaration=True)
    sizes = [(_pixels(page, "width"), _pixels(page, "height")) for page in pages]
    whole = ET.Element(
        f"{{{_SVG}}}svg",
        width=f"{max(width for width, _ in sizes):g}px",
        height=f"{sum(height for _, height in sizes):g}px",
        version="1.1",
    )
    top = 0.0
    for number, (page, (_, height)) in enumerate(zip(pages, sizes, strict=True)):
        page.set("y", f"{top:g}")
        _rename(page, f"p{number}-")
        whole.append(page)
        top += height
    return ET.tostring(whole, encoding="utf-8", xml_declaration=True)


def draw_pages(musicxml: bytes, fit: bool) -> Iterator[str]:
    """Yield each page as SVG: of A4, or as high as its music where it has to fit."""
    yield from _drawn(musicxml, _FITTED if fit else {})


def draw_screens(musicxml: bytes, width_px: int) -> Iterator[str]:
    """Yield a score as SVG for a web page: pages of a few systems of this width.

    They have no style sheet, as web pages may forbid them; names differ from page to
    page, and notes have those of the MusicXML.
    """
    width = round(width_px * 100 / _OPTIONS["scale"])
    for number, page in enumerate(_drawn(musicxml, {**_SCREEN, "pageWidth": width})):
        page = _GLYPH.sub(rf"\g<1>p{number}-\g<2>", _STYLE.sub("", page))
        yield page.translate(_MARKS)


def _drawn(musicxml: bytes, changes: Mapping[str, Any]) -> Iterator[str]:
    import verovio

    verovio.enableLog(verovio.LOG_OFF)
    # Each thread has a path of its own; verovio sets that of the one that imports it.
    verovio.setDefaultResourcePath(str(files("verovio") / "data"))
    toolkit = verovio.toolkit()
    toolkit.setOptions({**_OPTIONS, **changes})
    if not toolkit.loadData(musicxml.decode()):
        raise ValueError("verovio cannot read the score's MusicXML: update it")
    for number in range(1, toolkit.getPageCount() + 1):
        yield toolkit.renderToSVG(number)


def _pixels(page: ET.Element, name: str) -> float:
    found = _LENGTH.match(page.get(name, ""))
    if not found:
        raise ValueError(f"verovio's SVG has no {name} in pixels: update mt3x")
    return float(found[1])


def _rename(page: ET.Element, prefix: str) -> None:
    """Make the names of a page its own: a file's names must differ.

    The page's style sheet goes by the page's name.
    """
    link, own = "{http://www.w3.org/1999/xlink}href", f"#{page.get('id')}"
    for element in page.iter():
        if element.get("id"):
            element.set("id", prefix + element.get("id", ""))
        if element.get(link, "").startswith("#"):
            element.set(link, "#" + prefix + element.get(link, "")[1:])
        if element.tag == f"{{{_SVG}}}style" and element.text:
            element.text = element.text.replace(own, f"#{prefix}{own[1:]}")

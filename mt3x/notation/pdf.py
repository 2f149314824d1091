"""Scores as PDF files, by reportlab, which needs no libraries of the system.

verovio's pictures have few kinds of elements, so these are drawn one by one. Symbols
are put into the file once, and pages name them. A converter that knows all of SVG takes
ten times as long.
"""

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mt3x.notation.engraving import draw_pages
from mt3x.notation.svg_path import ellipse_to_pdf, path_to_pdf, polygon_to_pdf

__all__ = ["to_pdf"]

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_MUSIC_FONT = "Leipzig"
_EM = 1000.0  # of outlines in it
_FONTS = {
    **{(False, False): "Times-Roman", (True, False): "Times-Bold"},
    **{(False, True): "Times-Italic", (True, True): "Times-BoldItalic"},
}
_BOLD = {"tempo", "reh", "ending", "fing"}
_ITALIC = {"dir", "dynam", "mNum"}
_MOVE = re.compile(r"(translate|scale)\(([^)]*)\)\s*")
_CAPS = {"butt": 0, "round": 1, "square": 2}
_JOINS = {"miter": 0, "round": 1, "bevel": 2}


@dataclass
class _Run:
    """Text in one font."""

    text: str
    size: float
    font: str  # "" for the music font


@dataclass
class _Line:
    """Runs of text that follow each other from one place."""

    x: float
    y: float
    anchor: str
    runs: list[_Run]


def to_pdf(musicxml: bytes) -> bytes:
    """Return a score as a PDF file of A4 pages.

    Raises:
      ModuleNotFoundError: verovio or reportlab is missing.
      ValueError: verovio cannot read the MusicXML.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    file = io.BytesIO()
    canvas = Canvas(file, pagesize=A4, pageCompression=1, invariant=1)
    writer = _PageWriter(canvas)
    for page in draw_pages(musicxml, fit=False):
        writer.write(ET.fromstring(page), *A4)
    canvas.save()
    return file.getvalue()


class _PageWriter:
    """Writes pictures of verovio, one a page."""

    def __init__(self, canvas: Any) -> None:
        self._canvas = canvas
        self._symbols: set[str] = set()

    def write(self, root: ET.Element, width: float, height: float) -> None:
        """Write a page of this size."""
        inner = root.find(f"{_SVG}svg")
        if inner is None:
            raise ValueError("verovio's SVG is not as expected: update mt3x")
        for symbol in root.findall(f"{_SVG}defs/{_SVG}g"):
            self._define(symbol)
        _, _, units, _ = map(float, inner.get("viewBox", "").split())
        scale = width / units
        # From here on as in SVG, downwards from the upper left corner.
        self._put(f"q {scale:.7g} 0 0 {-scale:.7g} 0 {height:.7g} cm")
        self._draw(inner, frozenset())
        self._put("Q")
        self._canvas.showPage()

    def _put(self, operators: str) -> None:
        self._canvas.addLiteral(operators)

    def _define(self, symbol: ET.Element) -> None:
        """Put a symbol of the music font into the file."""
        name, path = symbol.get("id", ""), symbol.find(f"{_SVG}path")
        if name in self._symbols or path is None:
            return
        self._symbols.add(name)
        self._canvas.beginForm(name, -10 * _EM, -10 * _EM, 10 * _EM, 10 * _EM)
        self._put(f"{_matrix(path)} {path_to_pdf(path.get('d', ''))} f")
        self._canvas.endForm()

    def _draw(self, parent: ET.Element, classes: frozenset[str]) -> None:
        """Draw what is in an element; `classes` are those around it."""
        classes = classes | set(parent.get("class", "").split())
        if "placeholder" in classes:  # not shown
            return
        for element in parent:
            tag = element.tag.removeprefix(_SVG)
            if tag == "g":
                moves = _matrix(element)
                if moves:
                    self._put(f"q {moves}")
                self._draw(element, classes)
                if moves:
                    self._put("Q")
            elif tag == "use":
                self._put(f"q {_matrix(element)}")
                self._canvas.doForm(element.get(_LINK, "").removeprefix("#"))
                self._put("Q")
            elif tag == "text":
                font = _FONTS[bool(classes & _BOLD), bool(classes & _ITALIC)]
                for line in _lines(element, font):
                    self._write_line(line)
            elif tag in _OUTLINES:
                self._put(_painted(element, _OUTLINES[tag](element)))
            elif tag not in _UNSEEN:
                raise ValueError(f"verovio's SVG has the element {tag}: update mt3x")

    def _write_line(self, line: _Line) -> None:
        """Write a line of text, each run in its font and at its place."""
        widths = [_width(run) for run in line.runs]
        x = line.x - sum(widths) * {"middle": 0.5, "end": 1.0}.get(line.anchor, 0.0)
        for run, width in zip(line.runs, widths, strict=True):
            if run.font:
                self._put(f"q 1 0 0 -1 {x:.7g} {line.y:.7g} cm")
                self._canvas.setFont(run.font, run.size)
                self._canvas.drawString(0, 0, run.text)
                self._put("Q")
            else:
                scale = run.size / _EM
                for number, letter in enumerate(run.text):
                    at = x + number * width / len(run.text)
                    self._put(
                        f"q {scale:.7g} 0 0 {-scale:.7g} {at:.7g} {line.y:.7g} cm "
                        f"{path_to_pdf(_outline(letter))} f Q"
                    )
            x += width


_OUTLINES = {
    "path": lambda element: path_to_pdf(element.get("d", "")),
    "polygon": lambda element: polygon_to_pdf(element.get("points", "")),
    "polyline": lambda element: path_to_pdf(f"M{element.get('points', '')}"),
    "ellipse": lambda element: ellipse_to_pdf(
        *(_number(element, name) for name in ("cx", "cy", "rx", "ry"))
    ),
    "rect": lambda element: (
        " ".join(
            f"{_number(element, name):.7g}" for name in ("x", "y", "width", "height")
        )
        + " re"
    ),
}

_UNSEEN = ("defs", "desc", "style", "title")


def _painted(element: ET.Element, outline: str) -> str:
    """Return an outline filled, and drawn with a pen where it has a width."""
    width = _number(element, "stroke-width")
    is_filled = element.get("fill") != "none"
    if not width:
        return f"{outline} f" if is_filled else f"{outline} n"
    cap = _CAPS.get(element.get("stroke-linecap", ""), 0)
    join = _JOINS.get(element.get("stroke-linejoin", ""), 0)
    dashes = element.get("stroke-dasharray", "").replace(",", " ")
    pen = f"{width:.7g} w {cap} J {join} j [{dashes}] 0 d"
    return f"{pen} {outline} {'B' if is_filled else 'S'}"


def _matrix(element: ET.Element) -> str:
    """Return the operators of an element's moves."""
    text = element.get("transform", "")
    if _MOVE.sub("", text).strip():
        raise ValueError(f"verovio's SVG has the transform {text!r}: update mt3x")
    found = []
    for kind, numbers in _MOVE.findall(text):
        values = [float(x) for x in numbers.replace(",", " ").split()]
        if kind == "translate":
            found.append(f"1 0 0 1 {values[0]:.7g} {[*values, 0.0][1]:.7g} cm")
        else:
            found.append(f"{values[0]:.7g} 0 0 {values[-1]:.7g} 0 0 cm")
    return " ".join(found)


def _lines(text: ET.Element, font: str) -> list[_Line]:
    """Return the lines of a text element."""
    lines = [_Line(_number(text, "x"), _number(text, "y"), "start", [])]

    def walk(element: ET.Element, size: float, font: str) -> None:
        if element.get("x") is not None or element.get("y") is not None:
            x = _number(element, "x", lines[-1].x)
            lines.append(_Line(x, _number(element, "y", lines[-1].y), "start", []))
        lines[-1].anchor = element.get("text-anchor", lines[-1].anchor)
        size = float(element.get("font-size", f"{size}px").removesuffix("px"))
        if element.get("font-family") == _MUSIC_FONT:
            font = ""
        if element.text and element.text.strip() and size:
            # verovio's spaces beside other runs count, those of its layout do not.
            lines[-1].runs.append(_Run(element.text.replace("\n", ""), size, font))
        for child in element:
            if child.tag == f"{_SVG}tspan":
                walk(child, size, font)

    walk(text, 0.0, font)
    return [line for line in lines if line.runs]


def _number(element: ET.Element, name: str, default: float = 0.0) -> float:
    return float(element.get(name, default))


def _width(run: _Run) -> float:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    if run.font:
        return stringWidth(run.text, run.font, run.size)
    return 0.45 * run.size * len(run.text)


@lru_cache
def _outline(letter: str) -> str:
    """Return the outline of a letter of verovio's music font."""
    import verovio

    folder = Path(verovio.__file__).parent / "data" / _MUSIC_FONT
    path = folder / f"{ord(letter):04X}.xml"
    if not path.is_file():
        return ""
    found = ET.fromstring(path.read_text(encoding="utf-8")).find("path")
    return "" if found is None else found.get("d", "")

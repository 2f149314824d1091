"""Scores as PDF files, by svglib and reportlab, which need no libraries of the system.

svglib knows neither the text in parts that verovio writes, nor its music fonts, nor
pictures within pictures. So these are put simply first: lines of text in the standard
fonts of PDF, note values of tempo marks as outlines, one picture in its real size.
"""

import io
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mt3x.notation.engraving import draw_pages

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
      ModuleNotFoundError: verovio, svglib or reportlab is missing.
      ValueError: verovio cannot read the MusicXML.
    """
    from reportlab.graphics import renderPDF
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas
    from svglib.svglib import svg2rlg

    file = io.BytesIO()
    canvas = Canvas(file, pagesize=A4, pageCompression=1, invariant=1)
    for page in draw_pages(musicxml, fit=False):
        drawing = svg2rlg(io.BytesIO(_simple(page)))
        if drawing is None:
            raise ValueError("svglib cannot read verovio's SVG: update both")
        scale = A4[0] / drawing.width
        drawing.scale(scale, scale)
        renderPDF.draw(drawing, canvas, 0, A4[1] - drawing.height * scale)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def _simple(page: str) -> bytes:
    """Return a page as svglib can read it."""
    root = ET.fromstring(page)
    inner = root.find(f"{_SVG}svg")
    if inner is None:
        raise ValueError("verovio's SVG is not as expected: update mt3x")
    _, _, width, height = map(float, inner.get("viewBox", "").split())
    root.set("width", f"{width / 10:g}")
    root.set("height", f"{height / 10:g}")
    inner.tag = f"{_SVG}g"
    inner.attrib = {"transform": "scale(0.1)"}
    for style in root.findall(f"{_SVG}style"):
        root.remove(style)
    glyphs = {
        f"#{glyph.get('id')}": glyph.find(f"{_SVG}path")
        for glyph in root.iter(f"{_SVG}g")
    }
    _simplify(inner, frozenset(), glyphs)
    # The style sheet's: lines have the colour of the text.
    for element in inner.iter():
        if element.get("stroke-width"):
            element.set("stroke", "black")
    return ET.tostring(root, encoding="utf-8")


def _simplify(
    parent: ET.Element,
    classes: frozenset[str],
    glyphs: Mapping[str, ET.Element | None],
) -> None:
    """Replace texts and uses of glyphs in a part; `classes` are those around it."""
    classes = classes | set(parent.get("class", "").split())
    if "placeholder" in classes:  # not shown
        parent.clear()
    for place, element in enumerate(list(parent)):
        if element.tag == f"{_SVG}text":
            font = _FONTS[bool(classes & _BOLD), bool(classes & _ITALIC)]
            group = ET.Element(f"{_SVG}g")
            for line in _lines(element, font):
                group.extend(_drawn(line))
            parent[place] = group
        elif element.tag == f"{_SVG}use":
            parent[place] = _copy(element, glyphs[element.get(_LINK, "")])
        else:
            _simplify(element, classes, glyphs)


def _copy(use: ET.Element, glyph: ET.Element | None) -> ET.Element:
    """Return the glyph where it is used; svglib follows a thousand links at most."""
    move = use.get("transform", "")
    if glyph is None:
        return ET.Element(f"{_SVG}g")
    return ET.Element(
        f"{_SVG}path",
        {"transform": f"{move} {glyph.get('transform', '')}", "d": glyph.get("d", "")},
    )


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


def _drawn(line: _Line) -> list[ET.Element]:
    """Return a line as elements, each in one font and at its place."""
    widths = [_width(run) for run in line.runs]
    x = line.x - sum(widths) * {"middle": 0.5, "end": 1.0}.get(line.anchor, 0.0)
    elements = []
    for run, width in zip(line.runs, widths, strict=True):
        if run.font:
            place = {"x": f"{x:.1f}", "y": f"{line.y:.1f}"}
            style = {"font-family": run.font, "font-size": f"{run.size:g}"}
            element = ET.Element(f"{_SVG}text", place | style)
            element.text = run.text
            elements.append(element)
        else:
            scale = run.size / _EM
            for number, outline in enumerate(map(_outline, run.text)):
                at = x + number * width / len(run.text)
                move = f"translate({at:.1f},{line.y:.1f}) scale({scale:g},{-scale:g})"
                elements.append(
                    ET.Element(f"{_SVG}path", {"transform": move, "d": outline})
                )
        x += width
    return elements


def _width(run: _Run) -> float:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    if run.font:
        return stringWidth(run.text, run.font, run.size)
    return 0.45 * run.size * len(run.text)


def _outline(letter: str) -> str:
    """Return the outline of a letter of verovio's music font."""
    import verovio

    folder = Path(verovio.__file__).parent / "data" / _MUSIC_FONT
    path = folder / f"{ord(letter):04X}.xml"
    if not path.is_file():
        return ""
    found = ET.fromstring(path.read_text(encoding="utf-8")).find("path")
    return "" if found is None else found.get("d", "")

"""Paths of SVG pictures as operators of PDF: moves, lines and curves, none relative."""

import re
from collections.abc import Iterator

__all__ = ["ellipse_to_pdf", "path_to_pdf", "polygon_to_pdf"]

_TOKEN = re.compile(r"[A-Za-z]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
# The numbers that each command takes, again and again.
_COUNT = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2}
_ROUND = 0.5523  # of a radius: the handles of a quarter of a circle

Point = tuple[float, float]


def path_to_pdf(data: str) -> str:
    """Return the operators that draw a path; `data` is the attribute `d` of one.

    Raises:
      ValueError: it has arcs, or is not a path.
    """
    return "\n".join(_operators(_TOKEN.findall(data)))


def polygon_to_pdf(points: str) -> str:
    """Return the operators that draw a polygon; `points` is that attribute of one."""
    return path_to_pdf(f"M{points}Z")


def ellipse_to_pdf(x: float, y: float, width: float, height: float) -> str:
    """Return the operators that draw an ellipse around a point, by its radii."""
    a, b = width * _ROUND, height * _ROUND
    corners = [(x + width, y), (x, y + height), (x - width, y), (x, y - height)]
    handles = [
        ((x + width, y + b), (x + a, y + height)),
        ((x - a, y + height), (x - width, y + b)),
        ((x - width, y - b), (x - a, y - height)),
        ((x + a, y - height), (x + width, y - b)),
    ]
    ends = [*corners[1:], corners[0]]
    curves = [_curve(*pair, end) for pair, end in zip(handles, ends, strict=True)]
    return "\n".join([_line(corners[0], "m"), *curves, "h"])


def _operators(tokens: list[str]) -> Iterator[str]:
    now = start = handle = (0.0, 0.0)
    place, command, before = 0, "", ""
    while place < len(tokens):
        if tokens[place].isalpha():
            command = tokens[place]
            place += 1
            if command in "Zz":
                yield "h"
                now, before = start, "Z"
                continue
        kind = command.upper()
        count = _COUNT.get(kind)
        if count is None or place + count > len(tokens):
            raise ValueError(f"a path of the picture has {command!r}: update mt3x")
        values = [float(token) for token in tokens[place : place + count]]
        place += count
        base = now if command.islower() else (0.0, 0.0)
        if kind in "HV":
            values = (
                [values[0], now[1] - base[1]]
                if kind == "H"
                else [now[0] - base[0], values[0]]
            )
        *handles, end = [
            (x + base[0], y + base[1])
            for x, y in zip(values[::2], values[1::2], strict=True)
        ]
        if kind == "M":
            start = end
            yield _line(end, "m")
            command = "l" if command == "m" else "L"  # of what follows
        elif kind in "LHV":
            yield _line(end, "l")
        else:
            # The handle that a smooth curve has is the last one's, mirrored.
            is_smooth = before in ("CS" if kind in "CS" else "QT")
            mirrored = (
                (2 * now[0] - handle[0], 2 * now[1] - handle[1]) if is_smooth else now
            )
            if kind in "ST":
                handles = [mirrored, *handles]
            handle = handles[-1]
            if kind in "QT":
                handles = [_between(now, handle), _between(end, handle)]
            first, second = handles
            yield _curve(first, second, end)
        now, before = end, kind


def _between(end: Point, handle: Point) -> Point:
    """Return the handle of a cubic curve that is a quadratic one."""
    return end[0] + (handle[0] - end[0]) * 2 / 3, end[1] + (handle[1] - end[1]) * 2 / 3


def _line(to: Point, operator: str) -> str:
    return f"{to[0]:.7g} {to[1]:.7g} {operator}"


def _curve(first: Point, second: Point, end: Point) -> str:
    values = (*first, *second, *end)
    return " ".join(f"{value:.7g}" for value in values) + " c"

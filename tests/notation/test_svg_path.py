"""Paths of SVG as operators of PDF."""

import pytest

from mt3x.notation.svg_path import ellipse_to_pdf, path_to_pdf, polygon_to_pdf


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("M1 2 L3 4", "1 2 m|3 4 l"),
        ("M1,2 3,4z", "1 2 m|3 4 l|h"),
        ("m1 2l3-4h5v-6zm1 1", "1 2 m|4 -2 l|9 -2 l|9 -8 l|h|2 3 m"),
        ("M1 1H5V7", "1 1 m|5 1 l|5 7 l"),
        ("M0 0C1 2 3 4 5 6", "0 0 m|1 2 3 4 5 6 c"),
        ("M1 1c1 2 3 4 5 6", "1 1 m|2 3 4 5 6 7 c"),
        # The first handle is the last one mirrored, or the point itself.
        ("M0 0c1 2 3 4 5 6s1 1 2 2", "0 0 m|1 2 3 4 5 6 c|7 8 6 7 7 8 c"),
        ("M0 0s1 1 2 2", "0 0 m|0 0 1 1 2 2 c"),
        ("M0 0Q3 3 6 0", "0 0 m|2 2 4 2 6 0 c"),
        ("M0 0q3 3 6 0t6 0", "0 0 m|2 2 4 2 6 0 c|8 -2 10 -2 12 0 c"),
        ("M.5-.5L1e1-2", "0.5 -0.5 m|10 -2 l"),
        ("", ""),
    ],
)
def test_paths(data, expected):
    assert path_to_pdf(data).split("\n") == expected.split("|")


def test_polygons_are_closed():
    assert polygon_to_pdf("1,2 3,4 5,6").split("\n") == ["1 2 m", "3 4 l", "5 6 l", "h"]


def test_ellipses_go_through_their_corners():
    lines = ellipse_to_pdf(10, 20, 3, 4).split("\n")
    ends = [line.split()[-3:-1] for line in lines[:-1]]
    assert ends == [["13", "20"], ["10", "24"], ["7", "20"], ["10", "16"], ["13", "20"]]
    assert lines[-1] == "h"


@pytest.mark.parametrize("data", ["M0 0A1 1 0 0 0 2 2", "M0", "1 2", "M0 0C1 2 3"])
def test_what_is_no_path_is_refused(data):
    with pytest.raises(ValueError, match="path"):
        path_to_pdf(data)

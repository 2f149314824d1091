"""Ranges of options."""

from dataclasses import dataclass

import numpy as np
import pytest

from mt3x.music.options import check_fields


@dataclass(frozen=True)
class Options:
    count: int = 1
    rate: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    weight: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, count=(1, 9), rate=(0, 1), sizes=(1, 4), weight=(0, 1))


@pytest.mark.parametrize(
    "good",
    [
        {"count": 9},
        {"count": np.int64(3)},
        {"rate": 1},
        {"rate": np.float32(0.5)},
        {"sizes": ()},
        {"sizes": (4, 1)},
        {"weight": 0.0},
    ],
)
def test_values_in_range(good):
    Options(**good)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"count": 0}, "count=0: give a whole number from 1 to 9"),
        ({"count": 1.0}, r"count=1\.0: give a whole"),
        ({"count": True}, "count=True"),
        ({"count": "1" * 999}, "count=1+: give"),
        ({"rate": float("nan")}, "rate=nan: give a number from 0 to 1"),
        ({"rate": None, "weight": 2.0}, "weight=2"),
        ({"rate": [0.5]}, r"rate=\[0\.5\]: give a number"),
        ({"rate": 10**400}, "rate"),
        ({"sizes": (1, 5)}, r"sizes=\(1, 5\)"),
    ],
)
def test_values_out_of_range(bad, message):
    with pytest.raises(ValueError, match=message) as error:
        Options(**bad)
    assert len(str(error.value)) < 200

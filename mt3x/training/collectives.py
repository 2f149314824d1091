"""What devices send each other in a compiled program, read from its HLO text."""

import collections
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter"),
    *("all-to-all", "collective-permute"),
)
# Bits of an element of the types that are sent.
_BITS = {"pred": 8, "bf16": 16} | {
    f"{kind}{bits}": bits for kind in "fsuc" for bits in (4, 8, 16, 32, 64, 128)
}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)="
    r"%?([\w.-]+)|branch_computations=\{([^}]*)\}"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Collective(NamedTuple):
    """An exchange between the devices of each of several groups."""

    kind: str
    # Shapes of what a device holds afterwards.
    shapes: tuple[tuple[int, ...], ...]
    # Their size in bytes.
    size: int
    # Devices that take part together.
    group: int
    # How often it runs in one run of the program.
    count: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends in all, by the algorithm on a ring.

        With n devices and s bytes in the end: all-gather (n - 1) / n s; reduce-scatter
        (n - 1) s; all-reduce, which is both, 2 (n - 1) / n s (Thakur et al. 2005,
        "Optimization of collective communication operations in MPICH", section 4).
        """
        n = self.group
        part = {
            "all-reduce": 2 * (n - 1) / n,
            "all-gather": (n - 1) / n,
            "reduce-scatter": n - 1,
            "all-to-all": (n - 1) / n,
            "collective-permute": 1,
        }[self.kind]
        return part * self.size * self.count


def collectives(hlo: str) -> list[Collective]:
    """All exchanges of a compiled program (`compiled.as_text()`), loops multiplied out.

    Raises:
      ValueError: one lies in a loop whose number of turns XLA does not tell.
    """
    bodies = _computations(hlo)
    found = []
    for name, count in _counts(bodies).items():
        for line in bodies[name]:
            collective = _parse(line)
            if collective is None:
                continue
            if not math.isfinite(count):
                raise ValueError(
                    f"a {collective.kind} lies in a loop of unknown length; write the "
                    "loop as a scan"
                )
            found.append(collective._replace(count=int(count)))
    return found


def by_kind(found: list[Collective]) -> dict[str, tuple[int, float]]:
    """Kind -> (how many run, bytes that a device sends)."""
    return {
        kind: (
            sum(c.count for c in found if c.kind == kind),
            sum(c.sent for c in found if c.kind == kind),
        )
        for kind in KINDS
        if any(c.kind == kind for c in found)
    }


def _computations(hlo: str) -> dict[str, list[str]]:
    """Name -> lines; that of the program is ""."""
    bodies: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in hlo.splitlines():
        head = _COMPUTATION.match(line)
        if head:
            lines = bodies.setdefault("" if head[1] else head[2], [])
        elif line.startswith(" ") and " = " in line:
            lines.append(line)
    return bodies


def _counts(bodies: Mapping[str, list[str]]) -> dict[str, float]:
    """How often each computation runs; infinity where that is unknown."""
    counts: dict[str, float] = collections.defaultdict(float)

    def run(name: str, times: float) -> None:
        counts[name] += times
        for line in bodies[name]:
            if "-done(" in line or "-update(" in line:
                continue  # its start was counted
            turns = times
            if " while(" in line:
                trips = _TRIPS.search(line)
                turns = times * int(trips[1]) if trips else math.inf
            for called in _called(line):
                run(called, turns)

    run("", 1)
    return counts


def _called(line: str) -> Iterator[str]:
    for one, several in _CALLED.findall(line):
        for name in [one] if one else several.split(","):
            yield name.strip(" %")


def _parse(line: str) -> Collective | None:
    right = line.partition(" = ")[2]
    match = re.search(rf" ({'|'.join(KINDS)})(-start)?\(", right)
    if match is None:
        return None
    arrays = _ARRAY.findall(right[: match.start()])
    if match[2] and match[1] in ("all-gather", "collective-permute"):
        # (what goes in, what comes out, ...)
        arrays = arrays[len(arrays) // 2 :] if match[1] == "all-gather" else arrays[1:2]
    shapes = tuple(
        tuple(map(int, dims.split(","))) if dims else () for _, dims in arrays
    )
    size = sum(
        math.prod(shape) * _BITS[kind] // 8
        for (kind, _), shape in zip(arrays, shapes, strict=True)
    )
    return Collective(match[1], shapes, size, _group(right), 1)


def _group(right: str) -> int:
    """Devices of a group, in any of the ways that XLA writes groups."""
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", right):
        return listed[1].count(",") + 1
    if grid := re.search(r"replica_groups=\[\d+,(\d+)\]<=", right):
        return int(grid[1])
    if mesh := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", right):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", mesh[2]))
    return 2  # collective-permute names pairs

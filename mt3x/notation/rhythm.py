"""How a voice's chords are written in a bar: values, dots, ties, rests, tuplets, beams.

A note may hide a strong place of the bar only if it begins and ends on places that are
hardly weaker, or else two tied notes show it. After Cooke et al. in "Behind Bars", by
Elaine Gould, 2011, chapters on rhythm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mt3x.notation.meter import Bar
from mt3x.notation.quantize import TICKS_PER_QUARTER
from mt3x.notation.voices import Chord

__all__ = ["Symbol", "write_bar"]

TYPES = {
    **{192: "breve", 96: "whole", 48: "half", 24: "quarter", 12: "eighth"},
    **{6: "16th", 3: "32nd"},
}
FLAGS = {"eighth": 1, "16th": 2, "32nd": 3}
_VALUES = {
    **{ticks: (name, 0) for ticks, name in TYPES.items()},
    **{ticks * 3 // 2: (name, 1) for ticks, name in TYPES.items() if ticks > 3},
}
# Of three in the time of two.
_TRIPLETS = {
    ticks * 2 // 3: value for ticks, value in _VALUES.items() if ticks % 3 == 0
}


@dataclass
class Symbol:
    """A chord or a rest as it stands in a bar."""

    tick: int
    duration: int
    chord: Chord | None  # None: a rest
    type: str = ""
    dots: int = 0
    in_triplet: bool = False  # three in the time of two
    tuplet: str = ""  # "start" or "stop": of a bracket
    is_continued: bool = False  # tied to the symbol before
    continues: bool = False  # tied to the next one
    beams: list[str] = field(default_factory=list)
    fills_bar: bool = False  # a rest of a bar

    @property
    def end(self) -> int:
        """The tick after it."""
        return self.tick + self.duration


def write_bar(chords: Sequence[Chord], bar: Bar) -> list[Symbol]:
    """Return a bar of a voice: symbols that fill it without a gap.

    Args:
      chords: of one voice, in order, that sound in this bar; durations are set and
        none ends after the next one begins.
      bar: the bar.
    """
    spans = list(_spans(chords, bar))
    if all(chord is None for _, _, chord in spans):
        return [Symbol(bar.start, bar.length, None, fills_bar=True)]
    triplets = _triplets(spans, bar)
    symbols: list[Symbol] = []
    for start, end, chord in spans:
        pieces = _split(start, end, bar, triplets, is_rest=chord is None)
        for piece in pieces:
            piece.chord = chord
            if chord is not None:
                piece.is_continued = piece.tick > chord.tick
                piece.continues = piece.end < chord.tick + chord.duration
        symbols += pieces
    _bracket(symbols, triplets)
    _beam(symbols, bar)
    return symbols


def _spans(chords: Sequence[Chord], bar: Bar):
    """Yield start, end and chord, or None for rests, from one bar line to the next."""
    now = bar.start
    for chord in chords:
        start = max(chord.tick, bar.start)
        end = min(chord.tick + chord.duration, bar.end)
        if end <= now or start >= bar.end:
            continue
        if start > now:
            yield now, start, None
        yield start, end, chord
        now = end
    if now < bar.end:
        yield now, bar.end, None


def _triplets(spans: Sequence[tuple], bar: Bar) -> set[int]:
    """Return where the beats begin that are written as triplets."""
    places = {tick for start, end, _ in spans for tick in (start, end)}
    return {
        tick - (tick - bar.start) % bar.pulse
        for tick in places
        if (tick - bar.start) % bar.pulse % 3
    }


def _split(
    start: int, end: int, bar: Bar, triplets: set[int], is_rest: bool
) -> list[Symbol]:
    """Return the values that one note or rest is written with."""
    cut = None
    for begin in triplets:
        for edge in (begin, begin + bar.pulse):
            # What reaches out of a triplet is tied at its edge.
            if start < edge < end and (cut is None or edge < cut):
                cut = edge
    if cut is None:
        beat = start - (start - bar.start) % bar.pulse
        in_triplet = beat in triplets and end <= beat + bar.pulse
        if in_triplet and end - start in _TRIPLETS:
            name, dots = _TRIPLETS[end - start]
            if not (is_rest and dots):
                return [Symbol(start, end - start, None, name, dots, True)]
        cut = _cut(start, end, bar, is_rest, in_triplet)
        if cut is None:
            name, dots = _VALUES[end - start]
            return [Symbol(start, end - start, None, name, dots)]
    return _split(start, cut, bar, triplets, is_rest) + _split(
        cut, end, bar, triplets, is_rest
    )


def _cut(start: int, end: int, bar: Bar, is_rest: bool, in_triplet: bool) -> int | None:
    """Return the place that must show, or None where one value will do."""
    step = 4 if in_triplet else 3
    first = start + step - (start - bar.start) % step
    levels = {tick: bar.level(tick) for tick in range(first, end, step)}
    if not levels:
        return None
    strongest = min(levels.values())
    places = [tick for tick, level in levels.items() if level == strongest]
    weaker = max(bar.level(start), bar.level(end)) - strongest
    allowed = 0 if is_rest else 1
    length = end - start
    value = None if in_triplet else _VALUES.get(length)
    fits = value is not None and weaker <= allowed
    if weaker > 0 and len(places) > 1:
        fits = False
    if value is not None and is_rest and not bar.is_compound:
        # No dots; rests longer than a beat show the middle of 4/4 alone.
        has_halves = bar.length == 4 * TICKS_PER_QUARTER
        fits = fits and not value[1] and (length <= bar.pulse or has_halves)
    if fits:
        return None
    return places[-1] if bar.level(start) > bar.level(end) else places[0]


def _bracket(symbols: Sequence[Symbol], triplets: set[int]) -> None:
    """Mark where the brackets of triplets begin and end."""
    members = [symbol for symbol in symbols if symbol.in_triplet]
    starts = sorted(triplets)
    for begin in starts:
        inside = [symbol for symbol in members if _beat_of(symbol, starts) == begin]
        if inside:
            inside[0].tuplet, inside[-1].tuplet = "start", "stop"


def _beat_of(symbol: Symbol, starts: Sequence[int]) -> int:
    return max(start for start in starts if start <= symbol.tick)


def _beam(symbols: Sequence[Symbol], bar: Bar) -> None:
    """Beam the notes of each beat; eighths that fill half a bar of 4/4 are one beam."""
    groups: dict[int, list[Symbol]] = {}
    for symbol in symbols:
        groups.setdefault(_beam_group(symbol.tick, bar), []).append(symbol)
    if bar.pulse == TICKS_PER_QUARTER and bar.length == 4 * bar.pulse:
        for half in (bar.start, bar.start + 2 * bar.pulse):
            both = [groups.get(half, []), groups.get(half + bar.pulse, [])]
            if all(len(g) == 2 and all(_is_eighth(s) for s in g) for g in both):
                groups[half] = both[0] + both[1]
                del groups[half + bar.pulse]
    for group in groups.values():
        run: list[Symbol] = []
        for symbol in [*group, None]:
            if symbol is not None and symbol.chord and symbol.type in FLAGS:
                run.append(symbol)
                continue
            _join(run)
            run = []


def _is_eighth(symbol: Symbol) -> bool:
    return bool(symbol.chord) and symbol.type == "eighth" and not symbol.in_triplet


def _beam_group(tick: int, bar: Bar) -> int:
    place = tick - bar.start + bar.shift
    if bar.pulse >= TICKS_PER_QUARTER:
        return tick - place % bar.pulse
    return bar.start - bar.shift + max(g for g in bar.groups if g <= place)


def _join(run: Sequence[Symbol]) -> None:
    """Write the beams of notes that are beamed together."""
    if len(run) < 2:
        return
    counts = [FLAGS[symbol.type] for symbol in run]
    for i, symbol in enumerate(run):
        for beam in range(1, counts[i] + 1):
            before = i > 0 and counts[i - 1] >= beam
            after = i + 1 < len(run) and counts[i + 1] >= beam
            if before and after:
                kind = "continue"
            elif before or after:
                kind = "end" if before else "begin"
            else:
                kind = "backward hook" if i else "forward hook"
            symbol.beams.append(kind)

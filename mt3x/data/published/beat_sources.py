"""Published music whose beats are known, as pieces for beat models.

- POP909 (Wang et al. 2020; MIT): pop songs played on a piano, beats of `beat_midi.txt`.
- Groove (Gillick et al. 2019; CC-BY 4.0): drummers who play to a metronome.
- Scores, such as OpenScore's (CC0): MusicXML by partitura, or MIDI as programs for
  notation write it. Beats are those of the time signatures, dotted in 6/8 and the like.
"""

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mt3x.data.beat_pieces import BeatPiece
from mt3x.files import find_files
from mt3x.music.beats import Beats, read_meter
from mt3x.music.midi import read_beats
from mt3x.music.notes import Notes

__all__ = ["SOURCES", "read_groove", "read_pop909", "read_scores"]

_QUARTER_S = 0.5  # of scores
_PIANO, _OTHER = 0, 48
_LEAST_BEATS = 16


def read_pop909(folder: Path, on_error: Callable[[str], object]) -> Iterator[BeatPiece]:
    """Yield the songs of POP909: folders NNN with NNN.mid and beat_midi.txt.

    Its third column marks bars of four beats, or else every other bar of three, which
    the second column has.
    """
    songs = [
        path
        for path in find_files(folder, {".mid"})
        if path.stem == path.parent.name and (path.parent / "beat_midi.txt").is_file()
    ]
    for number, path in enumerate(songs):
        beat_file = path.parent / "beat_midi.txt"
        time_s, is_down, is_long = np.loadtxt(beat_file).T
        per_bar = 3 if _most_common_gap(is_down) == 3 else 4
        position = _positions((is_down if per_bar == 3 else is_long) > 0)
        beats = Beats(time_s, position, per_bar)
        notes = Notes.from_midi(path)
        yield BeatPiece(f"pop909/{path.stem}", number, notes, beats, False)


def read_groove(folder: Path, on_error: Callable[[str], object]) -> Iterator[BeatPiece]:
    """Yield the recordings of Groove; their names end with the meter, as _4-4.mid."""
    for number, path in enumerate(find_files(folder, {".mid"})):
        found = re.search(r"_(\d+)-(\d+)$", path.stem)
        notes = Notes.from_midi(path)
        if not found or len(notes) < 8:
            continue
        meter = read_meter(f"{found[1]}/{found[2]}")
        quarters = read_beats(path)
        step = meter.quarters_per_beat
        num = int((len(quarters) - 1) / step) + 1
        time_s = np.interp(np.arange(num) * step, np.arange(len(quarters)), quarters)
        if num < 2:
            continue
        beats = Beats(time_s, np.arange(num) % meter.beats_per_bar + 1, *meter)
        yield BeatPiece(f"groove/{path.stem}", number, notes, beats, False)


def read_scores(folder: Path, on_error: Callable[[str], object]) -> Iterator[BeatPiece]:
    """Yield the scores of a folder: MusicXML that partitura can read, and MIDI."""
    if importlib.util.find_spec("partitura") is None:
        raise ModuleNotFoundError("scores need partitura: pip install partitura")
    scores = find_files(folder, {".mxl", ".musicxml", ".mid"})
    for number, path in enumerate(scores):
        try:
            if path.suffix.lower() == ".mid":
                yield from _read_midi_score(path, number)
            else:
                yield from _read_score(path, number)
        # partitura raises all kinds of exceptions on scores that it does not know.
        except Exception as error:
            on_error(f"{path}: {type(error).__name__}: {error}")


SOURCES: Mapping[str, Callable[..., Iterator[BeatPiece]]] = {
    "pop909": read_pop909,
    "groove": read_groove,
    "scores": read_scores,
}


def _most_common_gap(is_down: np.ndarray) -> int:
    return int(np.bincount(np.diff(np.flatnonzero(is_down > 0))).argmax())


def _positions(is_down: np.ndarray) -> np.ndarray:
    """Return positions in bars; beats before the first downbeat lead up to it."""
    down = np.flatnonzero(is_down)
    if not len(down):
        return np.arange(len(is_down)) % 4 + 1
    index = np.arange(len(is_down))
    last = down[np.maximum(np.searchsorted(down, index, side="right") - 1, 0)]
    per_bar = int(np.median(np.diff(down))) if len(down) > 1 else 4
    return np.where(index >= last, index - last, (index - last) % per_bar) + 1


def _read_midi_score(path: Path, number: int) -> Iterator[BeatPiece]:
    """Yield the sections of a score's MIDI file, each in one meter."""
    import mido

    midi = mido.MidiFile(path)
    signatures = []
    for track in midi.tracks:
        tick = 0
        for event in track:
            tick += event.time
            if event.type == "time_signature":
                meter = read_meter(f"{event.numerator}/{event.denominator}")
                signatures.append((tick / midi.ticks_per_beat, meter))
    quarter_s = read_beats(path)
    notes = Notes.from_midi(path)
    onset = np.interp(notes.onset_s, quarter_s, np.arange(len(quarter_s)))
    offset = np.interp(notes.offset_s, quarter_s, np.arange(len(quarter_s)))
    signatures = sorted(signatures)
    ends = [start for start, _ in signatures[1:]] + [len(quarter_s) - 1.0]
    for index, (start, meter) in enumerate(signatures):
        step = meter.quarters_per_beat
        num = int((ends[index] - start) / step + 0.01)
        if num < _LEAST_BEATS:
            continue
        begin = start
        if (
            index
            and start - signatures[index - 1][0] < meter.beats_per_bar * step - 0.01
        ):
            begin = signatures[index - 1][0]  # a pick-up
        inside = (onset > begin - 0.01) & (onset < start + num * step - 0.01)
        if inside.sum() < _LEAST_BEATS:
            continue
        time_s = (start + np.arange(num) * step) * _QUARTER_S
        part = notes[inside]
        part = replace(
            part,
            onset_s=onset[inside] * _QUARTER_S,
            offset_s=offset[inside] * _QUARTER_S,
            program=np.full(len(part), _OTHER),
        )
        beats = Beats(time_s, np.arange(num) % meter.beats_per_bar + 1, *meter)
        yield BeatPiece(f"{path.stem} {begin:g}", number, part, beats, True)


def _read_score(path: Path, number: int) -> Iterator[BeatPiece]:
    """Yield the sections of a MusicXML file, each in one meter."""
    import partitura

    score = partitura.load_score(str(path))
    notes = Notes.concatenate([_part_notes(part) for part in score.parts])
    for begin, end, beats in _sections(score.parts[0]):
        part = notes[
            (notes.onset_s > (begin - 0.01) * _QUARTER_S)
            & (notes.onset_s < (end - 0.01) * _QUARTER_S)
        ]
        if len(part) >= _LEAST_BEATS:
            yield BeatPiece(f"{path.stem} {begin:g}", number, part, beats, True)


def _part_notes(part: Any) -> Notes:
    found = part.note_array(include_grace_notes=True)
    onset_s = found["onset_quarter"].astype(float) * _QUARTER_S
    length_s = found["duration_quarter"].astype(float) * _QUARTER_S
    name = (part.part_name or "").lower()
    is_piano = part.number_of_staves > 1 or "pian" in name
    program = np.full(len(found), _PIANO if is_piano else _OTHER)
    return Notes(onset_s, onset_s + length_s, found["pitch"], program=program)


def _sections(part: Any) -> Iterator[tuple[float, float, Beats]]:
    """Yield runs of whole bars in one meter: where they begin and end, and their beats.

    A shorter bar before them, such as a pick-up, belongs to them. Places are in
    quarters.
    """
    signatures = [
        (x.start.t, read_meter(f"{x.beats}/{x.beat_type}")) for x in part.time_sigs
    ]
    bars = []
    for bar in part.measures if signatures else ():
        before = [meter for at, meter in signatures if at <= bar.start.t]
        meter = before[-1] if before else signatures[0][1]
        ends = [float(part.quarter_map(point.t)) for point in (bar.start, bar.end)]
        length = (ends[1] - ends[0]) / meter.quarters_per_beat
        bars.append((*ends, meter, abs(length - meter.beats_per_bar) < 0.01))
    pick_up = 0.0  # its length
    for (meter, is_whole), run in groupby(bars, key=lambda bar: bar[2:]):
        begins, ends, *_ = zip(*run, strict=True)
        if not is_whole:
            pick_up = ends[-1] - begins[-1]
            continue
        per_bar, step = meter.beats_per_bar, meter.quarters_per_beat
        begin, end = begins[0], ends[-1]
        num = round((end - begin) / step)
        if pick_up > per_bar * step - 0.01:
            pick_up = 0.0  # a bar that is too long
        lead = int(pick_up / step + 0.01)
        if num >= _LEAST_BEATS:
            at = np.arange(-lead, num)
            beats = Beats((begin + at * step) * _QUARTER_S, at % per_bar + 1, *meter)
            yield begin - pick_up, end, beats
        pick_up = 0.0

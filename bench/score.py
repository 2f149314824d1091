"""Scores of notation: music that is performed, notated, and compared with its print.

    python bench/score.py lieder OpenScore-Lieder/scores
    python bench/score.py quartets OpenScore-StringQuartets
    python bench/score.py pop909 POP909
    python bench/score.py lieder FOLDER --part validation --systems mt3x
    python bench/score.py lieder FOLDER --piano TimGM6mb.sf2 --bars 16 --limit 15

Lieder: the piano parts of OpenScore's songs; quartets: OpenScore's, on one piano as far
as playing goes; POP909: songs on a grid of sixteenths, in which three tracks are the
voices. Of the sorted files every 22nd is for tests, those between for validation; of
each piece its first 32 bars in one meter, which mt3x.data.synthesis.humanize performs
in a drawn tempo: with rubato, unequal hands and a pedal that prolongs the notes. Songs'
annotated bars differ in length: the longest run of even ones is taken, up to 32.
With --piano the performance is rendered on it, and what is notated is the transcription
of that sound.

bench/score_metrics.py defines the scores.

Systems: `mt3x` and the imports of MIDI files by `partitura` and `music21` are told the
beats (MIDI: by its ticks); `detect`: mt3x finds the beats; `partitura-120` and
`music21-120` import a MIDI file at 120 beats a minute, as it comes from transcribers.
"""

import argparse
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import mido
import numpy as np
from score_metrics import Printed, compare

from mt3x.data.beat_batches import HELD_OUT
from mt3x.data.published.beat_sources import read_pop909
from mt3x.data.synthesis.humanize import humanize
from mt3x.music.beats import Beats, Meter, read_meter
from mt3x.music.midi import read_tracks
from mt3x.music.notes import Notes

NUM_BARS = 32
TICKS = 480


@dataclass
class Task:
    """A performed piece and what was printed."""

    name: str
    printed: Printed
    performed: Notes
    beats: Beats


def fifths_of(step: np.ndarray, alter: np.ndarray) -> np.ndarray:
    """Places on the line of fifths."""
    return np.array(
        ["FCGDAEB".index(s) - 1 + 7 * a for s, a in zip(step, alter, strict=True)]
    )


def printed_parts(score: Any) -> Printed:
    """The notes of a score that partitura has read."""
    columns: list[list[np.ndarray]] = []
    for number, part in enumerate(score.parts):
        found = part.note_array(
            include_staff=True,
            include_pitch_spelling=True,
            include_metrical_position=True,
        )
        found = found[found["duration_quarter"] > 0]
        if not len(found):
            continue
        bars = sorted(part.measures, key=lambda measure: measure.start.t)
        starts = part.quarter_map([bar.start.t for bar in bars]).astype(float)
        lengths = np.diff(np.append(starts, part.quarter_map(bars[-1].end.t)))
        onset = found["onset_quarter"].astype(float)
        bar = np.searchsorted(starts, onset + 1e-6, side="right") - 1
        place = onset - starts[bar]
        if len(lengths) > 1 and lengths[0] < lengths[1]:  # a pick-up
            place[bar == 0] += lengths[1] - lengths[0]
        columns.append(
            [
                onset,
                found["duration_quarter"].astype(float),
                found["pitch"],
                place,
                1000 * number + 50 * found["staff"] + found["voice"],
                10 * number + found["staff"],
                fifths_of(found["step"], found["alter"]),
            ]
        )
    first = score.parts[0].key_sigs
    arrays = [np.concatenate(column) for column in zip(*columns, strict=True)]
    return Printed(*arrays, fifths=first[0].fifths if first else 0)


def excerpt(
    score: Any, num_bars: int
) -> tuple[Printed, np.ndarray, np.ndarray, Meter] | None:
    """The first bars in one meter: notes, beats in quarters, positions and meter."""
    part = score.parts[0]
    if not part.time_sigs:
        return None
    meter = read_meter(f"{part.time_sigs[0].beats}/{part.time_sigs[0].beat_type}")
    bars = sorted(part.measures, key=lambda measure: measure.start.t)[:num_bars]
    change = part.time_sigs[1].start.t if len(part.time_sigs) > 1 else np.inf
    bars = [bar for bar in bars if bar.start.t < change]
    step = meter.quarters_per_beat
    starts = part.quarter_map([bar.start.t for bar in bars]).astype(float)
    end = float(part.quarter_map(bars[-1].end.t))
    lengths = np.diff(np.append(starts, end))
    whole = step * meter.beats_per_bar
    if len(bars) < 8 or np.abs(lengths[1:-1] - whole).max() > 0.01:
        return None
    first = starts[0] if lengths[0] > whole - 0.01 else starts[1] - whole
    num = int(np.ceil((end - first) / step - 0.01))
    beat = first + np.arange(num + 1) * step
    printed = printed_parts(score)
    inside = printed.onset < end - 0.01
    return printed[inside], beat, np.arange(num + 1) % meter.beats_per_bar + 1, meter


def perform(
    name: str,
    printed: Printed,
    beat: np.ndarray,
    position: np.ndarray,
    meter: Meter,
) -> Task:
    """Play a score: unprinted are notes that one piano cannot play."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    bpm = rng.uniform(60, 120)
    quarter_s = 60 / bpm / meter.quarters_per_beat
    start = min(float(beat[0]), float(printed.onset.min()))
    onset_s = (printed.onset - start) * quarter_s
    notes = Notes(onset_s, onset_s + printed.duration * quarter_s, printed.pitch)
    performance = humanize(notes, rng)
    keys = performance.keys
    # Notes of a key keep their order.
    found_s = np.full(len(printed.onset), np.nan)
    for pitch in np.unique(keys.pitch):
        ours = np.flatnonzero(printed.pitch == pitch)
        ours = ours[np.argsort(onset_s[ours], kind="stable")]
        ours = ours[np.append(True, np.diff(onset_s[ours]) > 1e-6)]
        theirs = keys.onset_s[keys.pitch == pitch]
        if len(ours) == len(theirs):
            found_s[ours] = theirs
    known = np.isfinite(found_s)
    at, inverse = np.unique(np.round(printed.onset[known], 4), return_inverse=True)
    mean_s = np.bincount(inverse, found_s[known]) / np.bincount(inverse)
    mean_s = np.maximum.accumulate(mean_s + 1e-6 * np.arange(len(mean_s)))
    beats = Beats(_extrapolated(beat, at, mean_s), position, *meter)
    kept = printed[known]
    kept.onset_s = found_s[known]
    return Task(name, kept, performance.notes(), beats)


def _extrapolated(
    x: np.ndarray, known_x: np.ndarray, known_y: np.ndarray
) -> np.ndarray:
    y = np.interp(x, known_x, known_y)
    tempo = (known_y[-1] - known_y[0]) / (known_x[-1] - known_x[0])
    y = np.where(x < known_x[0], known_y[0] + (x - known_x[0]) * tempo, y)
    return np.where(x > known_x[-1], known_y[-1] + (x - known_x[-1]) * tempo, y)


def every(items: list, part: str, limit: int) -> list:
    """Items for tests or validation: those that `mt3x.data.beat_batches` holds out."""
    first = HELD_OUT - 1 if part == "test" else HELD_OUT // 2 - 1
    return items[first::HELD_OUT][:limit]


def openscore(
    folder: Path, part: str, limit: int, num_bars: int, piano: bool
) -> Iterator[Task]:
    """Scores of MusicXML files."""
    import partitura

    for path in every(sorted(folder.rglob("*.mxl")), part, limit):
        try:
            score = partitura.load_score(str(path))
        except Exception as error:  # partitura raises all kinds
            print(f"left out: {path.name}: {error}")
            continue
        if piano:
            score.parts = [p for p in score.parts if p.number_of_staves == 2][:1]
        found = excerpt(score, num_bars) if score.parts else None
        if found is not None and len(found[0].onset) > 20:
            yield perform(path.stem, *found)


def even_bars(position: np.ndarray, per_bar: int, most: int) -> tuple[int, int]:
    """The first of the longest runs of whole bars: its first beat, and how many.

    More than `most` bars count as so many.
    """
    down = np.flatnonzero(position == 1)
    breaks = np.flatnonzero(np.diff(down) != per_bar)
    starts = np.append(0, breaks + 1)
    lengths = np.minimum(np.append(breaks, len(down) - 1) - starts, most)
    best = int(lengths.argmax())
    return int(down[starts[best]]), int(lengths[best])


def pop909(folder: Path, part: str, limit: int, num_bars: int) -> Iterator[Task]:
    """Songs, on the grid of sixteenths on which they were made."""
    songs = [folder / f"{number:03}" for number in range(1, 910)]
    for song in every(songs, part, limit):
        (piece,) = read_pop909(song, print)
        at, per_bar = piece.beats, piece.beats.beats_per_bar
        columns: list[list[np.ndarray]] = []
        tracks = read_tracks(song / f"{song.name}.mid").values()
        for number, track in enumerate(tracks):
            onset = np.round(at.beat_at(track.onset_s) * 4) / 4
            end = np.round(at.beat_at(track.offset_s) * 4) / 4
            columns.append([onset, np.maximum(end - onset, 0.25), track.pitch, number])
        onset, duration, pitch = (
            np.concatenate([column[i] for column in columns]) for i in range(3)
        )
        voice = np.repeat([c[3] for c in columns], [len(c[0]) for c in columns])
        first, num = even_bars(at.position, per_bar, num_bars)
        inside = (onset >= first) & (onset < first + num * per_bar)
        place = (onset - first) % per_bar
        # Keys and names are not known.
        printed = Printed(
            onset, duration, pitch, place, voice, voice, np.zeros(len(onset), int), 99
        )[inside]
        beat = first + np.arange(num * per_bar + 1.0)
        position = np.arange(len(beat)) % per_bar + 1
        meter = Meter(per_bar, 4, False)
        yield perform(piece.name, printed, beat, position, meter)


def transcribed(tasks: list[Task], piano: Path) -> Iterator[Task]:
    """The same pieces as they are heard: rendered on a piano, and transcribed."""
    from mt3x.data.synthesis.pianos import load_piano
    from mt3x.data.synthesis.render import render
    from mt3x.inference.transcriber import Transcriber
    from mt3x.music.metrics import note_scores

    instrument, transcriber, found = load_piano(piano), Transcriber(model="piano"), []
    for task in tasks:
        notes = transcriber(render(task.performed, instrument), 16000)
        found.append(100 * note_scores(task.performed, notes).note.f1)
        yield replace(task, performed=notes)
    print(f"note F1 of the transcriptions: {np.mean(found):.1f}")


def read_back(data: bytes) -> Printed:
    """What a MusicXML file says."""
    import partitura

    with tempfile.NamedTemporaryFile(suffix=".musicxml") as file:
        file.write(data)
        file.flush()
        return printed_parts(partitura.load_score(file.name))


def by_mt3x(task: Task) -> tuple[Printed, Callable]:
    """Notate with the beats of the performance."""
    return _notated(task.performed, task.beats)


def by_detection(task: Task) -> tuple[Printed, Callable]:
    """Notate with beats that are found."""
    from mt3x.inference.beat_tracker import beats as tracker

    return _notated(task.performed, tracker(task.performed))


def _notated(notes: Notes, beats: Beats) -> tuple[Printed, Callable]:
    from mt3x.notation.notate import notate

    score = notate(notes, beats)
    found = read_back(score.to_musicxml())
    # partitura counts from the first whole bar.
    bars = [bar for bar in score.bars if bar.number] or score.bars
    start = bars[0].start / 24
    step = beats.quarters_per_beat
    return found, lambda quarter: beats.time_at((quarter + start) / step)


def midi_file(task: Task, with_beats: bool) -> tuple[Path, Callable]:
    """Write a MIDI file at 120 beats a minute, or with ticks that follow the beats."""
    notes = task.performed
    step = task.beats.quarters_per_beat if with_beats else 1.0

    def quarters(time_s):
        return task.beats.beat_at(time_s) * step if with_beats else time_s * 2

    bar = task.beats.beats_per_bar * step if with_beats else 4.0
    first = np.floor(min(quarters(notes.onset_s).min(), 0) / bar) * bar

    def seconds(quarter):
        quarter = quarter + first
        return task.beats.time_at(quarter / step) if with_beats else quarter / 2

    on = np.rint((quarters(notes.onset_s) - first) * TICKS).astype(int)
    off = np.maximum(np.rint((quarters(notes.offset_s) - first) * TICKS), on + 1)
    events = [(int(t), 1, int(p)) for t, p in zip(on, notes.pitch, strict=True)]
    events += [(int(t), 0, int(p)) for t, p in zip(off, notes.pitch, strict=True)]
    track, now = mido.MidiTrack(), 0
    if with_beats:
        numerator, denominator = map(int, task.beats.meter.split("/"))
        track.append(
            mido.MetaMessage(
                "time_signature", numerator=numerator, denominator=denominator
            )
        )
    for tick, kind, pitch in sorted(events):
        name = "note_on" if kind else "note_off"
        track.append(mido.Message(name, note=pitch, velocity=64, time=tick - now))
        now = tick
    path = Path(tempfile.mkdtemp()) / "a.mid"
    mido.MidiFile(tracks=[track], ticks_per_beat=TICKS).save(path)
    return path, seconds


def by_partitura(task: Task, with_beats: bool = True) -> tuple[Printed, Callable]:
    """Import MIDI with partitura: sixteenths, its voices, key and names."""
    import partitura

    path, seconds = midi_file(task, with_beats)
    # One part; voices as estimated.
    options = {
        "part_voice_assign_mode": 4,
        "quantization_unit": TICKS // 4,
        "assign_note_ids": False,
    }
    try:
        score = partitura.load_score_midi(path, estimate_voice_info=True, **options)
    except (TypeError, RecursionError):  # of some notes it finds no voices
        score = partitura.load_score_midi(path, **options)
    found = printed_parts(score)
    key = partitura.musicanalysis.estimate_key(score.parts[0].note_array())
    # Its argument estimate_key fails in version 1.9.
    found.fifths = int(partitura.utils.key_name_to_fifths_mode(key)[0])
    return found, seconds


def by_music21(task: Task, with_beats: bool = True) -> tuple[Printed, Callable]:
    """Import MIDI with music21: its quantization, voices and key."""
    import music21

    path, seconds = midi_file(task, with_beats)
    score = music21.converter.parse(path, forceSource=True)
    rows = []
    for part_number, part in enumerate(score.parts):
        measures = part.getElementsByClass("Measure")
        # Offsets of measures go astray after one that is too full.
        bar = float(measures[0].barDuration.quarterLength)
        for measure in measures:
            voices = list(measure.voices) or [measure]
            for number, voice in enumerate(voices):
                for element in voice.notes:
                    place = float(Fraction(element.offset))
                    for note in element.notes if element.isChord else [element]:
                        tied = note.tie is not None and note.tie.type != "start"
                        rows.append(
                            (
                                (measure.number - 1) * bar + place,
                                float(element.quarterLength),
                                note.pitch.midi,
                                place,
                                10 * part_number + number,
                                part_number,
                                "FCGDAEB".index(note.pitch.step)
                                - 1
                                + 7 * int(note.pitch.alter),
                                tied,
                            )
                        )
    found = _joined_ties(rows)
    found.fifths = score.analyze("key").sharps
    return found, seconds


def _joined_ties(rows: list[tuple]) -> Printed:
    """Join what is tied."""
    joined: list[list] = []
    last: dict[int, int] = {}
    for row in sorted(rows):
        before = last.get(row[2])
        if row[-1] and before is not None:
            joined[before][1] = max(row[0] + row[1] - joined[before][0], 0)
            continue
        last[row[2]] = len(joined)
        joined.append(list(row[:-1]))
    onset, duration, pitch, place, voice, staff, name = map(
        np.array, zip(*joined, strict=True)
    )
    return Printed(onset, duration, pitch, place, voice, staff, name, 0)


SYSTEMS: dict[str, Callable[[Task], tuple[Printed, Callable]]] = {
    "mt3x": by_mt3x,
    "partitura": by_partitura,
    "music21": by_music21,
    "detect": by_detection,
    "partitura-120": lambda task: by_partitura(task, False),
    "music21-120": lambda task: by_music21(task, False),
}


def main() -> None:
    """Print a line for each system."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", choices=["lieder", "quartets", "pop909"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=["test", "validation"], default="test")
    parser.add_argument("--limit", type=int, default=40, help="pieces at the most")
    parser.add_argument("--bars", type=int, default=NUM_BARS, help="of a piece")
    parser.add_argument("--piano", type=Path, help="render on it, and transcribe")
    parser.add_argument("--each", action="store_true", help="print each piece")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.data == "pop909":
        tasks = list(pop909(args.folder, args.part, args.limit, args.bars))
    else:
        options = args.part, args.limit, args.bars, args.data == "lieder"
        tasks = list(openscore(args.folder, *options))
    num_notes = sum(len(task.printed.onset) for task in tasks)
    print(f"{len(tasks)} pieces, {num_notes} notes")
    if args.piano is not None:
        tasks = list(transcribed(tasks, args.piano))
    for system in args.systems.split(","):
        rows, begin_s = [], time.perf_counter()
        for task in tasks:
            est, seconds = SYSTEMS[system](task)
            rows.append(compare(task.printed, est, seconds(est.onset)))
            if args.each:
                print(task.name, {n: round(v, 1) for n, v in rows[-1].items()})
        took_s = (time.perf_counter() - begin_s) / max(len(tasks), 1)
        means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        line = "  ".join(f"{name} {score:5.1f}" for name, score in means.items())
        print(f"{system:14} {line}  {took_s:.1f} s a piece", flush=True)


if __name__ == "__main__":
    main()

"""Where songs for `mt3x synth` come from: MIDI files, POP909, Groove.

Three kinds of folders are read. Whole songs are any MIDI files. Lead sheets have tracks
named MELODY, PIANO and, where there is one, BRIDGE, with the beats in `beat_midi.txt`
beside them, as in POP909; without that file the beats are found in the MIDI file.
Grooves are named as in Groove (Gillick et al. 2019, arXiv:1905.06118):
`102_funk_95_beat_4-4.mid` has 95 beats a minute; fills and other metres are left out.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mt3x.data.synthesis.arrange import LeadSheet
from mt3x.data.synthesis.drums import Groove
from mt3x.data.synthesis.piano_corpora import find_midi
from mt3x.music.midi import read_beats, read_tracks
from mt3x.music.notes import Notes

_GROOVE_NAME = re.compile(r"(\d+_[^_]+)_(\d+)_beat_4-4")
_MIN_GROOVE_BYTES = 500  # about two bars


@dataclass(frozen=True)
class SongFile:
    """A MIDI file, not read yet."""

    name: str  # its path below the folder that was given
    path: Path
    md5: str
    is_lead: bool  # to be arranged


def find_songs(folder: Path, is_lead: bool) -> list[SongFile]:
    """Return the MIDI files below a folder, by name; of equal files the first.

    Of lead sheets, folders `versions` are left out: they hold other takes of the songs.

    Raises:
      FileNotFoundError: there is no such folder, or no MIDI file in it.
    """
    songs, seen = [], set()
    for path in _midi_files(folder):
        if is_lead and "versions" in path.relative_to(folder).parts:
            continue
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if md5 not in seen:
            seen.add(md5)
            name = path.relative_to(folder).as_posix()
            songs.append(SongFile(name, path, md5, is_lead))
    return songs


def find_grooves(folder: Path) -> list[SongFile]:
    """Return the grooves in 4/4 below a folder, by name.

    Raises:
      FileNotFoundError: there is no such folder, or none of Groove's names in it.
    """
    found = [
        song
        for song in find_songs(folder, is_lead=False)
        if _GROOVE_NAME.fullmatch(Path(song.name).stem)
        and song.path.stat().st_size >= _MIN_GROOVE_BYTES
    ]
    if not found:
        raise FileNotFoundError(
            f"{folder}: no grooves; names such as 102_funk_95_beat_4-4.mid are expected"
        )
    return found


def groove_bpm(song: SongFile) -> float:
    """Return the tempo in the name of a groove."""
    found = _GROOVE_NAME.fullmatch(Path(song.name).stem)
    assert found is not None
    return float(found[2])


def read_groove(song: SongFile) -> Groove:
    """Read a groove of `find_grooves`."""
    return Groove(song.name, groove_bpm(song), Notes.from_midi(song.path))


def nearest_groove(
    grooves: Iterable[SongFile], bpm: float, rng: np.random.Generator
) -> SongFile:
    """Return one of the grooves within 15 % of a tempo, or else the nearest."""
    grooves = list(grooves)
    ratio_N = np.log([groove_bpm(song) / bpm for song in grooves])
    near = np.flatnonzero(np.abs(ratio_N) < np.log(1.15))
    if not len(near):
        return grooves[int(np.argmin(np.abs(ratio_N)))]
    return grooves[int(rng.choice(near))]


def read_lead_sheet(song: SongFile) -> LeadSheet:
    """Read a lead sheet of `find_songs`.

    Raises:
      OSError, ValueError: not such a file; names it.
    """
    found = read_tracks(song.path)
    tracks = {name.strip().upper(): Notes(*notes) for name, notes in found.items()}
    for name in ("MELODY", "PIANO"):
        if name not in tracks:
            raise ValueError(
                f"{song.path}: no track {name}; lead sheets have MELODY and PIANO, as "
                "POP909's (give whole songs with --midi)"
            )
    melody, piano = tracks["MELODY"], tracks["PIANO"]
    bridge = tracks.get("BRIDGE", Notes.empty())
    beats_path = song.path.with_name("beat_midi.txt")
    if beats_path.is_file():
        beats_s, bars = _read_beat_table(beats_path)
    else:
        beats_s, bars = find_beats(piano, read_beats(song.path))
    if len(beats_s) < 2 or not len(bars):
        raise ValueError(f"{song.path}: too short to have beats and bars")
    return LeadSheet(melody, bridge, piano, beats_s, bars)


def find_beats(notes: Notes, quarters_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the beats of music recorded at a file's tempo, but not from its start.

    The onsets say where the sixteenths lie between the file's quarters; the beats and
    the bars (of four) are where most of the low notes begin.

    Args:
      notes: the accompaniment.
      quarters_s: `mt3x.music.midi.read_beats` of the file, two or more.

    Returns:
      Times of the beats, and which of them begin bars.
    """
    onset_N = np.interp(notes.onset_s, quarters_s, np.arange(len(quarters_s)))
    angle = np.angle(np.exp(2j * np.pi * 4 * onset_N).sum()) / (2 * np.pi * 4)
    sixteenth_N = np.round((onset_N - angle) * 4).astype(int)
    weight_N = np.maximum(0.0, 72.0 - notes.pitch)
    phase = int(np.argmax(np.bincount(sixteenth_N % 4, weight_N, 4)))
    on_beat = sixteenth_N % 4 == phase
    beat_N = (sixteenth_N[on_beat] - phase) // 4
    bar = int(np.argmax(np.bincount(beat_N % 4, weight_N[on_beat], 4)))
    shift = angle + phase / 4
    index = np.arange(len(quarters_s))
    inner = np.interp(index + shift, index, quarters_s)[:-1]
    return inner, np.arange(bar, len(inner), 4)


def _read_beat_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read POP909's beats: seconds, whether a bar begins in simple, compound metre."""
    try:
        table = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: not a table of beats ({error})") from error
    if table.shape[1] < 3 or len(table) < 2 or (np.diff(table[:, 0]) <= 0).any():
        raise ValueError(f"{path}: rows of a rising time and two marks are expected")
    return table[:, 0], np.flatnonzero(table[:, 2])


def _midi_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give one with MIDI files")
    paths = [Path(path) for path in find_midi(folder)]
    if not paths:
        raise FileNotFoundError(f"{folder}: no MIDI files (.mid, .midi) in it")
    return paths

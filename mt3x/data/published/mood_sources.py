"""Piano music whose mood is known or guessed, as clips for generators.

What a folder holds decides how it is read:

- `labels.csv` with the columns file, piece, source, split, valence and arousal: clips
  that are cut and labelled already, such as those that mt3x's weights were trained on.
- EMOPIA as unpacked (Hung et al., ISMIR 2021): midis/Q1_NAME_0.mid; the number after Q
  is the quadrant that its annotators chose.
- VGMIDI as cloned (Ferreira and Whitehead, ISMIR 2019): labelled/annotations and
  labelled/midi; each clip of 30 s has the mean of its raters and bars.
- Otherwise MIDI files, cut into clips of 30 s. Nobody has rated these: a clip's mood is
  what `mt3x.music.moods` predicts, ranked among all clips of the folder. Where a folder
  has a file of its own name, as POP909's songs (001/001.mid), the others below are
  versions of it and are left out.

Drums are left out; what other instruments play is put on the piano.
"""

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mt3x.data.mood_pieces import SPLITS, MoodPiece
from mt3x.files import find_files
from mt3x.music.moods import predict_mood, ranks
from mt3x.music.notes import Notes

__all__ = ["read_folder"]

_CLIP_S = 30.0
_LEAST_NOTES = 16
_MIDI = {".mid", ".midi"}
_EMOPIA_NAME = re.compile(r"Q([1-4])_(.+)_\d+")
_CORNERS = {1: (1.0, 1.0), 2: (-1.0, 1.0), 3: (-1.0, -1.0), 4: (1.0, -1.0)}
_VGMIDI_FILES = "labelled/annotations/*.json"


def read_folder(folder: Path, on_error: Callable[[str], object]) -> list[MoodPiece]:
    """Read the clips of a folder.

    Args:
      folder: one of those that the module names.
      on_error: told of each file that cannot be read; the others are.

    Raises:
      OSError: the folder or its labels cannot be read.
      ValueError: the labels are damaged; names their file.
    """
    if (folder / "labels.csv").is_file():
        return list(_read_labelled(folder, on_error))
    if any(folder.glob(_VGMIDI_FILES)):
        return list(_read_vgmidi(folder, on_error))
    paths = find_files(folder, _MIDI)
    if any(_EMOPIA_NAME.fullmatch(path.stem) for path in paths):
        return list(_read_emopia(paths, on_error))
    return _read_unlabelled(folder, paths, on_error)


def _read_labelled(
    folder: Path, on_error: Callable[[str], object]
) -> Iterator[MoodPiece]:
    table = folder / "labels.csv"
    with table.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                split = {"valid": "validation"}.get(row["split"], row["split"])
                if split not in SPLITS:
                    raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
                mood = float(row["valence"]), float(row["arousal"])
                path = folder / row["file"]
                labels = row["piece"], row["source"], split
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{table}, line {number}: {error}") from error
            notes = _read_piano(path, on_error)
            if notes is not None:
                yield MoodPiece(notes, *mood, *labels)


def _read_emopia(
    paths: list[Path], on_error: Callable[[str], object]
) -> Iterator[MoodPiece]:
    for path in paths:
        name = _EMOPIA_NAME.fullmatch(path.stem)
        notes = _read_piano(path, on_error) if name else None
        if name and notes is not None:
            piece = f"EMOPIA/{name[2]}"
            mood = _CORNERS[int(name[1])]
            yield MoodPiece(notes, *mood, piece, "EMOPIA", _split_of(piece))


def _read_vgmidi(
    folder: Path, on_error: Callable[[str], object]
) -> Iterator[MoodPiece]:
    for table in sorted(folder.glob(_VGMIDI_FILES)):
        try:
            found = json.loads(table.read_text(encoding="utf-8"))
            rated = [
                (
                    str(piece["midi"]),
                    piece["duration"] / piece["measures"],
                    _mean_ratings(found["annotations"], name, piece["measures"]),
                )
                for name, piece in sorted(found["pieces"].items())
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{table}: not ratings of VGMIDI ({error!r})") from error
        for file, bar_s, ratings_Bx2 in rated:
            notes = _read_piano(folder / "labelled/midi" / file, on_error)
            if notes is None or not len(ratings_Bx2):
                continue
            # A series of games has a style of its own: it stays in one split.
            split = _split_of(file.split("_")[0])
            for start_s, clip in _clips(notes):
                middle_s = (np.arange(len(ratings_Bx2)) + 0.5) * bar_s
                inside = (middle_s >= start_s) & (middle_s < start_s + _CLIP_S)
                if inside.any():
                    valence, arousal = ratings_Bx2[inside].mean(axis=0).tolist()
                    piece = f"VGMIDI/{Path(file).stem}"
                    yield MoodPiece(clip, valence, arousal, piece, "VGMIDI", split)


def _read_unlabelled(
    folder: Path, paths: list[Path], on_error: Callable[[str], object]
) -> list[MoodPiece]:
    clips, moods = [], []
    source = folder.resolve().name
    songs = {path.parent for path in paths if path.stem == path.parent.name}
    for path in paths:
        is_song = path.parent in songs and path.stem == path.parent.name
        if not is_song and not songs.isdisjoint(path.parents):
            continue
        notes = _read_piano(path, on_error)
        if notes is None:
            continue
        name = path.parent if is_song else path.with_suffix("")
        piece = f"{source}/{name.relative_to(folder).as_posix()}"
        for _, clip in _clips(notes):
            clips.append(MoodPiece(clip, 0, 0, piece, source, _split_of(piece)))
            moods.append(predict_mood(clip))
    ranked_Nx2 = np.stack([ranks(axis) for axis in np.reshape(moods, (-1, 2)).T], 1)
    return [
        replace(clip, valence=valence, arousal=arousal)
        for clip, (valence, arousal) in zip(clips, ranked_Nx2.tolist(), strict=True)
    ]


def _read_piano(path: Path, on_error: Callable[[str], object]) -> Notes | None:
    try:
        notes = Notes.from_midi(path)
    except (OSError, ValueError) as error:
        on_error(str(error))
        return None
    notes = notes[~notes.is_drum]
    return replace(notes, program=np.zeros(len(notes)))


def _clips(notes: Notes) -> Iterator[tuple[float, Notes]]:
    """Yield the full clips of a piece, or all of a short one, and where they begin."""
    length_s = notes.offset_s.max() if len(notes) else 0.0
    for number in range(max(int(length_s / _CLIP_S), 1)):
        start_s = number * _CLIP_S
        clip = notes.clip(start_s, start_s + _CLIP_S).shift(-start_s)
        if len(clip) >= _LEAST_NOTES and np.ptp(clip.onset_s) > _CLIP_S / 4:
            yield start_s, clip


def _mean_ratings(
    annotations: dict[str, dict[str, list[float]]], piece: str, num_bars: int
) -> np.ndarray:
    """Return the mean valence and arousal of each bar [bars, 2]."""
    ratings = [
        np.stack([rating["valence"], rating["arousal"]], 1)
        for name, rating in annotations.items()
        if name.split("_")[0] == piece
        and len(rating["valence"]) == len(rating["arousal"]) == num_bars
    ]
    return np.mean(ratings, axis=0) if ratings else np.zeros((0, 2))


def _split_of(piece: str) -> str:
    """Draw a split by a piece's name: eight of ten for training, one each to test."""
    number = zlib.crc32(piece.encode()) % 10
    return "train" if number < 8 else SPLITS[number - 7]

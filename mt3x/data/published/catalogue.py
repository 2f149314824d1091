"""Data sets as their owners publish them: unpacked folders -> lists of pieces."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mt3x.data.published.datasets import Recording, read_maestro, read_maps
from mt3x.data.published.multitrack import (
    CERBERUS4_PROGRAMS,
    DRUMS,
    Cerberus4Source,
    SlakhSource,
    UrmpSource,
    read_slakh_metadata,
)
from mt3x.data.published.source import NotesSource, Source

# MT3's validation and test pieces (Gardner et al. 2022, appendix); MusicNet and URMP
# come with a test set or none.
MUSICNET_VALIDATION = frozenset(
    "1733 1765 1790 1818 2160 2198 2289 2300 2308 2315 2336 2466 2477 2504 2611".split()
)
MUSICNET_TEST = frozenset(
    "1729 1776 1813 1893 2118 2186 2296 2431 2432 2487 2497 2501 2507 2537 2621".split()
)
URMP_VALIDATION = frozenset("01 02 12 13 24 25 31 38 39".split())


def find_sources(name: str, folder: Path) -> list[Source]:
    """The pieces of a data set below the folder where it is unpacked, by id.

    Raises:
      ValueError: an unknown data set.
      FileNotFoundError: its files are not there; says what is expected.
    """
    if name not in FINDERS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(FINDERS)}")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; unpack {name} there")
    sources = sorted(FINDERS[name](folder), key=lambda source: source.id)
    if not sources:
        raise FileNotFoundError(f"{folder}: nothing of {name} in it; {EXPECTED[name]}")
    return sources


def _find_maestro(folder: Path) -> list[Source]:
    return [_from_recording(recording) for recording in read_maestro(folder)]


def _find_maps(folder: Path) -> list[Source]:
    """Two real pianos (ENSTDk*) are the test set, as everywhere since 2012."""
    sources = []
    for recording in read_maps(folder):
        piano = recording.name.rpartition("_")[2]
        split = "test" if piano.startswith("ENSTDk") else "train"
        sources.append(_from_recording(recording, split))
    return sources


def _from_recording(recording: Recording, split: str = "") -> Source:
    audio_path = recording.audio_path or recording.notes_path.with_suffix(".wav")
    return NotesSource(
        *(recording.name, split or recording.split),
        *(str(audio_path), str(recording.notes_path)),
    )


def _find_slakh(
    folder: Path, kind: type[SlakhSource] = SlakhSource
) -> list[SlakhSource]:
    sources = []
    for path in folder.glob("*/Track*/metadata.yaml"):
        if path.parent.parent.name in ("train", "validation", "test"):
            split, track = path.parent.parent.name, path.parent
            sources.append(kind(track.name, split, str(track)))
    return sources


def _find_cerberus4(folder: Path) -> list[Source]:
    sources = []
    for source in _find_slakh(folder, Cerberus4Source):
        stems = read_slakh_metadata(Path(source.folder) / "metadata.yaml").values()
        families = {DRUMS if s["is_drum"] else s.get("inst_class") for s in stems}
        if families >= CERBERUS4_PROGRAMS.keys():
            sources.append(source)
    return sources


def _find_musicnet(folder: Path, em: bool = False) -> list[Source]:
    sources: list[Source] = []
    for audio_path in folder.glob("t*_data/*.wav"):
        id = audio_path.stem
        labels = audio_path.parent.name.replace("_data", "_labels")
        notes_path = folder / labels / f"{id}.csv"
        if em:
            # Not every piece has been aligned anew.
            found = sorted(folder.glob(f"*em*/**/{id}*.mid"))
            if not found:
                continue
            notes_path = found[0]
        split = "train"
        if id in MUSICNET_VALIDATION:
            split = "validation"
        if id in MUSICNET_TEST:
            split = "test"
        sources.append(NotesSource(id, split, str(audio_path), str(notes_path)))
    return sources


def _find_musicnet_em(folder: Path) -> list[Source]:
    return _find_musicnet(folder, em=True)


def _find_guitarset(folder: Path) -> list[Source]:
    """The third progression of each style is for validation, as in MT3."""
    sources: list[Source] = []
    for notes_path in folder.glob("**/*.jams"):
        id = notes_path.stem  # 00_BN1-129-Eb_comp
        progression = re.fullmatch(r"\d+_[A-Za-z]+(\d)-.*", id)
        if progression is None:
            raise ValueError(f"{notes_path}: not the name of a file of GuitarSet")
        split = "validation" if progression[1] == "3" else "train"
        audio_path = folder / "audio_mono-mic" / f"{id}_mic.wav"
        sources.append(NotesSource(id, split, str(audio_path), str(notes_path)))
    return sources


def _find_urmp(folder: Path) -> list[Source]:
    sources: list[Source] = []
    for path in folder.glob("**/AuMix_*.wav"):
        id = path.parent.name
        split = "validation" if id[:2] in URMP_VALIDATION else "train"
        sources.append(UrmpSource(id, split, str(path.parent)))
    return sources


FINDERS: dict[str, Callable[[Path], Sequence[Source]]] = {
    "maestrov1": _find_maestro,
    "maestrov3": _find_maestro,
    "slakh": _find_slakh,
    "cerberus4": _find_cerberus4,
    "guitarset": _find_guitarset,
    "urmp": _find_urmp,
    "musicnet": _find_musicnet,
    "musicnet_em": _find_musicnet_em,
    "maps": _find_maps,
}
"""How each data set's pieces are found."""
_SLAKH_LAYOUT = "train/Track00001/metadata.yaml, mix.flac, stems/, MIDI/ are expected"
EXPECTED = {
    "maestrov1": "maestro-v1.0.0.csv or .json and the folders of years are expected",
    "maestrov3": "maestro-v3.0.0.csv or .json and the folders of years are expected",
    "slakh": _SLAKH_LAYOUT,
    "cerberus4": _SLAKH_LAYOUT,
    "guitarset": "annotation/*.jams and audio_mono-mic/*_mic.wav are expected",
    "urmp": "folders such as 01_Jupiter_vn_vc with AuMix_*.wav are expected",
    "musicnet": "train_data/*.wav, train_labels/*.csv, test_data, ... are expected",
    "musicnet_em": "MusicNet's folders and musicnet_em/*.mid are expected",
    "maps": "folders such as ENSTDkCl/MUS with MAPS_MUS-*.wav and .mid are expected",
}

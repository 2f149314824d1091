"""The known data sets: an unpacked folder -> a list of pieces."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mt3x.data.published.guitarset import find_guitarset
from mt3x.data.published.maestro import find_maestro
from mt3x.data.published.maps import find_maps
from mt3x.data.published.musicnet import find_musicnet, find_musicnet_em
from mt3x.data.published.slakh import find_cerberus4, find_slakh
from mt3x.data.published.source import Source
from mt3x.data.published.urmp import find_urmp


class Known(NamedTuple):
    """How the pieces of a data set are found, and the files that are expected."""

    find: Callable[[Path], Sequence[Source]]
    expected: str


_SLAKH_FILES = "train/Track00001/metadata.yaml, mix.flac, stems/, MIDI/"
DATA_SETS: Mapping[str, Known] = {
    "maestrov1": Known(
        find_maestro, "maestro-v1.0.0.csv or .json and the folders of years"
    ),
    "maestrov3": Known(
        find_maestro, "maestro-v3.0.0.csv or .json and the folders of years"
    ),
    "slakh": Known(find_slakh, _SLAKH_FILES),
    "cerberus4": Known(find_cerberus4, _SLAKH_FILES),
    "guitarset": Known(
        find_guitarset, "annotation/*.jams and audio_mono-mic/*_mic.wav"
    ),
    "urmp": Known(find_urmp, "folders such as 01_Jupiter_vn_vc with AuMix_*.wav"),
    "musicnet": Known(
        find_musicnet, "train_data/*.wav, train_labels/*.csv, test_data, ..."
    ),
    "musicnet_em": Known(find_musicnet_em, "MusicNet's folders and musicnet_em/*.mid"),
    "maps": Known(
        find_maps, "folders such as ENSTDkCl/MUS with MAPS_MUS-*.wav and .mid"
    ),
}


def find_sources(name: str, folder: Path) -> list[Source]:
    """Return the pieces of a data set below the folder where it is unpacked, by id.

    Raises:
      ValueError: an unknown data set.
      FileNotFoundError: its files are not there; says what is expected.
    """
    if name not in DATA_SETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATA_SETS)}")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; unpack {name} there")
    known = DATA_SETS[name]
    sources = sorted(known.find(folder), key=lambda source: source.id)
    if not sources:
        raise FileNotFoundError(
            f"{folder}: nothing of {name} in it; {known.expected} are expected"
        )
    return sources

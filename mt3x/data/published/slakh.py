"""Tracks on disk as Slakh2100 has them (Manilow et al. 2019, arXiv:1909.08494).

    Track00001/metadata.yaml  mix.flac  all_src.mid  MIDI/S00.mid  stems/S00.flac

Stems are brought to one loudness by ITU-R BS.1770-4, then all of them lowered so that
the mix, which is their sum, peaks at -1 dB. The keys of metadata.yaml are Slakh's.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from mt3x.data.published.loudness import integrated_loudness
from mt3x.music.instruments import FAMILY_NAMES, PROGRAM_NAMES
from mt3x.music.notes import Notes
from mt3x.music.samples import to_int16

LOUDNESS_LUFS = -13.0
PEAK_DB = -1.0
# Slakh's names of General MIDI's families where they differ, and its number of drums.
_SLAKH_FAMILIES = {"Ensemble": "Strings (continued)"}
_DRUM_PROGRAM = 128


@dataclass(frozen=True, eq=False)
class RenderedStem:
    """One instrument's part; without samples where nothing could play it."""

    notes: Notes
    program: int
    is_drum: bool
    plugin: str  # what played it
    samples_S: np.ndarray | None
    gain_db: float = 0.0  # above Slakh's common loudness


@dataclass(frozen=True)
class Origin:
    """The MIDI file that a track comes from."""

    path: str
    md5: str


def write_track(
    folder: Path, stems: Sequence[RenderedStem], sample_rate_hz: int, origin: Origin
) -> None:
    """Writes a track's folder, whole or not at all.

    Raises:
      ValueError: no stem can be heard.
      OSError: the folder exists, or can not be written.
    """
    loudness = [_loudness(stem, sample_rate_hz) for stem in stems]
    levelled = [
        _scaled(stem.samples_S, LOUDNESS_LUFS + stem.gain_db - lufs)
        for stem, lufs in zip(stems, loudness, strict=True)
        if stem.samples_S is not None and np.isfinite(lufs)
    ]
    if not levelled:
        raise ValueError("no instrument of it can be heard")
    peak = float(np.abs(np.sum(levelled, axis=0)).max())
    overall_gain = 10 ** (PEAK_DB / 20) / peak
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)  # of a run that was stopped
    (part / "stems").mkdir(parents=True)
    (part / "MIDI").mkdir()
    about, mix_S = {}, 0
    for index, (stem, lufs) in enumerate(zip(stems, loudness, strict=True)):
        name = f"S{index:02d}"
        stem.notes.to_midi(part / "MIDI" / f"{name}.mid")
        is_rendered = bool(np.isfinite(lufs))
        if is_rendered:
            samples_S = to_int16(overall_gain * levelled.pop(0))
            _write_flac(part / "stems" / f"{name}.flac", samples_S, sample_rate_hz)
            mix_S = mix_S + samples_S.astype(np.int32)
        about[name] = _about(stem, is_rendered)
    mix_S = np.clip(mix_S, -32768, 32767).astype(np.int16)
    _write_flac(part / "mix.flac", mix_S, sample_rate_hz)
    Notes.concatenate([stem.notes for stem in stems]).to_midi(part / "all_src.mid")
    _write_metadata(part / "metadata.yaml", about, overall_gain, origin)
    os.rename(part, folder)


def _loudness(stem: RenderedStem, sample_rate_hz: int) -> float:
    if stem.samples_S is None:
        return -np.inf
    return integrated_loudness(stem.samples_S, sample_rate_hz)


def _scaled(samples_S: np.ndarray, gain_db: float) -> np.ndarray:
    return samples_S.astype(np.float64) * 10 ** (gain_db / 20)


def _about(stem: RenderedStem, is_rendered: bool) -> dict:
    family = FAMILY_NAMES[stem.program // 8]
    family = "Drums" if stem.is_drum else _SLAKH_FAMILIES.get(family, family)
    about = {
        "audio_rendered": is_rendered,
        "inst_class": family,
        "is_drum": stem.is_drum,
        "midi_program_name": "Drums" if stem.is_drum else PROGRAM_NAMES[stem.program],
        "midi_saved": True,
        "plugin_name": stem.plugin if is_rendered else "None",
        "program_num": _DRUM_PROGRAM if stem.is_drum else stem.program,
    }
    if is_rendered:
        about["integrated_loudness"] = LOUDNESS_LUFS + stem.gain_db
    return about


def _write_metadata(
    path: Path, stems: dict[str, dict], overall_gain: float, origin: Origin
) -> None:
    import yaml

    metadata = {
        "UUID": origin.md5,
        "audio_dir": "stems",
        "lmd_midi_dir": origin.path,
        "midi_dir": "MIDI",
        "normalization_factor": LOUDNESS_LUFS,
        "normalized": True,
        "overall_gain": overall_gain,
        "stems": stems,
        "target_peak": PEAK_DB,
    }
    path.write_text(yaml.safe_dump(metadata, allow_unicode=True), encoding="utf-8")


def _write_flac(path: Path, samples_S: np.ndarray, sample_rate_hz: int) -> None:
    soundfile.write(path, samples_S, sample_rate_hz, format="FLAC", subtype="PCM_16")

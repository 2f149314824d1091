"""Multi-instrument training sets in Slakh2100's layout: songs played by soundfonts.

Songs are MIDI files as they are, or lead sheets that are arranged for a band. A track
is a function of the configuration, the bytes of its song and soundfonts, and its
number; it does not depend on the workers, or on when it is made.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mt3x.data.published.slakh import Origin, RenderedStem, write_track
from mt3x.data.synthesis.arrange import arrange
from mt3x.data.synthesis.band_plan import NUM_RENDERED, SynthConfig, Track, presets_of
from mt3x.data.synthesis.songs import nearest_groove, read_groove, read_lead_sheet
from mt3x.data.synthesis.soundfonts import DRUM_BANK
from mt3x.data.synthesis.synthesizer import PLAY_RATE_HZ, play
from mt3x.music.notes import Notes
from mt3x.music.samples import resample

_MIN_NOTES = 8
_MAX_PROGRAMS = 15  # melodic channels of a MIDI file
_GAP_S = 5  # between stems that are played in one go


class Outcome(NamedTuple):
    """What became of a track: seconds of audio, or why it was left out."""

    track: Track
    seconds: float
    problem: str


def render_all(
    tracks: Sequence[Track], config: SynthConfig, out: Path, workers: int
) -> Iterator[Outcome]:
    """Render the tracks that are not there yet, in any order.

    Raises:
      OSError: the disk is full, the synthesiser fails, ...
    """
    todo = [track for track in tracks if not track.folder(out).is_dir()]
    if workers == 1:
        for track in todo:
            yield render_track(track, config, out)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )
    try:
        futures = [pool.submit(render_track, track, config, out) for track in todo]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when its parent is killed; else it would wait for ever.

    An interrupt from the keyboard is the parent's alone: it lets tracks be finished.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def render_track(track: Track, config: SynthConfig, out: Path) -> Outcome:
    """Write one track's folder; what is wrong with its song is in the outcome."""
    rng = np.random.default_rng(track.seed)
    try:
        parts = _parts(track, config, rng)
        duration_s = min(config.seconds, max(_end_s(p) for p in parts) + 2.0)
        stems = _play(parts, track, config, rng, duration_s)
        origin = Origin(track.song.name, track.song.md5)
        write_track(track.folder(out), stems, config.sample_rate_hz, origin)
    except ValueError as error:
        return Outcome(track, 0.0, f"{track.name}: {track.song.name}: {error}")
    return Outcome(track, duration_s, "")


def _parts(track: Track, config: SynthConfig, rng: np.random.Generator) -> list[Notes]:
    """Return the notes of each stem."""
    if track.song.is_lead:
        lead = read_lead_sheet(track.song)
        programs = {p: int(rng.choice(config.programs[p])) for p in config.programs}
        semitones = rng.integers(-config.max_semitones, config.max_semitones + 1)
        groove = None
        if track.grooves:
            groove = read_groove(nearest_groove(track.grooves, lead.bpm, rng))
        band = arrange(lead, programs, rng, config.seconds, groove, int(semitones))
        parts = [notes for notes in band.values() if len(notes)]
    else:
        notes = _some(Notes.from_midi(track.song.path), config.seconds, rng)
        parts = _by_instrument(notes, track.soundfonts)
    if sum(len(notes) for notes in parts) < _MIN_NOTES:
        raise ValueError(f"less than {_MIN_NOTES} notes")
    return parts


def _some(notes: Notes, seconds: float, rng: np.random.Generator) -> Notes:
    """Return a random part, from just before one of the song's notes."""
    if not len(notes):
        return notes
    latest_s = float(notes.offset_s.max()) - seconds
    starts_s = notes.onset_s[notes.onset_s <= max(latest_s, notes.onset_s[0])]
    start_s = float(rng.choice(starts_s)) - 0.1
    return notes.clip(start_s, start_s + seconds).shift(-start_s)


def _by_instrument(notes: Notes, fonts: Sequence[Path]) -> list[Notes]:
    """Return the notes of each program, and of each drum kit that a soundfont has.

    The standard kit stands in for others, as in a synthesiser.
    """
    banks = frozenset().union(*map(presets_of, fonts))
    kits = [program for bank, program in banks if bank == DRUM_BANK]
    is_other = notes.is_drum & ~np.isin(notes.program, kits)
    notes = replace(notes, program=np.where(is_other, 0, notes.program))
    keys = notes.program + 128 * notes.is_drum
    return [notes[keys == key] for key in np.unique(keys)]


def _play(
    parts: list[Notes],
    track: Track,
    config: SynthConfig,
    rng: np.random.Generator,
    duration_s: float,
) -> list[RenderedStem]:
    """Play each part with a random one of the soundfonts that can."""
    chosen = [_soundfont(notes, track.soundfonts, rng) for notes in parts]
    gains_db = rng.uniform(-config.max_gain_db, config.max_gain_db, len(parts))
    samples: dict[int, np.ndarray] = {}
    for font in track.soundfonts:
        played = [index for index, own in enumerate(chosen) if own == font]
        for first in range(0, len(played), _MAX_PROGRAMS):
            some = played[first : first + _MAX_PROGRAMS]
            sounds = _play_in_turn([parts[i] for i in some], font, duration_s)
            samples.update(zip(some, sounds, strict=True))
    return [
        RenderedStem(
            notes=notes,
            program=int(notes.program[0]),
            is_drum=bool(notes.is_drum[0]),
            plugin=font.name if font else "None",
            samples_S=_resampled(samples.get(index), config.sample_rate_hz),
            gain_db=round(float(gains_db[index]), 2),
        )
        for index, (notes, font) in enumerate(zip(parts, chosen, strict=True))
    ]


def _play_in_turn(
    parts: list[Notes], font: Path, duration_s: float
) -> list[np.ndarray]:
    """Return each part's samples at PLAY_RATE_HZ, played in one go."""
    slot_s = int(np.ceil(duration_s)) + _GAP_S
    joined = Notes.concatenate([p.shift(i * slot_s) for i, p in enumerate(parts)])
    samples_S = play(joined, font)
    slot, length = slot_s * PLAY_RATE_HZ, round(duration_s * PLAY_RATE_HZ)
    missing = max(0, slot * len(parts) - len(samples_S))
    samples_S = np.pad(samples_S, (0, missing))
    return [samples_S[i * slot :][:length] for i in range(len(parts))]


def _resampled(samples_S: np.ndarray | None, rate_hz: int) -> np.ndarray | None:
    # Synthesisers have no low-pass: at a lower rate they would fold the treble back.
    return None if samples_S is None else resample(samples_S, PLAY_RATE_HZ, rate_hz)


def _soundfont(
    notes: Notes, fonts: Sequence[Path], rng: np.random.Generator
) -> Path | None:
    program, is_drum = int(notes.program[0]), bool(notes.is_drum[0])
    if program >= NUM_RENDERED and not is_drum:
        return None
    preset = (DRUM_BANK if is_drum else 0, program)
    able = [font for font in fonts if preset in presets_of(font)]
    return able[int(rng.integers(len(able)))] if able else None


def _end_s(notes: Notes) -> float:
    return float(notes.offset_s.max())

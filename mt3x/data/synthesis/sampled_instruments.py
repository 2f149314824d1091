"""Recorded instruments of all kinds: sample libraries, ready to play parts of a band.

A note's sample is cut at its attack, brought to a common level and to its velocity, and
faded where the note ends. Where the sample dies away before, the label ends there.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mt3x.data.synthesis.pianos import trim_attack, velocity_gain
from mt3x.data.synthesis.sample_files import open_sample
from mt3x.data.synthesis.sfz import key_of_name, read_regions
from mt3x.data.synthesis.spectmorph import read_samples
from mt3x.music.notes import Notes
from mt3x.music.samples import resample

__all__ = ["END_DB", "PlayConfig", "SampledInstrument", "audible_s", "read_instrument"]

# Played at twice the rate of corpora, since parts may be bent afterwards.
RATE_HZ = 32000
_MAX_NOTE_S = 8.0
END_DB = 10.0  # by which the release of a note has brought it down where it ends
_FADE_DB = 60.0  # at the end of a release
_SILENT = 0.02  # of a note's maximum: what is below is not heard as sounding
_FRAME_S = 0.02
_REACH = 3  # keys beyond the outer samples of a folder
_TUNING_SAMPLES = 16384  # of a recording, by which its tuning is measured
_SHORT_S = 2.0  # recordings that end before are held by their loops
# Levels of a kit's pieces in dB, by key; others are at -3.
_KIT_DB = {36: 0, 35: 0, 38: 0, 40: 0, 37: -6, 39: -6, 42: -10, 44: -13, 46: -8}
_KIT_DB |= {51: -9, 53: -8, 59: -9, 49: -4, 52: -5, 55: -6, 57: -4}


@dataclass(frozen=True)
class Take:
    """One recording of an instrument, and the keys and velocities that it serves."""

    path: Path
    keys: tuple[int, int]
    velocities: tuple[int, int]
    center: float  # MIDI pitch at which it sounds as recorded
    skip_samples: int = 0
    num_samples: int | None = None  # after these; None: all that there are
    loop: tuple[int, int] | None = None  # samples that are played to and fro


@dataclass(frozen=True)
class PlayConfig:
    """How a part is played on a sampled instrument."""

    release_s: float = 0.12  # fade by `_FADE_DB` after a note's end
    gamma: float = 1.5  # exponent of the velocity curve
    note_level_db: float = 1.5  # standard deviation of the levels of notes
    tilt_db: float = 0.0  # level of the highest key over the lowest
    legato_prob: float = 0.5  # share of slurred notes among those that touch
    tuning_cents: float = 0.0


@dataclass(eq=False)
class SampledInstrument:
    """Takes of an instrument or a drum kit; each microphone has its own list."""

    name: str
    microphones: Sequence[Sequence[Take]]
    is_kit: bool = False
    _decoded: dict[tuple[Path, int], tuple[np.ndarray, int]] = field(
        default_factory=dict, init=False
    )
    _played: dict[tuple[int, int, int], np.ndarray] = field(
        default_factory=dict, init=False
    )

    @property
    def keys(self) -> tuple[int, int]:
        """The lowest and the highest key that it has."""
        takes = self.microphones[0]
        return min(t.keys[0] for t in takes), max(t.keys[1] for t in takes)

    def note(self, key: int, velocity: int, take: int) -> np.ndarray:
        """Return the sound of a held key at `RATE_HZ`, of level 1, from its attack.

        Raises:
          ValueError: it has no such key, or its recording is silent.
        """
        chosen = [self._choose(takes, key, velocity) for takes in self.microphones]
        number = take % max(len(takes) for takes in chosen)
        found = key, hash(tuple(chosen[0])), number
        if found not in self._played:
            parts = [self._read(takes[number % len(takes)], key) for takes in chosen]
            sum_S = np.zeros(max(map(len, parts)), np.float32)
            for part_S in parts:
                sum_S[: len(part_S)] += part_S
            sum_S = trim_attack(sum_S, RATE_HZ)
            self._played[found] = sum_S / np.float32(_level(sum_S, self.is_kit))
        return self._played[found]

    def play(
        self, notes: Notes, rng: np.random.Generator, config: PlayConfig
    ) -> tuple[np.ndarray, Notes]:
        """Play a part.

        Args:
          notes: those off the instrument's keys are left out.
          rng: chooses takes and levels.
          config: how.

        Returns:
          float32 samples_S at `RATE_HZ`, and the notes as they sound: they end where
          the release has brought them down by `END_DB`, or where they have died away
          before.
        """
        low, high = self.keys
        notes = notes[(notes.pitch >= low) & (notes.pitch <= high)]
        end_s = float(notes.offset_s.max(initial=0.0)) + 2.0
        samples_S = np.zeros(int(end_s * RATE_HZ), np.float32)
        piece_db = rng.normal(0, 2.5, 128)
        offset_s, kept = notes.offset_s.copy(), np.ones(len(notes), bool)
        before_s = np.concatenate([[-1.0], np.maximum.accumulate(notes.offset_s)[:-1]])
        for n in range(len(notes)):
            key, velocity = int(notes.pitch[n]), int(notes.velocity[n])
            try:
                sound_S = self.note(key, velocity, int(rng.integers(1 << 16)))
            except ValueError:
                kept[n] = False
                continue
            sound_S = self._shifted(sound_S, config.tuning_cents)
            length_s = notes.offset_s[n] - notes.onset_s[n]
            touches = abs(notes.onset_s[n] - before_s[n]) < 0.06
            if not self.is_kit:
                released_s = length_s + config.release_s * END_DB / _FADE_DB
                heard_s = min(released_s, audible_s(sound_S))
                offset_s[n] = notes.onset_s[n] + heard_s
                if touches and rng.random() < config.legato_prob:
                    sound_S = _slurred(sound_S, rng)
                sound_S = _ended(sound_S, length_s, config.release_s)
            level_db = rng.normal(0, config.note_level_db)
            level_db += config.tilt_db * (key - low) / max(high - low, 1)
            if self.is_kit:
                level_db += _KIT_DB.get(key, -3) + piece_db[key]
            gain = velocity_gain(velocity, config.gamma) * 10 ** (level_db / 20)
            start = int(notes.onset_s[n] * RATE_HZ)
            sound_S = sound_S[: max(len(samples_S) - start, 0)]
            samples_S[start : start + len(sound_S)] += sound_S * np.float32(gain)
        return samples_S, replace(notes, offset_s=offset_s)[kept]

    def _choose(self, takes: Sequence[Take], key: int, velocity: int) -> list[Take]:
        """Return the takes of a key's nearest layer, one for each round robin."""
        if self.is_kit:
            near = [take for take in takes if take.keys[0] <= key <= take.keys[1]]
        else:
            distance = min(_outside(key, take.keys) for take in takes)
            near = [t for t in takes if _outside(key, t.keys) == distance]
        if not near:
            raise ValueError(f"{self.name} has no key {key}")
        layer = min(_outside(velocity, take.velocities) for take in near)
        return [t for t in near if _outside(velocity, t.velocities) == layer]

    def _read(self, take: Take, key: int) -> np.ndarray:
        place = take.path, take.skip_samples
        if place not in self._decoded:
            with open_sample(take.path) as file:
                file.seek(min(take.skip_samples, file.frames))
                frames = int((_MAX_NOTE_S + 1) * file.samplerate)
                num = frames if take.num_samples is None else take.num_samples
                samples_SxC = file.read(num, dtype="float32", always_2d=True)
                samples_S = samples_SxC.mean(axis=1)
                if take.loop is not None:
                    samples_S = _held(samples_S, take.loop, frames)
                self._decoded[place] = samples_S, file.samplerate
        samples_S, rate_hz = self._decoded[place]
        semitones = 0.0 if self.is_kit else key - take.center
        shifted_S = resample(samples_S, rate_hz * 2 ** (semitones / 12), RATE_HZ, "MQ")
        return shifted_S[: int(_MAX_NOTE_S * RATE_HZ)]

    def _shifted(self, sound_S: np.ndarray, cents: float) -> np.ndarray:
        if not cents:
            return sound_S
        place = np.arange(int(len(sound_S) / 2 ** (cents / 1200)))
        place = place * 2 ** (cents / 1200)
        return np.interp(place, np.arange(len(sound_S)), sound_S).astype(np.float32)


def read_instrument(
    path: Path,
    match: Sequence[str] = ("",),
    exclude: str = "",
    samples: Path | None = None,
    is_kit: bool = False,
    transpose: int = 0,
) -> SampledInstrument:
    """Read an instrument from an SFZ file, SpectMorph's XML, or a folder of samples.

    Samples of a folder are named by their pitches, as `As3.mp3` for A#3, and serve the
    keys around, as SpectMorph's do, whose tuning is measured. Of an SFZ file, regions
    of every controller setting are read; release and legato samples, volumes,
    envelopes, loops and effects are left out.

    Args:
      path: the .sfz or .xml file, or the folder.
      match: patterns of sample paths, one for each microphone; their sum is heard.
      exclude: a pattern of samples to leave out, such as noises.
      samples: the folder of the samples; by default the file's own.
      is_kit: whether keys are drums, which are not shifted in pitch.
      transpose: by how much the file's keys sound higher than they say.

    Raises:
      ValueError: a microphone has no samples.
      FileNotFoundError: the file or a sample is missing.
    """
    if path.is_dir():
        return SampledInstrument(path.name, [_named_takes(path, exclude)])
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such instrument; download it first")
    if path.suffix == ".xml":
        return SampledInstrument(path.parent.name, [_spectmorph_takes(path)])
    folder = samples or path.parent
    takes: dict[str, list[Take]] = {pattern: [] for pattern in match}
    for opcodes in read_regions(path):
        sample = opcodes.get("sample", "")
        if not sample or sample.startswith("*"):
            continue
        if opcodes.get("trigger", "attack") != "attack":
            continue
        name = (opcodes.get("default_path", "") + sample).replace("\\", "/")
        for pattern, found in takes.items():
            if re.search(pattern, name) and not (exclude and re.search(exclude, name)):
                take = _take_of(folder / name, opcodes, transpose)
                if not take.path.is_file():
                    raise FileNotFoundError(f"{take.path}: a sample of {path.name}")
                if take not in found:
                    found.append(take)
    for pattern, found in takes.items():
        if not found:
            raise ValueError(f"{path}: no sample matches {pattern!r}")
    return SampledInstrument(path.stem, list(takes.values()), is_kit)


def audible_s(sound_S: np.ndarray, sample_rate_hz: int = RATE_HZ) -> float:
    """Return for how long a held note is heard: until it stays below 2 % of its top."""
    width = int(_FRAME_S * sample_rate_hz)
    num = len(sound_S) // width
    if num < 1:
        return len(sound_S) / sample_rate_hz
    peak_K = np.abs(sound_S[: num * width]).reshape(num, width).max(axis=1)
    loud = np.flatnonzero(peak_K > _SILENT * peak_K.max())
    return (int(loud[-1]) + 1) * width / sample_rate_hz if len(loud) else 0.0


def _named_takes(folder: Path, exclude: str) -> list[Take]:
    """Return a take for each sample of a folder."""
    found = {
        key_of_name(path.stem.replace("s", "#")): path
        for path in sorted(folder.iterdir())
        if re.fullmatch(r"[A-G]s?\d", path.stem)
        and not (exclude and re.search(exclude, path.stem))
    }
    if not found:
        raise ValueError(f"{folder}: no samples with names such as As3.mp3")
    keys = _keys_around(found)
    return [Take(found[key], keys[key], (1, 127), key) for key in sorted(found)]


def _spectmorph_takes(path: Path) -> list[Take]:
    """Return the takes of SpectMorph's instrument; short ones are held by loops."""
    samples = list(read_samples(path))
    keys = _keys_around({sample.key for sample in samples})
    takes = []
    for sample in samples:
        with open_sample(sample.path) as file:
            rate_hz, length_s = file.samplerate, file.frames / file.samplerate
            begin, end = (round(min(t, length_s) * rate_hz) for t in sample.clip_s)
            file.seek(begin + (end - begin) // 4)
            middle_SxC = file.read(_TUNING_SAMPLES, always_2d=True)
        loop = None
        if sample.loop_s is not None and end - begin < _SHORT_S * rate_hz:
            first, last = (round(t * rate_hz) - begin for t in sample.loop_s)
            loop = first, last
        center = sounding_pitch(middle_SxC.mean(axis=1), rate_hz, sample.key)
        span, num = keys[sample.key], end - begin
        takes.append(Take(sample.path, span, (1, 127), center, begin, num, loop))
    return takes


def sounding_pitch(samples_S: np.ndarray, sample_rate_hz: int, key: int) -> float:
    """Return the pitch of a note, at most 2.5 semitones from its key.

    That of the period at which the sound is most like itself.
    """
    window_S = np.hanning(len(samples_S))
    size = 4 * len(samples_S)
    alike_L = np.fft.irfft(np.abs(np.fft.rfft(samples_S * window_S, size)) ** 2)
    alike_L[: len(samples_S)] /= np.maximum(
        np.fft.irfft(np.abs(np.fft.rfft(window_S, size)) ** 2)[: len(samples_S)], 1e-9
    )
    period = sample_rate_hz / (440 * 2 ** ((key - 69) / 12))
    reach = 2 ** (2.5 / 12)
    lags = np.arange(int(period / reach), min(int(period * reach) + 2, len(samples_S)))
    best = lags[alike_L[lags].argmax()]
    before, here, after = alike_L[best - 1 : best + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return key - 12 * float(np.log2((best + np.clip(shift, -0.5, 0.5)) / period))


def _keys_around(keys: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return the keys that each sample serves; the outer ones reach further out."""
    ordered = sorted(keys)
    edges = [(a + b) // 2 for a, b in itertools.pairwise(ordered)]
    lows = [ordered[0] - _REACH, *(edge + 1 for edge in edges)]
    highs = [*edges, ordered[-1] + _REACH]
    return dict(zip(ordered, zip(lows, highs, strict=True), strict=True))


def _held(samples_S: np.ndarray, loop: tuple[int, int], num: int) -> np.ndarray:
    """Return `num` samples: up to the loop's end, then the loop to and fro."""
    first, last = loop
    there_S = samples_S[first:last]
    round_S = np.concatenate([there_S[::-1], there_S])
    times = -(-max(num - last, 0) // max(len(round_S), 1))
    return np.concatenate([samples_S[:last], np.tile(round_S, times)])[:num]


def _take_of(path: Path, opcodes: dict[str, str], transpose: int) -> Take:
    key = opcodes.get("key")
    low = key_of_name(opcodes.get("lokey", key or "0")) + transpose
    high = key_of_name(opcodes.get("hikey", key or "127")) + transpose
    center = key_of_name(opcodes.get("pitch_keycenter", key or "60")) + transpose
    tune = float(opcodes.get("tune", 0)) / 100 + float(opcodes.get("transpose", 0))
    velocities = int(opcodes.get("lovel", 1)), int(opcodes.get("hivel", 127))
    offset = int(opcodes.get("offset", 0))
    return Take(path, (low, high), velocities, center - tune, offset)


def _level(sound_S: np.ndarray, is_kit: bool) -> float:
    """Return what a note's level is taken to be: of drums the peak, else an RMS."""
    if is_kit:
        return max(2 * float(np.abs(sound_S).max()), 1e-6)
    head_S = sound_S[: int(0.4 * RATE_HZ)]
    return max(8 * float(np.sqrt(np.mean(np.square(head_S)))), 1e-6)


def _ended(sound_S: np.ndarray, length_s: float, release_s: float) -> np.ndarray:
    """Fade a held note by `_FADE_DB` from its end on."""
    length, fade = int(length_s * RATE_HZ), max(int(release_s * RATE_HZ), 2)
    ended_S = sound_S[: length + fade].copy()
    tail_db_S = -_FADE_DB * np.arange(max(len(ended_S) - length, 0)) / fade
    tail_S = 10 ** (tail_db_S / 20)
    ended_S[length:] *= tail_S.astype(np.float32)
    return ended_S


def _slurred(sound_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a note without its attack, as within a slur."""
    skip = int(rng.uniform(0.04, 0.12) * RATE_HZ)
    if len(sound_S) < 3 * skip:
        return sound_S
    slurred_S = sound_S[skip:].copy()
    rise = int(rng.uniform(0.008, 0.025) * RATE_HZ)
    slurred_S[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    return slurred_S


def _outside(value: int, bounds: tuple[int, int]) -> int:
    return max(bounds[0] - value, value - bounds[1], 0)

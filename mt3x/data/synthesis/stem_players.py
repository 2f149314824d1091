"""Who plays a stem: recorded instruments, General MIDI soundfonts, and singers.

The label follows the sound. A note begins where it reaches a tenth of its level, which
slow instruments of soundfonts do late, and ends where its release has brought it to a
third (`END_DB`), or where it has died away before: models that learn ends at a tenth
hear them late in rooms. Soundfonts are measured once for each instrument.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mt3x.data.synthesis.arrange import fit_range, pitch_range
from mt3x.data.synthesis.expression import (
    ExpressionConfig,
    SwellConfig,
    bend,
    pitch_curve,
    swell,
)
from mt3x.data.synthesis.sampled_instruments import (
    END_DB,
    RATE_HZ,
    PlayConfig,
    SampledInstrument,
    audible_s,
    read_instrument,
)
from mt3x.data.synthesis.singer import KEYS as SUNG_KEYS
from mt3x.data.synthesis.singer import sing
from mt3x.data.synthesis.soundfonts import DRUM_BANK, read_presets
from mt3x.data.synthesis.speech import read_syllables
from mt3x.data.synthesis.synthesizer import PLAY_RATE_HZ, play
from mt3x.music.instrument_classes import (
    CLASS_OF_PROGRAM,
    CLASSES,
    DRUM_CLASS_OF_KEY,
)
from mt3x.music.notes import Notes
from mt3x.music.samples import resample

STEM_RATE_HZ = 16000  # the singers', too
_RECORDED_PROB = 0.6  # how often a recorded instrument plays where there is one
_ATTACK_LEVEL, _ATTACK_WITHIN_S, _MAX_DELAY_S = 0.1, 0.6, 0.15
_END_LEVEL = 10 ** (-END_DB / 20)
_PROBE_S, _PROBE_REST_S = 2.8, 0.8
_MAX_RELEASE_S = 0.2
_EXPRESSIVE = {
    "violin and viola",
    "cello and double bass",
    "trumpet",
    "trombone and tuba",
    "horn",
    "saxophone",
    "oboe and English horn",
    "clarinet",
    "bassoon",
    "flutes",
    "voice",
    "synth lead",
    "distorted guitar",
    "accordion and harmonica",
}
"""Classes of instruments that play with vibrato or slides."""
_SWELLING = _EXPRESSIVE - {"distorted guitar"} | {"string ensemble"}
"""Classes of instruments that swell and fade within a note."""
_SWELL_PROB = 0.5


@dataclass(frozen=True)
class Sound:
    """Where an instrument of a recipe comes from."""

    # .sfz, .sf2 or .sf3 file, or folder of samples, below the folder of sounds;
    # flite:VOICE is sung by a voice that speaks.
    path: str
    # Program of a recorded instrument; drums: -1. Soundfonts have all programs.
    program: int = 0
    # Of an SFZ instrument: patterns of sample paths, one for each microphone, and one
    # of samples to leave out.
    match: tuple[str, ...] = ("",)
    exclude: str = ""
    samples: str = ""  # the samples' folder, where it is not the file's
    transpose: int = 0  # semitones by which its keys sound higher than they say
    release_s: float = 0.12
    share: float = 1.0  # how often it plays, relative to others of its class

    @property
    def is_soundfont(self) -> bool:
        return self.path.lower().endswith((".sf2", ".sf3"))

    @property
    def voice(self) -> str | None:
        """The voice of flite that sings, if one does."""
        kind, _, voice = self.path.partition(":")
        return voice if kind == "flite" else None

    @property
    def is_kit(self) -> bool:
        return self.program < 0


class Played(NamedTuple):
    """A stem."""

    samples_S: np.ndarray  # float32 at 16 kHz
    notes: Notes  # as they sound
    program: int
    sound: str


class StemPlayer:
    """The sounds of a recipe."""

    def __init__(self, folder: Path, sounds: Mapping[str, Sound]) -> None:
        self._folder = folder
        self._fonts = {n: s for n, s in sounds.items() if s.is_soundfont}
        self._recorded = {n: s for n, s in sounds.items() if not s.is_soundfont}

    def play(
        self, notes: Notes, program: int, is_drum: bool, rng: np.random.Generator
    ) -> Played | None:
        """Play a part on an instrument of its program's class.

        Args:
          notes: of one part.
          program: asked for; the instrument that plays decides the stem's.
          is_drum: whether keys are drums.
          rng: decides everything.

        Returns:
          The stem; None where no sound can play it.
        """
        name = self._choose(program, is_drum, rng)
        if name is None:
            return None
        if name in self._fonts:
            return self._play_font(name, notes, program, is_drum, rng)
        if (voice := self._recorded[name].voice) is not None:
            program = self._recorded[name].program
            return Played(*_sung(voice, notes, rng), program, name)
        return self._play_recorded(name, notes, rng)

    def _choose(
        self, program: int, is_drum: bool, rng: np.random.Generator
    ) -> str | None:
        wanted = CLASS_OF_PROGRAM[program]
        recorded = {
            name: sound.share
            for name, sound in self._recorded.items()
            if sound.is_kit == is_drum
            and (is_drum or CLASS_OF_PROGRAM[sound.program] == wanted)
        }
        fonts = {name: sound.share for name, sound in self._fonts.items()}
        chosen = recorded if rng.random() < _RECORDED_PROB else fonts
        chosen = chosen or fonts or recorded
        if not chosen:
            return None
        chances = np.array(list(chosen.values()))
        return str(rng.choice(list(chosen), p=chances / chances.sum()))

    def _play_recorded(
        self, name: str, notes: Notes, rng: np.random.Generator
    ) -> Played | None:
        sound = self._recorded[name]
        instrument = self._instrument(name)
        config = PlayConfig(
            release_s=sound.release_s * float(np.exp(rng.uniform(-0.5, 0.5))),
            gamma=float(rng.uniform(0.8, 2.2)),
            note_level_db=float(rng.uniform(0.3, 2.5)),
            tilt_db=0.0 if sound.is_kit else float(rng.normal(0, 4)),
            legato_prob=float(rng.uniform(0, 0.8)),
            tuning_cents=float(rng.uniform(-12, 12)),
        )
        if not sound.is_kit:
            low, high = instrument.keys
            own_low, own_high = pitch_range(sound.program)
            notes = fit_range(notes, max(low, own_low - 5), min(high, own_high + 5))
        samples_S, notes = instrument.play(notes, rng, config)
        program = max(sound.program, 0)
        if not sound.is_kit:
            samples_S, notes = _expressed(samples_S, notes, program, RATE_HZ, 0.4, rng)
        samples_S = resample(samples_S, RATE_HZ, STEM_RATE_HZ)
        return Played(samples_S, notes, program, name)

    def _play_font(
        self,
        name: str,
        notes: Notes,
        program: int,
        is_drum: bool,
        rng: np.random.Generator,
    ) -> Played | None:
        path = self._folder / self._fonts[name].path
        if is_drum:
            kits = [p for bank, p in read_presets(path) if bank == DRUM_BANK]
            if not kits:
                return None
            program = int(rng.choice(kits))
            notes = notes[DRUM_CLASS_OF_KEY[notes.pitch] >= 0]
            notes = replace(notes, is_drum=np.ones(len(notes), bool))
        else:
            notes = replace(notes, is_drum=np.zeros(len(notes), bool))
        notes = replace(notes, program=np.full(len(notes), program))
        if not len(notes):
            return None
        samples_S = play(notes, path)
        if not is_drum:
            notes = _as_it_sounds(notes, _probe(path, program))
            samples_S, notes = _expressed(
                samples_S, notes, program, PLAY_RATE_HZ, 0.75, rng
            )
        samples_S = resample(samples_S, PLAY_RATE_HZ, STEM_RATE_HZ)
        return Played(samples_S, notes, 0 if is_drum else program, name)

    @functools.lru_cache(maxsize=4)  # noqa: B019  one player lives as long as a process
    def _instrument(self, name: str) -> SampledInstrument:
        sound = self._recorded[name]
        samples = self._folder / sound.samples if sound.samples else None
        path = self._folder / sound.path
        return read_instrument(
            path, sound.match, sound.exclude, samples, sound.is_kit, sound.transpose
        )


def _sung(
    voice: str, notes: Notes, rng: np.random.Generator
) -> tuple[np.ndarray, Notes]:
    octave = -12 if rng.random() < 0.4 else 0  # men sing lower than it is written
    notes = fit_range(notes.transposed(octave), *SUNG_KEYS)
    return sing(notes, read_syllables(voice), rng)


class Probe(NamedTuple):
    """How an instrument of a soundfont begins, dies away and ends, by key."""

    key_K: np.ndarray
    delay_s: np.ndarray  # from the onset to a tenth of the level
    audible_s: np.ndarray  # of a held note; inf where it stays
    release_s: np.ndarray  # from a note's end to `_END_LEVEL`


def _as_it_sounds(notes: Notes, probe: Probe) -> Notes:
    """Move labels to where the sound is."""
    delay_s = np.interp(notes.pitch, probe.key_K, probe.delay_s)
    nearest = np.abs(notes.pitch[:, None] - probe.key_K).argmin(axis=1)
    onset_s = notes.onset_s + delay_s
    released_s = notes.offset_s + probe.release_s[nearest]
    offset_s = np.minimum(released_s, notes.onset_s + probe.audible_s[nearest])
    return replace(
        notes, onset_s=onset_s, offset_s=np.maximum(offset_s, onset_s + 0.05)
    )


@functools.lru_cache(maxsize=512)
def _probe(font: Path, program: int) -> Probe:
    """Measure an instrument of a soundfont, at two velocities every few keys."""
    low, high = pitch_range(program)
    keys = np.unique(np.linspace(low, high, 7).round().astype(int))
    pitch, velocity = (a.ravel() for a in np.meshgrid(keys, [50, 100], indexing="ij"))
    onset_s = 0.2 + (_PROBE_S + _PROBE_REST_S) * np.arange(len(pitch))
    program_N = np.full(len(pitch), program)
    notes = Notes(onset_s, onset_s + _PROBE_S, pitch, velocity, program_N)
    samples_S = np.abs(play(notes, font))
    measured = [_measure(samples_S[int(t * PLAY_RATE_HZ) :]) for t in onset_s]
    delay_s, heard_s, release_s = np.reshape(measured, (len(keys), 2, 3)).transpose(
        2, 0, 1
    )
    return Probe(
        keys, delay_s.mean(axis=1), heard_s.max(axis=1), release_s.mean(axis=1)
    )


def _measure(level_S: np.ndarray) -> tuple[float, float, float]:
    """Return delay, audible length and release of a probe that begins at sample 0."""
    hold = int(_PROBE_S * PLAY_RATE_HZ)
    width = PLAY_RATE_HZ // 500

    def peaks(part_S: np.ndarray) -> np.ndarray:
        return part_S[: len(part_S) // width * width].reshape(-1, width).max(axis=1)

    head_K = peaks(level_S[: int(_ATTACK_WITHIN_S * PLAY_RATE_HZ)])
    delay_s = np.argmax(head_K >= _ATTACK_LEVEL * head_K.max()) * width / PLAY_RATE_HZ
    heard_s = audible_s(level_S[:hold], PLAY_RATE_HZ)
    if heard_s < _PROBE_S - 0.2:
        return min(delay_s, _MAX_DELAY_S), heard_s, 0.0
    top = level_S[hold - PLAY_RATE_HZ // 20 : hold].max()
    tail_K = peaks(level_S[hold : hold + int(_MAX_RELEASE_S * PLAY_RATE_HZ)])
    loud = np.flatnonzero(tail_K > _END_LEVEL * top)
    release_s = (loud[-1] + 1) * width / PLAY_RATE_HZ if len(loud) else 0.0
    return min(delay_s, _MAX_DELAY_S), np.inf, release_s


def _expressed(
    samples_S: np.ndarray,
    notes: Notes,
    program: int,
    rate_hz: int,
    prob: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, Notes]:
    """Add swells, vibrato and slides to parts of instruments that have them."""
    name = CLASSES[CLASS_OF_PROGRAM[program]].name
    if not len(notes):
        return samples_S, notes
    if name in _SWELLING and rng.random() < _SWELL_PROB:
        swells = SwellConfig(
            swell_prob=float(rng.uniform(0, 1)), fade_prob=float(rng.uniform(0, 1))
        )
        samples_S, notes = swell(samples_S, notes, rate_hz, rng, swells, END_DB)
    if name not in _EXPRESSIVE or rng.random() >= prob:
        return samples_S, notes
    config = ExpressionConfig(vibrato_prob=float(rng.uniform(0, 1)))
    if name == "voice":
        config = replace(
            config, vibrato_cents=(15.0, 110.0), scoop_prob=0.5, scoop_cents=(30, 250)
        )
    num = int(len(samples_S) / rate_hz * 1000) + 1
    cents_T = pitch_curve(notes, num, rng, config)
    # Its mean is taken off: a part must not run away from the others.
    return bend(samples_S, notes, cents_T - cents_T.mean(), rate_hz)

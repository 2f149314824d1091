"""What a band model says of a recording, frame by frame: `BandRolls`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mt3x.music.instrument_classes import CLASSES, DRUM_CLASSES
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES, Rolls

BAND_NAMES = (*ROLL_NAMES, "classes", "timbre", "drums", "drum_velocity")
"""The arrays by their names in a model's prediction and in files."""
NUM_KEY_COLUMNS = len(ROLL_NAMES) + len(CLASSES)
NUM_STEP_COLUMNS = 2 * len(DRUM_CLASSES)


def num_columns(drum_steps: int) -> int:
    """Return the numbers in a row of `BandRolls.columns`."""
    return NUM_PITCHES * NUM_KEY_COLUMNS + drum_steps * NUM_STEP_COLUMNS


@dataclass(frozen=True)
class BandRolls:
    """Rolls of all pitched instruments together, who plays, and the drums.

    Frames are those of the rolls; drums have several steps in each, the first of them
    centred where the frame is.
    """

    rolls: Rolls
    classes_TxPxK: np.ndarray  # log probabilities of CLASSES
    timbre_TxPxE: np.ndarray  # unit vectors, alike where one instrument plays
    drums_UxD: np.ndarray  # onset probabilities of DRUM_CLASSES
    drum_velocity_UxD: np.ndarray  # velocity / 128
    drum_rate_hz: float  # steps per second

    def __post_init__(self) -> None:
        num_frames, num_steps = self.num_frames, self.num_frames * self.drum_steps
        expected = {
            "classes": (num_frames, NUM_PITCHES, len(CLASSES)),
            "timbre": (num_frames, NUM_PITCHES, *self.timbre_TxPxE.shape[2:3]),
            "drums": (num_steps, len(DRUM_CLASSES)),
            "drum_velocity": (num_steps, len(DRUM_CLASSES)),
        }
        for name, shape in expected.items():
            found = self.by_name()[name].shape
            if found != shape:
                raise ValueError(f"{name} has shape {found}: make it {shape}")

    @classmethod
    def from_names(
        cls, arrays: Mapping[str, np.ndarray], frame_rate_hz: float, drum_rate_hz: float
    ) -> "BandRolls":
        """Take arrays by `BAND_NAMES`."""
        rolls = Rolls.from_names(arrays, frame_rate_hz)
        rest = (arrays[name] for name in BAND_NAMES[len(ROLL_NAMES) :])
        return cls(rolls, *rest, drum_rate_hz=drum_rate_hz)

    def at_rate(self, ratio: float) -> "BandRolls":
        """Return the same rows at so many times as many frames per second."""
        rolls, drum_rate_hz = self.rolls.at_rate(ratio), self.drum_rate_hz * ratio
        return replace(self, rolls=rolls, drum_rate_hz=drum_rate_hz)

    def by_name(self) -> dict[str, np.ndarray]:
        """Return the arrays by `BAND_NAMES`."""
        return {
            **self.rolls.by_name(),
            "classes": self.classes_TxPxK,
            "timbre": self.timbre_TxPxE,
            "drums": self.drums_UxD,
            "drum_velocity": self.drum_velocity_UxD,
        }

    @property
    def num_frames(self) -> int:
        return self.rolls.num_frames

    @property
    def frame_rate_hz(self) -> float:
        return self.rolls.frame_rate_hz

    @property
    def drum_steps(self) -> int:
        """Steps of drums in a frame."""
        return round(self.drum_rate_hz / self.frame_rate_hz)

    def columns(self) -> np.ndarray:
        """Return all but the timbres in a row for each frame: TxH, float16.

        `NUM_KEY_COLUMNS` for each key, the rolls' and the classes' probabilities, then
        `NUM_STEP_COLUMNS` for each of the drums' steps, probabilities and velocities.
        """
        rolls = [roll_TxP[..., None] for roll_TxP in self.rolls.by_name().values()]
        keys_TxPxC = np.concatenate([*rolls, np.exp(self.classes_TxPxK)], axis=-1)
        steps_UxC = np.concatenate([self.drums_UxD, self.drum_velocity_UxD], axis=-1)
        parts = (
            array.reshape(self.num_frames, -1) for array in (keys_TxPxC, steps_UxC)
        )
        return np.concatenate([*parts], axis=-1).astype(np.float16)

    def __getitem__(self, frames: slice) -> "BandRolls":
        """Return some consecutive frames."""
        begin, end, _ = frames.indices(self.num_frames)
        steps = self.drum_steps
        some = {
            name: array[begin * steps : end * steps]
            if name.startswith("drum")
            else array[begin:end]
            for name, array in self.by_name().items()
        }
        return BandRolls.from_names(some, self.frame_rate_hz, self.drum_rate_hz)

    @staticmethod
    def concatenate(blocks: "Sequence[BandRolls]") -> "BandRolls":
        """Join blocks of one frame rate in time."""
        parts = [block.by_name() for block in blocks]
        whole = {name: np.concatenate([p[name] for p in parts]) for name in BAND_NAMES}
        return BandRolls.from_names(
            whole, blocks[0].frame_rate_hz, blocks[0].drum_rate_hz
        )

"""Piano rolls: onset, frame, offset and velocity over 88 keys, drawn from notes.

A roll has one row per frame (frame `t` is centred on `t / frame_rate_hz` seconds) and
one column per piano key, from A0 (MIDI 21) to C8 (MIDI 108).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mt3x.music.notes import Notes
from mt3x.music.options import check_fields

LOWEST_PITCH = 21
NUM_PITCHES = 88
ROLL_NAMES = ("onset", "frame", "offset", "velocity")
"""The rolls in their order: of heads, of batches, of a task's targets."""


@dataclass(frozen=True)
class Rolls:
    """Four arrays of one shape TxP; velocity is MIDI velocity / 128."""

    onset_TxP: np.ndarray
    frame_TxP: np.ndarray
    offset_TxP: np.ndarray
    velocity_TxP: np.ndarray
    frame_rate_hz: float = 50.0

    def __post_init__(self) -> None:
        shapes = {name: array.shape for name, array in self.by_name().items()}
        if len(set(shapes.values())) > 1 or self.onset_TxP.shape[1:] != (NUM_PITCHES,):
            raise ValueError(f"rolls have shapes {shapes}: make all frames x 88")

    @classmethod
    def from_names(
        cls, rolls: Mapping[str, np.ndarray], frame_rate_hz: float
    ) -> "Rolls":
        """Take arrays TxP by `ROLL_NAMES`."""
        return cls(*(rolls[name] for name in ROLL_NAMES), frame_rate_hz=frame_rate_hz)

    def at_rate(self, ratio: float) -> "Rolls":
        """Return the same rows at so many times as many frames per second."""
        return replace(self, frame_rate_hz=self.frame_rate_hz * ratio)

    @classmethod
    def from_stack(cls, rolls_Tx4xP: np.ndarray, frame_rate_hz: float) -> "Rolls":
        """Take one array Tx4xP, in the order of `ROLL_NAMES`."""
        return cls(*np.moveaxis(rolls_Tx4xP, 1, 0), frame_rate_hz=frame_rate_hz)

    def stacked(self) -> np.ndarray:
        """Return one array Tx4xP, in the order of `ROLL_NAMES`."""
        return np.stack(list(self.by_name().values()), axis=1)

    def by_name(self) -> dict[str, np.ndarray]:
        """Return the arrays TxP by `ROLL_NAMES`."""
        return {name: getattr(self, f"{name}_TxP") for name in ROLL_NAMES}

    @property
    def num_frames(self) -> int:
        return self.onset_TxP.shape[0]

    def __getitem__(self, frames: slice) -> "Rolls":
        """Return some of the frames."""
        some = {name: array[frames] for name, array in self.by_name().items()}
        return Rolls.from_names(some, self.frame_rate_hz)

    @staticmethod
    def concatenate(blocks: "Sequence[Rolls]") -> "Rolls":
        """Join blocks of one frame rate in time."""
        parts = [block.by_name() for block in blocks]
        whole = {name: np.concatenate([p[name] for p in parts]) for name in ROLL_NAMES}
        return Rolls.from_names(whole, blocks[0].frame_rate_hz)


@dataclass(frozen=True)
class RollLabelConfig:
    """How notes become training targets."""

    # Frames per second; the features' sample rate over their hop.
    frame_rate_hz: float = 50.0
    # 0: the onset marks its nearest frame (HPPNet). r > 0: a triangle of this half
    # width around the exact onset, so that neighbours tell where in between it lies.
    onset_radius_frames: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, frame_rate_hz=(1e-3, 1e6), onset_radius_frames=(0, 1000))


def notes_to_rolls(
    notes: Notes, num_frames: int, config: RollLabelConfig, start_s: float = 0.0
) -> Rolls:
    """Draw the training targets of a clip that begins at `start_s`.

    Labels follow Onsets and Frames (Hawthorne et al. 2018) as HPPNet uses them: the
    frame roll is 1 from the onset's frame up to the offset's (at least one frame), the
    offset roll is 1 in the frame after, velocity is spread over the note's frames.
    With `onset_radius_frames` r > 0 the onset is max(0, 1 - |t - onset| / r) (Kong et
    al. 2021, arXiv:2010.01815, eq. 3), and the frames before the onset that it
    covers carry the velocity as well.

    Args:
      notes: notes in seconds; pitches off the keyboard and drums are left out.
      num_frames: number of rows T.
      config: label conventions.
      start_s: time of row 0 in the notes' seconds.

    Returns:
      Rolls of float32 arrays TxP.
    """
    shape = (num_frames, NUM_PITCHES)
    onset_TxP, frame_TxP, offset_TxP, velocity_TxP = np.zeros((4, *shape), np.float32)
    rate, radius = config.frame_rate_hz, config.onset_radius_frames
    key = notes.pitch - LOWEST_PITCH
    # + 1: the offset mark and the soft onset reach past the note's own frames.
    margin_s = (radius + 1) / rate
    end_s = start_s + num_frames / rate
    wanted = (key >= 0) & (key < NUM_PITCHES) & ~notes.is_drum
    wanted &= (notes.onset_s < end_s + margin_s) & (notes.offset_s > start_s - margin_s)

    onset_frames = (notes.onset_s[wanted] - start_s) * rate
    first = np.round(onset_frames).astype(int)
    last = np.round((notes.offset_s[wanted] - start_s) * rate).astype(int)
    last = np.maximum(last, first + 1)
    level = notes.velocity[wanted] / 128.0
    for p, exact, begin, end, v in zip(
        key[wanted], onset_frames, first, last, level, strict=True
    ):
        if end > 0:
            frame_TxP[max(begin, 0) : end, p] = 1
            velocity_TxP[max(begin, 0) : end, p] = v
        if 0 <= end < num_frames:
            offset_TxP[end, p] = 1
        if radius > 0:
            low = max(int(np.ceil(exact - radius)), 0)
            near = np.arange(low, min(int(np.floor(exact + radius)) + 1, num_frames))
            soft = 1 - np.abs(near - exact) / radius
            onset_TxP[near, p] = np.maximum(onset_TxP[near, p], soft)
            velocity_TxP[low : max(begin, low), p] = v
        elif 0 <= begin < num_frames:
            onset_TxP[begin, p] = 1
    # A key struck again has sounded until then: the new onset is not an offset.
    offset_TxP[(onset_TxP > 0) & (offset_TxP > 0) & (frame_TxP > 0)] = 0
    return Rolls(onset_TxP, frame_TxP, offset_TxP, velocity_TxP, rate)


def on_one_keyboard(notes: Notes, frame_rate_hz: float) -> Notes:
    """Return notes of several instruments as one piano plays them, without drums.

    A key that sounds is struck again where another instrument begins its pitch: the
    note before ends there, and the key sounds until the last of its notes ends. Notes
    that begin in one frame are one, as loud as the loudest. So rolls of them have every
    onset, an offset where nothing of the pitch sounds any more, and between two onsets
    the velocity of the first.

    Args:
      notes: of any programs.
      frame_rate_hz: frames per second of the rolls to be drawn.
    """
    notes = notes[~notes.is_drum]
    if not len(notes):
        return notes
    order = np.lexsort((notes.onset_s, notes.pitch))
    onset_s, pitch = notes.onset_s[order], notes.pitch[order]
    frame = np.round(onset_s * frame_rate_hz)
    is_first = np.ones(len(order), bool)
    is_first[1:] = (pitch[1:] != pitch[:-1]) | (frame[1:] != frame[:-1])
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(order)) - 1
    # The latest end so far of each key: a running maximum of whole numbers, which are
    # larger the later the end, and larger still the higher the key.
    ends_s, rank = np.unique(notes.offset_s[order], return_inverse=True)
    above = pitch.astype(np.int64) * len(ends_s)
    until_s = ends_s[np.maximum.accumulate(rank + above) - above][last]
    struck_again = pitch[first][1:] == pitch[first][:-1]
    next_s = np.where(
        np.append(struck_again, False), np.roll(onset_s[first], -1), np.inf
    )
    velocity = np.maximum.reduceat(notes.velocity[order], first)
    return Notes(onset_s[first], np.minimum(until_s, next_s), pitch[first], velocity)

"""A band's rolls -> notes, as a stream, with what tells who plays each of them."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mt3x.music.band_rolls import BandRolls
from mt3x.music.drum_decoder import DrumDecoder, DrumDecodingConfig
from mt3x.music.instrument_assignment import AssignmentConfig, assign_programs
from mt3x.music.instrument_classes import CLASSES
from mt3x.music.instruments import Instruments
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import FoundNotes, RollDecoder, RollDecodingConfig
from mt3x.music.rolls import LOWEST_PITCH, NUM_PITCHES

# Of a longer note the first frames tell who plays: 2 s of 32 ms each.
MAX_FRAMES = 64
# Frames that are summed at once, which bounds memory.
BLOCK_FRAMES = 256


class HeardNotes(NamedTuple):
    """The notes of a recording, before it is decided who plays them."""

    found: FoundNotes  # of pitched instruments
    classes_NxK: np.ndarray  # sums of the log probabilities of their frames
    timbre_NxE: np.ndarray  # mean timbre vectors
    drums: Notes


class BandDecoder:
    """Band rolls in, in blocks of any length; at the end, notes out.

    `RollDecoder` finds the pitched notes and `DrumDecoder` the drums. Of what the
    rolls say about the player of each cell the sum over a note's frames is kept, of at
    most `MAX_FRAMES`, so that memory grows with the notes only. How the rolls are split
    into blocks changes nothing.
    """

    def __init__(
        self,
        decoding: RollDecodingConfig,
        drum_decoding: DrumDecodingConfig,
        frame_rate_hz: float,
        drum_rate_hz: float,
    ) -> None:
        self._notes = RollDecoder(decoding, frame_rate_hz)
        self._drums = DrumDecoder(drum_decoding, drum_rate_hz)
        self._found: list[FoundNotes] = []
        self._sums: list[np.ndarray] = []
        # Classes and timbres of the frames that the roll decoder has not done yet.
        self._waiting_TxPxC = np.zeros((0, NUM_PITCHES, len(CLASSES)), np.float32)
        # Of the keys that sound, the sums of the frames that are done.
        self._begun_PxC = np.zeros((NUM_PITCHES, 1))

    def push(self, rolls: BandRolls) -> None:
        """Take the next frames."""
        self._drums.push(rolls.drums_UxD, rolls.drum_velocity_UxD)
        for t in range(0, rolls.num_frames, BLOCK_FRAMES):
            block, begin = rolls[t : t + BLOCK_FRAMES], self._notes.num_done
            cells_TxPxC = np.concatenate(
                [block.classes_TxPxK, block.timbre_TxPxE], axis=2
            )
            if len(self._waiting_TxPxC):
                cells_TxPxC = np.concatenate([self._waiting_TxPxC, cells_TxPxC])
            self._waiting_TxPxC = cells_TxPxC
            self._add(self._notes.find(block.rolls), begin)

    def finish(self) -> HeardNotes:
        """End the recording and return all that was heard."""
        begin = self._notes.num_done
        self._add(self._notes.find_rest(), begin)
        found = FoundNotes.concatenate(self._found)
        sums_NxC = np.concatenate(self._sums)
        classes_NxK, timbre_NxE = np.split(sums_NxC, [len(CLASSES)], axis=1)
        mean_NxE = timbre_NxE / _num_summed(found)[:, None]
        return HeardNotes(found, classes_NxK, mean_NxE, self._drums.finish())

    def _add(self, found: FoundNotes, begin: int) -> None:
        """Take notes that ended in the frames from `begin` on, which are done now."""
        num_new = self._notes.num_done - begin
        cells_TxPxC = self._waiting_TxPxC[:num_new]
        self._waiting_TxPxC = self._waiting_TxPxC[num_new:].copy()
        # Sums of all frames before each one.
        before_TxPxC = np.zeros((num_new + 1, *cells_TxPxC.shape[1:]))
        np.cumsum(cells_TxPxC, axis=0, out=before_TxPxC[1:])

        def sums(key_N, first_N, end_N) -> np.ndarray:
            end_N = np.minimum(end_N, first_N + MAX_FRAMES)
            first, end = (np.clip(x - begin, 0, num_new) for x in (first_N, end_N))
            new_NxC = before_TxPxC[end, key_N] - before_TxPxC[first, key_N]
            return new_NxC + (first_N < begin)[:, None] * self._begun_PxC[key_N]

        key_N = found.pitch - LOWEST_PITCH
        self._found.append(found)
        self._sums.append(
            sums(key_N, found.first_frame, found.end_frame).astype(np.float32)
        )
        key_N, first_N = self._notes.sounding()
        begun_PxC = np.zeros_like(before_TxPxC[0])
        begun_PxC[key_N] = sums(key_N, first_N, self._notes.num_done)
        self._begun_PxC = begun_PxC


def _num_summed(found: FoundNotes) -> np.ndarray:
    """Return of each note how many frames tell who plays it."""
    return np.minimum(found.end_frame - found.first_frame, MAX_FRAMES)


def heard_notes(
    blocks: Iterable[BandRolls],
    decoding: RollDecodingConfig,
    drum_decoding: DrumDecodingConfig,
    frame_rate_hz: float,
    drum_rate_hz: float,
) -> HeardNotes:
    """Decode the rolls of a whole recording, which come in blocks of any length."""
    decoder = BandDecoder(decoding, drum_decoding, frame_rate_hz, drum_rate_hz)
    for block in blocks:
        decoder.push(block)
    return decoder.finish()


def band_notes(
    heard: HeardNotes,
    assignment: AssignmentConfig,
    instruments: Instruments | None = None,
) -> Notes:
    """Decide who plays the notes of a recording.

    Args:
      heard: the notes.
      assignment: how it is decided.
      instruments: those that there are; by default any.
    """
    drums = heard.drums
    if instruments is not None and not instruments.drums:
        drums = Notes.empty()
    found = heard.found
    if instruments is not None and not instruments.programs:
        return drums
    bias_NxK = _num_summed(found)[:, None] * assignment.bias_K
    classes_NxK = heard.classes_NxK + bias_NxK
    program_N = assign_programs(classes_NxK, heard.timbre_NxE, assignment, instruments)
    pitched = Notes(
        found.onset_s,
        found.offset_s,
        found.pitch,
        found.velocity,
        program_N,
        confidence=found.confidence,
    )
    return Notes.concatenate([pitched, drums])

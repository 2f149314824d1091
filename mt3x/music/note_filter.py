"""Notes that are left out of a transcription."""

from dataclasses import dataclass

import numpy as np

from mt3x.music.notes import Notes


@dataclass(frozen=True)
class NoteFilter:
    """Which notes are kept.

    Of drums loudness alone counts: their pitches name instruments, and nobody hears how
    long a hit is written.
    """

    # Seconds that a note lasts at least.
    min_duration_s: float = 0.0
    # MIDI pitches, both included.
    lowest: int = 0
    highest: int = 127
    min_velocity: int = 1

    def __post_init__(self) -> None:
        if self.lowest > self.highest:
            raise ValueError(
                f"the lowest pitch, {self.lowest}, is above the highest, "
                f"{self.highest}: no note would be left; exchange them"
            )

    def __call__(self, notes: Notes) -> Notes:
        """Return the notes that are kept."""
        # Times of tables have whole microseconds.
        is_long = notes.offset_s - notes.onset_s >= self.min_duration_s - 1e-6
        in_range = (notes.pitch >= self.lowest) & (notes.pitch <= self.highest)
        is_loud = notes.velocity >= self.min_velocity
        return notes[is_loud & (notes.is_drum | is_long & in_range)]


def without_stutter(notes: Notes, least_again_s: float) -> Notes:
    """Return the notes without those that repeat one too soon.

    Args:
      notes: of any instruments.
      least_again_s: seconds. A note that begins less than this after a kept one of its
        instrument and pitch is left out, and the kept one lasts to its end; 0: all
        notes are kept as they are.
    """
    if least_again_s <= 0:
        return notes
    order_N = np.lexsort((notes.onset_s, notes.pitch, notes.program, notes.is_drum))
    who_N = np.stack([notes.is_drum, notes.program, notes.pitch], axis=1)
    offset_s, kept = notes.offset_s.copy(), []
    for n in order_N.tolist():
        again = bool(kept) and np.array_equal(who_N[kept[-1]], who_N[n])
        if again and notes.onset_s[n] < notes.onset_s[kept[-1]] + least_again_s:
            offset_s[kept[-1]] = max(offset_s[kept[-1]], offset_s[n])
        else:
            kept.append(n)
    rest = notes.velocity, notes.program, notes.is_drum, notes.confidence
    longer = Notes(notes.onset_s, offset_s, notes.pitch, *rest)
    return longer[np.sort(np.array(kept, int))]

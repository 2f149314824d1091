"""Notes that are left out of a transcription: `NoteFilter`."""

from dataclasses import dataclass

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

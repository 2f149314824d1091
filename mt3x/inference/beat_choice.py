"""What is chosen about the beats of transcriptions: `BeatChoice`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mt3x.music.beats import LEAST_BPM, MOST_BPM, Beats, read_meter
from mt3x.music.notes import Notes

__all__ = ["BeatChoice"]


@dataclass(frozen=True)
class BeatChoice:
    """Beats as a user wants them: detected, even, read from a file, or none.

    Raises ValueError, and OSError of a file, at once: transcription takes long.
    """

    # Beats a minute: even beats. `none`: no beats.
    tempo: float | Literal["detect", "none"] = "detect"
    # A file of beats (`mt3x.music.beats.Beats.from_text`), in seconds of the recording.
    file: Path | None = None
    # The time signature, where it is known.
    meter: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.tempo, str) and not LEAST_BPM <= self.tempo <= MOST_BPM:
            raise ValueError(
                f"tempo {self.tempo:g}: give {LEAST_BPM:g} to {MOST_BPM:g} beats a "
                "minute, detect or none"
            )
        if self.meter is not None:
            read_meter(self.meter)
            if self.tempo == "none":
                raise ValueError(
                    f"meter {self.meter} needs beats: leave it out, or tempo none"
                )
        if self.file is not None:
            if self.tempo != "detect":
                raise ValueError(
                    f"tempo {self.tempo} and the beats of {self.file} are both given: "
                    "leave out one"
                )
            self._read()

    def of(self, notes: Notes, start_s: float = 0.0) -> Beats | None:
        """Return the beats of notes, whose time 0 is at `start_s` of the recording."""
        if self.file is not None:
            return self._read().shift(-start_s)
        if self.tempo == "none":
            return None
        # Here, so that wrong options do not wait for JAX.
        from mt3x.inference.beat_tracker import beats

        bpm = None if self.tempo == "detect" else self.tempo
        return beats(notes, self.meter, bpm)

    def _read(self) -> Beats:
        assert self.file is not None
        return Beats.from_text(self.file, self.meter)

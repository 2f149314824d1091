"""Drum onset probabilities -> notes of a drum kit."""

from dataclasses import dataclass

from mt3x.music.instrument_classes import DRUM_CLASSES


@dataclass(frozen=True)
class DrumDecodingConfig:
    """How the onset probabilities of drums become notes."""

    # An onset is a local maximum above this probability: one for all classes of drums,
    # or one for each in the order of DRUM_CLASSES.
    onset_threshold: float | tuple[float, ...] = 0.5
    # Of two onsets of one class that are closer than this the weaker is left out.
    min_gap_s: float = 0.03

    def __post_init__(self) -> None:
        if not isinstance(self.onset_threshold, (int, float)):
            # Gin and JSON give lists.
            object.__setattr__(self, "onset_threshold", tuple(self.onset_threshold))
        if isinstance(self.onset_threshold, tuple):
            if len(self.onset_threshold) != len(DRUM_CLASSES):
                raise ValueError(
                    f"onset_threshold has {len(self.onset_threshold)} values: give one "
                    f"or {len(DRUM_CLASSES)}"
                )
        if not all(0 <= value <= 1 for value in self.thresholds):
            raise ValueError(
                f"onset_threshold is {self.onset_threshold}: give values from 0 to 1"
            )
        if self.min_gap_s < 0:
            raise ValueError(f"min_gap_s={self.min_gap_s} must not be negative")

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The threshold of each class of drums."""
        if isinstance(self.onset_threshold, tuple):
            return self.onset_threshold
        return (self.onset_threshold,) * len(DRUM_CLASSES)

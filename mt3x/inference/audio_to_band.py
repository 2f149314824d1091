"""Samples in, band rolls out: a band model over recordings of any length."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from mt3x.inference.audio_to_rolls import ArrayShape, AudioToArrays
from mt3x.inference.windows import WindowConfig
from mt3x.music.band_decoder import band_notes
from mt3x.music.band_rolls import BandRolls
from mt3x.music.instrument_classes import CLASSES, DRUM_CLASSES
from mt3x.music.notes import Notes
from mt3x.music.rolls import NUM_PITCHES, ROLL_NAMES

# Windows of 32.8 s. They overlap by as many seconds as a piano model's.
WINDOW = WindowConfig(num_frames=1024, context_frames=15, fade_frames=10)


class AudioToBand(AudioToArrays):
    """A band model on a device."""

    usual_window = WINDOW

    def shapes(self) -> Mapping[str, ArrayShape]:
        drums = ArrayShape(self.config.drum_steps, (len(DRUM_CLASSES),))
        timbre_size = self.config.model.timbre_size
        return {
            **dict.fromkeys(ROLL_NAMES, ArrayShape(1, (NUM_PITCHES,))),
            "classes": ArrayShape(1, (NUM_PITCHES, len(CLASSES))),
            "timbre": ArrayShape(1, (NUM_PITCHES, timbre_size)),
            "drums": drums,
            "drum_velocity": drums,
        }

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[BandRolls]:
        """Turn consecutive blocks samples_S into consecutive rolls."""
        config = self.config
        rates_hz = config.features.frame_rate_hz, config.drum_features.frame_rate_hz
        for arrays in self.arrays(blocks):
            yield BandRolls.from_names(arrays, *rates_hz)

    def notes(self, blocks: Iterable[np.ndarray]) -> Notes:
        """Turn consecutive blocks samples_S into notes, as the weights decode them."""
        heard = self.config.decode(self(blocks))
        return band_notes(heard, self.config.assignment)

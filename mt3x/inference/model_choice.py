"""Which of the package's models a recording is for: `choose_model`.

A recording of one instrument of the piano family is for the piano model, anything else
for the band model. The band model tells, from some parts of the recording.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mt3x.inference.transcriber import Packaged, Transcriber
from mt3x.models.objectives import BandConfig
from mt3x.music.audio import Source
from mt3x.music.band_decoder import HeardNotes
from mt3x.music.excerpts import excerpts
from mt3x.music.instrument_assignment import AssignmentConfig, class_probabilities
from mt3x.music.instrument_classes import CLASSES

# What is listened to: three parts of half a window of the band model.
NUM_PARTS, PART_FRAMES = 3, 512
# Where the piano family has at least this share of what the notes say of their player,
# and where there are at most so many drums for each note, the piano plays alone. (Of
# validation recordings 19 of pianos had 0.49 and more, others without drums at most
# 0.06 and those with drums at most 0.47.)
LEAST_PIANO, MOST_DRUMS = 0.44, 0.05


def choose_model(
    band: Transcriber,
    audio: Source | npt.ArrayLike,
    sample_rate_hz: float | None = None,
) -> Packaged:
    """Return the model for a recording, `piano` or `band`.

    Args:
      band: a band model.
      audio, sample_rate_hz: the recording, as for a call of the model.

    Raises:
      OSError, ValueError: as a call of the model.
    """
    assert isinstance(band.config, BandConfig)
    length_s = PART_FRAMES / band.frame_rate_hz
    parts = excerpts(audio, sample_rate_hz, band.sample_rate_hz, length_s, NUM_PARTS)
    rate_hz = band.sample_rate_hz
    heard = []
    for part_S in parts:
        rolls: Any = band.stream_rolls(part_S, rate_hz)
        heard.append(band.config.decode(rolls))
    return "piano" if is_piano(heard, band.config.assignment) else "band"


def is_piano(parts: Sequence[HeardNotes], assignment: AssignmentConfig) -> bool:
    """Return whether a piano plays alone in all that was heard."""
    num_notes = sum(len(heard.found.pitch) for heard in parts)
    num_drums = sum(len(heard.drums) for heard in parts)
    piano_K = np.array([each.family == "piano" for each in CLASSES])
    said = [class_probabilities(x.classes_NxK, assignment.evidence) for x in parts]
    piano = sum(float(said_NxK[:, piano_K].sum()) for said_NxK in said)
    return 0 < num_notes * LEAST_PIANO <= piano and num_drums <= MOST_DRUMS * num_notes

"""Random piano music for training.

No one played it, but it has what a transcriber meets in real playing: melodies over
accompaniments, counterpoint, arpeggios under the pedal, runs, trills, repeated notes,
tremolos, block and rolled chords, single notes over the whole keyboard, silence; every
key and velocity; human timing. All of it is a function of the random generator alone.
"""

import numpy as np

from mt3x.data.synthesis.performance import from_keys
from mt3x.data.synthesis.textures import (
    EMPTY,
    Rows,
    random_pedal,
    random_rubato,
    random_section,
    random_textures,
)
from mt3x.music.performance import NO_PEDAL, Performance


def compose(rng: np.random.Generator, duration_s: float = 90.0) -> Performance:
    """Compose random piano music.

    Args:
      rng: decides everything.
      duration_s: no note begins later than this.
    """
    parts: list[Rows] = []
    pedals: list[np.ndarray] = []
    time_s = float(rng.uniform(0.1, 1.0))
    character = rng.normal(0, 12)  # soft or loud pieces
    while time_s < duration_s:
        if rng.random() < 0.05:
            time_s += float(rng.uniform(0.5, 3.0))
        section = random_section(rng, character)
        rows = np.concatenate([EMPTY, *random_textures(rng, section)])
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 0] < section.length_s)]
        warp = random_rubato(rng, section)
        rows[:, 0], rows[:, 1] = warp(rows[:, 0]), warp(rows[:, 1])
        pedal = warp(random_pedal(rng, section))
        parts.append(rows + np.array([time_s, time_s, 0, 0]))
        pedals.append(pedal + time_s)
        time_s += float(warp(np.array([section.length_s]))[0])
    rows = np.concatenate([EMPTY, *parts])
    rows = rows[rows[:, 0] < duration_s]
    rows[:, 0] += rng.normal(0, 0.004, len(rows))
    rows[:, 3] += rng.normal(0, 5, len(rows))
    keys = from_keys(
        onset_s=np.maximum(rows[:, 0], 0.0),
        key_up_s=rows[:, 1],
        pitch=rows[:, 2],
        velocity=rows[:, 3],
        pedal_s=NO_PEDAL,
    )
    return Performance(keys, np.concatenate([NO_PEDAL, *pedals]))

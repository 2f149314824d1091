"""The mood of notes: valence (unpleasant to pleasant), arousal (calm to excited).

`predict_mood` is a linear model of nine features of some 30 s of music. It was fitted
to people's ratings of VGMIDI (Ferreira and Whitehead, ISMIR 2019: 200 piano
arrangements of game music); on series of games held out, it correlates with their mean
at 0.52 (valence) and 0.78 (arousal). What it says about other music is a guess that
nobody has checked by ear.
"""

import numpy as np
import numpy.typing as npt

from mt3x.music.notes import Notes

__all__ = ["FEATURES", "mood_features", "predict_mood", "quadrant", "ranks"]

FEATURES = (
    "log of the notes a second",
    "mode",
    "mean pitch",
    "range of pitches",
    "number of pitch classes",
    "log of the median duration",
    "log of the median interval",
    "variation of the intervals",
    "share of notes below pitch 48",
)
# Of VGMIDI's windows of 30 s.
_MEAN = (1.70606, -0.00028, 61.94688, 45.18428, 9.53794, -0.85823, -1.35664, 0.56060)
_MEAN = np.array((*_MEAN, 0.15334))
_SCALE = (0.62568, 0.18440, 5.61496, 12.15900, 1.68905, 0.84764, 0.50867, 0.33885)
_SCALE = np.array((*_SCALE, 0.14463))
_VALENCE = (0.02401, 0.09666, -0.02823, 0.03458, -0.03109, 0.00099, -0.03394, -0.01357)
_AROUSAL = (0.09535, -0.01481, 0.03009, -0.03615, 0.03497, -0.07025, -0.04009, -0.00024)
_COEFFICIENTS = np.array(((*_VALENCE, -0.04984), (*_AROUSAL, 0.06881)))
_INTERCEPTS = np.array((0.15695, 0.03042))

# How well each pitch class fits a key (Krumhansl 1990, Cognitive Foundations of Musical
# Pitch, table 2.1).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_LONGEST_S = 2.0  # of a note, for the mode
_SHORTEST_INTERVAL_S = 0.03
_LOW_PITCH = 48


def mood_features(notes: Notes) -> np.ndarray:
    """Return the features of a mood, in the order of `FEATURES`.

    The mode is how well the best major key fits less how well the best minor key does.
    Intervals are those between onsets, of at least 30 ms; onsets are rounded to 10 ms.

    Raises:
      ValueError: there are not two onsets to tell a tempo by.
    """
    notes = notes[~notes.is_drum]
    interval_s = np.diff(np.unique(np.round(notes.onset_s, 2)))
    interval_s = interval_s[interval_s > _SHORTEST_INTERVAL_S]
    if not len(interval_s):
        raise ValueError(
            f"{len(notes)} notes have no tempo and so no mood; give more music"
        )
    duration_s = np.maximum(notes.offset_s - notes.onset_s, 0.001)
    length_s = notes.offset_s.max() - notes.onset_s[0]
    return np.array(
        (
            np.log(len(notes) / length_s),
            _mode(notes.pitch, np.minimum(duration_s, _LONGEST_S)),
            notes.pitch.mean(),
            np.ptp(notes.pitch),
            len(np.unique(notes.pitch % 12)),
            np.log(np.median(duration_s)),
            np.log(np.median(interval_s)),
            interval_s.std() / interval_s.mean(),
            (notes.pitch < _LOW_PITCH).mean(),
        )
    )


def predict_mood(notes: Notes) -> tuple[float, float]:
    """Predict how people would rate the valence and arousal of notes, about -1..1.

    Most music gets a valence above 0: compare predictions of like music, as `ranks`
    does, rather than read their signs.

    Raises:
      ValueError: there are not two onsets to tell a tempo by.
    """
    features = (mood_features(notes) - _MEAN) / _SCALE
    valence, arousal = _INTERCEPTS + _COEFFICIENTS @ features
    return float(valence), float(arousal)


def ranks(values: npt.ArrayLike) -> np.ndarray:
    """Return the ranks of N values, evenly over -1..1; equal values share one."""
    values = np.asarray(values, float)
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    return 2 * middle[index] / max(len(values), 1) - 1


def quadrant(valence: float, arousal: float) -> int:
    """Return 1 (V+ A+), 2 (V- A+), 3 (V- A-) or 4 (V+ A-)."""
    if arousal >= 0:
        return 1 if valence >= 0 else 2
    return 4 if valence >= 0 else 3


def _mode(pitch: np.ndarray, weight: np.ndarray) -> float:
    weight_C = np.bincount(pitch % 12, weight, minlength=12)
    if np.ptp(weight_C) == 0:
        return 0.0
    major, minor = (
        max(np.corrcoef(np.roll(profile, tonic), weight_C)[0, 1] for tonic in range(12))
        for profile in (_MAJOR, _MINOR)
    )
    return float(major - minor)

"""Who plays the notes of a recording: each gets a program.

A network says of every note which class of instruments it takes it for, and gives it a
timbre vector that is alike for notes of one instrument. Note by note the likeliest
class would flicker: a clarinet would be a flute here and there. So all notes of a
recording are looked at together, as a mixture of a few instruments:

1. How often each class plays is estimated by EM from what the notes say, and classes
   that hardly play are left out.
2. Each class that is left has a mean timbre vector. A note belongs to a class by what
   it says, by its timbre, and by how often the class plays; EM again. Two classes with
   one timbre are one instrument, of the class that its notes rather say.
"""

from dataclasses import dataclass

import numpy as np

from mt3x.music.instrument_classes import CLASSES
from mt3x.music.instruments import Instruments

# EM ends here, or earlier where no share changes by more than the tolerance.
MAX_ITERATIONS = 50
TOLERANCE = 1e-4


@dataclass(frozen=True)
class AssignmentConfig:
    """How the instruments of notes are decided."""

    # What the log probabilities of a note's frames count in their sum: frames of one
    # note say much the same.
    evidence: float = 0.2
    # Probability that what a note says is wrong altogether.
    error_rate: float = 0.1
    # A class that plays a smaller share of the notes, or fewer of them, is left out.
    min_share: float = 0.03
    min_notes: float = 3.0
    # Concentration of timbre vectors about their instrument's (von Mises-Fisher); 0:
    # timbres are not looked at.
    timbre_weight: float = 80.0
    # Two classes are one instrument where the cosine of their timbres is above this; 1:
    # none are.
    same_timbre: float = 1.0
    # Added to a frame's log probability of a piano, which training hears more often
    # than most recordings have it.
    piano_bias: float = 0.0

    def __post_init__(self) -> None:
        for name, lowest, highest in (
            ("evidence", 0, 1),
            ("error_rate", 1e-6, 1),
            ("min_share", 0, 1),
            ("min_notes", 0, np.inf),
            ("timbre_weight", 0, 100),
            ("same_timbre", 0, 1),
            ("piano_bias", -10, 10),
        ):
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise ValueError(f"{name}={value}: give a value {lowest} to {highest}")

    @property
    def bias_K(self) -> np.ndarray:
        """What is added to a frame's log probabilities of CLASSES."""
        is_piano_K = np.array([found.name == "piano" for found in CLASSES])
        return self.piano_bias * is_piano_K


def class_programs(instruments: Instruments | None = None) -> np.ndarray:
    """Return the program that each of CLASSES is written as: K numbers, -1 for none.

    Args:
      instruments: those that there are; by default any. A class is its usual program
        or, where that is not among them, the first of its programs that is.
    """
    programs = [(found.program, *found.programs) for found in CLASSES]
    if instruments is None:
        return np.array([first for first, *_ in programs])
    allowed = instruments.programs
    return np.array([next((p for p in each if p in allowed), -1) for each in programs])


def class_probabilities(classes_NxK: np.ndarray, evidence: float) -> np.ndarray:
    """Return what each note says of its class: probabilities NxK.

    Args:
      classes_NxK: sums of log probabilities over a note's frames.
      evidence: as in `AssignmentConfig`.
    """
    score_NxK = evidence * classes_NxK
    likely_NxK = np.exp(score_NxK - score_NxK.max(axis=1, keepdims=True))
    return likely_NxK / likely_NxK.sum(axis=1, keepdims=True)


def assign_programs(
    classes_NxK: np.ndarray,
    timbre_NxE: np.ndarray,
    config: AssignmentConfig,
    instruments: Instruments | None = None,
) -> np.ndarray:
    """Return the program of each note: N whole numbers.

    Args:
      classes_NxK: sums of the log probabilities of CLASSES over a note's frames.
      timbre_NxE: timbre vectors of any length.
      config: options.
      instruments: those that there are; by default any. Some program must be.
    """
    program_K = class_programs(instruments)
    class_C = np.flatnonzero(program_K >= 0)
    if not len(classes_NxK):
        return np.zeros(0, int)
    said_NxC = class_probabilities(classes_NxK[:, class_C], config.evidence)
    by_chance = config.error_rate / len(class_C)
    likely_NxC = (1 - config.error_rate) * said_NxC + by_chance
    length_N = np.linalg.norm(timbre_NxE, axis=1)
    timbre_NxE = timbre_NxE / np.maximum(length_N, 1e-9)[:, None]
    belongs_NxC = likely_NxC
    fewest = max(config.min_share * len(likely_NxC), config.min_notes)
    for weight in (0.0, config.timbre_weight):
        kept_C = np.zeros(len(class_C), bool)
        while not kept_C.all():
            belongs_NxC = _fit(likely_NxC, timbre_NxE, belongs_NxC, weight)
            notes_C = belongs_NxC.sum(axis=0)
            kept_C = notes_C >= fewest
            kept_C[notes_C.argmax()] = True
            if kept_C.all() and weight > 0:
                timbre_CxE = _mean_timbres(timbre_NxE, belongs_NxC)
                kept_C = _told_apart(
                    timbre_CxE, likely_NxC, belongs_NxC, config.same_timbre
                )
            class_C, likely_NxC = class_C[kept_C], likely_NxC[:, kept_C]
            belongs_NxC = belongs_NxC[:, kept_C]
    return program_K[class_C[belongs_NxC.argmax(axis=1)]]


def _fit(
    likely_NxC: np.ndarray,
    timbre_NxE: np.ndarray,
    belongs_NxC: np.ndarray,
    timbre_weight: float,
) -> np.ndarray:
    """Return by EM how far each note belongs to each class, from where it did."""
    share_C = np.zeros(likely_NxC.shape[1])
    for _ in range(MAX_ITERATIONS):
        belongs_NxC = belongs_NxC / belongs_NxC.sum(axis=1, keepdims=True)
        before_C, share_C = share_C, belongs_NxC.mean(axis=0)
        if np.abs(share_C - before_C).max() < TOLERANCE:
            break
        score_NxC = likely_NxC * share_C
        if timbre_weight:
            timbre_CxE = _mean_timbres(timbre_NxE, belongs_NxC)
            score_NxC *= np.exp(timbre_weight * (timbre_NxE @ timbre_CxE.T))
        belongs_NxC = score_NxC
    return belongs_NxC


def _mean_timbres(timbre_NxE: np.ndarray, belongs_NxC: np.ndarray) -> np.ndarray:
    """Return the mean direction of each class's notes."""
    mean_CxE = belongs_NxC.T @ timbre_NxE
    return mean_CxE / np.maximum(np.linalg.norm(mean_CxE, axis=1), 1e-9)[:, None]


def _told_apart(
    timbre_CxE: np.ndarray,
    likely_NxC: np.ndarray,
    belongs_NxC: np.ndarray,
    same_timbre: float,
) -> np.ndarray:
    """Return the classes that stay: all, or all but one of the two most alike."""
    alike_CxC = np.tril(timbre_CxE @ timbre_CxE.T, k=-1)
    pair = np.array(np.unravel_index(alike_CxC.argmax(), alike_CxC.shape))
    kept_C = np.ones(len(timbre_CxE), bool)
    if alike_CxC[tuple(pair)] > same_timbre:
        said_2 = belongs_NxC[:, pair].sum(axis=1) @ np.log(likely_NxC[:, pair])
        kept_C[pair[said_2.argmin()]] = False
    return kept_C

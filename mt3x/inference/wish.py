"""What music is wished for: `Wish`, checked at once, since composing takes time."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mt3x.music.key import key_weights
from mt3x.music.options import check_fields

__all__ = ["ANY_KEY", "MAX_PIECES", "MAX_S", "Wish", "draw_seed", "seeds"]

MAX_S = 24 * 3600.0
MAX_PIECES = 256
MAX_SEED = 10**9
ANY_KEY = "any"
_LEAST_S = 0.1


@dataclass(frozen=True)
class Wish:
    """Music as a user wants it.

    Raises ValueError where a value makes no sense.
    """

    # From sad (-1) to happy (1), and from calm (-1) to excited (1). Where one is
    # given, the other is 0 by default; without both the music has any mood.
    valence: float | None = None
    arousal: float | None = None
    # Of music, beside the prompt.
    seconds: float = 60.0
    # Moods instead of one: (seconds, valence, arousal), in between on straight lines.
    moods: Sequence[tuple[float, float, float]] = ()
    # How much the mood counts: so many times as far from the log-probabilities of any
    # mood (Ho and Salimans 2022, arXiv:2207.12598); 1: as in the music learnt from.
    guidance: float = 2.0
    # Its notes are preferred: such as `Eb` or `C#m`; `any`: none. By default, where a
    # mood is wished for, that of the prompt's or a drawn tonic: major where the valence
    # is high, and minor where it is low.
    key: str | None = None
    # Of the random numbers.
    seed: int = 0
    # What logits are divided by: lower is plainer, 0 takes the likeliest always.
    temperature: float = 1.0
    # Choose from the k likeliest tokens; 0: all.
    top_k: int = 0
    # Choose from the fewest tokens whose probabilities reach p together.
    top_p: float = 0.98

    def __post_init__(self) -> None:
        check_fields(
            self,
            valence=(-1, 1),
            arousal=(-1, 1),
            seconds=(_LEAST_S, MAX_S),
            guidance=(0, 20),
            seed=(0, MAX_SEED),
            temperature=(0, 100),
            top_k=(0, 1_000_000),
            top_p=(1e-6, 1),
        )
        if self.key not in (None, ANY_KEY):
            key_weights(self.key)
        if not self.moods:
            return
        if self.valence is not None or self.arousal is not None:
            raise ValueError(
                "moods are given beside a valence or arousal: leave out one of them"
            )
        for mood in self.moods:
            if len(mood) != 3 or not 0 <= mood[0] <= MAX_S or not _is_mood(*mood[1:]):
                raise ValueError(
                    f"mood {', '.join(map(str, mood))}: give seconds from 0 on, and "
                    "valence and arousal from -1 to 1"
                )
        times_s = [mood[0] for mood in self.moods]
        if len(set(times_s)) < len(times_s):
            raise ValueError(
                f"two moods at {max(times_s, key=times_s.count):g} s: leave out one"
            )

    @property
    def has_mood(self) -> bool:
        """Whether some mood is wished for."""
        return bool(self.moods) or (self.valence, self.arousal) != (None, None)

    def moods_Tx3(self) -> np.ndarray:
        """Return the moods in the order of time, float32; NaN where it is any."""
        if self.moods:
            return np.array(sorted(self.moods), np.float32)
        mood = (self.valence, self.arousal) if self.has_mood else (math.nan, math.nan)
        return np.array([[0.0, *(value or 0.0 for value in mood)]], np.float32)


def _is_mood(valence: float, arousal: float) -> bool:
    return -1 <= valence <= 1 and -1 <= arousal <= 1


def draw_seed() -> int:
    """Return a seed for music that is like no other."""
    return secrets.randbelow(MAX_SEED)


def seeds(wish: Wish, num_pieces: int) -> list[int]:
    """Return the seeds with which each of several pieces can be composed alone.

    Raises:
      ValueError: there are no pieces, or too many to compose at once.
    """
    if not 1 <= num_pieces <= MAX_PIECES:
        raise ValueError(f"{num_pieces} pieces: give 1 to {MAX_PIECES}")
    return [(wish.seed + number) % (MAX_SEED + 1) for number in range(num_pieces)]

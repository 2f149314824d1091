"""Probabilities of beats and downbeats in frames -> `Beats`.

Beats are the path of highest score through a bar pointer model (Whiteley et al. 2006;
Krebs et al. 2015), whose tempo changes at beats alone: a beat at frame t that is T
frames after the one before it adds the log odds of a beat there, and takes off what the
change of T costs. Frames without a beat then cancel out. A second path, over the beats,
gives each its position in a bar.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mt3x.music.beat_frames import BEAT_RATE_HZ
from mt3x.music.beats import Beats, most_common_bar, read_meter
from mt3x.music.notes import Notes
from mt3x.music.options import check_fields

__all__ = [
    "BeatDecodingConfig",
    "beat_candidates",
    "candidate_score",
    "find_bars",
    "find_even_beats",
]

_BLOCK = 6  # frames at once: no more than the shortest interval
_SEEN = 0.1  # probability of a beat that is not a guess
_TEMPO_QUANTILES = (0.5, 0.2, 0.8)  # of the times between beats: tempi to stay near
_TEMPO_RANGE = 1.5  # the most by which the tempo is quicker or slower then
_SAME_TEMPO = 0.2  # logarithm of the ratio
_STEADY_COST = 30.0  # instead of the tempo cost: of steady playing
_STEADY_RANGE = 1.35
_FIRST = 255  # instead of an interval: no beat came before


@dataclass(frozen=True)
class BeatDecodingConfig:
    """How probabilities become beats; chosen on validation pieces."""

    # Seconds between beats.
    shortest_s: float = 0.16
    longest_s: float = 2.0
    # Costs of a change of tempo, times the absolute logarithm of the ratio, and times
    # its square: half or twice the tempo is far.
    tempo_cost: float = 6.0
    jump_cost: float = 15.0
    # Cost of a tempo, times the squared logarithm of its ratio to the typical one.
    typical_s: float = 0.65
    typical_cost: float = 0.5
    # Added to the log odds of beats, and of downbeats.
    beat_bias: float = 0.3
    downbeat_bias: float = 0.2
    # Lowest log odds of a beat, and the negative of the highest.
    least_odds: float = -3.0
    # Costs of another number of beats in the next bar, and of half a bar more or less
    # in one bar of 4/4.
    meter_cost: float = 6.0
    half_bar_cost: float = 4.0
    # What candidates for the beats gain with each unit of log odds that they are them,
    # on average over beats; and with each by which downbeats are likelier than others.
    level_gain: float = 0.8
    bar_gain: float = 1.0
    # Cost of their tempo, as `typical_cost`.
    level_cost: float = 2.5

    def __post_init__(self) -> None:
        check_fields(
            self,
            shortest_s=(_BLOCK / BEAT_RATE_HZ, 5.0),
            longest_s=(_BLOCK / BEAT_RATE_HZ, 5.0),
            tempo_cost=(0.0, 1e4),
            jump_cost=(0.0, 1e4),
            typical_s=(0.05, 5.0),
            typical_cost=(0.0, 1e4),
            beat_bias=(-20.0, 20.0),
            downbeat_bias=(-20.0, 20.0),
            least_odds=(-20.0, 0.0),
            meter_cost=(0.0, 1e4),
            half_bar_cost=(0.0, 1e4),
            level_gain=(0.0, 1e4),
            bar_gain=(0.0, 1e4),
            level_cost=(0.0, 1e4),
        )
        if self.shortest_s > self.longest_s:
            raise ValueError(
                f"shortest_s={self.shortest_s:g} must be at most longest_s="
                f"{self.longest_s:g}"
            )


_BAR_COSTS = {1: 1.5, 2: 0.2, 3: 0.0, 4: 0.0, 5: 0.5, 6: 0.2, 7: 0.5}
"""Cost of each bar by its number of beats: what is rare, or a part of a longer bar."""
_DOTTED_BAR_COSTS = _BAR_COSTS | {2: 0.0, 4: 0.2}
"""The same of dotted beats: 6/8 is more common than 12/8."""
_HALVES = 0.2
"""What a bar of 4/4 gains with each unit of log odds by which its middle is weaker.

The middle is often nearly as strong as the beginning. What tells a bar of 4/4 from two
of 2/4 is that one half is weaker, over and over.
"""
_NEVER = 1e6
_WEAK_ODDS = -1.0  # what is weaker never begins a bar


def beat_candidates(
    p_T: np.ndarray, notes: Notes, config: BeatDecodingConfig | None = None
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield what may be the beats of a piece, in seconds, with their scores, log odds.

    First those of the highest score. Then those of steady playing, and those that stay
    near one of the first ones' tempi, freely and steadily.

    Args:
      p_T: probabilities of beats, 50 frames a second from time 0.
      notes: what was played, at least one. Beats go from its first onset to its last.
      config: how to decode.
    """
    config = config or BeatDecodingConfig()
    odds_T = _odds(_near(p_T))
    first = max(int(notes.onset_s[0] * BEAT_RATE_HZ), 0)
    last = max(int(np.ceil(notes.onset_s[-1] * BEAT_RATE_HZ)), first)
    best_N, score = _beat_frames(odds_T, first, last, config)
    yield _refined(p_T, best_N) / BEAT_RATE_HZ, score
    seen = [best_N]
    for other in _other_searches(np.diff(best_N) / BEAT_RATE_HZ, config):
        frame_N, score = _beat_frames(odds_T, first, last, other)
        if not any(np.array_equal(frame_N, seen_N) for seen_N in seen):
            seen.append(frame_N)
            yield _refined(p_T, frame_N) / BEAT_RATE_HZ, score


def _other_searches(
    interval_s: np.ndarray, config: BeatDecodingConfig
) -> Iterator[BeatDecodingConfig]:
    """Yield how to decode again, where times between beats were found first."""
    steady = replace(config, tempo_cost=max(config.tempo_cost, _STEADY_COST))
    yield steady
    before: list[float] = []
    for typical_s in np.quantile(interval_s, _TEMPO_QUANTILES).tolist():
        if any(abs(np.log(typical_s / other_s)) < _SAME_TEMPO for other_s in before):
            continue
        before.append(typical_s)
        for search, ratio in ((config, _TEMPO_RANGE), (steady, _STEADY_RANGE)):
            shortest_s = max(typical_s / ratio, config.shortest_s)
            longest_s = min(typical_s * ratio, config.longest_s)
            is_near = shortest_s <= interval_s.min() and interval_s.max() <= longest_s
            if search is steady or not is_near:
                yield replace(search, shortest_s=shortest_s, longest_s=longest_s)


def candidate_score(
    beats: Beats,
    score: float,
    down_N: np.ndarray,
    right_N: np.ndarray,
    config: BeatDecodingConfig | None = None,
) -> float:
    """Return how good a candidate is: the highest is best.

    Args:
      beats, score: of `beat_candidates` and, with their bars, of `find_bars`.
      down_N: probabilities of downbeats.
      right_N: probabilities that these are the beats, rather than others.
      config: how to decode.
    """
    config = config or BeatDecodingConfig()
    odds_N, is_down = _odds(down_N), beats.position == 1
    contrast = float(odds_N[is_down].mean()) if is_down.any() else 0.0
    contrast -= float(odds_N[~is_down].mean()) if not is_down.all() else 0.0
    tempo = np.log(np.median(np.diff(beats.time_s)) / config.typical_s)
    return (
        score / (beats.time_s[-1] - beats.time_s[0])
        + config.level_gain * float(_odds(right_N).mean())
        + config.bar_gain * contrast
        - config.level_cost * float(tempo**2)
    )


def find_even_beats(p_T: np.ndarray, notes: Notes, bpm: float) -> np.ndarray:
    """Return the seconds of even beats, where they fit the probabilities best.

    Args:
      p_T, notes: as for `beat_candidates`.
      bpm: beats a minute, 1 to 1000.

    Raises:
      ValueError: `bpm` is something else.
    """
    even_s = Beats.from_bpm(bpm, 0.0, float(notes.onset_s[-1])).time_s
    frame_T, period_s = np.arange(len(p_T)), 60 / bpm
    shifts_s = np.arange(0.0, period_s, min(0.01, period_s / 8))
    fits = [
        np.interp((even_s + shift_s) * BEAT_RATE_HZ, frame_T, p_T, right=0.0).sum()
        for shift_s in shifts_s
    ]
    return even_s + shifts_s[int(np.argmax(fits))]


def find_bars(
    beat_s: np.ndarray,
    p_N: np.ndarray,
    notes: Notes,
    config: BeatDecodingConfig | None = None,
    meter: str | None = None,
) -> Beats:
    """Return beats with their positions in bars, and the meter.

    Args:
      beat_s: N beats.
      p_N: probabilities that they are downbeats.
      notes: what was played.
      config: how to decode.
      meter: the time signature, where it is known.

    Raises:
      ValueError: `meter` is none.
    """
    config = config or BeatDecodingConfig()
    chosen = None if meter is None else read_meter(meter)
    odds_N = _odds(p_N) + config.downbeat_bias
    is_dotted = _is_dotted(notes.onset_s, beat_s)
    bars = _DOTTED_BAR_COSTS if is_dotted else _BAR_COSTS
    if chosen is not None:
        bars = {chosen[0]: 0.0}
    lengths = list(bars)
    gain_NxM = odds_N[:, None] - np.array(list(bars.values()))
    if 4 in bars and not is_dotted:
        gain_NxM[:, lengths.index(4)] += _HALVES * _weaker_middle(odds_N)
    cost_MxM = config.meter_cost * ~np.eye(len(bars), dtype=bool)
    if chosen is None:
        # Among bars of four, one that is half a bar shorter or longer.
        four, num = lengths.index(4), len(bars)
        lengths += [2, 6]
        gain_NxM = np.column_stack([gain_NxM, odds_N, gain_NxM[:, four]])
        cost_MxM = np.pad(cost_MxM, (0, 2), constant_values=_NEVER)
        cost_MxM[num:, four], cost_MxM[four, num:] = config.half_bar_cost, 0.0
    position_N = _positions(gain_NxM, lengths, cost_MxM)
    if chosen is None:
        chosen = most_common_bar(position_N), 8 if is_dotted else 4, is_dotted
    return Beats(beat_s, position_N, *chosen)


def _weaker_middle(odds_N: np.ndarray) -> np.ndarray:
    """Return by how much two beats later a downbeat is less likely, 0 at the least."""
    odds_N = np.maximum(odds_N, _WEAK_ODDS)
    middle_N = np.pad(odds_N, (0, 2), constant_values=_WEAK_ODDS)[2:]
    return np.maximum(odds_N - middle_N, 0.0)


def _odds(p: np.ndarray) -> np.ndarray:
    """Return log odds."""
    p = np.clip(p, 1e-3, 1 - 1e-3)
    return np.log(p / (1 - p))


def _near(p_T: np.ndarray) -> np.ndarray:
    """Return probabilities that there is a beat in a frame or near it.

    Targets are 1/2, 1, 1/2 around a beat, and where it is not certain when it comes,
    what is seen of them is spread over more frames. Where it is highest counts most.
    """
    around_Tx5 = sliding_window_view(np.pad(p_T, 2), 5)
    share_T = p_T / np.maximum(around_Tx5.max(axis=1), 1e-6)
    return 0.5 * around_Tx5.sum(axis=1) * (0.6 + 0.4 * share_T)


def _beat_frames(
    odds_T: np.ndarray,
    first: int,
    last: int,
    config: BeatDecodingConfig,
) -> tuple[np.ndarray, float]:
    """Return the frames of the beats of the best path, two at least, and its score.

    Its first beat lies at most the longest interval after frame `first`, and its last
    one so near to `last` that the next would come after it.
    """
    interval_I = np.arange(
        round(config.shortest_s * BEAT_RATE_HZ),
        round(config.longest_s * BEAT_RATE_HZ) + 1,
    )
    longest, log_I = int(interval_I[-1]), np.log(interval_I).astype(np.float32)
    ratio_IxI = log_I[:, None] - log_I  # from, to
    change_IxI = -config.tempo_cost * np.abs(ratio_IxI)
    change_IxI -= config.jump_cost * np.square(ratio_IxI)
    typical = float(np.log(config.typical_s * BEAT_RATE_HZ))
    prior_I = -config.typical_cost * np.square(log_I - typical)

    num = last + 3
    gain_T = np.full(num, config.least_odds, np.float32)
    known_T = odds_T[:num]
    gain_T[: len(known_T)] = np.clip(known_T, config.least_odds, -config.least_odds)
    gain_T += config.beat_bias
    opens_T = np.full(num, -np.inf, np.float32)  # the score of a first beat
    opens_T[max(first - 2, 0) : first + longest] = 0.0

    # Of the last frames, scores of a beat there after which an interval comes; of all,
    # which interval came before.
    rows, columns = longest + _BLOCK, np.arange(len(interval_I))
    leaving_RxI = np.full((rows, len(interval_I)), -np.inf, np.float32)
    before_TxI = np.zeros((num, len(interval_I)), np.uint8)
    best, end = -np.inf, (0, 0)
    for begin in range(max(first - 2, 0), num, _BLOCK):
        t_B = np.arange(begin, min(begin + _BLOCK, num))
        score_BxI = leaving_RxI[(t_B[:, None] - interval_I) % rows, columns]
        score_BxI = score_BxI + gain_T[t_B, None] + prior_I
        if t_B[-1] + longest > last:
            is_last_BxI = t_B[:, None] + interval_I > last
            found_BxI = np.where(is_last_BxI, score_BxI, -np.inf)
            b, i = np.unravel_index(found_BxI.argmax(), found_BxI.shape)
            if found_BxI[b, i] > best:
                best, end = found_BxI[b, i], (int(t_B[b]), int(i))
        total_BxIxI = score_BxI[:, :, None] + change_IxI
        from_BxI = total_BxIxI.argmax(axis=1)
        leaving_BxI = np.take_along_axis(total_BxIxI, from_BxI[:, None], 1)[:, 0]
        opening_B = (opens_T + gain_T)[t_B, None]
        before_TxI[t_B] = np.where(opening_B > leaving_BxI, _FIRST, from_BxI)
        leaving_RxI[t_B % rows] = np.maximum(leaving_BxI, opening_B)
    if best == -np.inf:  # all is over before two beats have come
        typical = round(config.typical_s * BEAT_RATE_HZ)
        return np.array([first, max(first + typical, last)]), -np.inf
    (t, i), frames = end, []
    while True:
        frames.append(t)
        t -= int(interval_I[i])
        i = int(before_TxI[t, i])
        if i == _FIRST:
            return np.array([t, *frames[::-1]]), float(best)


def _refined(p_T: np.ndarray, frame_N: np.ndarray) -> np.ndarray:
    """Return the highest frames near those given, with fractions.

    The parabola through three frames is highest there.
    """
    nearby_Nx5 = np.clip(frame_N[:, None] + np.arange(-2, 3), 0, len(p_T) - 1)
    best_N = nearby_Nx5[np.arange(len(frame_N)), p_T[nearby_Nx5].argmax(axis=1)]
    is_seen_N = (frame_N < len(p_T)) & (p_T[best_N] > _SEEN)
    frame_N = np.where(is_seen_N, best_N, frame_N)
    padded = np.pad(p_T, (1, 2 + max(int(frame_N[-1]) - len(p_T) + 1, 0)), "edge")
    left_N, here_N, right_N = (padded[frame_N + step] for step in (0, 1, 2))
    bend_N = left_N - 2 * here_N + right_N
    is_peak_N = (here_N >= left_N) & (here_N >= right_N) & (bend_N < -1e-6)
    shift_N = np.where(
        is_peak_N, 0.5 * (left_N - right_N) / np.minimum(bend_N, -1e-6), 0
    )
    return frame_N + shift_N


def _positions(
    gain_NxM: np.ndarray, bars: Sequence[int], cost_MxM: np.ndarray
) -> np.ndarray:
    """Return the positions of N beats in bars.

    Args:
      gain_NxM: what is gained where each kind of bar begins on each beat.
      bars: the beats that each of M kinds has.
      cost_MxM: of a bar of one kind (rows) after one of another kind (columns).
    """
    ends = np.cumsum(bars) - 1
    starts = ends - np.array(bars) + 1
    at_S = np.concatenate([np.arange(1, length + 1) for length in bars])
    # Within a bar a state follows the one before it.
    follows = np.maximum(np.arange(len(at_S)) - 1, 0)
    follows[starts] = starts
    score_S = np.zeros(len(at_S))
    score_S[starts] = gain_NxM[0]
    before_NxS = np.zeros((len(gain_NxM), len(at_S)), int)
    for n in range(1, len(gain_NxM)):
        before_NxS[n] = follows
        entering = score_S[ends] - cost_MxM
        best = entering.argmax(axis=1)
        before_NxS[n, starts] = ends[best]
        score_S = score_S[follows]
        score_S[starts] = entering[np.arange(len(best)), best] + gain_NxM[n]
    state = int(score_S.argmax())
    position_N = np.zeros(len(gain_NxM), int)
    for n in range(len(gain_NxM) - 1, -1, -1):
        position_N[n] = at_S[state]
        state = before_NxS[n, state]
    return position_N


def _is_dotted(onset_s: np.ndarray, beat_s: np.ndarray) -> bool:
    """Return whether notes divide beats by three rather than by two."""
    index = np.arange(len(beat_s))
    inside = onset_s[(onset_s > beat_s[0]) & (onset_s < beat_s[-1])]
    phase = np.interp(inside, beat_s, index) % 1
    thirds = sum(np.count_nonzero(np.abs(phase - at) < 0.07) for at in (1 / 3, 2 / 3))
    halves = sum(
        np.count_nonzero(np.abs(phase - at) < 0.07) for at in (0.25, 0.5, 0.75)
    )
    return bool(thirds > halves)
